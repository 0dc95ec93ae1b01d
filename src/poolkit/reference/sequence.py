"""The oracle of poolings of sequences and segments: lists of real elements, and NumPy's own statistics of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_] | None
Integers = npt.NDArray[np.int64]

# What becomes of the real elements (n, D) of one row, n at least 1.
_MODES: dict[str, Callable[[Floats], Any]] = {
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0),
    "min": lambda rows: rows.min(0),
    "sum": lambda rows: rows.sum(0),
    "var": lambda rows: rows.var(0),
    "std": lambda rows: rows.std(0),
    "cls": lambda rows: rows[0],
    "last": lambda rows: rows[-1],
    "weighted_mean": lambda rows: np.average(rows, axis=0, weights=np.arange(1, len(rows) + 1)),
    "mean_sqrt_len": lambda rows: rows.sum(0) / math.sqrt(len(rows)),
}


def _each_row(x: Floats, mask: Mask, function: Callable[[Floats], Any]) -> Floats:
    """``(N, L, D)`` to ``(N, D)``: the function of the real elements, 0 where there is none."""
    y = np.zeros((len(x), x.shape[2]))
    for n, row in enumerate(x):
        real = [i for i in range(len(row)) if mask is None or mask[n, i]]
        if real:
            y[n] = function(row[real])
    return y


def masked_pool(x: Floats, mask: Mask, mode: str) -> Floats:
    """``(N, L, D)`` to ``(N, D)``."""
    return _each_row(x, mask, _MODES[mode])


def segment_pool(x: Floats, ids: Integers, num_segments: int, mode: str, beta: float = 1.0) -> Floats:
    """``(T, *features)`` to ``(num_segments, *features)``; empty segments give 0."""
    y = np.zeros((num_segments, *x.shape[1:]))
    for segment in range(num_segments):
        rows = np.array([row for row, place in zip(x, ids, strict=True) if place == segment])
        if len(rows) and mode == "softmax":
            weights = np.exp(beta * rows - (beta * rows).max(0))
            y[segment] = (rows * weights).sum(0) / weights.sum(0)
        elif len(rows):
            y[segment] = _MODES[mode](rows)
    return y


def kmax_pool(x: Floats, k: int) -> Floats:
    """The k largest along the last axis, in the order in which they stand; the first of equal ones come in."""
    y = np.zeros((*x.shape[:-1], k))
    for place in np.ndindex(*x.shape[:-1]):
        best = sorted(range(x.shape[-1]), key=lambda i, row=x[place]: (-row[i], i))[:k]
        y[place] = x[place][sorted(best)]
    return y


def chunk_max_pool(x: Floats, chunks: int) -> Floats:
    """Maxima of parts along the last axis, the first of which are one longer where they cannot be equal."""
    size, more = divmod(x.shape[-1], chunks)
    y = np.zeros((*x.shape[:-1], chunks))
    start = 0
    for j in range(chunks):
        end = start + size + (j < more)
        y[..., j] = x[..., start:end].max(-1)
        start = end
    return y


def noisy_or(p: Floats, mask: Mask) -> Floats:
    """``1 - prod (1 - p)`` of ``(N, L, D)``, by inclusion of one cause after the other."""

    def either(rows: Floats) -> Any:
        y = np.zeros(rows.shape[1])
        for row in rows:
            y = y + row - y * row
        return y

    return _each_row(p, mask, either)


def linear_softmax(p: Floats, mask: Mask) -> Floats:
    """``sum p^2 / sum p`` of ``(N, L, D)``, 0 where the sum is."""

    def mean(rows: Floats) -> Any:
        return np.array([(c**2).sum() / c.sum() if c.sum() else 0.0 for c in rows.T])

    return _each_row(p, mask, mean)
