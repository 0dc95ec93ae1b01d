"""Large windows axis by axis: the cost grows with the sum of a window's sides, not with their product.

Every axis is a pooling of its own, from the last one to the first, and what goes on to the next is the state, never
the rounded output. Backward, the axes are differentiated in turn, from the first one to the last; what the passes in
between had found is found again, since nobody kept it.
"""

# The arguments of kernels have no types.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from poolkit.torch.triton import back, cores, locals  # noqa: A004  as csrc/locals.hpp
from poolkit.torch.triton.codes import ALONE, FIXED, LEVEL, NO_EXTRA, NUMBERS, UNDIVIDED, VALUES
from poolkit.torch.triton.grid import MOST_WRITTEN_OUT, Grid
from poolkit.torch.triton.run import run_back, run_fold, run_locate, run_moments

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.torch.triton.task import Task

CHOOSING = (cores.MAX, cores.MIN, cores.SIZE)
SEPARABLE = (*CHOOSING, cores.SUM, cores.NORM, cores.CLAMPED, cores.LOG_SUM_EXP, cores.SOFT, locals.MIXED)
# Those that carry float64 along, which some of Intel's GPUs do not have.
WIDENED = (locals.VAR, locals.STD)


class Step(NamedTuple):
    """What a pass over one axis found: its values, and for Soft also the logits."""

    values: Tensor
    logits: Tensor | None = None


def by_axis_pays(grid: Grid, core: Any, device: torch.device) -> bool:
    """Whether a window is large, and its core one that can be carried from axis to axis."""
    carried = core in SEPARABLE or (core in WIDENED and device.type != "xpu")
    return carried and not grid.whole and grid.taps > MOST_WRITTEN_OUT and len(grid.pooled) > 1


def axes_of(grid: Grid) -> list[int]:
    """The axes that passes go over, the last one first."""
    return [i for i in (2, 1, 0) if grid.lines[i].side > 1 or grid.lines[i].size != grid.lines[i].out]


def tasks_of(task: Task) -> list[Task]:
    """A task for each pass; windows of all axes that come later are of single cells."""
    sizes = list(task.grid.sizes)
    tasks: list[Task] = []
    for axis in axes_of(task.grid):
        tasks.append(task.on(task.grid.along(axis, tuple(sizes))))
        sizes[axis] = task.grid.lines[axis].out
    return tasks


def rest_of(grid: Grid, axis: int) -> int:
    """What an axis' tap number counts in, in a number of the whole window."""
    return math.prod(grid.sides[axis + 1 :])


def forward(
    task: Task,
    x: Tensor,
    core: Any,
    divide: int,
    y: Tensor | None,
    offsets: Tensor | None,
    indices: Tensor | None,
    lse: Tensor | None,
) -> None:
    """The forward pass."""
    if core in CHOOSING:
        return _choose(task, x, core, y, offsets, indices)
    if core == locals.MIXED:
        return _mix(task, x, y=y)
    if core in WIDENED:
        return _spread(task, x, core, y)
    *early, last = tasks_of(task)
    step = steps(early, x, core, divide)[-1] if early else Step(x)
    if core == cores.SOFT and step.logits is not None:
        run_fold(last, step.logits, cores.CARRIED_SOFT, y=y, first=lse, carry=step.values, carry_mode=VALUES)
        return None
    run_fold(last, step.values, after(core) if early else core, divide=divide, y=y, first=lse)
    return None


def after(core: Any) -> Any:
    """The core of a pass over what that core gave: cells are not clamped twice."""
    return cores.NORM if core == cores.CLAMPED else core


def steps(passes: list[Task], x: Tensor, core: Any, divide: int) -> list[Step]:
    """What each of these passes gives."""
    found: list[Step] = []
    for each in passes:
        values = each.room(x)
        if core != cores.SOFT:
            given = found[-1].values if found else x
            # A divisor that is given divides once, in the last pass.
            by = UNDIVIDED if divide == FIXED else divide
            run_fold(each, given, after(core) if found else core, divide=by, y=values)
            found.append(Step(values))
            continue
        logits = each.room(x)
        if found:
            before = found[-1]
            assert before.logits is not None
            run_fold(
                each,
                before.logits,
                cores.CARRIED_SOFT,
                first=logits,
                second=values,
                carry=before.values,
                carry_mode=VALUES,
            )
        else:
            run_fold(each, x, core, first=logits, second=values)
        found.append(Step(values, logits))
    return found


def _choose(task: Task, x: Tensor, core: Any, y: Tensor | None, offsets: Tensor | None, indices: Tensor | None) -> None:
    """Extremes with the places that each axis found."""
    grid, passes = task.grid, tasks_of(task)
    wanted = offsets is not None or indices is not None
    values, numbers = x, None
    for axis, each in zip(axes_of(grid), passes, strict=True):
        final = each is passes[-1]
        own = each.room(x, torch.int32) if wanted and not (final and indices is None) else None
        to = y if final else each.room(x, x.dtype)
        run_fold(
            each,
            values,
            core,
            y=to,
            first=own,
            offsets=offsets if final and indices is None else None,
            carry=numbers,
            carry_mode=NUMBERS if numbers is not None else ALONE,
            rest=rest_of(grid, axis),
        )
        assert to is not None
        values, numbers = to, own
        core = cores.MAX if core == cores.SIZE else core
    if indices is not None:
        assert numbers is not None
        run_locate(task, numbers, offsets, indices)


def _mix(task: Task, x: Tensor, *, y: Tensor | None = None, lead: Tensor | None = None) -> None:
    """Mixed: the largest cell and the mean side by side, mixed at the end; and how far the one is above the other."""
    *early, last = tasks_of(task)
    largest, mean = x, None
    for each in early:
        tops, means = each.room(x), each.room(x)
        # Only outputs have weights.
        bare = each.on(each.grid, extra=None, extra_mode=NO_EXTRA)
        core = locals.SIDES if mean is None else locals.CARRIED_SIDES
        mode = ALONE if mean is None else VALUES
        run_fold(bare, largest, core, first=tops, second=means, carry=mean, carry_mode=mode)
        largest, mean = tops, means
    run_fold(last, largest, locals.CARRIED_MIXED, y=y, second=lead, carry=mean, carry_mode=VALUES)


def _lines(passes: list[Task], x: Tensor) -> tuple[Tensor, Tensor]:
    """Means, in float64, and variances of what these passes take together."""
    mean, variance = x, None
    for each in passes:
        means, variances = each.room(x, torch.float64), each.room(x)
        core = locals.LINE if variance is None else locals.CARRIED_LINE
        mode = ALONE if variance is None else VALUES
        run_fold(each, mean, core, y=means, first=variances, carry=variance, carry_mode=mode)
        mean, variance = means, variances
    assert variance is not None
    return mean, variance


def _widened(passes: list[Task]) -> list[Task]:
    """After the first one they compute in float64."""
    return [each if each is passes[0] else each.on(each.grid, wide=True) for each in passes]


def _spread(task: Task, x: Tensor, core: Any, y: Tensor | None) -> None:
    """Var, Std: the variance of lines' means and the mean of their variances."""
    *early, last = _widened(tasks_of(task))
    cells, unbiased = task.grid.taps, bool(task.params.mode)
    if unbiased and not task.grid.full:
        run_moments(task, *_lines([*early, last], x), root=core == locals.STD, y=y)
        return
    up = cells / (cells - 1) if unbiased else 1.0
    last = last.on(last.grid, params=task.params._replace(level=up), extra_mode=LEVEL)
    mean, variance = _lines(early, x)
    final = locals.CARRIED_STD if core == locals.STD else locals.CARRIED_VAR
    run_fold(last, mean, final, y=y, carry=variance, carry_mode=VALUES)


def backward(
    task: Task,
    dy: Tensor,
    dx: Tensor,
    core: Any,
    slope: Any,
    divide: int,
    x: Tensor | None,
    y: Tensor | None,
    chosen: Tensor | None,
    dextra: Tensor | None = None,
) -> None:
    """The backward pass; `dextra` takes what each output changes with its own number."""
    if chosen is not None:
        return _route(task, dy, dx, slope, x, chosen)
    passes = tasks_of(task)
    if core == cores.SUM:
        for each in reversed(passes):
            final = each is passes[0]
            to = dx if final else each.room(dy, inputs=True)
            run_back(each, dy, to, slope, divide=divide)
            dy, divide = to, UNDIVIDED if divide == FIXED else divide
        return None
    assert x is not None
    if core == cores.SOFT:
        return _soft(passes, dy, dx, x)
    if core == locals.MIXED:
        return _mixed(task, dy, dx, x, dextra)
    if core in WIDENED:
        return _spread_back(task, dy, dx, x, core)
    logs = core == cores.LOG_SUM_EXP
    found = steps(passes if logs else passes[:-1], x, core, divide)
    for k in range(len(passes) - 1, -1, -1):
        each, given = passes[k], found[k - 1].values if k else x
        own: Any = slope if k == 0 or slope is not back.mean_slope else back.norm_slope
        to = dx if k == 0 else each.room(dy, inputs=True)
        totals = None
        if logs:
            totals = each.room(dy)
            run_fold(each, given, core, first=totals)
        value = found[k].values if k < len(found) else y
        run_back(each, dy, to, own, divide=divide, x=given, y=None if logs else value, a=totals)
        dy = to
    return None


def _soft(passes: list[Task], dy: Tensor, dx: Tensor, x: Tensor) -> None:
    found = steps(passes, x, cores.SOFT, UNDIVIDED)
    second = None
    for k in range(len(passes) - 1, 0, -1):
        each, given, mine = passes[k], found[k - 1], found[k]
        to, more = each.room(dy, inputs=True), each.room(dy, inputs=True)
        run_back(
            each,
            dy,
            to,
            back.carried_soft_slope,
            dy2=second,
            dx2=more,
            x=given.logits,
            carry=given.values,
            y=mine.values,
            a=mine.logits,
        )
        dy, second = to, more
    run_back(passes[0], dy, dx, back.soft_slope, dy2=second, x=x, y=found[0].values, a=found[0].logits)


def _route(task: Task, dy: Tensor, dx: Tensor, slope: Any, x: Tensor | None, chosen: Tensor) -> None:
    """Axis by axis to the chosen taps: all windows that chose a line chose the same cell of it."""
    grid, passes = task.grid, tasks_of(task)
    for axis, each in zip(reversed(axes_of(grid)), reversed(passes), strict=True):
        final = each is passes[0]
        to = dx if final else each.room(dy, inputs=True)
        places = None if final else each.room(dy, torch.int32, inputs=True)
        run_back(
            each,
            dy,
            to,
            slope if final else back.select_slope,
            places=places,
            x=x if final else None,
            chosen=chosen,
            rest=rest_of(grid, axis),
        )
        if places is not None:
            dy, chosen = to, places


def _mixed(task: Task, dy: Tensor, dx: Tensor, x: Tensor, dextra: Tensor | None) -> None:
    """Mixed: the maximum's share goes to the chosen taps while the mean's is shared out, axis by axis."""
    if dextra is not None:
        _mix(task, x, lead=dextra)
    grid, passes = task.grid, tasks_of(task)
    values, chosen = x, None
    for axis, each in zip(axes_of(grid), passes, strict=True):
        bare = each.on(each.grid, extra=None, extra_mode=NO_EXTRA)
        own, to = each.room(x, torch.int32), None if each is passes[-1] else each.room(x, x.dtype)
        mode = ALONE if chosen is None else NUMBERS
        run_fold(bare, values, cores.MAX, y=to, first=own, carry=chosen, carry_mode=mode, rest=rest_of(grid, axis))
        values, chosen = values if to is None else to, own
    second, slope = None, back.mixed_sides_slope
    for axis, each in zip(reversed(axes_of(grid)), reversed(passes), strict=True):
        final = each is passes[0]
        to = dx if final else each.room(dy, inputs=True)
        more, places = (None, None) if final else (each.room(dy, inputs=True), each.room(dy, torch.int32, inputs=True))
        bare = each if second is None else each.on(each.grid, extra=None, extra_mode=NO_EXTRA)
        run_back(
            bare,
            dy,
            to,
            back.joined_sides_slope if final else slope,
            dy2=second,
            dx2=more,
            places=places,
            chosen=chosen,
            rest=rest_of(grid, axis),
        )
        dy, second, chosen, slope = to, more, places, back.sides_slope


def _spread_back(task: Task, dy: Tensor, dx: Tensor, x: Tensor, core: Any) -> None:
    """Var, Std: a cell takes ``factor x - shift`` of its windows; both are summed up axis by axis, in float64."""
    passes = _widened(tasks_of(task))
    mean, variance = _lines(passes, x)
    factor, shift = passes[-1].room(dy), passes[-1].room(dy)
    run_moments(task, mean, variance, root=core == locals.STD, dy=dy, factor=factor, shift=shift)
    for each in reversed(passes):
        if each is passes[0]:
            wide = each.on(each.grid, wide=True)
            return run_back(wide, factor, dx, back.line_slope, dy2=shift, x=x)
        to, more = each.room(dy, inputs=True), each.room(dy, inputs=True)
        run_back(each, factor, to, back.pair_slope, dy2=shift, dx2=more)
        factor, shift = to, more
    return None
