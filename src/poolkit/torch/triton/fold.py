"""The forward loop: every window of a tile tap by tap, with the core as a constant: csrc/fold.hpp on a GPU.

A core is a tuple of functions and facts (see `poolkit.torch.triton.cores`). Lanes lie along the last axis where
channels come first, so that the rows of a tile, which are neighbours, read the same input rows out of the first cache;
along the channels where these come last. Every load and store has a mask.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton import codes
from poolkit.torch.triton.plan import STARTS, interval, padded_count, skipped, tile

NUMBERS = tl.constexpr(codes.NUMBERS)
VALUES = tl.constexpr(codes.VALUES)
WEIGHTS = tl.constexpr(codes.WEIGHTS)
OWN = tl.constexpr(codes.OWN)

TAPS = tl.constexpr(codes.TAPS)
PADDED = tl.constexpr(codes.PADDED)
FIXED = tl.constexpr(codes.FIXED)

EACH = tl.constexpr(codes.EACH)
SAME = tl.constexpr(codes.SAME)
LEVEL = tl.constexpr(codes.LEVEL)


@triton.jit
def own_number(extra, out, live, EXTRA: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr):
    """The number that each output has of its own."""
    e = tl.zeros((1, 1), ACC)
    if EXTRA == EACH:
        e = tl.load(extra + out, mask=live, other=1).to(ACC)
    elif EXTRA == SAME:
        e = e + tl.load(extra).to(ACC)
    elif EXTRA == LEVEL:
        e = e + PARAMS[6]
    return e


@triton.jit
def address(kd, kh, kw, d0, h0, w0, sizes, run, axes: tl.constexpr):
    """Where in its plane a tap lies, from its numbers along the axes."""
    d = d0 + kd * axes[0][5]
    h = h0 + kh * axes[1][5]
    w = w0 + kw * axes[2][5]
    return ((d * sizes[1] + h) * sizes[2] + w) * run


@triton.jit
def inside(start, size, n, k, step: tl.constexpr, kind: tl.constexpr):
    """Whether a window has a tap k. Starts come from outside, and one that is wrong must not lead out of the input."""
    if kind == STARTS:
        return (k < n) & (start + k * step < size)
    else:
        return k < n


@triton.jit
def step(
    state, x, carry, extra, base, beside, t, sides, d0, nd, h0, nh, w0, nw, first_tap, sizes, run, rest, live, n,
    PASS: tl.constexpr, ACCUMULATE: tl.constexpr, AXES: tl.constexpr, CARRY: tl.constexpr, PARAMS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """One tap of every window of the tile taken into the state."""
    kd = t // (sides[1] * sides[2])
    kh = t // sides[2] % sides[1]
    kw = t % sides[2]
    valid = live & inside(d0, sizes[0], nd, kd, AXES[0][5], AXES[0][0])
    valid = valid & inside(h0, sizes[1], nh, kh, AXES[1][5], AXES[1][0])
    valid = valid & inside(w0, sizes[2], nw, kw, AXES[2][5], AXES[2][0])
    at = address(kd, kh, kw, d0, h0, w0, sizes, run, AXES)
    v = tl.load(x + base + at, mask=valid, other=0).to(ACC)
    number = t
    c = v
    if CARRY == NUMBERS:
        number = t * rest + tl.load(carry + base + at, mask=valid, other=0)
    elif CARRY == VALUES:
        c = tl.load(carry + base + at, mask=valid, other=0).to(ACC)
    elif CARRY == WEIGHTS:
        k = ((first_tap[0] + kd) * AXES[1][1] + first_tap[1] + kh) * AXES[2][1] + first_tap[2] + kw
        c = tl.load(extra + beside + k, mask=valid, other=0).to(ACC)
    elif CARRY == OWN:
        c = tl.load(extra + beside, mask=valid, other=0).to(ACC)
    return ACCUMULATE(PASS, state, v, valid, number, c, n, PARAMS)


@triton.jit
def divisor_of(
    n, od, oh, ow, sizes, outs, starts, row, row_starts, live, DIVIDE: tl.constexpr, AXES: tl.constexpr,
    PARAMS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What the sums of windows of n taps are divided by."""
    if DIVIDE == TAPS:
        return n
    elif DIVIDE == PADDED:
        d = padded_count(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
        h = padded_count(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
        return (d * h * padded_count(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)).to(ACC)
    elif DIVIDE == FIXED:
        return n * 0 + PARAMS[3]
    else:
        return n * 0 + 1


@triton.jit
def window(
    x, carry, extra, beside, e, base, starts, row, row_starts, od, oh, ow, live, sizes, outs, run, sides, rest,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, FINISH: tl.constexpr,
    LOOK: tl.constexpr, AXES: tl.constexpr, SIDES: tl.constexpr, DIVIDE: tl.constexpr, CARRY: tl.constexpr,
    PARAMS: tl.constexpr, ACC: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The windows at these places of the output: what a core finds in them, and where their first taps are."""
    d0, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
    h0, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
    w0, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)
    n = (nd * nh * nw).to(ACC)
    first_tap = (skipped(od, AXES, 0), skipped(oh, AXES, 1), skipped(ow, AXES, 2))
    divisor = divisor_of(n, od, oh, ow, sizes, outs, starts, row, row_starts, live, DIVIDE, AXES, PARAMS, ACC)
    state = IDENTITY((ROWS, COLS), e, PARAMS, ACC)
    for PASS in tl.static_range(PASSES):
        if SIDES is not None:
            for t in tl.static_range(SIDES[0] * SIDES[1] * SIDES[2]):
                state = step(
                    state, x, carry, extra, base, beside, t, SIDES, d0, nd, h0, nh, w0, nw, first_tap, sizes, run,
                    rest, live, n, PASS, ACCUMULATE, AXES, CARRY, PARAMS, ACC,
                )  # fmt: skip
        else:
            for t in range(sides[0] * sides[1] * sides[2]):
                state = step(
                    state, x, carry, extra, base, beside, t, sides, d0, nd, h0, nh, w0, nw, first_tap, sizes, run,
                    rest, live, n, PASS, ACCUMULATE, AXES, CARRY, PARAMS, ACC,
                )  # fmt: skip
    value, one, two, far = FINISH(False, state, n, divisor, e, PARAMS)
    if LOOK:  # noqa: SIM102  a constant before what only the GPU knows
        # Few tiles hold a window that left the accumulator's range; those look at their taps once more.
        if tl.max(tl.max((far & live).to(tl.int32), 1), 0) > 0:
            for again in range(sides[0] * sides[1] * sides[2]):
                state = step(
                    state, x, carry, extra, base, beside, again, sides, d0, nd, h0, nh, w0, nw, first_tap, sizes, run,
                    rest, live, n, PASSES, ACCUMULATE, AXES, CARRY, PARAMS, ACC,
                )  # fmt: skip
            value, one, two, far = FINISH(True, state, n, divisor, e, PARAMS)
    return value, one, two, d0, h0, w0


@triton.jit(do_not_specialize=["unit"])
def fold(
    x, carry, y, offsets, indices, first, second, extra, starts, columns, unit, sizes, outs, rows, run, channels,
    xplane,
    row_starts, sides, rest, weights,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, FINISH: tl.constexpr,
    LOOK: tl.constexpr, AXES: tl.constexpr, SIDES: tl.constexpr, DIVIDE: tl.constexpr, CARRY: tl.constexpr,
    EXTRA: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, NEAR: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of outputs, and what is asked for beside them.

    `x`, ``[planes, d, h, w, run]``, may come with `carry` of its shape: tap numbers or values of the axes that were
    folded before. `sides` are those of the box that offsets count in; SIDES are the same as constants, or None for
    boxes of too many taps to write the loop out. `columns` is how many tiles stand beside each other.
    """
    lanes = run if LAST else outs[2]
    out, lane, live, sample, plane, od, oh, ow = tile(
        columns, rows, lanes, outs[0], outs[1], outs[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS
    )
    base = sample.to(tl.int64) * xplane
    if LAST:
        base = base + lane
    beside = plane % channels * weights
    if CARRY == OWN:
        beside = out if EXTRA == EACH else out * 0
    value, one, two, d0, h0, w0 = window(
        x, carry, extra, beside, own_number(extra, out, live, EXTRA, PARAMS, ACC), base, starts,
        plane.to(tl.int64) * row_starts[3], row_starts, od, oh, ow, live, sizes, outs, run, sides, rest, PASSES,
        IDENTITY, ACCUMULATE, FINISH, LOOK, AXES, SIDES, DIVIDE, CARRY, PARAMS, ACC, ROWS, COLS,
    )  # fmt: skip
    cell = out
    if indices is not None:
        cell = cell_of(one, d0, h0, w0, sizes, sides, AXES)
    put(value, one, two, cell, y, offsets, indices, first, second, out, live, NONE)


@triton.jit
def cell_of(number, d0, h0, w0, sizes, sides, axes: tl.constexpr):
    """The flat position in the plane of a tap, that of the first one for none."""
    t = tl.maximum(number, 0)
    d = (d0 + t // (sides[1] * sides[2]) * axes[0][5]).to(tl.int64)
    h = h0 + t // sides[2] % sides[1] * axes[1][5]
    return (d * sizes[1] + h) * sizes[2] + w0 + t % sides[2] * axes[2][5]


@triton.jit
def put(value, one, two, cell, y, offsets, indices, first, second, out, live, NONE: tl.constexpr):
    """Stores what was asked for; of cores that choose, `one` is the chosen tap's number, below 0 for none."""
    if y is not None:
        tl.store(y + out, value.to(y.dtype.element_ty), mask=live)
    if offsets is not None:
        tl.store(offsets + out, tl.where(one < 0, NONE, one).to(offsets.dtype.element_ty), mask=live)
    if indices is not None:
        tl.store(indices + out, cell, mask=live)
    if first is not None:
        tl.store(first + out, one.to(first.dtype.element_ty), mask=live)
    if second is not None:
        tl.store(second + out, two.to(second.dtype.element_ty), mask=live)
