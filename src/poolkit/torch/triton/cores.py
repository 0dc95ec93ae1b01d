"""What a fold carries along and how one more tap is taken into it: csrc/cores.hpp on a GPU.

A `Core` is a tuple of functions and facts:

- ``identity(shape, e, PARAMS, ACC)`` is the state of no tap: four tiles, of which most cores use two or three;
- ``accumulate(PASS, state, v, valid, number, c, n, PARAMS)`` takes a tap in: its value, its number in the window, and
  what stands beside it (`poolkit.torch.triton.fold`); `passes` times over all taps;
- ``finish(LOOK, state, n, divisor, e, PARAMS)`` gives the output, two further results, and where the window left the
  accumulator's range: those taps are looked at once more, with ``PASS = passes``, if `look`;
- ``lanes(PASS, state, lane, AXIS)`` joins the states of all lanes along an axis of the tile
  (`poolkit.torch.triton.merge`); what an earlier pass found stands in every one of them. None: the order of the taps
  matters, and whole planes are folded, too; such a state may have more tiles;
- `exact`: no multiplication and addition may be fused to one rounding, so that the bits are the CPU's.

PARAMS are the numbers of `poolkit.reducer.Params`; `e` is the reducer's own number for each output.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from poolkit.torch.triton.atoms import divided, finite, least, magnitude, most, power, root

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
def carried_logits(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """The same of cells that are logits themselves."""
    z = tl.zeros(shape, ACC)
    return tl.full(shape, float("-inf"), ACC), z, z, z + 1


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
def plain_logits(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """The largest logit, and three sums."""
    z = tl.zeros(shape, ACC)
    return tl.full(shape, float("-inf"), ACC), z, z, z


@triton.jit
def learned_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Boltzmann with its derivative by the sharpness, which is c: the largest logit, both sums, squares about y."""
    s0, s1, s2, s3 = state
    u = tl.where(c == 0, 0, tl.where(c < 0, -v, v))
    if PASS == 0:
        return tl.where(valid & (u > s0), u, s0), s1, s2, s3
    else:
        w = tl.where(valid, tl.where(u == s0, 1, tl.exp((u - s0) * magnitude(c))), 0)
        if PASS == 1:
            return s0, s1 + w, s2 + tl.where(w == 0, 0, v * w), s3
        else:
            apart = v - divided(s2, s1)
            return s0, s1, s2, s3 + tl.where(w == 0, 0, w * apart * apart)


@triton.jit
def learned_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The weighted mean, the logarithm of the weights' sum, and the derivative: the weighted variance."""
    s0, s1, s2, s3 = state
    return divided(s2, s1), log_total(state, magnitude(e)), divided(s3, s1), s0 != s0


@triton.jit
def learned_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """What each pass adds up; what earlier ones did stands in every lane."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return largest(s0, AXIS), added(s1, AXIS), added(s2, AXIS), added(s3, AXIS)
    elif PASS == 1:
        return shared(s0, lane, AXIS), added(s1, AXIS), added(s2, AXIS), added(s3, AXIS)
    else:
        return shared(s0, lane, AXIS), shared(s1, lane, AXIS), shared(s2, lane, AXIS), added(s3, AXIS)


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


@dataclass(frozen=True, eq=False)
class Core:
    """One way to fold; see above."""

    passes: int
    identity: Any
    accumulate: Any
    finish: Any
    lanes: Any
    look: bool
    exact: bool = False
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
CARRIED_SOFT = Core(1, carried_logits, carried_accumulate, carried_soft_finish, soft_lanes, False)
BOLTZMANN = Core(1, sharpened, boltzmann_accumulate, boltzmann_finish, soft_lanes, False)
LEARNED_BOLTZMANN = Core(3, plain_logits, learned_accumulate, learned_finish, learned_lanes, False)
