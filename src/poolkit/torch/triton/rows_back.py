"""Gradients of small sliding windows: a block of cells gathers from the windows that see any of it.

Every element of a tile makes the gradients of a block of cells, whose sides are multiples of the strides: so the
windows that see the block, and which tap of each of them a cell is, are known when the kernel is compiled, and what is
kept of a window is read once for all of its cells in the block. As in `poolkit.torch.triton.back` no two programs write
to one cell, and each adds up in a fixed order.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from poolkit.torch.triton import back
from poolkit.torch.triton.atoms import finite, magnitude, power
from poolkit.torch.triton.back import sign, unsigned
from poolkit.torch.triton.plan import skipped, tile
from poolkit.torch.triton.rows import LOG2_E, count, within

# Powers of what is smaller are taken of larger numbers in the same ratio: their quotients have no other precision.
SMALLEST = tl.constexpr(2.0**-60)
LARGER = tl.constexpr(2.0**64)


# Of a window: `open_(dy, y, a, chosen, PARAMS)` gives three parts, dy being divided already. Of one of its cells:
# `give(x, p, q, r, number, PARAMS)` is what it gets.


@triton.jit
def plain_open(dy, y, a, chosen, PARAMS: tl.constexpr):
    """dy."""
    return dy, dy, dy


@triton.jit
def plain_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """Each cell gets the same."""
    return p


@triton.jit
def chosen_open(dy, y, a, chosen, PARAMS: tl.constexpr):
    """dy and the number of the chosen tap."""
    return dy, chosen, dy


@triton.jit
def chosen_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """The chosen one gets all."""
    return tl.where(q == number, p, 0)


@triton.jit
def size_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """With the sign of x."""
    return sign(x, tl.where(q == number, p, 0))


@triton.jit
def power_open(dy, y, a, chosen, PARAMS: tl.constexpr):
    """dy, and what x is multiplied with, in two steps, to be x / y; the first of them is 0 where y is."""
    larger = tl.where(y == 0, 0, tl.where(y < SMALLEST, LARGER, 1)).to(y.dtype)
    by = tl.where(y == 0, 1, y * larger)
    inverse = 1.0 / by
    if y.dtype == tl.float32:
        inverse = inverse + tl.where(finite(inverse) & finite(by), (1 - by * inverse) * inverse, 0)
    return dy, larger, inverse


@triton.jit
def norm_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """(|x| / y)^(p - 1) with the sign of x."""
    if PARAMS[0] == 2:
        return p * (x * q * r)
    else:
        part = p * power(magnitude(x) * q * r, PARAMS[0] - 1)
        part = tl.where(x < 0, -part, part)
        if PARAMS[0] > 1:
            return part
        else:
            return tl.where(x == 0, 0, tl.where(x == x, part, x))


@triton.jit
def mean_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """The same of cells that are not below eps."""
    none = (x < PARAMS[1]) | (q == 0)
    return tl.where(none, 0, p * power(tl.where(none, 1, x * q * r), PARAMS[0] - 1))


@triton.jit
def soft_open(dy, y, a, chosen, PARAMS: tl.constexpr):
    """dy, the logarithm of the weights' sum, and the mean."""
    return dy, a, y


@triton.jit
def weight(x, total, PARAMS: tl.constexpr):
    """A cell's share, from the logarithm of the weights' sum."""
    return tl.exp2((x * PARAMS[2] - total) * LOG2_E)


@triton.jit
def lse_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """Each cell's weight."""
    return p * weight(x, q, PARAMS)


@triton.jit
def soft_give(x, p, q, r, number: tl.constexpr, PARAMS: tl.constexpr):
    """Each cell's weight times how far it is from the mean."""
    w = weight(x, q, PARAMS)
    return tl.where(w == 0, 0, p * w * (1 + PARAMS[2] * (x - r)))


class Ways(NamedTuple):
    """A slope in blocks: see above."""

    slope: Any
    open_: Any
    give: Any
    divides: bool = False  # dy, by what the windows' sums are divided by
    guarded: bool = False  # what a window that is not there would give is no 0


WAYS = {
    way.slope: way
    for way in (
        Ways(back.sum_slope, plain_open, plain_give, divides=True),
        Ways(back.select_slope, chosen_open, chosen_give),
        Ways(back.size_slope, chosen_open, size_give),
        Ways(back.norm_slope, power_open, norm_give, divides=True, guarded=True),
        Ways(back.mean_slope, power_open, mean_give, divides=True, guarded=True),
        Ways(back.lse_slope, soft_open, lse_give, guarded=True),
        Ways(back.soft_slope, soft_open, soft_give, guarded=True),
    )
}


@triton.jit
def shared_out(g, divisor, DIVIDE: tl.constexpr):
    """g / divisor, rounded to nearest or beside it; an infinite one stays."""
    if DIVIDE == 0:
        return g
    elif g.dtype == tl.float32:
        inverse = 1.0 / divisor
        q = g * inverse
        return q + tl.where(finite(q), (g - q * divisor) * inverse, 0)
    else:
        return g / divisor


@triton.jit(do_not_specialize=["unit"])
def rows_back(
    dy, dx, x, y, a, chosen, columns, unit, sizes, outs, halves, blocks, samples, total, run, channels, yplane,
    OPEN: tl.constexpr, GIVE: tl.constexpr, GUARDED: tl.constexpr, AXES: tl.constexpr, KERNEL: tl.constexpr,
    BLOCK: tl.constexpr, STEPS: tl.constexpr, MANY: tl.constexpr, SEEN0: tl.constexpr, SEEN1: tl.constexpr,
    SEEN2: tl.constexpr, FULL: tl.constexpr, PARTIAL: tl.constexpr, DIVIDE: tl.constexpr, PARAMS: tl.constexpr,
    ACC: tl.constexpr, LAST: tl.constexpr, PAIRED: tl.constexpr, WIDE: tl.constexpr, NEAR: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of blocks of cells.

    BLOCK: the sides of a block. STEPS: windows that begin within a block, along each axis. SEEN: along each axis the
    windows that see a block, MANY of them: the offset of the first block's, whether one may lie before the first window
    (1), behind the last one (2) or both (3), how many cells of the block it sees, and for each of them the cell and
    the tap that it is. PARTIAL: blocks may reach
    beyond the input, along each axis. PAIRED: a block is two cells broad, and a line twice `halves` cells long.
    """
    _, lane, live, sample, plane, bd, bh, bw = tile(
        columns, total, run if LAST else blocks[2], blocks[0], blocks[1], blocks[2], channels, unit, LAST, WIDE, NEAR,
        ROWS, COLS,
    )  # fmt: skip
    if WIDE:
        run = (tl.program_id(0).to(tl.int64) * 0 + 1) * run
    sample = tl.minimum(sample, samples - 1).to(tl.int64)
    if not LAST:
        bw = tl.minimum(bw, blocks[2] - 1)
    d0 = bd * BLOCK[0]
    h0 = bh * BLOCK[1]
    w0 = bw * BLOCK[2]
    zero = tl.zeros((ROWS, COLS), ACC)
    there = (zero == 0) & (lane < run) if LAST else zero == 0
    # Of a length that is known to be even two neighbours are read and written at once.
    length = halves * 2 if PAIRED else sizes[2]
    cells = sample * (sizes[0] * sizes[1] * length * run) + ((d0 * sizes[1] + h0) * length + w0) * run
    base = sample * yplane
    if LAST:
        cells = cells + lane
        base = base + lane
    if PAIRED:
        cells = cells[:, :, None] + tl.arange(0, 2)[None, None, :]
    totals = ()
    values = ()
    for cd in tl.static_range(tl.constexpr(BLOCK[0])):
        for ch in tl.static_range(tl.constexpr(BLOCK[1])):
            line = cells + (cd * sizes[1] + ch) * length * run
            if PAIRED:
                totals = totals + (zero, zero)
                if x is not None:
                    here = inside(there, d0 + cd, h0 + ch, w0, sizes, PARTIAL)
                    v0, v1 = tl.split(tl.load(x + line, mask=here[:, :, None], other=0).to(ACC))
                    values = values + (v0, v1)
                else:
                    values = values + (zero, zero)
            else:
                for cw in tl.static_range(tl.constexpr(BLOCK[2])):
                    totals = totals + (zero,)
                    if x is not None:
                        here = inside(there, d0 + cd, h0 + ch, w0 + cw, sizes, PARTIAL)
                        values = values + (tl.load(x + line + cw * run, mask=here, other=0).to(ACC),)
                    else:
                        values = values + (zero,)
    for i in tl.static_range(tl.constexpr(MANY[0])):
        od = bd * STEPS[0] + SEEN0[i][0]
        for j in tl.static_range(tl.constexpr(MANY[1])):
            oh = bh * STEPS[1] + SEEN1[j][0]
            # Windows beside each other lie a constant apart where channels come first: loads add it by themselves.
            line = base + ((od * outs[1] + oh) * outs[2] + bw * STEPS[2]) * run
            for k in tl.static_range(tl.constexpr(MANY[2])):
                ow = bw * STEPS[2] + SEEN2[k][0]
                valid = there
                if SEEN0[i][1] > 0:
                    valid = valid & within(od, outs[0], SEEN0[i][1])
                if SEEN1[j][1] > 0:
                    valid = valid & within(oh, outs[1], SEEN1[j][1])
                if SEEN2[k][1] > 0:
                    valid = valid & within(ow, outs[2], SEEN2[k][1])
                at = line + SEEN2[k][0] * run
                g = tl.load(dy + at, mask=valid, other=0).to(ACC)
                if DIVIDE != 0:
                    divisor = count(od, oh, ow, zero, sizes, outs, valid, DIVIDE, AXES, KERNEL, FULL, PARAMS, ACC)
                    g = shared_out(g, divisor if FULL else tl.maximum(divisor, 1), DIVIDE)
                yv = g
                if y is not None:
                    yv = tl.load(y + at, mask=valid, other=0).to(ACC)
                av = g
                if a is not None:
                    av = tl.load(a + at, mask=valid, other=0).to(ACC)
                taken = g
                if chosen is not None:
                    taken = unsigned(tl.load(chosen + at, mask=valid, other=0))
                    if not FULL:
                        # Numbers of taps in the whole window, not in that part of it which is there.
                        skip = (skipped(od, AXES, 0) * KERNEL[1] + skipped(oh, AXES, 1)) * KERNEL[2]
                        taken = taken + (skip + skipped(ow, AXES, 2))
                p, q, r = OPEN(g, yv, av, taken, PARAMS)
                totals = given(
                    totals, values, p, q, r, valid, SEEN0, SEEN1, SEEN2, i, j, k, GIVE,
                    GUARDED and SEEN0[i][1] + SEEN1[j][1] + SEEN2[k][1] > 0, KERNEL, BLOCK, PARAMS,
                )  # fmt: skip
    for cd in tl.static_range(tl.constexpr(BLOCK[0])):
        for ch in tl.static_range(tl.constexpr(BLOCK[1])):
            line = cells + (cd * sizes[1] + ch) * length * run
            if PAIRED:
                here = inside(live, d0 + cd, h0 + ch, w0, sizes, PARTIAL)
                pair = tl.join(totals[(cd * BLOCK[1] + ch) * 2], totals[(cd * BLOCK[1] + ch) * 2 + 1])
                tl.store(dx + line, pair.to(dx.dtype.element_ty), mask=here[:, :, None])
            else:
                for cw in tl.static_range(tl.constexpr(BLOCK[2])):
                    here = inside(live, d0 + cd, h0 + ch, w0 + cw, sizes, PARTIAL)
                    t = totals[(cd * BLOCK[1] + ch) * BLOCK[2] + cw]
                    tl.store(dx + line + cw * run, t.to(dx.dtype.element_ty), mask=here)


@triton.jit
def inside(there, d, h, w, sizes, PARTIAL: tl.constexpr):
    """Which of these cells there are."""
    here = there
    if PARTIAL[0]:
        here = here & (d < sizes[0])
    if PARTIAL[1]:
        here = here & (h < sizes[1])
    if PARTIAL[2]:
        here = here & (w < sizes[2])
    return here


@triton.jit
def given(
    totals, values, p, q, r, valid, SEEN0: tl.constexpr, SEEN1: tl.constexpr, SEEN2: tl.constexpr, i: tl.constexpr,
    j: tl.constexpr, k: tl.constexpr, GIVE: tl.constexpr, MASKED: tl.constexpr, KERNEL: tl.constexpr,
    BLOCK: tl.constexpr, PARAMS: tl.constexpr,
):  # fmt: skip
    """The totals with what one window gives: to cells of the block that are its taps, pairs along each axis."""
    for d in tl.static_range(tl.constexpr(SEEN0[i][2])):
        for h in tl.static_range(tl.constexpr(SEEN1[j][2])):
            for w in tl.static_range(tl.constexpr(SEEN2[k][2])):
                totals = added(
                    totals, values, p, q, r, valid,
                    (SEEN0[i][3 + 2 * d] * BLOCK[1] + SEEN1[j][3 + 2 * h]) * BLOCK[2] + SEEN2[k][3 + 2 * w],
                    (SEEN0[i][4 + 2 * d] * KERNEL[1] + SEEN1[j][4 + 2 * h]) * KERNEL[2] + SEEN2[k][4 + 2 * w],
                    GIVE, MASKED, PARAMS,
                )  # fmt: skip
    return totals


@triton.jit
def added(
    totals, values, p, q, r, valid, cell: tl.constexpr, number: tl.constexpr, GIVE: tl.constexpr, MASKED: tl.constexpr,
    PARAMS: tl.constexpr,
):  # fmt: skip
    """The totals with what one cell gets of one window; MASKED: which may not be there."""
    part = GIVE(values[cell], p, q, r, number, PARAMS)
    if MASKED:
        part = tl.where(valid, part, 0)
    return totals[:cell] + (totals[cell] + part,) + totals[cell + 1 :]
