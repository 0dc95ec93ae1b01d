"""Reducers that do not sort, and are neither one sum nor one choice: csrc/locals.hpp on a GPU.

Mixtures, moments, powers for each output, weights, draws: cores of `poolkit.torch.triton.fold`.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.atoms import divided, exp_same, finite, root_of
from poolkit.torch.triton.cores import (
    SMALL,
    Core,
    added,
    largest,
    lowest,
    max_accumulate,
    max_lanes,
    nothing,
    shared,
    sum_lanes,
)

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


@triton.jit
def carried_mixed_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """The same of lines: v is the largest cell of one, c its mean."""
    s0, s1, s2, s3 = state
    s0, s1, _, _ = max_accumulate(PASS, state, v, valid, number, c, n, PARAMS)
    c = tl.where(valid, c, 0)
    return s0, s1, s2 + c, s3 + c * SMALL


@triton.jit
def sides_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The largest cell and the mean, not mixed yet."""
    s0, s1, s2, s3 = state
    mean = tl.where(finite(s2), divided(s2, n), divided(s3, n) * (1 / SMALL))
    return s0, s0, mean, s0 != s0


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


# The same axis by axis: lines hand on their mean, in float64, and their variance.


@triton.jit
def line_mean(state, n):
    """The mean, even where the sum overflows."""
    s0, s1, s2, s3 = state
    return tl.where(finite(s0), divided(s0, n), divided(s3, n) * (1 / SMALL))


@triton.jit
def line_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """A sum; then squares of what differs from the mean, and that itself, which says how far the mean was rounded."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        v = tl.where(valid, v, 0)
        return s0 + v, s1, s2, s3 + v * SMALL
    else:
        apart = tl.where(valid, v - line_mean(state, n), 0)
        return s0, s1 + apart * apart, s2 + apart, s3


@triton.jit
def carried_line_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Of lines: v is a mean, c the variance within. All lines of a window have equally many cells."""
    s0, s1, s2, s3 = line_accumulate(PASS, state, v, valid, number, c, n, PARAMS)
    if PASS == 0:
        return s0, s1, s2, s3
    else:
        return s0, s1 + tl.where(valid, c, 0), s2, s3


@triton.jit
def line_lanes(PASS: tl.constexpr, state, lane, AXIS: tl.constexpr):
    """The sums of the first pass stand in every lane of the second."""
    s0, s1, s2, s3 = state
    if PASS == 0:
        return added(s0, AXIS), added(s1, AXIS), added(s2, AXIS), added(s3, AXIS)
    else:
        return shared(s0, lane, AXIS), added(s1, AXIS), added(s2, AXIS), shared(s3, lane, AXIS)


@triton.jit
def line_spread(state, n):
    """The variance about the mean that was not rounded; of equal cells it is 0, whatever rounding left of it."""
    s0, s1, s2, s3 = state
    rest = divided(s2, n)
    rest = tl.where(finite(rest * rest), rest * rest, 0)
    y = divided(s1, n) - rest
    return tl.where(y <= rest * 1e-5, 0, y)


@triton.jit
def line_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The mean with what rounding had taken from it, the variance."""
    s0, s1, s2, s3 = state
    mean = line_mean(state, n)
    rest = divided(s2, n)
    spread_ = line_spread(state, n)
    return mean.to(tl.float64) + tl.where(finite(rest), rest, 0).to(tl.float64), spread_, spread_, s0 != s0


@triton.jit
def carried_var_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The variance, times what makes up for one cell less."""
    s0, s1, s2, s3 = state
    y = line_spread(state, n) * e
    return y, y, y, s0 != s0


@triton.jit
def carried_std_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """Its root."""
    s0, s1, s2, s3 = state
    y = root_of(line_spread(state, n) * e)
    return y, y, y, s0 != s0


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


# Stochastic's draw: the largest cell, the sum of what the cells weigh, then the first of which the sums pass the share.


@triton.jit
def uniforms(shape, e, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """The largest cell, the weights' sum, that up to a tap, the uniform; the cell drawn, its number, if it is final."""
    z = tl.zeros(shape, ACC)
    number = tl.zeros(shape, tl.int32) - 1
    return tl.full(shape, float("-inf"), ACC), z, z, z + e, z, number, number == 0


@triton.jit
def activation(x, top, PARAMS: tl.constexpr):
    """What a cell's probability is in proportion to: its positive part, or an exponential relative to the largest."""
    if PARAMS[7] == 1:
        return exp_same(tl.where(x == top, 0, (x - top) * PARAMS[2]))
    else:
        return tl.where(x > 0, x, 0)


@triton.jit
def draw_accumulate(PASS: tl.constexpr, state, v, valid, number, c, n, PARAMS: tl.constexpr):
    """Sums run in the taps' order, as on the CPU: the same uniform, the same cell. The first NaN is final."""
    top, total, sum_, u, y, chosen, shut = state
    if PASS == 0:
        nan = valid & (v != v)
        chosen = tl.where(nan & ~shut, number, chosen)
        y = tl.where(nan, v, y)
        shut = shut | nan
        top = tl.where(valid & (v > top), v, top)
    else:
        w = tl.where(valid, activation(v, top, PARAMS), 0)
        if PASS == 1:
            total += w
        else:
            sum_ += w
            # Where rounding keeps the sum from passing the share, the last cell with a weight is drawn.
            able = (w > 0) & (total > 0) & ~shut
            y = tl.where(able, v, y)
            chosen = tl.where(able, number, chosen)
            # An infinite cell has all the probability there is.
            shut = shut | (able & ((sum_ > u * total) | (w == float("inf"))))
    return top, total, sum_, u, y, chosen, shut


@triton.jit
def draw_finish(LOOK: tl.constexpr, state, n, divisor, e, PARAMS: tl.constexpr):
    """The cell, its number, the cell."""
    top, total, sum_, u, y, chosen, shut = state
    return y, chosen, y, shut


MIXED = Core(1, lowest, mixed_accumulate, mixed_finish, max_lanes, False)
SIDES = Core(1, lowest, mixed_accumulate, sides_finish, max_lanes, False)
CARRIED_SIDES = Core(1, lowest, carried_mixed_accumulate, sides_finish, max_lanes, False)
CARRIED_MIXED = Core(1, lowest, carried_mixed_accumulate, mixed_finish, max_lanes, False)
VAR = Core(2, nothing, var_accumulate, var_finish, sum_lanes, False)
STD = Core(2, nothing, var_accumulate, std_finish, sum_lanes, False)
LINE = Core(2, nothing, line_accumulate, line_finish, line_lanes, False)
CARRIED_LINE = Core(2, nothing, carried_line_accumulate, line_finish, line_lanes, False)
CARRIED_VAR = Core(2, nothing, carried_line_accumulate, carried_var_finish, line_lanes, False)
CARRIED_STD = Core(2, nothing, carried_line_accumulate, carried_std_finish, line_lanes, False)
GEM = Core(2, powers, gem_accumulate, gem_finish, gem_lanes, False)
SHARE = Core(2, nothing, share_accumulate, share_finish, share_lanes, False)
FILTER = Core(1, nothing, filter_accumulate, filter_finish, sum_lanes, False)
DRAW = Core(3, uniforms, draw_accumulate, draw_finish, None, False, exact=True)
