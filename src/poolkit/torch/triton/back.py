"""The backward loop: every input cell gathers from the windows that see it: csrc/back.hpp on a GPU.

No two programs write to one cell, and each adds up in a fixed order: the bits are the same in every run. A slope is
what one window gives one of its cells; it is a constant of the kernel, like a core of the forward pass.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.atoms import divided, magnitude, power
from poolkit.torch.triton.fold import PADDED, WEIGHTS, divisor_of, own_number
from poolkit.torch.triton.plan import interval, skipped, tile, transposed


@triton.jit
def sign(x, g):
    """g with the sign of x, 0 where x is 0."""
    return tl.where(x > 0, g, tl.where(x < 0, -g, 0))


# Slopes: (dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS) -> two parts of the gradient, of which the
# other is there for passes over one axis only. `a` is a number that the forward pass found for each output, `chosen`
# the tap it took.


@triton.jit
def sum_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Sum, Mean."""
    return divided(dy, divisor), second


@triton.jit
def select_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """To the chosen tap."""
    return tl.where(chosen == number, dy, 0), second


@triton.jit
def size_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """To the tap of largest magnitude."""
    return sign(x, tl.where(chosen == number, dy, 0)), second


@triton.jit
def norm_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Lp, RMS: (|x| / y)^(p - 1) with the sign of x."""
    none = (y == 0) | (x == 0)
    size = power(divided(magnitude(x), tl.where(none, 1, y)), PARAMS[0] - 1)
    return tl.where(none, 0, sign(x, divided(dy, divisor) * size)), second


@triton.jit
def mean_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """PowerMean: the same of cells that are not below eps."""
    none = (x < PARAMS[1]) | (y == 0)
    size = power(divided(tl.where(none, 1, x), tl.where(none, 1, y)), PARAMS[0] - 1)
    return tl.where(none, 0, divided(dy, divisor) * size), second


@triton.jit
def lse_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """LogSumExp: each cell's weight. `a` is the logarithm of their sum."""
    return dy * tl.exp(x * PARAMS[2] - a), second


@triton.jit
def soft_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Soft. `second` is what comes in where y and a are of one axis: how far the whole window's mean is from y."""
    w = tl.exp(x * PARAMS[2] - a)
    return tl.where(w == 0, 0, w * (dy * (1 + PARAMS[2] * (x - y)) + PARAMS[2] * second)), second


@triton.jit
def carried_soft_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Soft of logits x and values c that one axis gave."""
    w = tl.exp(x - a)
    g = dy * w
    return g, tl.where(w == 0, 0, g * (c - y) + w * second)


@triton.jit
def boltzmann_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Soft with a sharpness for each output."""
    w = tl.exp(tl.where(e == 0, 0, x * e) - a)
    return tl.where(w == 0, 0, dy * w * (1 + e * (x - y))), second


@triton.jit
def mixed_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """The mean's share, and the maximum's for the chosen tap."""
    return dy * (divided(1 - e, n) + tl.where(chosen == number, e, 0)), second


@triton.jit
def mixed_sides_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Both shares beside each other, for the axes that are left."""
    return dy * divided(1 - e, n), tl.where(chosen == number, dy * e, 0)


@triton.jit
def sides_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """The mean's share in dy, the maximum's in `second`."""
    return divided(dy, n), tl.where(chosen == number, second, 0)


@triton.jit
def joined_sides_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Their sum."""
    return divided(dy, n) + tl.where(chosen == number, second, 0), second


@triton.jit
def degrees(n, PARAMS: tl.constexpr):
    """What a variance divides by."""
    if PARAMS[7] == 1:
        return tl.where(n > 1, n - 1, n)
    else:
        return n


@triton.jit
def var_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Var; `a` is the mean."""
    return dy * divided(2 * (x - a), degrees(n, PARAMS)), second


@triton.jit
def std_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Std: 0 for a window of equal cells, by agreement."""
    slope = divided(divided(x - a, degrees(n, PARAMS)), tl.where(y == 0, 1, y))
    return dy * tl.where(y == 0, 0, slope), second


@triton.jit
def pair_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Sums of both."""
    return dy, second


@triton.jit
def line_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Var, Std axis by axis, of what `poolkit.torch.triton.moments` gave: in float64, where nothing cancels."""
    return dy * x - second, second


@triton.jit
def gem_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """GeM: (x / y)^(p - 1) / n; a cell of 0 has a slope only where p is 1. `a` is log(y / largest)."""
    flat = (x < PARAMS[1]) | (y == 0) | ((x == 0) & (e != 1))
    log = tl.log(divided(tl.where(flat, 1, x), tl.where(flat, 1, y)))
    # An infinite cell is the largest of its window.
    log = tl.where((x == y) & (y == float("inf")), -a, log)
    slope = divided(tl.exp(tl.where(e == 1, 0, tl.minimum((e - 1) * log, 80))), n)
    return tl.where(y != y, y, dy * tl.where(flat, 0, slope)), second


@triton.jit
def share_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Stochastic's mean; `a` is the sum of the positive cells."""
    some = (x > 0) & (divided(x, a) > 0)
    return tl.where(some, dy * divided(2 * x - y, tl.where(some, a, 1)), 0), second


@triton.jit
def filter_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Filter; `c` is the cell's weight."""
    return dy * c, second


@triton.jit
def rank_slope(dy, x, y, a, number, chosen, e, c, n, divisor, second, PARAMS: tl.constexpr):
    """Order statistics; `c` is the weight of the cell's rank."""
    return dy * c, second


@triton.jit
def unsigned(chosen):
    """Offsets of two bytes are kept in int16, without a sign."""
    if chosen.dtype == tl.int16:
        return chosen.to(tl.int32) & 65535
    else:
        return chosen.to(tl.int32)


@triton.jit
def give(
    total, other, place_, dy, dy2, xv, cv, y, a, chosen, extra, ranks, table, starts, base, beside, at, row, low, many,
    k, covers, steps, sizes, outs, run, sides, rest, row_starts, outputs, live,
    SLOPE: tl.constexpr, AXES: tl.constexpr, DIVIDE: tl.constexpr, EXTRA: tl.constexpr, CARRY: tl.constexpr,
    PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr,
):  # fmt: skip
    """What the k-th window that sees a cell gives it."""
    kd = k // (covers[1] * covers[2])
    kh = k // covers[2] % covers[1]
    kw = k % covers[2]
    valid = live & (kd < many[0]) & (kh < many[1]) & (kw < many[2])
    od = low[0] + kd * steps[0]
    oh = low[1] + kh * steps[1]
    ow = low[2] + kw * steps[2]
    out = base + ((od * outs[1] + oh) * outs[2] + ow) * run
    g = tl.load(dy + out, mask=valid, other=0).to(ACC)
    second = tl.zeros_like(g)
    if dy2 is not None:
        second = tl.load(dy2 + out, mask=valid, other=0).to(ACC)
    yv = g
    if y is not None:
        yv = tl.load(y + out, mask=valid, other=0).to(ACC)
    av = g
    if a is not None:
        av = tl.load(a + out, mask=valid, other=0).to(ACC)
    e = own_number(extra, out, valid, EXTRA, PARAMS, ACC)
    d0, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], valid, AXES, 0)
    h0, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], valid, AXES, 1)
    w0, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], valid, AXES, 2)
    td = (at[0] - d0) // AXES[0][5]
    th = (at[1] - h0) // AXES[1][5]
    tw = (at[2] - w0) // AXES[2][5]
    # A start that lies outside of the input begins windows whose taps have other numbers: no cell is theirs.
    valid = valid & (td >= 0) & (td < nd) & (th >= 0) & (th < nh) & (tw >= 0) & (tw < nw)
    number = (td * sides[1] + th) * sides[2] + tw
    n = (nd * nh * nw).to(ACC)
    n = tl.where(valid, n, 1)
    divisor = divisor_of(n, od, oh, ow, sizes, outs, starts, row, row_starts, valid, DIVIDE, AXES, PARAMS, ACC)
    if DIVIDE == PADDED:
        divisor = tl.where(valid, divisor, 1)
    c = cv
    if CARRY == WEIGHTS:
        fd = skipped(od, AXES, 0) + td
        fh = skipped(oh, AXES, 1) + th
        fw = skipped(ow, AXES, 2) + tw
        c = tl.load(extra + beside + (fd * AXES[1][1] + fh) * AXES[2][1] + fw, mask=valid, other=0).to(ACC)
    if ranks is not None:
        rank = tl.load(ranks + number.to(tl.int64) * outputs + out, mask=valid, other=0).to(tl.int32)
        known = valid & (rank < 255)
        cells = sides[0] * sides[1] * sides[2]
        weight = tl.load(table + (n.to(tl.int32) * cells + rank) + beside, mask=known, other=0).to(ACC)
        c = tl.where(rank == 255, float("nan"), weight)
    taken = number
    if chosen is not None:
        taken = unsigned(tl.load(chosen + out, mask=valid, other=0))
        taken = tl.where(taken == NONE, -1, taken)
        here = valid & (taken >= 0) & (taken // rest == number)
        place_ = tl.where(here, taken % rest, place_)
        taken = tl.where(taken < 0, -1, taken // rest)
    part, more = SLOPE(g, xv, yv, av, number, taken, e, c, n, divisor, second, PARAMS)
    return total + tl.where(valid, part, 0), other + tl.where(valid, more, 0), place_


@triton.jit(do_not_specialize=["unit"])
def back(
    dy, dy2, dx, dx2, places, x, carry, y, a, chosen, extra, ranks, table, starts, columns, unit, sizes, outs, rows,
    run,
    channels, yplane, row_starts, sides, rest, weights, outputs,
    SLOPE: tl.constexpr, AXES: tl.constexpr, STEPS: tl.constexpr, COVERS: tl.constexpr, DIVIDE: tl.constexpr,
    EXTRA: tl.constexpr, CARRY: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr,
    LAST: tl.constexpr, WIDE: tl.constexpr, NEAR: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of input cells: each one's gradient from `dy` of the windows that see it.

    `places` and `rest` are for passes over one axis: tap numbers are taken apart, this axis' part names the cell, and
    the rest of the number goes on to the next pass. COVERS: how many windows see a cell along each axis, or None for
    too many to write the loop out.
    """
    lanes = run if LAST else sizes[2]
    at, lane, live, sample, plane, d, h, w = tile(
        columns, rows, lanes, sizes[0], sizes[1], sizes[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS
    )
    row = plane.to(tl.int64) * row_starts[3]
    d0, nd = transposed(d, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0, STEPS[0])
    h0, nh = transposed(h, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1, STEPS[1])
    w0, nw = transposed(w, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2, STEPS[2])
    base = sample.to(tl.int64) * yplane
    if LAST:
        base = base + lane
    beside = plane % channels * weights
    total = tl.zeros((ROWS, COLS), ACC)
    other = total
    place_ = tl.full((ROWS, COLS), -1, tl.int32)
    xv = total
    if x is not None:
        xv = tl.load(x + at, mask=live, other=0).to(ACC)
    cv = total
    if carry is not None:
        cv = tl.load(carry + at, mask=live, other=0).to(ACC)
    if COVERS is not None:
        for k in tl.static_range(COVERS[0] * COVERS[1] * COVERS[2]):
            total, other, place_ = give(
                total, other, place_, dy, dy2, xv, cv, y, a, chosen, extra, ranks, table, starts, base, beside,
                (d, h, w), row, (d0, h0, w0), (nd, nh, nw), k, COVERS, STEPS, sizes, outs, run, sides, rest,
                row_starts, outputs, live, SLOPE, AXES, DIVIDE, EXTRA, CARRY, PARAMS, ACC, NONE,
            )  # fmt: skip
    else:
        # How many windows see a cell of this tile at most.
        md = tl.max(tl.max(tl.where(live, nd, 0), 1), 0)
        mh = tl.max(tl.max(tl.where(live, nh, 0), 1), 0)
        mw = tl.max(tl.max(tl.where(live, nw, 0), 1), 0)
        for k in range(md * mh * mw):
            total, other, place_ = give(
                total, other, place_, dy, dy2, xv, cv, y, a, chosen, extra, ranks, table, starts, base, beside,
                (d, h, w), row, (d0, h0, w0), (nd, nh, nw), k, (md, mh, mw), STEPS, sizes, outs, run, sides, rest,
                row_starts, outputs, live, SLOPE, AXES, DIVIDE, EXTRA, CARRY, PARAMS, ACC, NONE,
            )  # fmt: skip
    tl.store(dx + at, total.to(dx.dtype.element_ty), mask=live)
    if dx2 is not None:
        tl.store(dx2 + at, other, mask=live)
    if places is not None:
        tl.store(places + at, place_, mask=live)
