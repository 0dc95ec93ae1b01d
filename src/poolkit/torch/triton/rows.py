"""Small sliding windows, as nearly all layers have them: what outputs above each other have in common is read once.

Every element of a tile makes `HIGH` outputs of a column. It goes down the rows of input that they see, reduces each
row's taps once, and joins the result to every output that the row belongs to: csrc/fold.hpp's rows, with the state in
registers. Where a tap lies is known when the kernel is compiled, but for the tile's first one; so are the taps that may
lie outside of the input, and only those have a mask. The few outputs that leave the accumulator's range are made once
more, by `poolkit.torch.triton.fold.window`.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from poolkit.torch.triton import cores
from poolkit.torch.triton.atoms import finite, least, magnitude, most, power, root
from poolkit.torch.triton.fold import PADDED, TAPS, cell_of, divisor_of, put, window
from poolkit.torch.triton.plan import interval, skipped, tile

LOG2_E = tl.constexpr(1.4426950408889634)
# What is below it in a sum of exponentials is made again, relative to its own window's largest cell.
FAINT = tl.constexpr(1e-20)


# Of a row: `take(a, b, v, valid, k, top, FIRST, NUMBERS, MASKED, PARAMS)` takes the k-th tap into the two parts of
# the state; MASKED: it may be absent. Of a window: `join` takes a row in whose taps' numbers begin at `number`.


@triton.jit
def as_it_is(v, PARAMS: tl.constexpr):
    """x."""
    return v


@triton.jit
def negated(v, PARAMS: tl.constexpr):
    """-x."""
    return -v


@triton.jit
def sized(v, PARAMS: tl.constexpr):
    """|x|."""
    return magnitude(v)


@triton.jit
def clamped(v, PARAMS: tl.constexpr):
    """x, but no less than eps."""
    return tl.where(v < PARAMS[1], PARAMS[1], v)


@triton.jit
def logit(v, PARAMS: tl.constexpr):
    """What grows with a cell's weight."""
    return -v if PARAMS[2] < 0 else v


@triton.jit
def base_two(PARAMS: tl.constexpr):
    """What a logit is multiplied with to become a power of 2."""
    return LOG2_E * PARAMS[2] if PARAMS[2] > 0 else -LOG2_E * PARAMS[2]


@triton.jit
def ratio(a, b):
    """a / b of finite numbers, rounded to nearest or beside it: a quick quotient, and what it leaves divided again."""
    if a.dtype == tl.float32:
        inverse = 1.0 / b
        q = a * inverse
        return q + (a - q * b) * inverse
    else:
        return a / b


@triton.jit
def near_root(v):
    """The square root of a positive number, rounded to nearest or beside it."""
    if v.dtype == tl.float32:
        inverse = tl.rsqrt(v)
        y = v * inverse
        return y + (v - y * y) * (0.5 * inverse)
    else:
        return tl.sqrt(v)


@triton.jit
def over(v, s):
    """Whether v takes the place of s: a NaN does once, an equal value never."""
    return (s == s) & ~(v <= s)


@triton.jit
def largest_take(
    a,
    b,
    v,
    valid,
    k: tl.constexpr,
    top,
    FIRST: tl.constexpr,
    NUMBERS: tl.constexpr,
    MASKED: tl.constexpr,
    PARAMS: tl.constexpr,
):
    """The largest cell of a row, with its number if it is asked for."""
    if FIRST:
        return v, tl.full(v.shape, k, tl.int32)
    elif NUMBERS:
        take = over(v, a)
        return tl.where(take, v, a), tl.where(take, k, b)
    else:
        return tl.maximum(a, v, propagate_nan=tl.PropagateNan.ALL), b


@triton.jit
def largest_join(s, t, a, b, number: tl.constexpr, FIRST: tl.constexpr, NUMBERS: tl.constexpr):
    """The largest of the rows."""
    if FIRST:
        return a, b + number
    elif NUMBERS:
        take = over(a, s)
        return tl.where(take, a, s), tl.where(take, b + number, t)
    else:
        return tl.maximum(s, a, propagate_nan=tl.PropagateNan.ALL), t


@triton.jit
def sum_take(
    a,
    b,
    v,
    valid,
    k: tl.constexpr,
    top,
    FIRST: tl.constexpr,
    NUMBERS: tl.constexpr,
    MASKED: tl.constexpr,
    PARAMS: tl.constexpr,
):
    """The sum of a row."""
    if FIRST:
        return v, v
    else:
        return a + v, b


@triton.jit
def power_take(
    a,
    b,
    v,
    valid,
    k: tl.constexpr,
    top,
    FIRST: tl.constexpr,
    NUMBERS: tl.constexpr,
    MASKED: tl.constexpr,
    PARAMS: tl.constexpr,
):
    """The sum of powers, and the largest cell."""
    term = power(v, PARAMS[0])
    if MASKED and PARAMS[0] <= 0:
        term = tl.where(valid, term, 0)
    if FIRST:
        return term, v
    else:
        return a + term, tl.maximum(b, v)


@triton.jit
def power_join(s, t, a, b, number: tl.constexpr, FIRST: tl.constexpr, NUMBERS: tl.constexpr):
    """Of the rows."""
    if FIRST:
        return a, b
    else:
        return s + a, tl.maximum(t, b)


@triton.jit
def soft_take(
    a, b, v, valid, k: tl.constexpr, top, FIRST: tl.constexpr, NUMBERS: tl.constexpr, MASKED: tl.constexpr,
    PARAMS: tl.constexpr,
):  # fmt: skip
    """Sums of exponentials relative to `top`, and of logits times them.

    `top` is the largest logit of the whole column, in base 2 and rounded; all of the column share that rounding. An
    infinite logit makes a sum NaN, unless it stands for a tap that is not there.
    """
    e = tl.exp2(v * base_two(PARAMS) - top)
    if MASKED:
        v = tl.maximum(v, -most(v))
    if FIRST:
        return e, e * v
    else:
        return a + e, b + e * v


@triton.jit
def two_join(s, t, a, b, number: tl.constexpr, FIRST: tl.constexpr, NUMBERS: tl.constexpr):
    """Two sums."""
    if FIRST:
        return a, b
    else:
        return s + a, t + b


# Of outputs: `finish(s, t, top, n, divisor, PARAMS)` gives the output and two further results, as `cores` do, where the
# state is not `far`, which means that it has to be made again.


@triton.jit
def largest_finish(s, t, top, divisor, PARAMS: tl.constexpr):
    """The value, its number, and what was compared."""
    return s, t, s


@triton.jit
def least_finish(s, t, top, divisor, PARAMS: tl.constexpr):
    """Of -x."""
    return -s, t, s


@triton.jit
def sum_finish(s, t, top, divisor, PARAMS: tl.constexpr):
    """The mean and the sum."""
    return ratio(s, divisor), s, s


@triton.jit
def power_finish(s, t, top, divisor, PARAMS: tl.constexpr):
    """The root."""
    mean = ratio(s, divisor)
    y = near_root(mean) if PARAMS[0] == 2 else root(mean, PARAMS[0])
    return tl.where(s == 0, 0, y), s, s


@triton.jit
def soft_finish(s, t, top, divisor, PARAMS: tl.constexpr):
    """The weighted mean, the logarithm of the weights' sum, and the mean once more."""
    y = ratio(-t if PARAMS[2] < 0 else t, s)
    return y, (top + tl.log2(s)) / LOG2_E, y


@triton.jit
def lse_finish(s, t, top, divisor, PARAMS: tl.constexpr):
    """The mean's logarithm over beta, and the sum's."""
    y = (top + tl.log2(ratio(s, divisor))) * (1 / (LOG2_E * PARAMS[2]))
    return y, (top + tl.log2(s)) * (1 / LOG2_E), s


@triton.jit
def never(s, t):
    """Nothing is made again."""
    return s != s


@triton.jit
def overflowed(s, t):
    """Sums that are infinite or NaN."""
    return ~finite(s)


@triton.jit
def out_of_range(s, t):
    """Powers that are too large or too small to be added up as they are, or infinite."""
    return ~((s >= least(s)) & (s <= most(s))) & (t > 0)


@triton.jit
def faint(s, t):
    """Windows far below the largest cell of their column, and those with an infinite cell."""
    return ~(s >= FAINT) | ~finite(t)


class Rows(NamedTuple):
    """A core in rows: see above. `absent` stands for a tap that is not there; `tops`: logits count from the largest."""

    core: Any
    prepare: Any
    take: Any
    join: Any
    finish: Any
    far: Any
    absent: float
    tops: bool = False


LEAST = float("-inf")
CHOOSING = (cores.MAX, cores.MIN, cores.SIZE)
ROWS = {
    way.core: way
    for way in (
        Rows(cores.MAX, as_it_is, largest_take, largest_join, largest_finish, never, LEAST),
        Rows(cores.MIN, negated, largest_take, largest_join, least_finish, never, LEAST),
        Rows(cores.SIZE, sized, largest_take, largest_join, largest_finish, never, LEAST),
        Rows(cores.SUM, as_it_is, sum_take, two_join, sum_finish, overflowed, 0.0),
        Rows(cores.NORM, sized, power_take, power_join, power_finish, out_of_range, 0.0),
        Rows(cores.CLAMPED, clamped, power_take, power_join, power_finish, out_of_range, 0.0),
        Rows(cores.LOG_SUM_EXP, logit, soft_take, two_join, lse_finish, faint, LEAST, tops=True),
        Rows(cores.SOFT, logit, soft_take, two_join, soft_finish, faint, LEAST, tops=True),
    )
}


@triton.jit(do_not_specialize=["unit"])
def rows(
    x, carry, y, offsets, indices, first, second, columns, unit, sizes, outs, groups, samples, total, run, channels,
    xplane, yplane, sides, rest,
    PREPARE: tl.constexpr, TAKE: tl.constexpr, JOIN: tl.constexpr, ROUND: tl.constexpr, FAR: tl.constexpr,
    FINISH: tl.constexpr, ABSENT: tl.constexpr, TOPS: tl.constexpr, LOOK: tl.constexpr,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, AGAIN: tl.constexpr,
    AXES: tl.constexpr, KERNEL: tl.constexpr, USERS: tl.constexpr, COMMON: tl.constexpr, EDGES: tl.constexpr,
    FULL: tl.constexpr, PARTIAL: tl.constexpr, NUMBERS: tl.constexpr, DIVIDE: tl.constexpr, PARAMS: tl.constexpr,
    ACC: tl.constexpr, NONE: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr, NEAR: tl.constexpr,
    HIGH: tl.constexpr, REACH: tl.constexpr, HOLD: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of columns of HIGH outputs, and what is asked for beside them.

    KERNEL: taps along each axis. REACH: rows from the first tap of a column to its last one; USERS: for each of them
    how many outputs see it, then each one's number and which row of its window it is. COMMON: the first and the last of
    those that all outputs see, which are joined to each other first; the first one is behind the last for none. EDGES:
    for each axis, whether a tap of a window, or a row of a column, may lie before the input (1), behind it (2) or both
    (3). FULL: none does. PARTIAL: the last column of a plane may have fewer outputs. HOLD: taps stay in registers
    between the sweeps of cores with TOPS.

    `carry`: tap numbers of axes that were folded before, of windows that pool the axis of the columns alone; a number
    counts on from them, in steps of `rest`.
    """
    _, lane, live, sample, plane, od, g, ow = tile(
        columns, total, run if LAST else outs[2], outs[0], groups, outs[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS
    )
    if WIDE:
        run = (tl.program_id(0).to(tl.int64) * 0 + 1) * run
    # Elements without outputs read what others read: no mask for them.
    sample = tl.minimum(sample, samples - 1).to(tl.int64)
    if not LAST:
        ow = tl.minimum(ow, outs[2] - 1)
    d0 = od * AXES[0][2] - AXES[0][3]
    h0 = g * (HIGH * AXES[1][2]) - AXES[1][3]
    w0 = ow * AXES[2][2] - AXES[2][3]
    base = sample * xplane
    if LAST:
        base = base + lane
    at = x + base + ((d0 * sizes[1] + h0) * sizes[2] + w0) * run
    zero = tl.zeros((ROWS, COLS), ACC)
    there = (zero == 0) & (lane < run) if LAST else zero == 0
    top = zero
    held = ()
    values = ()
    others = ()
    for _ in tl.static_range(HIGH):
        values = values + (zero,)
        others = others + (zero,)
    common = (zero, zero)
    for SWEEP in tl.static_range(2 if TOPS else 1):
        for kd in tl.static_range(tl.constexpr(KERNEL[0])):
            line = at + kd * AXES[0][5] * sizes[1] * sizes[2] * run
            for r in tl.static_range(REACH):
                if USERS[r][0] > 0:
                    a = zero
                    b = zero
                    for kw in tl.static_range(tl.constexpr(KERNEL[2])):
                        if SWEEP == 1 and HOLD:
                            v = held[(kd * REACH + r) * KERNEL[2] + kw]
                            valid = there
                        else:
                            v, valid = tap(
                                line, there, d0, h0, w0, kd, r, kw, sizes, run, EDGES, PREPARE, ABSENT, AXES, LAST,
                                PARAMS, ACC,
                            )  # fmt: skip
                        if TOPS and SWEEP == 0:
                            top = v if kd + r + kw == 0 else tl.maximum(top, v)
                            if HOLD:
                                held = held + (v,)
                        else:
                            a, b = TAKE(
                                a, b, v, valid, kw, top, kw == 0, NUMBERS,
                                EDGES[0][kd] + EDGES[1][r] + EDGES[2][kw] > 0, PARAMS,
                            )  # fmt: skip
                    if SWEEP == 1 or not TOPS:
                        if r >= COMMON[0] and r <= COMMON[1]:
                            common = JOIN(
                                common[0], common[1], a, b, (r - COMMON[0]) // AXES[1][5] * KERNEL[2], r == COMMON[0],
                                NUMBERS,
                            )  # fmt: skip
                        if r < COMMON[0] or r > COMMON[1]:
                            values, others = shared(values, others, a, b, kd, r, USERS, JOIN, KERNEL, NUMBERS)
                        elif r == COMMON[1]:
                            values, others = shared(
                                values, others, common[0], common[1], kd, COMMON[0], USERS, JOIN, KERNEL, NUMBERS
                            )
                elif TOPS and SWEEP == 0 and HOLD:
                    for _ in tl.static_range(tl.constexpr(KERNEL[2])):
                        held = held + (zero,)
                line = line + sizes[2] * run
        if TOPS and SWEEP == 0:
            top = top * base_two(PARAMS)
    again = live & (zero != 0)
    for j in tl.static_range(HIGH):
        oh = g * HIGH + j
        here = live
        if PARTIAL:
            here = live & (oh < outs[1])
        out = sample * yplane + ((od * outs[1] + oh) * outs[2] + ow) * run
        if LAST:
            out = out + lane
        divisor = count(od, oh, ow, zero, sizes, outs, live, DIVIDE, AXES, KERNEL, FULL, PARAMS, ACC)
        if LOOK:
            again = again | (here & FAR(values[j], others[j]))
        value, one, two = ROUND(values[j], others[j], top, divisor, PARAMS)
        cell = out
        if NUMBERS:  # of cores that are never made again, so that no name of these is another one's below
            if not FULL:
                skip = (skipped(od, AXES, 0) * KERNEL[1] + skipped(oh, AXES, 1)) * KERNEL[2] + skipped(ow, AXES, 2)
                # Of cells that are all -inf the first one there is counts.
                one = tl.where(two == ABSENT, 0, one - skip)
            if carry is not None:
                # Numbers of the axes before count on from where they chose.
                start = oh * AXES[1][2] - AXES[1][3] + skipped(oh, AXES, 1) * AXES[1][5]
                from_ = base + ((d0 * sizes[1] + start + one * AXES[1][5]) * sizes[2] + w0) * run
                one = one * rest + tl.load(carry + from_, mask=here, other=0)
            if indices is not None:
                dn, _ = interval(od, sizes[0], outs[0], out, out, here, AXES, 0)
                hn, _ = interval(oh, sizes[1], outs[1], out, out, here, AXES, 1)
                wn, _ = interval(ow, sizes[2], outs[2], out, out, here, AXES, 2)
                cell = cell_of(one, dn, hn, wn, sizes, KERNEL, AXES)
        put(value, one, two, cell, y, offsets, indices, first, second, out, here, NONE)
    if LOOK:  # noqa: SIM102  a constant before what only the GPU knows
        if tl.max(tl.max(again.to(tl.int32), 1), 0) > 0:
            out = sample * yplane + ((od * outs[1] + g * HIGH) * outs[2] + ow) * run
            if LAST:
                out = out + lane
            remade(
                x, y, first, second, base, out, outs[2] * run, zero, od, g * HIGH, ow, 1, 0, live, sizes, outs, run,
                sides, PASSES, IDENTITY, ACCUMULATE, FINISH, AGAIN, AXES, DIVIDE, PARAMS, ACC, NONE, HIGH, ROWS, COLS,
            )  # fmt: skip


@triton.jit
def remade(
    x, y, first, second, base, out, step, zero, od, oh, ow, down, along, live, sizes, outs, run, sides,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, FINISH: tl.constexpr, AGAIN: tl.constexpr,
    AXES: tl.constexpr, DIVIDE: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr,
    MANY: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The MANY outputs of every element once more, window by window; each is `down` and `along` past the one before."""
    for late in range(MANY):
        h = oh + late * down
        w = ow + late * along
        here = live & (h < outs[1]) & (w < outs[2])
        value, one, two, d0, h0, w0 = window(
            x, None, None, 0, zero, base, x, out * 0, (0, 0, 0, 0), od, h, w, here, sizes, outs, run, sides, 1, PASSES,
            IDENTITY, ACCUMULATE, FINISH, AGAIN, AXES, None, DIVIDE, 0, PARAMS, ACC, ROWS, COLS,
        )  # fmt: skip
        put(value, one, two, out, y, None, None, first, second, out + late * step, here, NONE)


@triton.jit
def shared(
    values, others, a, b, kd: tl.constexpr, r: tl.constexpr, USERS: tl.constexpr, JOIN: tl.constexpr,
    KERNEL: tl.constexpr, NUMBERS: tl.constexpr,
):  # fmt: skip
    """The states of a column with a row taken in that its users see as they see row r."""
    for i in tl.static_range(tl.constexpr(USERS[r][0])):
        values, others = joined(
            values, others, a, b, USERS[r][1 + 2 * i], kd * KERNEL[1] + USERS[r][2 + 2 * i], JOIN, KERNEL, NUMBERS
        )
    return values, others


@triton.jit
def joined(
    values, others, a, b, j: tl.constexpr, k: tl.constexpr, JOIN: tl.constexpr, KERNEL: tl.constexpr,
    NUMBERS: tl.constexpr,
):  # fmt: skip
    """The states of a column with the k-th row of output j taken in."""
    s, t = JOIN(values[j], others[j], a, b, k * KERNEL[2], k == 0, NUMBERS)
    return values[:j] + (s,) + values[j + 1 :], others[:j] + (t,) + others[j + 1 :]


@triton.jit
def within(at, size, edge: tl.constexpr):
    """Whether a place lies in the input; on which sides it may not is known."""
    if edge == 1:
        return at >= 0
    elif edge == 2:
        return at < size
    else:
        return (at >= 0) & (at < size)


@triton.jit
def tap(
    line, there, d0, h0, w0, kd: tl.constexpr, r: tl.constexpr, kw: tl.constexpr, sizes, run, EDGES: tl.constexpr,
    PREPARE: tl.constexpr, ABSENT: tl.constexpr, AXES: tl.constexpr, LAST: tl.constexpr, PARAMS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """A tap, and whether it is there."""
    valid = there
    if EDGES[0][kd] > 0:
        valid = valid & within(d0 + kd * AXES[0][5], sizes[0], EDGES[0][kd])
    if EDGES[1][r] > 0:
        valid = valid & within(h0 + r, sizes[1], EDGES[1][r])
    if EDGES[2][kw] > 0:
        valid = valid & within(w0 + kw * AXES[2][5], sizes[2], EDGES[2][kw])
    v = tl.load(line + kw * AXES[2][5] * run, mask=valid).to(ACC)
    v = PREPARE(v, PARAMS)
    if EDGES[0][kd] + EDGES[1][r] + EDGES[2][kw] > 0:
        v = tl.where(valid, v, ABSENT)
    return v, valid


@triton.jit
def count(
    od, oh, ow, zero, sizes, outs, live, DIVIDE: tl.constexpr, AXES: tl.constexpr, KERNEL: tl.constexpr,
    FULL: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What sums are divided by."""
    if FULL and DIVIDE == TAPS:  # noqa: SIM114  Triton takes no mixed `and` and `or`
        return zero + KERNEL[0] * KERNEL[1] * KERNEL[2]
    elif FULL and DIVIDE == PADDED:
        return zero + KERNEL[0] * KERNEL[1] * KERNEL[2]
    else:
        _, nd = interval(od, sizes[0], outs[0], od, od, live, AXES, 0)
        _, nh = interval(oh, sizes[1], outs[1], od, od, live, AXES, 1)
        _, nw = interval(ow, sizes[2], outs[2], od, od, live, AXES, 2)
        n = (nd * nh * nw).to(ACC)
        return zero + divisor_of(n, od, oh, ow, sizes, outs, od, od, (0, 0, 0, 0), live, DIVIDE, AXES, PARAMS, ACC)
