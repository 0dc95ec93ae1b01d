"""Reducers that look at a whole window at once, its taps side by side in registers: csrc/whole.hpp on a GPU.

The taps are a tuple of tiles, one for each place of the window's box; an atom makes a value and a chosen tap of them.
Only for small windows: the program grows with their taps.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.fold import address, cell_of, inside, own_number, put
from poolkit.torch.triton.plan import interval, tile


@triton.jit(do_not_specialize=["unit"])
def whole(
    x, y, offsets, indices, ranks, extra, table, starts, columns, unit, sizes, outs, rows, run, channels, xplane,
    row_starts,
    weights, outputs,
    ATOM: tl.constexpr, SIDES: tl.constexpr, PAIRS: tl.constexpr, COUNT: tl.constexpr, RANK: tl.constexpr,
    AXES: tl.constexpr, EXTRA: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr,
    LAST: tl.constexpr, WIDE: tl.constexpr, NEAR: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of outputs; or, where `ranks` are asked for, of every tap's rank in its window: ``[taps, outputs]``."""
    out, lane, live, sample, plane, od, oh, ow = tile(
        columns, rows, run if LAST else outs[2], outs[0], outs[1], outs[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS
    )
    row = plane.to(tl.int64) * row_starts[3]
    d0, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
    h0, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
    w0, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)
    base = sample.to(tl.int64) * xplane
    if LAST:
        base = base + lane
    e = own_number(extra, out, live, EXTRA, PARAMS, ACC)
    cells = ()
    exist = ()
    TAPS: tl.constexpr = SIDES[0] * SIDES[1] * SIDES[2]
    for t in tl.static_range(TAPS):
        kd = t // (SIDES[1] * SIDES[2])
        kh = t // SIDES[2] % SIDES[1]
        kw = t % SIDES[2]
        valid = live & inside(d0, sizes[0], nd, kd, AXES[0][5], AXES[0][0])
        valid = valid & inside(h0, sizes[1], nh, kh, AXES[1][5], AXES[1][0])
        valid = valid & inside(w0, sizes[2], nw, kw, AXES[2][5], AXES[2][0])
        at = address(kd, kh, kw, d0, h0, w0, sizes, run, AXES)
        cells = cells + (tl.load(x + base + at, mask=valid, other=float("-inf")).to(ACC),)
        exist = exist + (valid,)
    n = tl.where(live, nd * nh * nw, 1).to(tl.int32)
    if ranks is not None:
        nan = any_nan(cells, exist, TAPS)
        for t in tl.static_range(TAPS):
            rank = tl.where(nan, 255, rank_of(cells, exist, t, TAPS))
            tl.store(ranks + tl.full((1, 1), t, tl.int64) * outputs + out, rank.to(tl.uint8), mask=live)
    else:
        value, number = ATOM(cells, exist, n, e, table + plane % channels * weights, PARAMS, PAIRS, COUNT, RANK, TAPS)
        cell = out
        if indices is not None:
            cell = cell_of(number, d0, h0, w0, sizes, SIDES, AXES)
        put(value, number, value, cell, y, offsets, indices, None, None, out, live, NONE)


@triton.jit(do_not_specialize=["unit"])
def locate(
    numbers, offsets, indices, starts, columns, unit, sizes, outs, rows, run, channels, row_starts, sides,
    AXES: tl.constexpr, NONE: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr, NEAR: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):  # fmt: skip
    """Where chosen taps lie in their planes, from their numbers in the windows."""
    out, lane, live, sample, plane, od, oh, ow = tile(
        columns, rows, run if LAST else outs[2], outs[0], outs[1], outs[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS
    )
    row = plane.to(tl.int64) * row_starts[3]
    d0, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
    h0, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
    w0, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)
    number = tl.load(numbers + out, mask=live, other=0)
    cell = cell_of(number, d0, h0, w0, sizes, sides, AXES)
    put(number, number, number, cell, None, offsets, indices, None, None, out, live, NONE)


@triton.jit
def any_nan(cells, exist, TAPS: tl.constexpr):
    """Whether a tap is NaN."""
    nan = exist[0] & (cells[0] != cells[0])
    for t in tl.static_range(1, TAPS):
        nan = nan | (exist[t] & (cells[t] != cells[t]))
    return nan


@triton.jit
def rank_of(cells, exist, t: tl.constexpr, TAPS: tl.constexpr):
    """How many taps stand before tap t when the largest comes first and, of equal ones, the first."""
    x = cells[t]
    rank = tl.zeros(x.shape, tl.int32)
    for s in tl.static_range(TAPS):
        if s < t:
            rank += (exist[s] & (cells[s] >= x)).to(tl.int32)
        elif s > t:
            rank += (exist[s] & (cells[s] > x)).to(tl.int32)
    return rank


@triton.jit
def choose_first(cells, exist, y, TAPS: tl.constexpr):
    """The first tap that is y, or the first NaN where y is one."""
    number = tl.zeros(y.shape, tl.int32)
    for k in tl.static_range(TAPS):
        x = cells[TAPS - 1 - k]
        here = exist[TAPS - 1 - k] & ((x == y) | ((x != x) & (y != y)))
        number = tl.where(here, TAPS - 1 - k, number)
    return number


@triton.jit
def with_nan(cells, exist, y, TAPS: tl.constexpr):
    """NaN where a tap is."""
    return tl.where(any_nan(cells, exist, TAPS), float("nan"), y)
