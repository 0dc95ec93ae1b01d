"""The table of reducers, and the operators over the loops: csrc/kernels.cpp on a GPU."""

# The arguments of kernels have no types.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from poolkit.reducer import (
    RMS,
    Boltzmann,
    Filter,
    GeM,
    LogSumExp,
    Lp,
    Max,
    Mean,
    Median,
    Min,
    Mixed,
    Ordinal,
    PowerMean,
    Quantile,
    RankStochastic,
    Soft,
    Std,
    Stochastic,
    Sum,
    Var,
)
from poolkit.torch import shapes
from poolkit.torch.shapes import chooses, decode, offset_dtype, reducer_of
from poolkit.torch.triton import back, cores, locals, order, slide  # noqa: A004  as csrc/locals.hpp
from poolkit.torch.triton.codes import ALONE, EACH, FIXED, LEVEL, OWN, PADDED, SAME, TAPS, UNDIVIDED, WEIGHTS
from poolkit.torch.triton.grid import check_starts, form_of, grid_of, laid, row_starts
from poolkit.torch.triton.run import run_back, run_fold, run_products, run_whole
from poolkit.torch.triton.task import NONE, Task

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.reducer import Params, Reducer
    from poolkit.torch.shapes import Decoded

# Reducers that fold: core and slope.
FOLDS: dict[type[Reducer], tuple[Any, Any]] = {
    Max: (cores.MAX, back.select_slope),
    Min: (cores.MIN, back.select_slope),
    Sum: (cores.SUM, back.sum_slope),
    Mean: (cores.SUM, back.sum_slope),
    Lp: (cores.NORM, back.norm_slope),
    PowerMean: (cores.CLAMPED, back.mean_slope),
    RMS: (cores.NORM, back.norm_slope),
    LogSumExp: (cores.LOG_SUM_EXP, back.lse_slope),
    Soft: (cores.SOFT, back.soft_slope),
    Boltzmann: (cores.BOLTZMANN, back.boltzmann_slope),
    Mixed: (locals.MIXED, back.mixed_slope),
    Var: (locals.VAR, back.var_slope),
    Std: (locals.STD, back.std_slope),
    GeM: (locals.GEM, back.gem_slope),
    Filter: (locals.FILTER, back.filter_slope),
}
# What their backward pass finds again: y, and the number that slopes call `a`.
FINDS = (cores.LOG_SUM_EXP, cores.SOFT, cores.BOLTZMANN, locals.VAR, locals.STD, locals.GEM, locals.SHARE)
VALUED = (cores.SOFT, cores.BOLTZMANN, locals.STD, locals.GEM, locals.SHARE)


class Way(NamedTuple):
    """How a reducer is folded and differentiated."""

    core: Any
    slope: Any
    divide: int
    params: Params


def way_of(what: Decoded) -> Way | None:
    """None: the reducer looks at whole windows."""
    kind, params = reducer_of(what), what.params
    if kind is Lp and math.isinf(params.p):
        return Way(cores.SIZE, back.size_slope, UNDIVIDED, params)
    if kind is Stochastic:
        if params.sample:
            return Way(locals.DRAW, back.select_slope, UNDIVIDED, params)
        if params.mode == 1:
            return Way(cores.SOFT, back.soft_slope, UNDIVIDED, params)
        return Way(locals.SHARE, back.share_slope, UNDIVIDED, params)
    if kind not in FOLDS:
        return None
    divide = UNDIVIDED
    if kind is Mean:
        divide = FIXED if params.divisor else PADDED if params.include_pad else TAPS
    elif kind in (PowerMean, RMS) or (kind is LogSumExp and params.mean):
        divide = TAPS
    if kind is RMS:
        params = params._replace(p=2.0)
    return Way(*FOLDS[kind], divide, params)


def _task(
    x: Tensor, plan: str, starts: Tensor | None, extra: Tensor | None, outs: tuple[int, ...], last: bool | None = None
) -> Task:
    what, grid = decode(plan), grid_of(plan)
    form = form_of(x, grid.rank, last)
    starts = check_starts(grid, starts, math.prod(form.shape))
    shapes.check_extra(extra, plan, (*form.shape, *outs))
    way = way_of(what)
    wide = x.dtype == torch.float64
    task = Task(grid, form, starts, row_starts(grid, starts), (way or what).params, wide)
    kind = reducer_of(what)
    if kind.extra == "kernel":
        shapes.require(extra is not None, "extra: this reducer needs it")
        assert extra is not None
        return task.on(grid, extra=extra.contiguous())
    if kind.extra == "none":
        return task
    if extra is None:
        shapes.require(kind not in (Boltzmann, GeM) and not what.params.sample, "extra: this reducer needs it")
        return task.on(grid, extra_mode=LEVEL)
    if not any(extra.stride()):
        return task.on(grid, extra=extra, extra_mode=SAME)
    return task.on(grid, extra=laid(extra, grid.rank, form.last), extra_mode=EACH)


def _check_devices(x: Tensor, *others: Tensor | None) -> None:
    for other in others:
        shapes.require(other is None or other.device == x.device, "all tensors of a call must be on one device")


def forward(
    x: Tensor,
    plan: str,
    starts: Tensor | None,
    extra: Tensor | None,
    wanted: tuple[torch.dtype | None, ...],
) -> tuple[Tensor, ...]:
    """y, then offsets or indices of the dtypes wanted; None stands for lse."""
    _check_devices(x, starts, extra)
    results = shapes.outputs(x, plan, *wanted)
    what = decode(plan)
    task = _task(x, plan, starts, extra, what.outs)
    if results[0].numel() == 0:
        return tuple(results)
    x = laid(x, what.rank, task.form.last)
    named = dict(zip(wanted, results[1:], strict=True))
    lse, indices = named.pop(None, None), named.pop(torch.int64, None)
    offsets = next(iter(named.values()), None)
    shapes.require(offsets is None or task.grid.taps <= NONE[offsets.dtype], "offset_bytes: the window needs more")
    way = way_of(what)
    if way is None:
        _whole(task, x, what, results[0], offsets, indices)
    elif slide.by_axis_pays(task.grid, way.core, x.device):
        divide = way.divide
        if lse is not None and divide != UNDIVIDED:
            # The mean's chain does not hold the sum's logarithm.
            slide.forward(task, x, way.core, UNDIVIDED, None, None, None, lse)
            lse = None
        slide.forward(task, x, way.core, divide, results[0], offsets, indices, lse)
    else:
        mode = WEIGHTS if way.core == locals.FILTER else ALONE
        run_fold(
            task,
            x,
            way.core,
            divide=way.divide,
            y=results[0],
            offsets=offsets,
            indices=indices,
            first=lse,
            carry_mode=mode,
            weights=_per_channel(task.extra) if mode else 0,
        )
    return tuple(results)


def _per_channel(extra: Tensor | None) -> int:
    """From one channel's weights to the next one's."""
    return 0 if extra is None or extra.shape[0] == 1 else int(extra.shape[1])


def _whole(task: Task, x: Tensor, what: Decoded, y: Tensor, offsets: Tensor | None, indices: Tensor | None) -> None:
    kind, params, taps = reducer_of(what), what.params, task.grid.taps
    pairs = order.comparators(taps)
    if kind in (Median, Quantile) and chooses(kind, params):
        rank = order.at_rank(params, taps)[0] if task.grid.full else -1
        table = order.choice_table(params, taps, x.device)
        run_whole(task, x, order.rank_choice, pairs, y=y, offsets=offsets, indices=indices, table=table, rank=rank)
    elif chooses(kind, params):
        table = order.draw_table(params, taps, task.dtype, x.device)
        last = int(kind is RankStochastic)
        run_whole(task, x, order.rank_draw, pairs, y=y, offsets=offsets, indices=indices, table=table, rank=last)
    else:
        table, weights = _weights(task, kind, params, x.device)
        run_whole(task, x, order.rank_sum, pairs, y=y, table=table, weights=weights)


def _weights(task: Task, kind: type[Reducer], params: Params, device: torch.device) -> tuple[Tensor, int]:
    """The table of weights by rank, and from one channel's to the next one's."""
    taps = task.grid.taps
    if kind is not Ordinal:
        return order.rank_table(kind, params, taps, task.dtype, device), 0
    assert task.extra is not None
    extra = task.extra.to(task.dtype)
    table = torch.einsum("nrk,ck->cnr", order.shares(taps, extra.shape[1], task.dtype, device), extra).contiguous()
    return table, 0 if extra.shape[0] == 1 else (taps + 1) * taps


def backward(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    kept: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None],
    channels_last: bool,
    extra: Tensor | None,
    dextra: Tensor | None = None,
) -> Tensor:
    """The gradient of x. `dextra`, where given, takes that of weights, or each output's slope by its own number."""
    _check_devices(dy, starts, extra, *kept)
    shapes.check_kept(dy, plan, *kept)
    what = decode(plan)
    kind, rank = reducer_of(what), what.rank
    dx = shapes.input_gradient(dy, plan, channels_last)
    chosen = kept[3]
    if chosen is None:
        task = _task(dx, plan, starts, extra, what.outs, channels_last)
    else:
        task = _routing(dx, plan, starts, channels_last)
    if dx.numel() == 0:
        return dx
    dy = laid(dy, rank, channels_last)
    x, y, lse, chosen = (None if t is None else laid(t, rank, channels_last) for t in kept)
    way = way_of(what)
    if chosen is not None:
        if task.grid.whole and kind is not Lp:
            _place(dy, dx, chosen, rank)
            return dx
        slope = back.size_slope if kind is Lp else back.select_slope
        core = way.core if way is not None else None
        if slide.by_axis_pays(task.grid, core, dy.device):
            slide.backward(task, dy, dx, core, slope, 0, x, y, chosen)
        else:
            run_back(task, dy, dx, slope, x=x if kind is Lp else None, chosen=chosen)
        return dx
    if way is None:
        _by_rank(task, dy, dx, x, kind, what.params)
        return dx
    if slide.by_axis_pays(task.grid, way.core, dy.device):
        slide.backward(task, dy, dx, way.core, way.slope, way.divide, x, y, None, dextra)
        return dx
    shapes.require(x is not None or way.core == cores.SUM, "x: the gradient of this reducer needs it")
    found = _found(task, way.core, dy, x, y, lse, dextra)
    mode = WEIGHTS if way.core == locals.FILTER else ALONE
    weights = _per_channel(task.extra) if mode else 0
    run_back(task, dy, dx, way.slope, divide=way.divide, carry_mode=mode, weights=weights, **found)
    return dx


def _found(
    task: Task, core: Any, dy: Tensor, x: Tensor | None, y: Tensor | None, lse: Tensor | None, dextra: Tensor | None
) -> dict[str, Any]:
    """What slopes look at, found again where nobody kept it; and `dextra` where it is asked for."""
    if core == cores.SUM:
        return {}
    assert x is not None
    if core == locals.FILTER:
        if dextra is not None:
            run_products(task, x, dy, dextra)
        return {}
    if core == locals.MIXED:
        number = task.room(dy, torch.int32)
        run_fold(task, x, core, first=number, second=dextra)
        return {"x": x, "chosen": number}
    if core not in FINDS or (lse is not None and (core == cores.LOG_SUM_EXP or _exact(y, task))):
        return {"x": x, "y": y, "a": lse}
    first = task.room(dy)
    # A kept output that was not rounded serves as well as a new one.
    again = core in VALUED and not (core == cores.SOFT and _exact(y, task))
    value = task.room(dy) if again else y
    beside = ALONE
    if dextra is not None and core == cores.BOLTZMANN:
        core, beside = cores.LEARNED_BOLTZMANN, OWN
    run_fold(task, x, core, y=value if again else None, first=first, second=dextra, carry_mode=beside)
    return {"x": x, "y": value, "a": first}


def _exact(y: Tensor | None, task: Task) -> bool:
    """Whether an output that was kept has all the digits of the accumulator."""
    return y is not None and y.dtype == task.dtype


def _routing(dx: Tensor, plan: str, starts: Tensor | None, channels_last: bool) -> Task:
    """Of gradients that go where offsets say: what was drawn by is of no interest any more."""
    grid = grid_of(plan)
    form = form_of(dx, grid.rank, channels_last)
    starts = check_starts(grid, starts, math.prod(form.shape))
    wide = dx.dtype == torch.float64
    return Task(grid, form, starts, row_starts(grid, starts), decode(plan).params, wide)


def _place(dy: Tensor, dx: Tensor, chosen: Tensor, rank: int) -> None:
    """Where a window is all of a plane, the number of its tap is the place: zeros, and one cell of each plane."""
    number, flat = chosen.flatten(-rank).to(torch.int64), dx.zero_().view(*dx.shape[:-rank], -1)
    if chosen.dtype == torch.int16:
        number = number & NONE[chosen.dtype]
    # None, or a wrong one, which leads nowhere.
    none = (number < 0) | (number >= flat.shape[-1])
    flat.scatter_(-1, number.masked_fill(none, 0), dy.flatten(-rank).masked_fill(none, 0))


def _by_rank(task: Task, dy: Tensor, dx: Tensor, x: Tensor | None, kind: type[Reducer], params: Params) -> None:
    """The rank of every tap in its window, one byte each; then each cell gathers the weights of its ranks."""
    shapes.require(x is not None, "x: the gradient of this reducer needs it")
    assert x is not None
    taps = task.grid.taps
    ranks = dy.new_empty(taps * dy.numel(), dtype=torch.uint8)
    run_whole(task, x, order.rank_sum, (), ranks=ranks)
    table, weights = _weights(task, kind, params, dy.device)
    run_back(task, dy, dx, back.rank_slope, ranks=ranks, table=table, weights=weights)


# The operators: ops.SCHEMAS.


def pool(x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
    """y."""
    return forward(x, plan, starts, extra, ())[0]


def pool_with_offsets(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    """y and offsets."""
    return forward(x, plan, starts, extra, (offset_dtype(offset_bytes),))


def pool_with_indices(
    x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    """y and plane positions."""
    return forward(x, plan, starts, extra, (torch.int64,))


def pool_with_offsets_and_indices(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    """All three."""
    return forward(x, plan, starts, extra, (offset_dtype(offset_bytes), torch.int64))


def pool_with_lse(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    """y and the logarithm of the sum of exponentials."""
    return forward(x, plan, starts, None, (None,))


def pool_backward(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    lse: Tensor | None,
    offsets: Tensor | None,
    channels_last: bool,
    extra: Tensor | None = None,
) -> Tensor:
    """The gradient of x."""
    return backward(dy, plan, starts, (x, y, lse, offsets), channels_last, extra)


def pool_backward_extra(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    lse: Tensor | None,
    offsets: Tensor | None,
    channels_last: bool,
    extra: Tensor,
) -> tuple[Tensor, Tensor]:
    """The gradients of x and of the array beside it."""
    dextra = shapes.extra_gradient(dy, plan, channels_last, extra)
    dx = backward(dy, plan, starts, (x, y, lse, offsets), channels_last, extra, dextra)
    if shapes.per_output(plan):
        # Kernels gave what an output changes with its own number.
        dextra.mul_(dy)
    return dx, dextra
