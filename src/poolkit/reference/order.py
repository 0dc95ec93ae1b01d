"""Order statistics of one window, as the papers and NumPy have them. Rank 0 is the largest cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def falling(cells: Floats) -> list[float]:
    """The cells, the largest first."""
    return sorted((float(cell) for cell in cells), reverse=True)


def quantile(cells: Floats, q: float, interpolation: str = "linear") -> float:
    """NumPy's quantile."""
    method: Any = interpolation
    return float(np.quantile(cells, q, method=method))


def topk_mean(cells: Floats, k: float) -> float:
    """Mean of the k largest cells, or of a share of them."""
    count = k if isinstance(k, int) else max(1, math.floor(k * len(cells) + 0.5))
    best = falling(cells)[: int(count)]
    return math.fsum(best) / len(best)


def rank_weighted(cells: Floats, alpha: float, *, normalize: bool = True) -> float:
    """``sum alpha (1 - alpha)^r x_(r)``, divided by the sum of the weights unless told otherwise."""
    weights = [alpha * (1 - alpha) ** r for r in range(len(cells))]
    total = math.fsum(weights) if normalize else 1.0
    return math.fsum(w * x for w, x in zip(weights, falling(cells), strict=True)) / total


def ordinal(cells: Floats, weights: Floats) -> float:
    """``sum w_r x_(r)``; with fewer cells than weights each cell takes the weights of its share of the ranks."""
    n, ranks = len(cells), len(weights)
    result = 0.0
    for r, cell in enumerate(falling(cells)):
        for j, weight in enumerate(weights):
            # the parts [r / n, (r + 1) / n) and [j / ranks, (j + 1) / ranks) of one line, in units of 1 / (n ranks)
            common = min((r + 1) * ranks, (j + 1) * n) - max(r * ranks, j * n)
            result += max(common, 0) / n * float(weight) * cell
    return result


def softmax(rows: Floats) -> Floats:
    """Along the last axis."""
    powers = np.exp(rows - rows.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
