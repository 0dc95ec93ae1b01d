"""Order statistics of whole windows: sorting networks over tiles, weights by rank, draws by rank: csrc/order.hpp."""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl

from poolkit.reducer import MaxDrop, Median, Quantile, RankMean, RankStochastic, TopKMean
from poolkit.torch.composite.ranks import at_rank, draw_bounds, geometric, top
from poolkit.torch.triton.whole import choose_first, with_nan

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.reducer import Params, Reducer

RANKED = (Median, Quantile, TopKMean, RankMean, RankStochastic, MaxDrop)


def weights_of(kind: type[Reducer], params: Params, n: int) -> list[float]:
    """The weight of each rank in windows of n taps, the largest cell first."""
    if kind in (Median, Quantile):
        low, high, part = at_rank(params, n)
        weights = [0.0] * n
        weights[low] += 1 - part
        weights[high] += part
        return weights
    if kind is TopKMean:
        k = top(params, n)
        return [1 / k] * k + [0.0] * (n - k)
    weights = geometric(params.level, n)
    total = math.fsum(weights) if params.mode == 0 else 1.0
    return [weight / total for weight in weights]


@lru_cache(maxsize=256)
def rank_table(kind: type[Reducer], params: Params, taps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[n, rank]``: the weights of windows of n = 0 ... taps cells."""
    table = np.zeros((taps + 1, taps))
    for n in range(1, taps + 1):
        table[n, :n] = weights_of(kind, params, n)
    return torch.tensor(table, dtype=dtype, device=device)


@lru_cache(maxsize=256)
def choice_table(params: Params, taps: int, device: torch.device) -> Tensor:
    """``[n]``: the rank that a quantile takes of n cells."""
    ranks = [0, *(at_rank(params, n)[0] for n in range(1, taps + 1))]
    return torch.tensor(ranks, dtype=torch.int32, device=device)


@lru_cache(maxsize=256)
def draw_table(params: Params, taps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[n, rank]``: sums of the weights up to a rank."""
    table = np.zeros((taps + 1, taps))
    for n in range(1, taps + 1):
        table[n, :n] = draw_bounds(params, n, dtype)
    return torch.tensor(table, dtype=dtype, device=device)


@lru_cache(maxsize=256)
def shares(taps: int, weights: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[n, rank, weight]``: how much of each weight, a step over the quantiles, a rank among n takes."""
    table = np.zeros((taps + 1, taps, weights))
    step = np.arange(weights)
    for n in range(1, taps + 1):
        rank = np.arange(n)[:, None]
        low, high = np.maximum(rank * weights, step * n), np.minimum((rank + 1) * weights, (step + 1) * n)
        table[n, :n] = np.maximum(high - low, 0) / n
    return torch.tensor(table, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def comparators(n: int) -> tuple[tuple[int, int], ...]:
    """Those of Batcher's odd-even merge sort of n values (Knuth, volume 3, 5.2.2, algorithm M).

    >>> comparators(3)
    ((0, 2), (0, 1), (1, 2))
    """
    pairs: list[tuple[int, int]] = []
    top = 1
    while 2 * top < n:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return tuple(pairs)


@triton.jit
def order_two(cells, i: tl.constexpr, j: tl.constexpr):
    """The larger of both first."""
    a = cells[i]
    b = cells[j]
    high = tl.where(b > a, b, a)
    low = tl.where(b > a, a, b)
    return cells[:i] + (high,) + cells[i + 1 : j] + (low,) + cells[j + 1 :]


@triton.jit
def sort_rows(cells, PAIRS: tl.constexpr, COUNT: tl.constexpr):
    """The largest value first; windows with a NaN end in any order, and are overruled afterwards."""
    for k in tl.static_range(COUNT):
        cells = order_two(cells, PAIRS[k][0], PAIRS[k][1])
    return cells


@triton.jit
def rank_choice(
    cells, exist, n, e, table, PARAMS: tl.constexpr, PAIRS: tl.constexpr, COUNT: tl.constexpr, RANK: tl.constexpr,
    TAPS: tl.constexpr,
):  # fmt: skip
    """The cell at a rank: RANK, or below 0 that of the window's size in the table."""
    rows = sort_rows(cells, PAIRS, COUNT)
    if RANK >= 0:
        y = rows[RANK]
    else:
        rank = tl.load(table + n)
        y = rows[0]
        for r in tl.static_range(1, TAPS):
            y = tl.where(rank == r, rows[r], y)
    y = with_nan(cells, exist, y, TAPS)
    return y, choose_first(cells, exist, y, TAPS)


@triton.jit
def rank_sum(
    cells, exist, n, e, table, PARAMS: tl.constexpr, PAIRS: tl.constexpr, COUNT: tl.constexpr, RANK: tl.constexpr,
    TAPS: tl.constexpr,
):  # fmt: skip
    """Cells times the weights of their ranks: ``[n, rank]`` in the table."""
    rows = sort_rows(cells, PAIRS, COUNT)
    y = tl.zeros_like(rows[0])
    for r in tl.static_range(TAPS):
        weight = tl.load(table + n * TAPS + r)
        y += tl.where(weight == 0, 0, rows[r] * weight)
    return with_nan(cells, exist, y, TAPS), n * 0


@triton.jit
def rank_draw(
    cells, exist, n, e, table, PARAMS: tl.constexpr, PAIRS: tl.constexpr, COUNT: tl.constexpr, RANK: tl.constexpr,
    TAPS: tl.constexpr,
):  # fmt: skip
    """The rank that the uniform e draws: the first of which the weights up to it, in the table, are above e.

    RANK 0: past their sum nothing is drawn, and y is 0; else the last cell is.
    """
    rows = sort_rows(cells, PAIRS, COUNT)
    rank = n
    for k in tl.static_range(TAPS):
        bound = tl.load(table + n * TAPS + TAPS - 1 - k)
        rank = tl.where((TAPS - 1 - k < n) & (e < bound), TAPS - 1 - k, rank)
    none = rank == n
    if RANK != 0:
        rank = tl.minimum(rank, n - 1)
        none = rank < 0
    y = tl.where(none, 0, rows[0])
    for r in tl.static_range(1, TAPS):
        y = tl.where((rank == r) & ~none, rows[r], y)
    y = with_nan(cells, exist, y, TAPS)
    return y, tl.where(none & (y == y), -1, choose_first(cells, exist, y, TAPS))
