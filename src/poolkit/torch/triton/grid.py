"""What a kernel is launched with: tensors as planes and lanes, axes as constants, tiles, the launch: csrc/grid.hpp.

Tiles come from a small table, not from trials at run time: the same call takes the same time the first and every other
time, apart from the compilation of its kernel. A program has four warps and gives each thread 16 bytes of outputs; its
lanes are the power of two that holds a row, at most 128 of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from poolkit.plan import AxisPlan
from poolkit.torch.composite.windows import checked
from poolkit.torch.shapes import axes_of, is_channels_last, require

if TYPE_CHECKING:
    from torch import Tensor

Axis = tuple[int, int, int, int, int, int, bool, bool]
NO_AXIS: Axis = (1, 0, 1, 0, 0, 1, False, False)
NARROW = 2**31 - 1

# Bytes of outputs that a program makes, and how many lanes stand beside each other at most.
TILE_BYTES = 2048
MOST_LANES = 128
# Boxes of more taps are looped over; fewer are written out.
MOST_WRITTEN_OUT = 32


class Line(NamedTuple):
    """One pooled axis."""

    axis: Axis
    size: int
    out: int
    side: int  # taps of the longest window
    covers: int  # windows that see a cell, at most; 0 where only the starts know
    step: int  # between windows that see the same cell
    whole: bool  # one window takes it all
    full: bool  # all windows have as many taps

    @property
    def alone(self) -> bool:
        """Whether windows are single cells, each its own."""
        kind, kernel, _, before = self.axis[:4]
        return self.side == 1 and self.size == self.out and kind != 2 and (kind == 1 or kernel == 1) and not before

    @property
    def padded(self) -> int:
        """Cells of a window that takes the whole axis that lie inside the padding."""
        kind, kernel, _, before, after = self.axis[:5]
        return min(kernel, self.size + before + after) if kind == 0 else self.size


TRIVIAL = Line(NO_AXIS, 1, 1, 1, 1, 1, True, True)


@dataclass(frozen=True, eq=False)
class Grid:
    """A plan as the kernels take it: three axes, of which the first ones may be trivial.

    Each is made once, and known by itself: what launches of it need is kept.
    """

    lines: tuple[Line, Line, Line]
    rank: int
    starts: bool

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes."""
        return tuple(line.size for line in self.lines)

    @cached_property
    def outs(self) -> tuple[int, ...]:
        """Output sizes."""
        return tuple(line.out for line in self.lines)

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """Of the box that offsets count in."""
        return tuple(line.side for line in self.lines)

    @cached_property
    def taps(self) -> int:
        """In the box."""
        return math.prod(self.sides)

    @cached_property
    def whole(self) -> bool:
        """Whether one window is all of a plane."""
        return all(line.whole for line in self.lines)

    @cached_property
    def block(self) -> tuple[int, int, int] | None:
        """How many cells lie along the axes before, in, and after those that windows take whole.

        None unless these are neighbours, and windows of all other axes are single cells.
        """
        whole = [i for i, line in enumerate(self.lines) if line.whole and line.side > 1]
        if not whole or not all(line.whole or line.alone for line in self.lines):
            return None
        low, high = whole[0], whole[-1] + 1
        if not all(line.whole for line in self.lines[low:high]):
            return None
        sizes = self.sizes
        return math.prod(sizes[:low]), math.prod(sizes[low:high]), math.prod(sizes[high:])

    @cached_property
    def full(self) -> bool:
        """Whether all windows have as many taps."""
        return all(line.full for line in self.lines)

    @cached_property
    def pooled(self) -> list[int]:
        """The axes with windows of more than one cell."""
        return [i for i, line in enumerate(self.lines) if line.side > 1]

    def along(self, axis: int, outs: tuple[int, ...]) -> Grid:
        """This axis alone, the others as they are: of sizes `outs`."""
        return _along(self, axis, outs)


def single(size: int) -> Axis:
    """Windows of one cell."""
    return NO_AXIS if size == 1 else (0, 1, 1, 0, 0, 1, False, False)


@lru_cache(maxsize=1024)
def _along(grid: Grid, axis: int, outs: tuple[int, ...]) -> Grid:
    lines = [untouched(n) for n in outs]
    lines[axis] = grid.lines[axis]
    return Grid((lines[0], lines[1], lines[2]), grid.rank, grid.lines[axis].axis[0] == 2)


def untouched(size: int) -> Line:
    """An axis that is not pooled."""
    return TRIVIAL if size == 1 else TRIVIAL._replace(axis=single(size), size=size, out=size, whole=False)


@lru_cache(maxsize=1024)
def grid_of(plan: str) -> Grid:
    """The plan's axes; RuntimeError where a window leaves the input."""
    lines = [_line(axis) for axis in axes_of(plan)]
    rank = len(lines)
    lines = [TRIVIAL] * (3 - rank) + lines
    return Grid((lines[0], lines[1], lines[2]), rank, any(line.axis[0] == 2 for line in lines))


def _line(axis: AxisPlan) -> Line:
    if axis.kind == "starts":
        return Line(
            (2, axis.kernel, 1, 0, axis.after, 1, False, False),
            axis.size,
            axis.out,
            axis.kernel,
            0,
            1,
            False,
            axis.after == 0,
        )
    side = int(checked(axis).count.max())
    full = side == int(axis.count.min())
    size, out = axis.size, axis.out
    kernel, stride, dilation = axis.kernel, axis.stride, axis.dilation
    if axis.kind == "adaptive" and out > 1 and size % out == 0:
        # Equal shares are windows that slide, which have quicker loops.
        kernel, stride, dilation = side, side, 1
    elif axis.kind == "adaptive":
        covers = int(AxisPlan("adaptive", out, size).count.max())
        constants = (1, 0, 1, 0, 0, 1, False, size * out > NARROW)
        return Line(constants, size, out, side, covers, 1, out == 1, full)
    common = math.gcd(stride, dilation)
    overhang = (out - 1) * stride - axis.before + (kernel - 1) * dilation >= size
    return Line(
        (0, kernel, stride, axis.before, axis.after, dilation, overhang, False),
        size,
        out,
        side,
        min(out, (kernel - 1) * common // stride + 1),
        dilation // common,
        out == 1 and side == size and dilation == 1,
        full,
    )


class Form(NamedTuple):
    """How tensors of a call lie in memory: ``[samples, d, h, w, run]``, planes or samples of whole channels."""

    last: bool
    samples: int
    run: int
    channels: int
    shape: tuple[int, ...]  # of the leading axes


def form_of(x: Tensor, rank: int, last: bool | None = None) -> Form:
    """That of x, or of a tensor like x with or without its channels last."""
    last = is_channels_last(x, rank) if last is None else last
    lead = tuple(x.shape[:-rank])
    channels, batch = lead[-1], math.prod(lead[:-1])
    return Form(last, batch if last else batch * channels, channels if last else 1, channels, lead)


def laid(t: Tensor, rank: int, last: bool) -> Tensor:
    """`t` without gaps in that order; itself where it has none."""
    if last:
        return t.movedim(-rank - 1, -1).contiguous().movedim(-1, -rank - 1)
    return t.contiguous()


def workspace(like: Tensor, form: Form, sizes: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Room for a number for each of these cells, in the order of memory."""
    return like.new_empty((form.samples, *sizes, form.run), dtype=dtype)


def power_of_two(n: int) -> int:
    """The smallest that is at least n.

    >>> power_of_two(1), power_of_two(5)
    (1, 8)
    """
    return 1 << max(n - 1, 0).bit_length()


def tile_of(form: Form, sizes: tuple[int, ...], itemsize: int) -> tuple[int, int, int, int]:
    """Rows and columns of a tile over tensors of these sizes; how many rows there are, and tiles beside each other."""
    lanes = form.run if form.last else sizes[2]
    rows = form.samples * math.prod(sizes) * form.run // max(lanes, 1)
    cols = min(power_of_two(lanes), MOST_LANES)
    return min(max(TILE_BYTES // itemsize // cols, 1), power_of_two(rows)), cols, rows, -(-lanes // cols)


def row_starts(grid: Grid, starts: Tensor | None) -> tuple[int, int, int, int]:
    """Where each axis' starts lie in a row of them, and from row to row."""
    places, at = [0, 0, 0], 0
    for i, line in enumerate(grid.lines):
        places[i] = at
        at += line.out if line.axis[0] == 2 else 0
    return places[0], places[1], places[2], 0 if starts is None or starts.shape[0] == 1 else int(starts.shape[1])


def check_starts(grid: Grid, starts: Tensor | None, planes: int) -> Tensor | None:
    """Starts as the kernels read them."""
    require(grid.starts or starts is None, "starts: this plan takes none")
    if starts is None:
        require(not grid.starts, "starts: this plan needs them")
        return None
    columns = sum(line.out for line in grid.lines if line.axis[0] == 2)
    shape = tuple(starts.shape)
    require(shape in ((1, columns), (planes, columns)), "starts: expected [1 or planes, sum of outs]")
    require(starts.dtype == torch.int64, "starts: expected int64")
    return starts.contiguous()


def launch(kernel: Any, programs: int, *arguments: Any, like: Tensor, exact: bool = False, **constants: Any) -> None:
    """Runs `programs` of the kernel on `like`'s device. `exact`: every multiplication and addition is rounded."""
    if programs == 0:
        return
    if like.device.type == "cpu":
        kernel[(programs,)](*arguments, **constants)
        return
    with torch.get_device_module(like.device).device(like.device):
        kernel[(programs,)](*arguments, **constants, enable_fp_fusion=not exact)
