"""Sliding windows as lists of cells, for formulas that see one window at a time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Floats = npt.NDArray[np.float64]


def slide(
    x: Floats,
    formula: Callable[[Floats, int], float],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Floats:
    """`formula` of each window's cells in row-major order, padding left out, and of its channel; x is (N, C, sizes)."""
    rank = x.ndim - 2
    places: list[list[list[int]]] = []
    for size, k, step, pad, gap in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        begins = range(-pad, size + pad - (k - 1) * gap, step)
        places.append([[b + i * gap for i in range(k) if 0 <= b + i * gap < size] for b in begins])
    y: Any = np.zeros((*x.shape[:2], *map(len, places)))
    for where in itertools.product(*(range(length) for length in y.shape)):
        cells = np.ix_(*(axis[i] for axis, i in zip(places, where[-rank:], strict=True)))
        y[where] = formula(x[where[:2]][cells].reshape(-1), where[1])
    return y
