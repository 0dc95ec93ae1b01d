"""The registered operators as compositions of torch's own: one function for each, of its signature.

`pool`, `pool_with_offsets`, `pool_with_indices`, `pool_with_offsets_and_indices` and `pool_with_lse` are what
``torch.ops.poolkit.*`` of these names decompose into, and torch can differentiate them; `pool_backward`,
`pool_backward_extra`, `unpool` and `unpool_backward` are the others.
"""

# ruff: noqa: D103  one function for each operator, described in ops.SCHEMAS
from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from poolkit.reducer import REDUCERS, RMS, LogSumExp, Lp, Max, Mean, Min, PowerMean, Soft, Sum
from poolkit.torch.composite import folds, whole
from poolkit.torch.composite.block import Block
from poolkit.torch.composite.windows import Windows, ravel, split, unravel, windows_of
from poolkit.torch.shapes import (
    Decoded,
    check_extra,
    check_kept,
    chooses,
    decode,
    is_channels_last,
    lead_of,
    offset_dtype,
    output_dtype,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Outcome(NamedTuple):
    """What pooling gives, in the accumulator's dtype."""

    y: Tensor
    taps: list[Tensor] | None = None  # of the chosen cells, their numbers along the axes
    none: Tensor | None = None  # where no cell was chosen
    lse: Tensor | None = None


def _wide(x: Tensor) -> Tensor:
    """In the dtype that the kernels accumulate in."""
    if not x.is_floating_point():
        return x.long()
    return x if x.dtype == torch.float64 else x.float()


def _pooled(x: Tensor, plan: str, starts: Tensor | None, extra: Tensor | None) -> tuple[Outcome, Windows]:
    what = decode(plan)
    lead = lead_of(x, what.rank, what.sizes, "x")
    output_dtype(what.reducer, x.dtype)
    check_extra(extra, plan, (*lead, *what.outs))
    windows = windows_of(plan, starts, lead, x.device)
    return _reduce(windows, _wide(x), what, extra), windows


def _reduce(windows: Windows, x: Tensor, what: Decoded, extra: Tensor | None) -> Outcome:
    kind, params = REDUCERS[what.reducer], what.params
    if kind in (Max, Min):
        return Outcome(*folds.extreme(windows, x, largest=kind is Max))
    if kind is Sum:
        return Outcome(folds.total(windows, x))
    if kind is Mean:
        return Outcome(_quotient(folds.total(windows, x), _divisor(windows, what)))
    if kind is Lp and math.isinf(params.p):
        return Outcome(*folds.extreme(windows, x.abs(), largest=True))
    if kind is Lp:
        return Outcome(folds.norm(windows, x.abs(), params.p, mean=False))
    if kind is PowerMean:
        return Outcome(folds.norm(windows, x.clamp(min=params.eps), params.p, mean=True))
    if kind is RMS:
        return Outcome(folds.norm(windows, x.abs(), 2, mean=True))
    if kind is LogSumExp:
        shift, total = folds.log_sum_exp(windows, x * params.beta)
        lse = shift + total.log()
        # Divided before the logarithm: two logarithms would cancel each other's digits.
        y = shift + (total / windows.counts()).log() if params.mean else lse
        return Outcome(y / params.beta, lse=lse)
    if kind is Soft:
        y, lse = folds.soft(windows, x, params.beta)
        return Outcome(y, lse=lse)
    block = Block(windows, windows.unfold(x), what, extra)
    if not chooses(kind, params):
        return Outcome(whole.value(block))
    y, tap, none = whole.choose(block)
    return Outcome(y, unravel(tap, windows.box), none)


def _divisor(windows: Windows, what: Decoded) -> Tensor | int:
    return int(what.params.divisor) or windows.counts(padded=bool(what.params.include_pad))


def _quotient(total: Tensor, divisor: Tensor | int) -> Tensor:
    if total.is_floating_point():
        return total / divisor
    whole = torch.div(total, divisor, rounding_mode="floor")
    twice = 2 * (total - whole * divisor)  # ties go to the even number
    return whole + ((twice > divisor) | ((twice == divisor) & (whole % 2 == 1)))


def _laid(t: Tensor, dtype: torch.dtype, rank: int, channels_last: bool) -> Tensor:
    """Of this dtype, in the memory layout that the operators promise."""
    t = t.to(dtype)
    if channels_last:
        return t.movedim(-rank - 1, -1).contiguous().movedim(-1, -rank - 1)
    return t.contiguous()


def _results(
    x: Tensor, plan: str, starts: Tensor | None, extra: Tensor | None, *wanted: torch.dtype | None
) -> tuple[Tensor, ...]:
    """y, then offsets or indices of the dtypes wanted; None stands for lse."""
    what = decode(plan)
    require(None in wanted or not wanted or chooses(REDUCERS[what.reducer], what.params), "no element is chosen")
    outcome, windows = _pooled(x, plan, starts, extra)
    results = [(outcome.y, output_dtype(what.reducer, x.dtype))]
    for dtype in wanted:
        if dtype is None:
            require(outcome.lse is not None, "only LogSumExp and Soft have lse")
            assert outcome.lse is not None
            results.append((outcome.lse, outcome.lse.dtype))
        elif dtype == torch.int64:
            results.append((_indices(outcome, windows), dtype))
        else:
            results.append((_offsets(outcome, windows, dtype), dtype))
    last = is_channels_last(x, what.rank)
    return tuple(_laid(t, dtype, what.rank, last) for t, dtype in results)


def _indices(outcome: Outcome, windows: Windows) -> Tensor:
    assert outcome.taps is not None
    taps = outcome.taps
    if outcome.none is not None:
        taps = [torch.where(outcome.none, 0, tap) for tap in taps]
    return windows.place(taps)


# The largest number of each dtype of offsets, which stands for no cell at all; two bytes are read without a sign.
_NONE = {torch.uint8: 2**8 - 1, torch.int16: 2**16 - 1, torch.int32: 2**31 - 1}


def _offsets(outcome: Outcome, windows: Windows, dtype: torch.dtype) -> Tensor:
    assert outcome.taps is not None
    require(math.prod(windows.box) <= _NONE[dtype], "offset_bytes: the window needs more")
    offsets = ravel(outcome.taps, windows.box)
    if outcome.none is not None:
        offsets = torch.where(outcome.none, _NONE[dtype], offsets)
    return torch.where(offsets >= 2**15, offsets - 2**16, offsets) if dtype == torch.int16 else offsets


def pool(x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
    return _results(x, plan, starts, extra)[0]


def pool_with_offsets(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    return _results(x, plan, starts, extra, offset_dtype(offset_bytes))


def pool_with_indices(
    x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    return _results(x, plan, starts, extra, torch.int64)


def pool_with_offsets_and_indices(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    return _results(x, plan, starts, extra, offset_dtype(offset_bytes), torch.int64)


def pool_with_lse(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return _results(x, plan, starts, None, None)


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
    dx, _ = _gradients(dy, plan, starts, (x, y, lse, offsets), extra)
    return _laid(dx, dy.dtype, decode(plan).rank, channels_last)


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
    dx, dextra = _gradients(dy, plan, starts, (x, y, lse, offsets), extra)
    require(dextra is not None, "extra: this reducer takes none")
    assert dextra is not None
    rank = decode(plan).rank
    if dextra.dim() == dy.dim():
        dextra = _laid(dextra, extra.dtype, rank, channels_last)
    return _laid(dx, dy.dtype, rank, channels_last), dextra.to(extra.dtype)


def _gradients(
    dy: Tensor, plan: str, starts: Tensor | None, kept: tuple[Tensor | None, ...], extra: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Of x and of the array beside it, in the accumulator's dtype."""
    what = decode(plan)
    x, y, lse, offsets = kept
    lead = check_kept(dy, plan, x, y, lse, offsets)
    windows = windows_of(plan, starts, lead, dy.device)
    kind, dy = REDUCERS[what.reducer], _wide(dy)
    if offsets is not None:
        dx = _routed(windows, dy, offsets)
        return (dx * _wide(x).sign() if kind is Lp and x is not None else dx), None
    if kind in (Sum, Mean):
        return folds.spread_total(windows, dy / _divisor(windows, what) if kind is Mean else dy), None
    require(x is not None, "x: the gradient of this reducer needs it")
    assert x is not None
    cells = windows.unfold(_wide(x))
    if kind.core == "whole":
        slopes, by_extra = whole.slopes(Block(windows, cells, what, extra), dy)
        if by_extra is not None and kind.extra == "outputs":
            by_extra = dy * by_extra
        return windows.fold(dy.unsqueeze(-1) * slopes), by_extra
    if lse is None and kind.core == "softmax":
        top, total = folds.log_sum_exp(windows, _wide(x) * what.params.beta)
        lse = top + total.log()
    return windows.fold(dy.unsqueeze(-1) * _slopes(windows, cells, what, y, lse)), None


def _slopes(windows: Windows, cells: Tensor, what: Decoded, y: Tensor | None, lse: Tensor | None) -> Tensor:
    kind, params = REDUCERS[what.reducer], what.params
    if kind is LogSumExp:
        return folds.soft_slopes(cells, None, _given(lse, "lse"), params.beta)
    y = _wide(_given(y, "y"))
    if kind is Lp:
        slopes = cells.sign() * folds.norm_slopes(cells.abs(), y, params.p, 1)
        return torch.where(cells == 0, 0, slopes)
    if kind is PowerMean:
        slopes = folds.norm_slopes(cells.clamp(min=params.eps), y, params.p, windows.counts())
        return torch.where(cells < params.eps, 0, slopes)
    if kind is RMS:
        return cells.sign() * folds.norm_slopes(cells.abs(), y, 2, windows.counts())
    return folds.soft_slopes(cells, y, _given(lse, "lse"), params.beta)


def _given(t: Tensor | None, name: str) -> Tensor:
    if t is None:
        raise RuntimeError(f"poolkit: {name}: the gradient of this reducer needs it")
    return t


def _chosen(windows: Windows, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Flat positions of the chosen cells, and where there is one."""
    none = _NONE[offsets.dtype]
    numbers = offsets.long()
    if offsets.dtype == torch.int16:
        numbers = torch.where(numbers < 0, numbers + 2**16, numbers)
    some = numbers != none
    return windows.place(unravel(torch.where(some, numbers, 0), windows.box)), some


def _routed(windows: Windows, dy: Tensor, offsets: Tensor) -> Tensor:
    """Each gradient at the cell that was chosen."""
    places, some = _chosen(windows, offsets)
    sizes = [line.size for line in windows.lines]
    planes = dy.new_zeros(*dy.shape[: windows.lead], math.prod(sizes))
    values = torch.where(some, dy, 0).flatten(windows.lead)
    return split(planes.scatter_add(-1, places.flatten(windows.lead), values), -1, sizes)


def taken(x: Tensor, plan: str, starts: Tensor | None, offsets: Tensor) -> Tensor:
    """What a pooling that chose the cells at `offsets` takes of x: the adjoint of its backward pass."""
    windows = windows_of(plan, starts, x.shape[: -decode(plan).rank], x.device)
    places, some = _chosen(windows, offsets)
    values = x.flatten(windows.lead).gather(-1, places.flatten(windows.lead)).reshape(offsets.shape)
    return torch.where(some, values, 0)


def weighted_mean(x: Tensor, logits: Tensor, plan: str) -> Tensor:
    """The mean of x over each window, with the softmax of logits as weights."""
    windows, weights = _soft_weights(logits, plan)
    return (windows.unfold(x) * weights).sum(-1)


def weighted_spread(y: Tensor, logits: Tensor, plan: str) -> Tensor:
    """Its adjoint for x: each window's y shared out among its cells."""
    windows, weights = _soft_weights(logits, plan)
    return windows.fold(y.unsqueeze(-1) * weights)


def _soft_weights(logits: Tensor, plan: str) -> tuple[Windows, Tensor]:
    windows = windows_of(plan, None, logits.shape[: -decode(plan).rank], logits.device)
    taps, exist = windows.unfold(logits), windows.exist()
    return windows, (taps if exist is None else torch.where(exist, taps, -math.inf)).softmax(-1)


def unpool(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    rank = len(output_size)
    require(1 <= rank <= 3 and x.dim() in (rank + 1, rank + 2), "output_size: expected one size per pooled axis")
    require(all(size >= 1 for size in output_size), "output_size: every size must be at least 1")
    require(indices.shape == x.shape and indices.dtype == torch.int64, "indices: expected int64 of x's shape")
    last = _last_writers(indices, rank, math.prod(output_size))
    values = x.flatten(-rank).gather(-1, last.clamp(min=0))
    out = split(torch.where(last >= 0, values, 0), -1, output_size)
    return _laid(out, x.dtype, rank, is_channels_last(x, rank))


def unpool_backward(dout: Tensor, indices: Tensor, rank: int, channels_last: bool) -> Tensor:
    require(1 <= rank <= 3, "rank must be 1, 2 or 3")
    require(dout.shape[:-rank] == indices.shape[:-rank], "indices: its planes must be dout's")
    flat = indices.flatten(-rank)
    last = _last_writers(indices, rank, math.prod(dout.shape[-rank:]))
    won = last.gather(-1, flat) == torch.arange(flat.shape[-1], device=flat.device)
    dx = split(torch.where(won, dout.flatten(-rank).gather(-1, flat), 0), -1, indices.shape[-rank:])
    return _laid(dx, dout.dtype, rank, channels_last)


def _last_writers(indices: Tensor, rank: int, cells: int) -> Tensor:
    """For each cell of the planes the last of those that write there, -1 where none does."""
    flat = indices.flatten(-rank)
    writers = torch.arange(flat.shape[-1], device=flat.device).expand(flat.shape)
    nobody = torch.full((*flat.shape[:-1], cells), -1, dtype=torch.int64, device=flat.device)
    return nobody.scatter_reduce(-1, flat, writers, "amax")
