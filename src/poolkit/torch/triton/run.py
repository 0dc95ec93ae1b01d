"""Launches of the loops: a kernel's arguments from tensors, a grid and a core."""

# The arguments of kernels have no types.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from poolkit.torch.triton import codes
from poolkit.torch.triton import grid as grids
from poolkit.torch.triton.back import back
from poolkit.torch.triton.filters import products
from poolkit.torch.triton.fold import fold
from poolkit.torch.triton.grid import MOST_WRITTEN_OUT, launch, power_of_two
from poolkit.torch.triton.merge import merge
from poolkit.torch.triton.moments import moments
from poolkit.torch.triton.small import run_blocks, run_small, serves, serves_back
from poolkit.torch.triton.split import split
from poolkit.torch.triton.task import common, functions, none_of
from poolkit.torch.triton.whole import locate, whole

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.torch.triton.cores import Core
    from poolkit.torch.triton.task import Task

# Programs that keep a large GPU busy, and taps that are worth a program of their own.
BUSY, WORTH = 1024, 8192
MOST_PIECES = 128
# The same of loops over the taps of a tile of windows.
FEW, LONG = 128, 512


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
    """The forward pass: `fold`, or what is quicker for these windows."""
    grid, form = task.grid, task.form
    like = next(t for t in (y, first, second, offsets, indices) if t is not None)
    results = (y, offsets, indices, first, second)
    joins = core.lanes is not None
    if joins and carry_mode != codes.WEIGHTS and _merges(task, like):
        return _run_merge(task, x, core, divide, like, results, carry, carry_mode, rest)
    if serves(task, core, carry_mode):
        return run_small(task, x, core, divide, results, carry, rest)
    if joins and grid.taps >= 2 * LONG and common(task, like, inputs=False)[-1] < FEW:
        return _run_split(task, x, core, divide, like, results, carry, carry_mode, rest, weights)
    core = core.twice or core
    rows, cols, total, columns, wide, near, programs = common(task, like, inputs=False)
    launch(
        fold,
        programs,
        *(x, carry, y, offsets, indices, first, second, task.extra, task.starts),
        *(columns, 1, grid.sizes, grid.outs, total, form.run, form.channels, math.prod(grid.sizes) * form.run),
        *(task.places, grid.sides, rest, weights),
        like=x,
        exact=core.exact,
        **functions(core),
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


def _merges(task: Task, like: Tensor) -> bool:
    """Whether windows go to `merge`: whole planes, and long lines where `fold` would be slow.

    It would be where its lanes, which are outputs, lie a line apart, or where there are few of them.
    """
    grid = task.grid
    block = grid.block
    if block is None or grid.whole:
        return block is not None
    programs = common(task, like, inputs=False)[-1]
    return grid.taps > MOST_WRITTEN_OUT and (block[2] * task.form.run == 1 or programs < BUSY)


def _run_merge(
    task: Task,
    x: Tensor,
    core: Core,
    divide: int,
    like: Tensor,
    results: tuple[Tensor | None, ...],
    carry: Tensor | None,
    carry_mode: int,
    rest: int,
) -> None:
    y, offsets, indices, first, second = results
    if indices is not None and not task.grid.whole:
        # The kernel knows numbers of taps, but places of whole planes only.
        assert first is None
        first = task.room(x, torch.int32)
        _run_merge(task, x, core, divide, like, (y, None, None, first, second), carry, carry_mode, rest)
        return run_locate(task, first, offsets, indices)
    block = task.grid.block
    assert block is not None
    outer, size, inner = block
    samples, run = task.form.samples * outer, task.form.run * inner
    last = run > 1
    if last:
        cols = min(power_of_two(run), 32)
        rows, columns = max(grids.TILE_BYTES * 2 // like.element_size() // cols, 1), -(-run // cols)
        rows, blocks = min(rows, power_of_two(size)), samples * columns
    else:
        cols = min(power_of_two(size), max(grids.TILE_BYTES * 2 // like.element_size(), 1))
        rows, columns = max(grids.TILE_BYTES // like.element_size() // cols, 1), 1
        rows = min(rows, power_of_two(samples))
        blocks = -(-samples // rows)
    if blocks == 0:
        return None
    pieces = min(-(-BUSY // blocks), -(-size // WORTH), MOST_PIECES)
    # Where a plane begins at 16 bytes, its pieces do, too.
    piece = -(-size // pieces // 16) * 16 if pieces > 1 else size
    pieces = -(-size // piece)
    planes = samples * run
    parts: tuple[Tensor | None, ...] = (None,) * 4
    if pieces > 1:
        parts = _parts(task, x, core, core.passes * planes * pieces)
    padded = math.prod(line.padded for line in task.grid.lines if line.whole)
    nothing = (None,) * 5
    # Of the joins, lanes are the pieces.
    span = power_of_two(pieces)
    join = (span, cols) if last else (rows, span)
    stages = [(codes.PIECE, done, (rows, cols)) for done in range(core.passes)] + [(codes.JOIN, core.passes, join)]
    for stage, done, tile in stages if pieces > 1 else [(codes.WHOLE, 0, (rows, cols))]:
        launch(
            merge,
            blocks * (pieces if stage == codes.PIECE else 1),
            *(x, carry, *(nothing if stage == codes.PIECE else results), task.extra, *parts),
            *(planes, run, size, piece, pieces, columns, padded, rest),
            like=x,
            **functions(core),
            JOIN_LANES=core.lanes,
            LOOK=core.look,
            DIVIDE=divide,
            CARRY=carry_mode,
            EXTRA=task.extra_mode,
            PARAMS=tuple(task.params),
            ACC=task.acc,
            NONE=none_of(offsets),
            LAST=last,
            STAGE=stage,
            DONE=done,
            SPAN=span,
            ROWS=tile[0],
            COLS=tile[1],
        )
    return None


def _run_split(
    task: Task,
    x: Tensor,
    core: Core,
    divide: int,
    like: Tensor,
    results: tuple[Tensor | None, ...],
    carry: Tensor | None,
    carry_mode: int,
    rest: int,
    weights: int,
) -> None:
    """As `fold`, with the taps of few large windows cut into pieces."""
    grid, form = task.grid, task.form
    rows, cols, total, columns, wide, near, programs = common(task, like, inputs=False)
    if programs == 0:
        return
    pieces = min(-(-BUSY // programs), grid.taps // LONG, MOST_PIECES)
    piece = -(-grid.taps // pieces)
    pieces = -(-grid.taps // piece)
    outputs = form.samples * math.prod(grid.outs) * form.run
    parts = _parts(task, x, core, outputs * (pieces + 1))
    span = power_of_two(pieces)
    # A join has its pieces in the lanes, and tiles of one output beside each other.
    lanes = form.run if form.last else grid.outs[2]
    few = min(power_of_two(total), max(grids.TILE_BYTES // like.element_size() // span, 1))
    joins = (few, 1, lanes, few <= grid.outs[2 if form.last else 1], -(-total // few) * lanes)
    for number in range(core.passes):
        for stage, tile in ((codes.PIECE, (rows, cols, columns, near, programs * pieces)), (codes.JOIN, joins)):
            rows_, cols_, columns_, near_, programs_ = tile
            launch(
                split,
                programs_,
                *(x, carry, *results, task.extra, task.starts, *parts),
                *(columns_, 1, grid.sizes, grid.outs, total, form.run, form.channels, math.prod(grid.sizes) * form.run),
                *(task.places, grid.sides, rest, weights, outputs, piece, pieces),
                like=x,
                **functions(core),
                JOIN_LANES=core.lanes,
                LOOK=core.look,
                AXES=tuple(line.axis for line in grid.lines),
                DIVIDE=divide,
                CARRY=carry_mode,
                EXTRA=task.extra_mode,
                PARAMS=tuple(task.params),
                ACC=task.acc,
                NONE=none_of(results[1]),
                LAST=form.last,
                WIDE=wide,
                NEAR=near_,
                STAGE=stage,
                PASS=number,
                SPAN=span,
                ROWS=rows_,
                COLS=cols_,
            )


def _parts(task: Task, x: Tensor, core: Core, number: int) -> tuple[Tensor, ...]:
    """Room for so many states."""
    second = torch.int32 if core.identity.__name__ == "lowest" else task.dtype
    return tuple(x.new_empty(number, dtype=kind) for kind in (task.dtype, second, task.dtype, task.dtype))


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
    if alone and serves_back(task, slope):
        return run_blocks(task, dy, dx, slope, divide, x, y, a, chosen)
    rows, cols, total, columns, wide, near, programs = common(task, dx, inputs=True)
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
    return None


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
    rows, cols, total, columns, wide, near, programs = common(task, x, inputs=False)
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
    rows, cols, total, columns, wide, near, programs = common(task, numbers, inputs=False)
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


def run_moments(
    task: Task,
    mean: Tensor,
    variance: Tensor,
    *,
    root: bool,
    y: Tensor | None = None,
    dy: Tensor | None = None,
    factor: Tensor | None = None,
    shift: Tensor | None = None,
) -> None:
    """Outputs or gradients from windows' moments."""
    grid, form = task.grid, task.form
    rows, cols, total, columns, wide, near, programs = common(task, mean, inputs=False)
    launch(
        moments,
        programs,
        *(mean, variance, y, dy, factor, shift, task.starts),
        *(columns, 1, grid.sizes, grid.outs, total, form.run, form.channels, task.places),
        like=mean,
        ROOT=root,
        AXES=tuple(line.axis for line in grid.lines),
        PARAMS=tuple(task.params),
        LAST=form.last,
        WIDE=wide,
        NEAR=near,
        ROWS=rows,
        COLS=cols,
    )


def run_products(task: Task, x: Tensor, dy: Tensor, dextra: Tensor) -> None:
    """The gradient of a filter's weights, ``[planes, weights]``."""
    grid, form = task.grid, task.form
    cells, places, planes, taps = math.prod(grid.sizes), math.prod(grid.outs), form.samples * form.run, dextra.shape[1]
    numbers = grids.TILE_BYTES * 2 // dy.element_size()
    if form.last:
        cols = min(power_of_two(form.run), 32)
        rows, columns = min(max(numbers // cols, 1), power_of_two(places)), -(-form.run // cols)
        pieces, blocks = -(-places // rows), form.samples * columns
    else:
        cols = min(power_of_two(places), numbers)
        rows, columns = min(max(numbers // cols, 1), power_of_two(planes)), 1
        pieces, blocks = -(-places // cols), -(-planes // rows)
    sums = x.new_empty((pieces, taps, planes), dtype=task.dtype)
    launch(
        products,
        blocks * pieces,
        *(x, dy, sums, task.starts, planes, form.run, cells, places, pieces, columns, taps),
        *(grid.sizes, grid.outs, task.places),
        like=x,
        AXES=tuple(line.axis for line in grid.lines),
        ACC=task.acc,
        LAST=form.last,
        ROWS=rows,
        COLS=cols,
    )
    dextra.copy_(sums.sum(0).T)
