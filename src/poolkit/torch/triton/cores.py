"""What a fold carries along and how one more tap is taken into it: csrc/cores.hpp on a GPU.

A `Core` is a tuple of functions and facts:

- ``identity(shape, e, PARAMS, ACC)`` is the state of no tap: four tiles, of which most cores use two or three;
- ``accumulate(PASS, state, v, valid, number, c, n, PARAMS)`` takes a tap in: its value, its number in the window, and
  what stands beside it (`poolkit.torch.triton.fold`); `passes` times over all taps;
- ``finish(LOOK, state, n, divisor, e, PARAMS)`` gives the output, two further results, and where the window left the
  accumulator's range: those taps are looked at once more, with ``PASS = passes``, if `look`;
- ``lanes(PASS, state, lane, AXIS)`` joins the states of all lanes along an axis of the tile
  (`poolkit.torch.triton.merge`); what an earlier pass found stands in every one of them.

PARAMS are the numbers of `poolkit.reducer.Params`; `e` is the reducer's own number for each output.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from poolkit.torch.triton.atoms import divided, finite, least, magnitude, most, power, root, root_of

# Means are folded a second time with this, where their sum overflows: a power of two.
SMALL = tl.constexpr(2.0**-32)


@triton.jit
def nothing(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """Zeros."""
    z = tl.zeros(shape, ACC)
    return z, z, z, z


@triton.jit
def lowest(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """Below every number, its tap the first one."""
    z = tl.zeros(shape, ACC)
    return tl.full(shape, float("-inf"), ACC), tl.zeros(shape, tl.int32), z, z


@triton.jit
def logits(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """Of exponentials: the largest logit, none yet, and the sharpness."""
    z = tl.zeros(shape, ACC)
    return tl.full(shape, float("-inf"), ACC), z, z, z + PARAMS[2]


@triton.jit
def sharpened(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """The same with a sharpness for each output."""
    z = tl.zeros(shape, ACC)
    return tl.full(shape, float("-inf"), ACC), z, z, z + e


@triton.jit
def added(s, AXIS: tl.constexpr):
    """The sum of all lanes."""
    return tl.sum(s, AXIS, keep_dims=True)


@triton.jit
def shared(s, lane, AXIS: tl.constexpr):
    """What stands in every lane, even a NaN."""
    return tl.sum(tl.where(lane == 0, s, 0), AXIS, keep_dims=True)


@triton.jit
def largest(s, AXIS: tl.constexpr):
    """The largest of all lanes that is no NaN."""
    return tl.max(tl.where(s == s, s, float("-inf")), AXIS, keep_dims=True)


@triton.jit
def sum_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """Sums; the second look's beside the first one's."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return added(s0, AXIS), added(s1, AXIS), added(s2, AXIS), added(s3, AXIS)
    else:
        return shared(s0, lane, AXIS), added(s1, AXIS), added(s2, AXIS), added(s3, AXIS)


# Max, Min, Lp(inf): value and number of the chosen tap.


@triton.jit
def better(v, s0):
    """Whether v takes the place of s0: a NaN does once, an equal value never."""
    return (v > s0) | ((v != v) & (s0 == s0))


@triton.jit
def max_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Max."""
    s0, s1, s2, s3 = state
    take = valid & better(v, s0)
    return tl.where(take, v, s0), tl.where(take, number, s1), s2, s3


@triton.jit
def min_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Min, as the Max of -v."""
    return max_accumulate(PASS, state, -v, valid, number, c, n, PARAMS)


@triton.jit
def size_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Lp(inf)."""
    return max_accumulate(PASS, state, magnitude(v), valid, number, c, n, PARAMS)


@triton.jit
def max_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The value and its number."""
    s0, s1, s2, s3 = state
    return s0, s1, s0, s0 != s0


@triton.jit
def min_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The same of -v."""
    s0, s1, s2, s3 = state
    return -s0, s1, s0, s0 != s0


@triton.jit
def max_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """The first NaN of all lanes, or else the first largest value."""
    s0, s1, s2, s3 = state
    nan = s0 != s0
    any_nan = tl.max(nan.to(tl.int32), AXIS, keep_dims=True) > 0
    top = tl.max(tl.where(nan, float("-inf"), s0), AXIS, keep_dims=True)
    here = tl.where(any_nan, nan, s0 == top)
    number = tl.min(tl.where(here, s1, 2147483647), AXIS, keep_dims=True)
    return (
        tl.where(any_nan, float("nan"), top),
        number,
        added(s2, AXIS),
        added(s3, AXIS),
    )


# Sum, Mean.


@triton.jit
def sum_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Sum; the second look adds up what is a power of two smaller."""
    s0, s1, s2, s3 = state
    v = tl.where(valid, v, 0)
    if PASS == 1:
        return s0, s1, s2 + v * SMALL, s3
    else:
        return s0 + v, s1, s2, s3


@triton.jit
def sum_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """s0 / divisor."""
    s0, s1, s2, s3 = state
    y = divided(s0, divisor)
    far = ~finite(s0)
    if LOOK:
        y = tl.where(far, divided(s2, divisor) * (1 / SMALL), y)
    return y, s0, s0, far


# Lp, PowerMean, RMS: the sum of powers and the largest cell.


@triton.jit
def norm_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Powers of magnitudes; the second look takes them relative to the largest."""
    return _power_accumulate(PASS, state, magnitude(v), valid, PARAMS)


@triton.jit
def mean_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """The same of values clamped from below."""
    return _power_accumulate(PASS, state, tl.where(v < PARAMS[1], PARAMS[1], v), valid, PARAMS)


@triton.jit
def _power_accumulate(PASS: tl.constexpr, state, v, valid, PARAMS: tl.constexpr):
    s0, s1, s2, s3 = state
    if PASS == 0:
        return s0 + tl.where(valid, power(v, PARAMS[0]), 0), tl.where(valid & (v > s1), v, s1), s2, s3
    else:
        ratio = divided(v, tl.where(s1 > 0, s1, 1))
        return s0, s1, s2 + tl.where(valid, power(ratio, PARAMS[0]), 0), s3


@triton.jit
def norm_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The root."""
    s0, s1, s2, s3 = state
    far = ~((s0 >= least(s0)) & (s0 <= most(s0))) & (s1 > 0) & finite(s1)
    y = tl.where(s0 == 0, 0, root(divided(s0, divisor), PARAMS[0]))
    if LOOK:
        y = tl.where(far, s1 * root(divided(s2, divisor), PARAMS[0]), y)
    return y, s0, s0, far


@triton.jit
def norm_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """Sums and the largest cell; the second look's sum beside them."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return added(s0, AXIS), largest(s1, AXIS), added(s2, AXIS), added(s3, AXIS)
    else:
        return shared(s0, lane, AXIS), shared(s1, lane, AXIS), added(s2, AXIS), added(s3, AXIS)


# LogSumExp, Soft, Boltzmann: the largest cell, the sum of exponentials relative to it, and that of cells times them.


@triton.jit
def exponentials(state, u, value, sharpness, valid):
    """A tap with logit ``sharpness * u``; the sums stay relative to the largest logit so far. One exponential a tap."""
    s0, s1, s2, s3 = state
    # Equal logits have the ratio one, even if they are infinite.
    e = tl.where(u == s0, 1, tl.where((s1 == 0) & (u == u), 0, tl.exp(-magnitude(u - s0) * sharpness)))
    above = u > s0
    # A cell without weight has no part in the sum, even if it is infinite.
    total = tl.where(above, s1 * e + 1, s1 + e)
    part = tl.where(above, tl.where(e == 0, 0, s2 * e) + value, s2 + tl.where(e == 0, 0, value * e))
    return (
        tl.where(valid & above, u, s0),
        tl.where(valid, total, s1),
        tl.where(valid, part, s2),
        s3,
    )


@triton.jit
def soft_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """With one sharpness for all."""
    if PARAMS[2] < 0:
        return exponentials(state, -v, v, -PARAMS[2], valid)
    else:
        return exponentials(state, v, v, PARAMS[2], valid)


@triton.jit
def twice_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """First the largest logit, then the sums: fewer operations for a window that is at hand a second time."""
    s0, s1, s2, s3 = state
    u = -v if PARAMS[2] < 0 else v
    if PASS == 0:
        return tl.where(valid & (u > s0), u, s0), s1, s2, s3
    else:
        sharpness: tl.constexpr = PARAMS[2] if PARAMS[2] > 0 else -PARAMS[2]
        e = tl.where(valid, tl.where(u == s0, 1, tl.exp((u - s0) * sharpness)), 0)
        return s0, s1 + e, s2 + tl.where(e == 0, 0, v * e), s3


@triton.jit
def carried_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """v is the logit, c the value."""
    return exponentials(state, v, c, 1.0, valid)


@triton.jit
def boltzmann_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """With a sharpness for each output; where it is 0 all cells weigh the same, even infinite ones."""
    s0, s1, s2, s3 = state
    return exponentials(state, tl.where(s3 == 0, 0, tl.where(s3 < 0, -v, v)), v, magnitude(s3), valid)


@triton.jit
def log_total(state, sharpness):
    """log sum exp of the logits."""
    s0, s1, s2, s3 = state
    return s0 * sharpness + tl.log(s1)


@triton.jit
def lse_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The mean's logarithm over beta, and the sum's."""
    s0, s1, s2, s3 = state
    sharpness: tl.constexpr = PARAMS[2] if PARAMS[2] > 0 else -PARAMS[2]
    # Divided before the logarithm: two logarithms would cancel each other's digits.
    y = divided(s0 * sharpness + tl.log(divided(s1, divisor)), tl.zeros_like(s1) + PARAMS[2])
    return y, log_total(state, sharpness), s0, s0 != s0


@triton.jit
def soft_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The weighted mean, the logarithm of the weights' sum, and the mean once more."""
    s0, s1, s2, s3 = state
    sharpness: tl.constexpr = PARAMS[2] if PARAMS[2] > 0 else -PARAMS[2]
    y = divided(s2, s1)
    return y, log_total(state, sharpness), y, s0 != s0


@triton.jit
def carried_soft_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The same where the cells were logits."""
    s0, s1, s2, s3 = state
    y = divided(s2, s1)
    return y, log_total(state, 1.0), y, s0 != s0


@triton.jit
def boltzmann_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The same with each output's sharpness."""
    s0, s1, s2, s3 = state
    y = divided(s2, s1)
    return y, log_total(state, magnitude(s3)), y, s0 != s0


@triton.jit
def soft_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """Sums relative to the largest logit of all lanes."""
    s0, s1, s2, s3 = state
    top = largest(s0, AXIS)
    sharpness = shared(s3, lane, AXIS)
    # A lane that has seen no tap weighs nothing, and nor does one whose logits are infinitely far down.
    e = tl.where(s1 == 0, 0, tl.where(s0 == top, 1, tl.exp((s0 - top) * magnitude(sharpness))))
    part = tl.where(e == 0, 0, s2 * e)
    return top, added(s1 * e, AXIS), added(part, AXIS), sharpness


# Mixed: the largest cell, its number, and a sum.


@triton.jit
def mixed_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Both in one pass. A second sum is of what is a power of two smaller, in case the first overflows."""
    s0, s1, s2, s3 = state
    s0, s1, _, _ = max_accumulate(PASS, state, v, valid, number, c, n, PARAMS)
    v = tl.where(valid, v, 0)
    return s0, s1, s2 + v, s3 + v * SMALL


@triton.jit
def mixed_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """A weight of 0 leaves a side out altogether, however large it is. Also the largest cell's number and its lead."""
    s0, s1, s2, s3 = state
    mean = tl.where(finite(s2), divided(s2, n), divided(s3, n) * (1 / SMALL))
    y = tl.where(e == 0, mean, tl.where(e == 1, s0, e * s0 + (1 - e) * mean))
    return y, s1, s0 - mean, s0 != s0


# Var, Std: the mean, then the squares of what differs from it.


@triton.jit
def var_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """A sum, then squares."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return s0 + tl.where(valid, v, 0), s1, s2, s3
    else:
        apart = v - divided(s0, n)
        return s0, s1 + tl.where(valid, apart * apart, 0), s2, s3


@triton.jit
def spread(state, n, PARAMS: tl.constexpr):
    """The variance; of one cell alone it is 0."""
    s0, s1, s2, s3 = state
    if PARAMS[7] == 1:
        return divided(s1, tl.where(n > 1, n - 1, n))
    else:
        return divided(s1, n)


@triton.jit
def var_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The variance, the mean, the variance."""
    s0, s1, s2, s3 = state
    y = spread(state, n, PARAMS)
    return y, divided(s0, n), y, s0 != s0


@triton.jit
def std_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """Its root, the mean, the root."""
    s0, s1, s2, s3 = state
    y = root_of(spread(state, n, PARAMS))
    return y, divided(s0, n), y, s0 != s0


# GeM: the largest cell, then powers relative to it, of a power for each output.


@triton.jit
def powers(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """The power of each output beside the sums."""
    z = tl.zeros(shape, ACC)
    return tl.full(shape, float("-inf"), ACC), z, z, z + e


@triton.jit
def gem_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """The sum of powers, and that of powers times their logarithms."""
    s0, s1, s2, s3 = state
    v = tl.where(v < PARAMS[1], PARAMS[1], v)
    if PASS == 0:
        return tl.where(valid & (v > s0), v, s0), s1, s2, s3
    else:
        log = tl.where(v == s0, 0, tl.log(divided(v, tl.where(s0 == 0, 1, s0))))
        term = tl.exp(s3 * log)
        term = tl.where((v == 0) & (s0 > 0), 0, term)
        return s0, s1 + tl.where(valid, term, 0), s2 + tl.where(valid & (term != 0), term * log, 0), s3


@triton.jit
def gem_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The root, its logarithm relative to the largest cell, its derivative by the power."""
    s0, s1, s2, s3 = state
    log_root = divided(tl.log(divided(s1, n)), s3)
    y = tl.where(s0 == 0, 0, tl.where(s0 == float("inf"), s0, s0 * tl.exp(log_root)))
    y = tl.where(s1 == s1, y, s1)
    by_power = tl.where(y == 0, 0, divided(y, s3) * (divided(s2, s1) - log_root))
    return y, log_root, by_power, s0 != s0


@triton.jit
def gem_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """The largest cell of the first pass stands in every lane of the second."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return largest(s0, AXIS), added(s1, AXIS), added(s2, AXIS), shared(s3, lane, AXIS)
    else:
        return shared(s0, lane, AXIS), added(s1, AXIS), added(s2, AXIS), shared(s3, lane, AXIS)


# Stochastic's mean over all draws: the sum of the positive cells, then each of them times its share.


@triton.jit
def share_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Relative to the sum from the start, so that no square overflows; s2 keeps a NaN."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return s0 + tl.where(valid & (v > 0), v, 0), s1, s2 + tl.where(valid & (v != v), v, 0), s3
    else:
        w = divided(v, s0)
        return s0, s1 + tl.where(valid & (v > 0) & (w > 0), w * v, 0), s2, s3


@triton.jit
def share_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The mean, the sum, the mean."""
    s0, s1, s2, s3 = state
    y = tl.where(s0 == float("inf"), s0, s1)
    y = tl.where(s2 == s2, y, s2)
    return y, s0, y, s0 != s0


@triton.jit
def share_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """The sum of the first pass stands in every lane of the second."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return added(s0, AXIS), added(s1, AXIS), added(s2, AXIS), added(s3, AXIS)
    else:
        return shared(s0, lane, AXIS), added(s1, AXIS), shared(s2, lane, AXIS), added(s3, AXIS)


# Filter: a weight for each cell of the kernel.


@triton.jit
def filter_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """The sum of c v."""
    s0, s1, s2, s3 = state
    return s0 + tl.where(valid, v * c, 0), s1, s2, s3


@triton.jit
def filter_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """It."""
    s0, s1, s2, s3 = state
    return s0, s0, s0, s0 != s0


class Core(NamedTuple):
    """One way to fold; see above."""

    passes: int
    identity: Any
    accumulate: Any
    finish: Any
    lanes: Any
    look: bool
    twice: Core | None = None  # the same with more passes and fewer operations, for taps that stay in the first cache


MAX = Core(1, lowest, max_accumulate, max_finish, max_lanes, False)
MIN = Core(1, lowest, min_accumulate, min_finish, max_lanes, False)
SIZE = Core(1, lowest, size_accumulate, max_finish, max_lanes, False)
SUM = Core(1, nothing, sum_accumulate, sum_finish, sum_lanes, True)
NORM = Core(1, nothing, norm_accumulate, norm_finish, norm_lanes, True)
CLAMPED = Core(1, nothing, mean_accumulate, norm_finish, norm_lanes, True)
LOG_SUM_EXP = Core(
    1,
    logits,
    soft_accumulate,
    lse_finish,
    soft_lanes,
    False,
    twice=Core(2, logits, twice_accumulate, lse_finish, soft_lanes, False),
)
SOFT = Core(
    1,
    logits,
    soft_accumulate,
    soft_finish,
    soft_lanes,
    False,
    twice=Core(2, logits, twice_accumulate, soft_finish, soft_lanes, False),
)
CARRIED_SOFT = Core(1, logits, carried_accumulate, carried_soft_finish, soft_lanes, False)
BOLTZMANN = Core(1, sharpened, boltzmann_accumulate, boltzmann_finish, soft_lanes, False)
MIXED = Core(1, lowest, mixed_accumulate, mixed_finish, max_lanes, False)
VAR = Core(2, nothing, var_accumulate, var_finish, sum_lanes, False)
STD = Core(2, nothing, var_accumulate, std_finish, sum_lanes, False)
GEM = Core(2, powers, gem_accumulate, gem_finish, gem_lanes, False)
SHARE = Core(2, nothing, share_accumulate, share_finish, share_lanes, False)
FILTER = Core(1, nothing, filter_accumulate, filter_finish, sum_lanes, False)
