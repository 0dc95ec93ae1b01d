"""The intervals that a plan describes, for tiles of windows: csrc/plan.hpp on a GPU.

An axis is a tuple of constants, made by `poolkit.torch.triton.grid`:
``(kind, kernel, stride, before, after, dilation, overhang, wide)``. `overhang`: a window may pass the input's end;
`wide`: a product of two sizes needs 64 bits. Functions take all `axes` and the number `a` of theirs: not every Triton
passes a part of a constant on as one. Positions and counts are tiles; the sizes of the axis are numbers.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

SLIDING = tl.constexpr(0)
ADAPTIVE = tl.constexpr(1)
STARTS = tl.constexpr(2)


@triton.jit
def ceil_div(a, b):
    """Of numbers that are not negative."""
    return (a + b - 1) // b


@triton.jit
def share(j, size, out, axes: tl.constexpr, a: tl.constexpr):
    """The first cell of adaptive window j."""
    if axes[a][7]:
        return (j.to(tl.int64) * size // out).to(j.dtype)
    return j * size // out


@triton.jit
def share_end(j, size, out, axes: tl.constexpr, a: tl.constexpr):
    """One past the last cell of adaptive window j."""
    if axes[a][7]:
        return ceil_div((j.to(tl.int64) + 1) * size, out).to(j.dtype)
    return ceil_div((j + 1) * size, out)


@triton.jit
def skipped(j, axes: tl.constexpr, a: tl.constexpr):
    """Taps of window j that lie before the input."""
    if axes[a][0] == SLIDING and axes[a][3] > 0:
        origin = j * axes[a][2] - axes[a][3]
        return tl.where(origin < 0, (axes[a][5] - 1 - tl.minimum(origin, 0)) // axes[a][5], 0)
    return j * 0


@triton.jit
def interval(j, size, out, starts, row, live, axes: tl.constexpr, a: tl.constexpr):
    """First existing tap of window j, and how many there are. `row`: where its plane's starts begin."""
    if axes[a][0] == SLIDING:
        first = skipped(j, axes, a)
        origin = j * axes[a][2] - axes[a][3]
        last = j * 0 + axes[a][1]
        if axes[a][6]:
            last = tl.minimum(last, ceil_div(tl.maximum(size - origin, 0), axes[a][5]))
        return origin + first * axes[a][5], last - first
    elif axes[a][0] == ADAPTIVE:
        start = share(j, size, out, axes, a)
        return start, share_end(j, size, out, axes, a) - start
    else:
        inside = live & (j >= 0) & (j < out)
        start = tl.load(starts + row + j, mask=inside, other=0)
        # One outside of the input begins a window without cells.
        start = tl.where((start >= 0) & (start < size), start, size).to(j.dtype)
        n = start * 0 + axes[a][1]
        if axes[a][4] > 0:
            after = tl.load(starts + row + j + 1, mask=inside & (j + 1 < out), other=0).to(j.dtype)
            end = tl.where(j + 1 < out, tl.minimum(after + axes[a][4] - 1, size), size)
            n = end - start
        return start, n


@triton.jit
def padded_count(j, size, out, starts, row, live, axes: tl.constexpr, a: tl.constexpr):
    """Taps of window j inside the input and its padding."""
    if axes[a][0] == SLIDING:
        n = j * 0 + axes[a][1]
        if axes[a][6]:
            n = tl.minimum(n, ceil_div(size + axes[a][4] + axes[a][3] - j * axes[a][2], axes[a][5]))
        return n
    else:
        _, n = interval(j, size, out, starts, row, live, axes, a)
        return n


@triton.jit
def at_or_before(i, out, starts, row, live):
    """How many of a row's starts are at most i: a binary search."""
    low = tl.where(live, i * 0, 0)
    high = low + out
    left = out
    while left > 0:
        mid = (low + high) // 2
        open_ = low < high
        here = tl.load(starts + row + mid, mask=live & open_, other=0).to(i.dtype) <= i
        low = tl.where(open_ & here, mid + 1, low)
        high = tl.where(open_ & ~here, mid, high)
        left = left // 2
    return low


@triton.jit
def transposed(i, size, out, starts, row, live, axes: tl.constexpr, a: tl.constexpr, step: tl.constexpr):
    """The windows that see cell i: the first of them and how many; each is `step` past the one before."""
    if axes[a][0] == SLIDING:
        u = i + axes[a][3]
        reach: tl.constexpr = (axes[a][1] - 1) * axes[a][5]
        high = tl.minimum(u // axes[a][2], out - 1)
        low = ceil_div(tl.maximum(u - reach, 0), axes[a][2])
        for _ in tl.static_range(step - 1):
            high = tl.where((u - high * axes[a][2]) % axes[a][5] == 0, high, high - 1)
        reached = (high >= low) & ((u - high * axes[a][2]) % axes[a][5] == 0)
        n = tl.where(reached, (tl.maximum(high - low, 0)) // step + 1, 0)
        return high - (n - 1) * step, n
    elif axes[a][0] == ADAPTIVE:
        start = share(i, out, size, axes, a)
        return start, share_end(i, out, size, axes, a) - start
    else:
        high = at_or_before(i, out, starts, row, live)
        if axes[a][4] > 0:
            low = tl.maximum(at_or_before(i - axes[a][4] + 1, out, starts, row, live) - 1, 0)
        else:
            low = at_or_before(i - axes[a][1], out, starts, row, live)
        return low, high - low


@triton.jit
def wrapped(n, size, NEAR: tl.constexpr):
    """What of n counts within `size`, and what is carried; NEAR: n is below twice the size."""
    carry = (n >= size).to(n.dtype) if NEAR else n // size
    return n - carry * size, carry


@triton.jit
def tile(
    columns, rows, lanes, high, middle, low, channels, unit, LAST: tl.constexpr, WIDE: tl.constexpr,
    NEAR: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, pid=None,
):  # fmt: skip
    """What a program works on: rows and lanes of its tile, which of them there are, and where they lie.

    Tiles are ordered as memory is, `columns` of them beside each other. Gives ``(at, lane, live, sample, plane, d, h,
    w)``: the place in memory of elements that follow each other, and that along the axes, whose sizes are `high`,
    `middle` and `low`. NEAR: no more rows than the axis they run along is long, so that one step at most is carried and
    nothing but the tile's first row has to be divided.

    `unit` is 1, which the compiler must not know where channels come first: it would give each thread neighbours along
    the row, whose windows overlap or lie apart, and a warp's loads would spread over as many times the memory.
    """
    if pid is None:
        pid = tl.program_id(0)
    if WIDE:
        pid = pid.to(tl.int64)
    first = (pid // columns) * ROWS
    i = tl.arange(0, ROWS)[:, None]
    lane = (pid % columns) * COLS + tl.arange(0, COLS)[None, :]
    live = (first + i < rows) & (lane < lanes)
    at = (first + i).to(tl.int64) * lanes
    w = lane
    carry = i
    if LAST:
        at = at + lane
        w, carry = wrapped(first % low + i, low, NEAR)
        first = first // low
    else:
        at = at + lane * unit
    h, carry = wrapped(first % middle + carry, middle, NEAR)
    first = first // middle
    d, carry = wrapped(first % high + carry, high, NEAR)
    sample = first // high + carry
    plane = sample
    if LAST:
        plane = sample * channels + lane
    return at, lane, live, sample, plane, d, h, w
