"""Random poolings: the mean over all draws of one window, and what given draws make of a whole input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poolkit.reference.order import falling

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]


def stochastic(cells: Floats, activation: str = "relu", temperature: float = 1.0) -> float:
    """``sum p x`` with p in proportion to the activation."""
    if activation == "relu":
        weights = [max(float(cell), 0.0) for cell in cells]
    else:
        weights = [math.exp((float(cell) - float(cells.max())) / temperature) for cell in cells]
    total = math.fsum(weights)
    return math.fsum(w * float(x) for w, x in zip(weights, cells, strict=True)) / total if total else 0.0


def max_drop(cells: Floats, drop_prob: float) -> float:
    """Every pattern of dropped cells, by its probability; 0 where all are dropped."""
    mean = 0.0
    for pattern in range(2 ** len(cells)):
        kept = [float(cell) for i, cell in enumerate(cells) if pattern >> i & 1]
        chance = (1 - drop_prob) ** len(kept) * drop_prob ** (len(cells) - len(kept))
        mean += chance * max(kept, default=0.0)
    return mean


def rank_drawn(cells: Floats, alpha: float) -> float:
    """The mean over all draws of a rank."""
    chances = [(1 - alpha) ** r for r in range(len(cells))]
    return math.fsum(p * x for p, x in zip(chances, falling(cells), strict=True)) / math.fsum(chances)


def s3_pool(
    x: Floats,
    kernel: Sequence[int],
    grid: Sequence[int],
    stride: Sequence[int],
    lots: Sequence[Sequence[Sequence[float]]] | None,
) -> Floats:
    """S3Pool: `lots` holds a number for each cell of each strip, an axis at a time; the smallest stay. None: means."""
    rank = x.ndim - 2
    for axis in range(rank):  # a maximum over a box is one along each axis in turn
        k, size = kernel[axis], x.shape[axis + 2]
        before = (k - 1) // 2
        rows = np.moveaxis(x, axis + 2, 0)
        best = [rows[max(i - before, 0) : min(i - before + k, size)].max(0) for i in range(size)]
        x = np.moveaxis(np.stack(best), 0, axis + 2)
    for axis in range(rank):
        rows, step = np.moveaxis(x, axis + 2, 0), stride[axis]
        size = len(rows)
        small: list[Floats] = []
        if lots is None:
            small += [rows[i : i + step].mean(0) for i in range(0, size, step)]
        else:
            for number, begin in enumerate(range(0, size, grid[axis])):
                strip = range(begin, min(begin + grid[axis], size))
                drawn = lots[axis][number]
                order = sorted(strip, key=lambda i, begin=begin, drawn=drawn: drawn[i - begin])
                small += [rows[i] for i in sorted(order[: math.ceil(len(strip) / step)])]
        x = np.moveaxis(np.stack(small), 0, axis + 2)
    return x
