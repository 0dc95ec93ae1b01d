"""Launches of `rows`, `lines` and `rows_back`: windows of a few taps that slide."""

# The arguments of kernels have no types.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from poolkit.torch.triton import codes
from poolkit.torch.triton import grid as grids
from poolkit.torch.triton import lines as by_lines
from poolkit.torch.triton import rows as by_rows
from poolkit.torch.triton import rows_back as by_blocks
from poolkit.torch.triton.grid import MOST_WRITTEN_OUT, launch, power_of_two
from poolkit.torch.triton.task import none_of

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.reducer import Params
    from poolkit.torch.triton.cores import Core
    from poolkit.torch.triton.grid import Form, Grid
    from poolkit.torch.triton.task import Task

# Elements of a planar tile, one for each thread of four warps.
ELEMENTS = 128
# Outputs that an element of a tile makes above each other, planar and with channels last.
MOST_HIGH = (4, 2)
# Forward, a window along one axis alone is written out up to this many taps; from LONG on more outputs share them.
MOST_IN_LINE, LONG = 64, 8


def serves(task: Task, core: Core, carry_mode: int) -> bool:
    """Whether the forward pass is theirs."""
    alone = carry_mode == codes.ALONE or (carry_mode == codes.NUMBERS and len(task.grid.pooled) == 1)
    return alone and core in by_rows.ROWS and slides(task.grid) and task.extra_mode == codes.NO_EXTRA


def serves_back(task: Task, slope: Any) -> bool:
    """Whether a backward pass, of nothing but dy, is theirs."""
    small = slides(task.grid) and task.grid.taps <= MOST_WRITTEN_OUT
    return small and slope in by_blocks.WAYS and task.extra_mode == codes.NO_EXTRA


@lru_cache(maxsize=1024)
def slides(grid: Grid) -> bool:
    """Whether windows are small, slide, and have all their taps somewhere: `poolkit.torch.triton.rows`."""
    return (
        1 < grid.taps <= (MOST_WRITTEN_OUT if len(grid.pooled) > 1 else MOST_IN_LINE)
        and all(line.axis[0] == 0 or line is grids.TRIVIAL for line in grid.lines)
        and all(line.side == max(line.axis[1], 1) for line in grid.lines)
    )


@lru_cache(maxsize=1024)
def turned(grid: Grid, last: bool) -> Grid:
    """The same with the one axis that is pooled in the middle, where outputs share what they see.

    Not the last one where channels come first: neighbours along it lie side by side.
    """
    sizes, pooled = grid.sizes, grid.pooled
    if pooled == [0]:
        return replace(grid, lines=(grids.TRIVIAL, grid.lines[0], grids.untouched(sizes[1] * sizes[2])))
    if pooled == [2] and last:
        return replace(grid, lines=(grids.untouched(sizes[0] * sizes[1]), grid.lines[2], grids.TRIVIAL))
    return grid


class Launch(NamedTuple):
    """A launch but for its tensors: the kernel, how many programs, numbers, and constants."""

    kernel: Any
    programs: int
    numbers: tuple[Any, ...]
    constants: dict[str, Any]


def run_small(
    task: Task,
    x: Tensor,
    core: Core,
    divide: int,
    results: tuple[Tensor | None, ...],
    carry: Tensor | None,
    rest: int,
) -> None:
    """y, offsets, indices and two further results."""
    _, offsets, indices, first, _ = results
    numbers = offsets is not None or indices is not None or (core in by_rows.CHOOSING and first is not None)
    kind = (divide, task.params, none_of(offsets), numbers)
    beside = task.grid.pooled == [2] and not task.form.last and task.grid.outs[2] >= 4
    if beside and carry is None:
        kernel, programs, sizes, constants = _lines(task.grid, task.form, core, *kind)
        launch(kernel, programs, x, *results, *sizes, like=x, ACC=task.acc, **constants)
    else:
        grid = turned(task.grid, task.form.last)
        kernel, programs, sizes, constants = _rows(grid, task.form, core, *kind, x.element_size())
        launch(kernel, programs, x, carry, *results, *sizes, rest, like=x, ACC=task.acc, **constants)


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


def _ways(core: Core, divide: int, params: Params, none: int, numbers: bool) -> dict[str, Any]:
    """The constants that kernels of `rows` have from a core."""
    way, again = by_rows.ROWS[core], core.twice or core
    return {
        "PREPARE": way.prepare,
        "TAKE": way.take,
        "JOIN": way.join,
        "ROUND": way.finish,
        "FAR": way.far,
        "FINISH": core.finish,
        "ABSENT": way.absent,
        "TOPS": way.tops,
        "LOOK": way.far is not by_rows.never,
        "PASSES": again.passes,
        "IDENTITY": again.identity,
        "ACCUMULATE": again.accumulate,
        "AGAIN": again.look,
        "NUMBERS": numbers,
        "DIVIDE": divide,
        "PARAMS": tuple(params),
        "NONE": none,
    }


@lru_cache(maxsize=1024)
def _lines(grid: Grid, form: Form, core: Core, divide: int, params: Params, none: int, numbers: bool) -> Launch:
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
    cols = min(power_of_two(groups), ELEMENTS, grids.MOST_LANES)
    tile_rows, columns = ELEMENTS // cols, -(-groups // cols)
    return Launch(
        by_lines.lines,
        -(-total // tile_rows) * columns,
        (columns, size, out, size // 4, out // 4, groups, total, deep, grid.sides),
        {
            **_ways(core, divide, params, none, numbers),
            "AXES": tuple(line.axis for line in (grids.TRIVIAL, grids.TRIVIAL, grid.lines[2])),
            "KERNEL": (1, kernel, 1),
            "USERS": users,
            "COMMON": common,
            "EDGES": edges,
            "FULL": not before and not grid.lines[2].axis[6],
            "WIDE": total * max(size, out) > grids.NARROW,
            "BROAD": broad,
            "REACH": reach,
            "SHIFT": shift,
            "FOURS": fours,
            "ALIGNED": aligned,
            "OUT_ALIGNED": out % 4 == 0,
            "ROWS": tile_rows,
            "COLS": cols,
        },
    )


@lru_cache(maxsize=1024)
def _rows(
    grid: Grid, form: Form, core: Core, divide: int, params: Params, none: int, numbers: bool, itemsize: int
) -> Launch:
    long = len(grid.pooled) == 1 and grid.lines[1].side > LONG
    high = min(MOST_HIGH[form.last] * (2 if long else 1), grid.outs[1])
    groups = -(-grid.outs[1] // high)
    lanes = form.run if form.last else grid.outs[2]
    total = form.samples * grid.outs[0] * groups * (grid.outs[2] if form.last else 1)
    elements = ELEMENTS * (max(16 // itemsize, 1) if form.last else 1)
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
    sizes, outs = math.prod(grid.sizes), math.prod(grid.outs)
    return Launch(
        by_rows.rows,
        -(-total // tile_rows) * columns,
        (
            *(columns, 1, grid.sizes, grid.outs, groups, form.samples, total, form.run, form.channels),
            *(sizes * form.run, outs * form.run, grid.sides),
        ),
        {
            **_ways(core, divide, params, none, numbers),
            "AXES": tuple(line.axis for line in grid.lines),
            "KERNEL": kernel,
            "USERS": users,
            "COMMON": common,
            "EDGES": tuple(edges),
            "FULL": not any(map(any, edges)),
            "PARTIAL": grid.outs[1] % high != 0,
            "LAST": form.last,
            "WIDE": form.samples * form.run * max(sizes, outs) > grids.NARROW,
            "NEAR": tile_rows <= (grid.outs[2] if form.last else groups),
            "HIGH": high,
            "REACH": reach,
            "HOLD": not form.last,
            "ROWS": tile_rows,
            "COLS": cols,
        },
    )


def run_blocks(
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
    """The gradient of x."""
    kernel, programs, sizes, constants = _blocks(task.grid, task.form, slope, divide, task.params, dx.dtype)
    launch(kernel, programs, dy, dx, x, y, a, chosen, *sizes, like=dy, ACC=task.acc, **constants)


@lru_cache(maxsize=1024)
def _blocks(grid: Grid, form: Form, slope: Any, divide: int, params: Params, dtype: torch.dtype) -> Launch:
    way = by_blocks.WAYS[slope]
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
                (cell, k)
                for cell in range(block[i])
                for k in range(kernel[i])
                if o * stride - before + k * dilation == cell
            )
            if pairs:
                last = (blocks[i] - 1) * steps[i] + o
                windows.append((o, int(o < 0) + 2 * int(last >= line.out), len(pairs), *chain(*pairs)))
        seen.append(tuple(windows))
    lanes = form.run if form.last else blocks[2]
    total = form.samples * blocks[0] * blocks[1] * (blocks[2] if form.last else 1)
    elements = ELEMENTS * (max(16 // dtype.itemsize, 1) if form.last else 1)
    cols = min(power_of_two(lanes), elements, grids.MOST_LANES)
    rows, columns = elements // cols, -(-lanes // cols)
    sizes, outs = math.prod(grid.sizes), math.prod(grid.outs)
    return Launch(
        by_blocks.rows_back,
        -(-total // rows) * columns,
        (
            *(columns, 1, grid.sizes, grid.outs, grid.sizes[2] // 2, blocks, form.samples, total),
            *(form.run, form.channels, outs * form.run),
        ),
        {
            "OPEN": way.open_,
            "GIVE": way.give,
            "GUARDED": way.guarded,
            "AXES": tuple(line.axis for line in grid.lines),
            "KERNEL": kernel,
            "BLOCK": tuple(block),
            "STEPS": steps,
            "MANY": tuple(map(len, seen)),
            "SEEN0": seen[0],
            "SEEN1": seen[1],
            "SEEN2": seen[2],
            "FULL": not any(line.axis[3] or line.axis[6] for line in grid.lines),
            "PARTIAL": tuple(size % side != 0 for size, side in zip(grid.sizes, block, strict=True)),
            "DIVIDE": divide if way.divides else codes.UNDIVIDED,
            "PARAMS": tuple(params),
            "LAST": form.last,
            "PAIRED": not form.last and block[2] == 2 and grid.sizes[2] % 2 == 0,
            "WIDE": form.samples * form.run * max(sizes, outs) > grids.NARROW,
            "NEAR": rows <= (blocks[2] if form.last else blocks[1]),
            "ROWS": rows,
            "COLS": cols,
        },
    )
