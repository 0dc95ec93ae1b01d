"""Launches of the loops: a kernel's arguments from tensors, a grid and a core."""

# The arguments of kernels have no types.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
import triton.language as tl

from poolkit.torch.triton import codes
from poolkit.torch.triton import grid as grids
from poolkit.torch.triton import lines as by_lines
from poolkit.torch.triton import rows as by_rows
from poolkit.torch.triton import rows_back as by_blocks
from poolkit.torch.triton.back import back
from poolkit.torch.triton.fold import fold
from poolkit.torch.triton.grid import MOST_WRITTEN_OUT, Form, Grid, launch, power_of_two, tile_of
from poolkit.torch.triton.merge import merge
from poolkit.torch.triton.whole import locate, whole

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.reducer import Params
    from poolkit.torch.triton.cores import Core

# The largest number of each dtype of offsets stands for no cell; two bytes are read without a sign.
NONE = {torch.uint8: 2**8 - 1, torch.int16: 2**16 - 1, torch.int32: 2**31 - 1}
# Programs that keep a large GPU busy, and taps that are worth a program of their own.
BUSY, WORTH = 1024, 8192
MOST_PIECES = 128
# Outputs that an element of a tile makes above each other, planar and with channels last.
MOST_HIGH = (4, 2)
# A window along one axis alone is written out up to this many taps; from LONG on more outputs share them.
MOST_IN_LINE, LONG = 64, 8


@dataclass(frozen=True)
class Task:
    """What all launches of a call share."""

    grid: Grid
    form: Form
    starts: Tensor | None
    places: tuple[int, int, int, int]
    params: Params
    wide: bool  # float64
    extra: Tensor | None = None
    extra_mode: int = 0

    @property
    def acc(self) -> Any:
        """What kernels add up in."""
        return tl.float64 if self.wide else tl.float32

    @property
    def dtype(self) -> torch.dtype:
        """The same as a dtype of tensors."""
        return torch.float64 if self.wide else torch.float32

    def on(self, grid: Grid, **changes: Any) -> Task:
        """The same of another grid."""
        return replace(self, grid=grid, **changes)

    def room(self, like: Tensor, dtype: torch.dtype | None = None, *, inputs: bool = False) -> Tensor:
        """A number for each output, or for each input cell."""
        sizes = self.grid.sizes if inputs else self.grid.outs
        return grids.workspace(like, self.form, sizes, dtype or self.dtype)


def none_of(offsets: Tensor | None) -> int:
    """The number that stands for no cell."""
    return -1 if offsets is None else NONE[offsets.dtype]


def _common(task: Task, like: Tensor, *, inputs: bool) -> tuple[int, int, int, int, bool, bool, int]:
    """Tile rows and columns, rows, tiles beside each other, whether numbers are wide, and rows near, programs."""
    grid, form = task.grid, task.form
    sizes = grid.sizes if inputs else grid.outs
    rows, cols, total, columns = tile_of(form, sizes, like.element_size())
    cells = form.samples * form.run * max(math.prod(grid.sizes), math.prod(grid.outs))
    near = rows <= sizes[2 if form.last else 1]
    return rows, cols, total, columns, cells > grids.NARROW, near, -(-total // rows) * columns


def _functions(core: Core) -> dict[str, Any]:
    """One by one: Triton's cache on disk knows the source of a function that is a constant, not of one in a tuple."""
    return {
        "PASSES": core.passes,
        "IDENTITY": core.identity,
        "ACCUMULATE": core.accumulate,
        "FINISH": core.finish,
    }


def run_fold(
    task: Task,
    x: Tensor,
    core: Core,
    *,
    divide: int = 0,
    y: Tensor | None = None,
    offsets: Tensor | None = None,
    indices: Tensor | None = None,
    first: Tensor | None = None,
    second: Tensor | None = None,
    carry: Tensor | None = None,
    carry_mode: int = 0,
    rest: int = 1,
    weights: int = 0,
) -> None:
    """The forward pass: `fold`, or `merge` for windows that are the whole plane, if the core's lanes can be joined."""
    grid, form = task.grid, task.form
    like = next(t for t in (y, first, second, offsets, indices) if t is not None)
    if grid.whole and carry_mode == 0 and grid.taps > 1 and core.lanes is not None:
        return _run_merge(task, x, core, divide, like, (y, offsets, indices, first, second))
    numbers = carry_mode == codes.NUMBERS and len(grid.pooled) == 1
    if (carry_mode == codes.ALONE or numbers) and task.extra_mode == 0 and slides(grid) and core in by_rows.ROWS:
        small = _run_lines if grid.pooled == [2] and not form.last and grid.outs[2] >= 4 else _run_rows
        return small(turned(task), x, core, divide, (y, offsets, indices, first, second), carry, rest)
    core = core.twice or core
    rows, cols, total, columns, wide, near, programs = _common(task, like, inputs=False)
    launch(
        fold,
        programs,
        *(x, carry, y, offsets, indices, first, second, task.extra, task.starts),
        *(columns, 1, grid.sizes, grid.outs, total, form.run, form.channels, math.prod(grid.sizes) * form.run),
        *(task.places, grid.sides, rest, weights),
        like=x,
        exact=core.exact,
        **_functions(core),
        LOOK=core.look,
        AXES=tuple(line.axis for line in grid.lines),
        SIDES=grid.sides if grid.taps <= MOST_WRITTEN_OUT else None,
        DIVIDE=divide,
        CARRY=carry_mode,
        EXTRA=task.extra_mode,
        PARAMS=tuple(task.params),
        ACC=task.acc,
        NONE=none_of(offsets),
        LAST=form.last,
        WIDE=wide,
        NEAR=near,
        ROWS=rows,
        COLS=cols,
    )
    return None


def slides(grid: Grid) -> bool:
    """Whether windows are small, slide, and have all their taps somewhere: `poolkit.torch.triton.rows`."""
    return (
        1 < grid.taps <= (MOST_WRITTEN_OUT if len(grid.pooled) > 1 else MOST_IN_LINE)
        and all(line.axis[0] == 0 or line is grids.TRIVIAL for line in grid.lines)
        and all(line.side == max(line.axis[1], 1) for line in grid.lines)
    )


def turned(task: Task) -> Task:
    """The same with the one axis that is pooled in the middle, where outputs share what they see.

    Not the last one where channels come first: neighbours along it lie side by side.
    """
    sizes, pooled = task.grid.sizes, task.grid.pooled
    if pooled == [0]:
        inner = grids.untouched(sizes[1] * sizes[2])
        return task.on(replace(task.grid, lines=(grids.TRIVIAL, task.grid.lines[0], inner)))
    if pooled == [2] and task.form.last:
        outer = grids.untouched(sizes[0] * sizes[1])
        return task.on(replace(task.grid, lines=(outer, task.grid.lines[2], grids.TRIVIAL)))
    return task


def _edges(line: grids.Line, places: list[int], first: int, last: int) -> tuple[int, ...]:
    """For each place, counted from a window's beginning, whether it may lie before the input (1) or behind it (2)."""
    return tuple(int(first + place < 0) + 2 * int(last + place >= line.size) for place in places)


def _users(reach: int, many: int, kernel: int, stride: int, dilation: int) -> tuple[Any, tuple[int, int]]:
    """Of outputs that share an axis: who sees each place, as which tap, and which places all see."""
    users: list[tuple[int, ...]] = []
    for r in range(reach):
        found = [
            (j, (r - j * stride) // dilation)
            for j in range(many)
            if (r - j * stride) % dilation == 0 and 0 <= r - j * stride < kernel * dilation
        ]
        users.append((len(found), *chain(*found)))
    all_ = [r for r in range(reach) if users[r][0] == many > 1]
    return tuple(users), (all_[0], all_[-1]) if dilation == 1 and len(all_) > 1 else (reach, -1)


def _ways(core: Core, task: Task, x: Tensor, results: tuple[Tensor | None, ...]) -> dict[str, Any]:
    """The constants that kernels of `rows` have from a core."""
    way, again = by_rows.ROWS[core], core.twice or core
    # No half-precision sum of so few cells leaves the range of single precision, and nor does one of squares.
    sums = way.far is by_rows.overflowed or (way.far is by_rows.out_of_range and task.params.p in (1, 2))
    numbers = results[1] is not None or results[2] is not None or (core in by_rows.CHOOSING and results[3] is not None)
    return {
        "PREPARE": way.prepare,
        "TAKE": way.take,
        "JOIN": way.join,
        "ROUND": way.finish,
        "FAR": way.far,
        "FINISH": core.finish,
        "ABSENT": way.absent,
        "TOPS": way.tops,
        "LOOK": way.far is not by_rows.never and not (sums and x.dtype == torch.float16),
        "PASSES": again.passes,
        "IDENTITY": again.identity,
        "ACCUMULATE": again.accumulate,
        "AGAIN": again.look,
        "NUMBERS": numbers,
        "PARAMS": tuple(task.params),
        "ACC": task.acc,
        "NONE": none_of(results[1]),
    }


def _run_lines(
    task: Task,
    x: Tensor,
    core: Core,
    divide: int,
    results: tuple[Tensor | None, ...],
    carry: Tensor | None,
    rest: int,
) -> None:
    grid, form = task.grid, task.form
    (_, kernel, stride, before, _, dilation, _, _) = grid.lines[2].axis
    size, out = grid.sizes[2], grid.outs[2]
    broad = 8 if kernel > LONG else 4
    groups = -(-out // broad)
    reach = (broad - 1) * stride + (kernel - 1) * dilation + 1
    users, common = _users(reach, broad, kernel, stride, dilation)
    aligned = size % 4 == 0
    shift = -before % 4 if aligned else 0
    fours = -(-(shift + reach) // 4)
    last = (groups - 1) * broad * stride + (0 if aligned else 3)
    edges = tuple(
        int(4 * q - before - shift < 0) + 2 * int(last + 4 * q - before - shift >= size) for q in range(fours)
    )
    deep = grid.sizes[0] * grid.sizes[1]
    total = form.samples * deep
    cols = min(power_of_two(groups), grids.MOST_LANES)
    tile_rows, columns = 128 // cols, -(-groups // cols)
    launch(
        by_lines.lines,
        -(-total // tile_rows) * columns,
        *(x, carry, *results, columns, size, out, size // 4, out // 4, groups, total, deep, grid.sides, rest),
        like=x,
        **_ways(core, task, x, results),
        AXES=tuple(line.axis for line in (grids.TRIVIAL, grids.TRIVIAL, grid.lines[2])),
        KERNEL=(1, kernel, 1),
        USERS=users,
        COMMON=common,
        EDGES=edges,
        FULL=not before and not grid.lines[2].axis[6],
        DIVIDE=divide,
        WIDE=total * max(size, out) > grids.NARROW,
        BROAD=broad,
        REACH=reach,
        SHIFT=shift,
        FOURS=fours,
        ALIGNED=aligned,
        OUT_ALIGNED=out % 4 == 0,
        ROWS=tile_rows,
        COLS=cols,
    )


def _run_rows(
    task: Task,
    x: Tensor,
    core: Core,
    divide: int,
    results: tuple[Tensor | None, ...],
    carry: Tensor | None,
    rest: int,
) -> None:
    grid, form = task.grid, task.form
    long = len(grid.pooled) == 1 and grid.lines[1].side > LONG
    high = min(MOST_HIGH[form.last] * (2 if long else 1), grid.outs[1])
    groups = -(-grid.outs[1] // high)
    lanes = form.run if form.last else grid.outs[2]
    total = form.samples * grid.outs[0] * groups * (grid.outs[2] if form.last else 1)
    elements = 128 * (max(16 // x.element_size(), 1) if form.last else 1)
    cols = min(power_of_two(lanes), elements, grids.MOST_LANES)
    tile_rows, columns = elements // cols, -(-lanes // cols)
    kernel = tuple(max(line.axis[1], 1) for line in grid.lines)
    (_, _, stride, before, _, dilation, _, _) = grid.lines[1].axis
    reach = (high - 1) * stride + (kernel[1] - 1) * dilation + 1
    users, common = _users(reach, high, kernel[1], stride, dilation)
    edges: list[tuple[int, ...]] = []
    for i, line in enumerate(grid.lines):
        last = (line.out - 1) * line.axis[2] - line.axis[3]
        places = [k * line.axis[5] for k in range(kernel[i])]
        if i == 1:
            last, places = (groups - 1) * high * stride - before, list(range(reach))
        edges.append(_edges(line, places, -line.axis[3], last))
    cells = form.samples * form.run * max(math.prod(grid.sizes), math.prod(grid.outs))
    launch(
        by_rows.rows,
        -(-total // tile_rows) * columns,
        *(x, carry, *results, columns, 1, grid.sizes, grid.outs, groups, form.samples, total, form.run, form.channels),
        *(math.prod(grid.sizes) * form.run, math.prod(grid.outs) * form.run, grid.sides, rest),
        like=x,
        **_ways(core, task, x, results),
        AXES=tuple(line.axis for line in grid.lines),
        KERNEL=kernel,
        USERS=users,
        COMMON=common,
        EDGES=tuple(edges),
        FULL=not any(map(any, edges)),
        PARTIAL=grid.outs[1] % high != 0,
        DIVIDE=divide,
        LAST=form.last,
        WIDE=cells > grids.NARROW,
        NEAR=tile_rows <= (grid.outs[2] if form.last else groups),
        HIGH=high,
        REACH=reach,
        HOLD=not form.last,
        ROWS=tile_rows,
        COLS=cols,
    )


def _run_merge(
    task: Task, x: Tensor, core: Core, divide: int, like: Tensor, results: tuple[Tensor | None, ...]
) -> None:
    form, size = task.form, task.grid.taps
    if form.last:
        cols = min(power_of_two(form.run), 32)
        rows, columns = max(grids.TILE_BYTES * 2 // like.element_size() // cols, 1), -(-form.run // cols)
        rows, blocks = min(rows, power_of_two(size)), form.samples * columns
    else:
        cols = min(power_of_two(size), max(grids.TILE_BYTES * 2 // like.element_size(), 1))
        rows, columns = max(grids.TILE_BYTES // like.element_size() // cols, 1), 1
        rows = min(rows, power_of_two(form.samples))
        blocks = -(-form.samples // rows)
    pieces = min(-(-BUSY // blocks), -(-size // WORTH), MOST_PIECES) if core.passes == 1 and blocks else 1
    none = none_of(results[1])
    planes = form.samples * form.run
    constants = {
        **_functions(core),
        "JOIN_LANES": core.lanes,
        "LOOK": core.look,
        "DIVIDED": divide != 0,
        "EXTRA": task.extra_mode,
        "PARAMS": tuple(task.params),
        "ACC": task.acc,
        "NONE": none,
        "LAST": form.last,
    }
    if pieces == 1:
        numbers = (planes, form.run, size, size, 1, columns)
        parts: tuple[Tensor | None, ...] = (None,) * 4
        stage: dict[str, Any] = {"STAGE": codes.WHOLE, "ROWS": rows, "COLS": cols}
        return launch(merge, blocks, x, *results, task.extra, *parts, *numbers, like=x, **constants, **stage)
    piece = -(-size // pieces)
    pieces = -(-size // piece)
    numbers = (planes, form.run, size, piece, pieces, columns)
    kinds = (task.dtype, torch.int32 if core.identity.__name__ == "lowest" else task.dtype, task.dtype, task.dtype)
    parts = tuple(x.new_empty(planes * pieces, dtype=kind) for kind in kinds)
    stage = {"STAGE": codes.PIECE, "ROWS": rows, "COLS": cols}
    launch(merge, blocks * pieces, x, *(None,) * 5, task.extra, *parts, *numbers, like=x, **constants, **stage)
    # The joins: lanes are the pieces.
    span = power_of_two(pieces)
    if form.last:
        stage = {"STAGE": codes.JOIN, "ROWS": span, "COLS": cols}
    else:
        stage = {"STAGE": codes.JOIN, "ROWS": rows, "COLS": span}
    return launch(merge, blocks, x, *results, task.extra, *parts, *numbers, like=x, **constants, **stage)


def run_back(
    task: Task,
    dy: Tensor,
    dx: Tensor,
    slope: Any,
    *,
    divide: int = 0,
    dy2: Tensor | None = None,
    dx2: Tensor | None = None,
    places: Tensor | None = None,
    x: Tensor | None = None,
    carry: Tensor | None = None,
    carry_mode: int = 0,
    y: Tensor | None = None,
    a: Tensor | None = None,
    chosen: Tensor | None = None,
    ranks: Tensor | None = None,
    table: Tensor | None = None,
    rest: int = 1,
    weights: int = 0,
) -> None:
    """The backward pass: `back`, or `rows_back` for small windows that slide."""
    grid, form = task.grid, task.form
    alone = all(t is None for t in (dy2, dx2, places, carry, ranks)) and rest == 1
    if alone and task.extra_mode == 0 and slides(grid) and slope in by_blocks.WAYS:
        return _run_blocks(task, dy, dx, slope, divide, x, y, a, chosen)
    rows, cols, total, columns, wide, near, programs = _common(task, dx, inputs=True)
    covers = tuple(line.covers for line in grid.lines)
    outputs = form.samples * form.run * math.prod(grid.outs)
    launch(
        back,
        programs,
        *(dy, dy2, dx, dx2, places, x, carry, y, a, chosen, task.extra, ranks, table, task.starts),
        *(columns, 1, grid.sizes, grid.outs, total, form.run, form.channels, math.prod(grid.outs) * form.run),
        *(task.places, grid.sides, rest, weights, outputs),
        like=dy,
        SLOPE=slope,
        AXES=tuple(line.axis for line in grid.lines),
        STEPS=tuple(line.step for line in grid.lines),
        COVERS=covers if 0 < math.prod(covers) <= MOST_WRITTEN_OUT else None,
        DIVIDE=divide,
        EXTRA=task.extra_mode,
        CARRY=carry_mode,
        PARAMS=tuple(task.params),
        ACC=task.acc,
        NONE=none_of(chosen),
        LAST=form.last,
        WIDE=wide,
        NEAR=near,
        ROWS=rows,
        COLS=cols,
    )


def _run_blocks(
    task: Task,
    dy: Tensor,
    dx: Tensor,
    slope: Any,
    divide: int,
    x: Tensor | None,
    y: Tensor | None,
    a: Tensor | None,
    chosen: Tensor | None,
) -> None:
    grid, form, way = task.grid, task.form, by_blocks.WAYS[slope]
    kernel = tuple(max(line.axis[1], 1) for line in grid.lines)
    block = [line.axis[2] for line in grid.lines]
    block[1] *= max(MOST_HIGH[form.last] // block[1], 1)
    blocks = tuple(-(-size // side) for size, side in zip(grid.sizes, block, strict=True))
    steps = tuple(side // line.axis[2] for side, line in zip(block, grid.lines, strict=True))
    seen: list[tuple[tuple[int, ...], ...]] = []
    for i, line in enumerate(grid.lines):
        (_, _, stride, before, _, dilation, _, _) = line.axis
        windows: list[tuple[int, ...]] = []
        for o in range(-((kernel[i] - 1) * dilation - before) // stride - 1, (block[i] - 1 + before) // stride + 1):
            pairs = tuple(
                (cell, k) for cell in range(block[i]) for k in range(kernel[i]) if o * stride - before + k * dilation == cell
            )
            if pairs:
                last = (blocks[i] - 1) * steps[i] + o
                windows.append((o, int(o < 0) + 2 * int(last >= line.out), len(pairs), *chain(*pairs)))
        seen.append(tuple(windows))
    lanes = form.run if form.last else blocks[2]
    total = form.samples * blocks[0] * blocks[1] * (blocks[2] if form.last else 1)
    elements = 128 * (max(16 // dx.element_size(), 1) if form.last else 1)
    cols = min(power_of_two(lanes), elements, grids.MOST_LANES)
    rows, columns = elements // cols, -(-lanes // cols)
    cells = form.samples * form.run * max(math.prod(grid.sizes), math.prod(grid.outs))
    launch(
        by_blocks.rows_back,
        -(-total // rows) * columns,
        *(dy, dx, x, y, a, chosen, columns, 1, grid.sizes, grid.outs, grid.sizes[2] // 2, blocks, form.samples, total),
        *(form.run, form.channels, math.prod(grid.outs) * form.run),
        like=dy,
        OPEN=way.open_,
        GIVE=way.give,
        GUARDED=way.guarded,
        AXES=tuple(line.axis for line in grid.lines),
        KERNEL=kernel,
        BLOCK=tuple(block),
        STEPS=steps,
        MANY=tuple(map(len, seen)),
        SEEN0=seen[0],
        SEEN1=seen[1],
        SEEN2=seen[2],
        FULL=not any(line.axis[3] or line.axis[6] for line in grid.lines),
        PARTIAL=tuple(size % side != 0 for size, side in zip(grid.sizes, block, strict=True)),
        DIVIDE=divide if way.divides else codes.UNDIVIDED,
        PARAMS=tuple(task.params),
        ACC=task.acc,
        LAST=form.last,
        PAIRED=not form.last and block[2] == 2 and grid.sizes[2] % 2 == 0,
        WIDE=cells > grids.NARROW,
        NEAR=rows <= (blocks[2] if form.last else blocks[1]),
        ROWS=rows,
        COLS=cols,
    )


def run_whole(
    task: Task,
    x: Tensor,
    atom: Any,
    pairs: tuple[tuple[int, int], ...],
    *,
    y: Tensor | None = None,
    offsets: Tensor | None = None,
    indices: Tensor | None = None,
    ranks: Tensor | None = None,
    table: Tensor | None = None,
    rank: int = -1,
    weights: int = 0,
) -> None:
    """Windows whole: `whole`."""
    grid, form = task.grid, task.form
    rows, cols, total, columns, wide, near, programs = _common(task, x, inputs=False)
    launch(
        whole,
        programs,
        *(x, y, offsets, indices, ranks, task.extra, x if table is None else table, task.starts),
        *(columns, 1, grid.sizes, grid.outs, total, form.run, form.channels, math.prod(grid.sizes) * form.run),
        *(task.places, weights, form.samples * form.run * math.prod(grid.outs)),
        like=x,
        ATOM=atom,
        SIDES=grid.sides,
        PAIRS=pairs,
        COUNT=len(pairs),
        RANK=rank,
        AXES=tuple(line.axis for line in grid.lines),
        EXTRA=task.extra_mode,
        PARAMS=tuple(task.params),
        ACC=task.acc,
        NONE=none_of(offsets),
        LAST=form.last,
        WIDE=wide,
        NEAR=near,
        ROWS=rows,
        COLS=cols,
    )


def run_locate(task: Task, numbers: Tensor, offsets: Tensor | None, indices: Tensor) -> None:
    """Offsets and plane positions from tap numbers."""
    grid, form = task.grid, task.form
    rows, cols, total, columns, wide, near, programs = _common(task, numbers, inputs=False)
    launch(
        locate,
        programs,
        *(numbers, offsets, indices, task.starts, columns, 1, grid.sizes, grid.outs, total, form.run, form.channels),
        *(task.places, grid.sides),
        like=numbers,
        AXES=tuple(line.axis for line in grid.lines),
        NONE=none_of(offsets),
        LAST=form.last,
        WIDE=wide,
        NEAR=near,
        ROWS=rows,
        COLS=cols,
    )
