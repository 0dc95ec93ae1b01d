"""Order statistics: windows as they stand in line, the largest cell first."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from poolkit.reducer import MaxDrop, Median, Ordinal, Quantile, TopKMean
from poolkit.reducer.base import Params
from poolkit.reducer.order import INTERPOLATIONS
from poolkit.torch.composite.block import Block, Choice, Slopes, beside
from poolkit.torch.composite.windows import by_count, reals, split

if TYPE_CHECKING:
    from collections.abc import Callable


def value(b: Block) -> Tensor:
    """Sums of the cells with a weight for each rank."""
    order = _order(b)
    weights = _weights(b)
    cells = torch.where(weights == 0, 0, b.cells.gather(-1, order))
    return b.with_nan((weights * cells).sum(-1))


def slopes(b: Block, dy: Tensor) -> Slopes:
    """Each cell's is the weight of its rank."""
    order, weights = _order(b), _weights(b)
    by_cell = torch.zeros_like(b.cells).scatter(-1, order, weights.expand(b.cells.shape))
    by_cell = torch.where(b.nan.any(-1, keepdim=True), math.nan, by_cell)
    if b.kind is not Ordinal:
        return Slopes(by_cell)
    cells = torch.where(_ranks(b) < beside(b.n), b.cells.gather(-1, order) * dy.unsqueeze(-1), 0)
    sums = (cells.unsqueeze(-2) @ _shares(b, b.per_output().shape[1])).squeeze(-2)
    planes = sums.flatten(0, b.windows.lead - 1).flatten(1, -2)
    return Slopes(by_cell, planes.sum(1))


def choose(b: Block) -> Choice:
    """The cell at a rank, which is fixed or drawn; of equal cells the first."""
    none = None
    if b.kind in (Median, Quantile):
        rank: Tensor | float = by_count(b.windows, lambda n: at_rank(b.params, n)[0], torch.int64)
        if not isinstance(rank, Tensor):
            rank = torch.full((), int(rank), dtype=torch.int64, device=b.cells.device)
        rank = rank.expand(b.cells.shape[:-1])
    else:
        above = b.per_output().unsqueeze(-1) < _bounds(b)
        found = above.any(-1)
        rank = torch.where(found, above.to(torch.uint8).argmax(-1), b.n - 1)
        none = ~found & ~b.nan.any(-1) if b.kind is MaxDrop else None
    wanted = b.at(_order(b).gather(-1, rank.unsqueeze(-1)).squeeze(-1))
    tap = b.first(b.cells == wanted.unsqueeze(-1))
    y = b.at(tap)
    return Choice(y if none is None else torch.where(none, 0, y), tap, none)


def _bounds(b: Block) -> Tensor:
    """``[..., taps]``: `draw_bounds` of each window, to broadcast against the windows; 0 past its cells."""
    lengths, dtype, taps = b.windows.lengths(), b.cells.dtype, b.cells.shape[-1]
    rows = [draw_bounds(b.params, n, dtype) + (0.0,) * (taps - n) for n in lengths]
    table = split(reals(list(chain(*rows)), dtype, b.cells.device), 0, (len(rows), taps))
    row = by_count(b.windows, lengths.index, torch.int64)
    if not isinstance(row, Tensor):
        return table[0]
    return split(table.index_select(0, row.flatten()), 0, row.shape)


@lru_cache(maxsize=256)
def draw_bounds(params: Params, n: int, dtype: torch.dtype) -> tuple[float, ...]:
    """Sums of the weights of `RankStochastic` or `MaxDrop` up to each rank of n, in the order of the kernels.

    In float32 they are rounded up: a uniform of that precision is below one of them where it is below the sum in
    float64, which the kernels on the CPU look at.

    >>> draw_bounds(Params(level=0.5, mode=1.0), 3, torch.float32)
    (0.5, 0.75, 0.875)
    """
    weights = geometric(params.level, n)
    if params.mode == 0:
        *_, total = accumulate(weights)  # not sum, whose rounding is another
        weights = [weight / total for weight in weights]
    sums = np.array(list(accumulate(weights)))
    if dtype == torch.float32:
        near = sums.astype(np.float32)
        sums = np.where(near < sums, np.nextafter(near, np.float32(np.inf)), near)
    return tuple(sums.tolist())


def _ranks(b: Block) -> Tensor:
    return torch.arange(b.cells.shape[-1], device=b.cells.device)


def _order(b: Block) -> Tensor:
    """The taps in line, the largest first, of equal ones the first; those that do not exist at the end."""
    cells = b.cells
    if b.exist is None:
        return cells.sort(dim=-1, descending=True, stable=True).indices
    lowest = -math.inf if cells.is_floating_point() else torch.iinfo(cells.dtype).min
    order = b.kept(cells, lowest).sort(dim=-1, descending=True, stable=True).indices
    missing = (~b.exist).expand(cells.shape).gather(-1, order).to(torch.uint8)
    return order.gather(-1, missing.sort(dim=-1, stable=True).indices)


def _weights(b: Block) -> Tensor:
    """``[..., taps]``: the weight of each rank, to broadcast against the windows."""
    if b.kind is Ordinal:
        weights = b.per_output()
        column = weights.reshape(weights.shape[0], *[1] * b.windows.rank, weights.shape[1], 1)
        return (_shares(b, weights.shape[1]) @ column).squeeze(-1)
    ranks, dtype = _ranks(b), b.cells.dtype

    def per_window(value: Callable[[int], float], kind: torch.dtype) -> Tensor | float:
        return beside(by_count(b.windows, value, kind))

    if b.kind in (Median, Quantile):
        low, high = (per_window(lambda n, i=i: at_rank(b.params, n)[i], torch.int64) for i in (0, 1))
        part = per_window(lambda n: at_rank(b.params, n)[2], dtype)
        return (ranks == low).to(dtype) * (1 - part) + (ranks == high).to(dtype) * part
    if b.kind is TopKMean:
        k = per_window(lambda n: top(b.params, n), dtype)
        return (ranks < k).to(dtype) / k
    left = 1 - b.params.level
    weights = b.params.level * torch.pow(left, ranks.to(dtype))
    if b.params.mode == 0:  # made to sum to one
        weights = weights / per_window(lambda n: math.fsum(geometric(b.params.level, n)), dtype)
    return torch.where(ranks < beside(b.n), weights, 0)


def geometric(level: float, n: int) -> list[float]:
    """The first n of ``level (1 - level)**r``, each from the one before, as the kernels have them."""
    return list(accumulate(range(n - 1), lambda weight, _: weight * (1 - level), initial=level))


def at_rank(params: Params, n: int) -> tuple[int, int, float]:
    """Of a quantile among n cells: two ranks, the largest cell first, and the second one's weight."""
    place = (n - 1) * params.level
    low, high, part = math.floor(place), math.ceil(place), place - math.floor(place)
    word = INTERPOLATIONS[int(params.mode)]
    if word == "midpoint":
        part = 0.5 if high > low else 0.0
    elif word != "linear":
        # Of two ranks equally near the even one, as NumPy does.
        near = low if part < 0.5 or (part == 0.5 and low % 2 == 0) else high
        low = high = {"lower": low, "higher": high, "nearest": near}[word]
        part = 0.0
    return n - 1 - low, n - 1 - high, part


def top(params: Params, n: int) -> int:
    """How many cells of n `TopKMean` takes."""
    k = params.level if params.mode == 0 else math.floor(params.level * n + 0.5)
    return min(max(int(k), 1), n)


def _shares(b: Block, weights: int) -> Tensor:
    """``[..., taps, weights]``: how much of each weight, a step of a function over the quantiles, each rank takes."""
    ranks, steps = _ranks(b).unsqueeze(-1), torch.arange(weights, device=b.cells.device)
    n = beside(beside(b.n))
    low = torch.maximum(ranks * weights, steps * n)
    high = torch.minimum((ranks + 1) * weights, (steps + 1) * n)
    return (high - low).clamp(min=0).to(b.cells.dtype) / n
