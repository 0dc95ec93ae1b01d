"""Direct NumPy formulas of the anti-aliased poolings, in float64."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]


def blur_pool(
    x: Floats, kernel_size: Sequence[int], stride: Sequence[int], padding: str, convention: str = "timm"
) -> Floats:
    """Zhang, 2019: output by output, the weights from Pascal's triangle and cells outside by the padding's own rule."""
    rank = len(kernel_size)
    sizes = x.shape[-rank:]
    befores: list[int] = []
    outs: list[int] = []
    for size, k, s in zip(sizes, kernel_size, stride, strict=True):
        before, after = {
            "adobe": (math.floor((k - 1) / 2), math.ceil((k - 1) / 2)),
            "timm": (((s - 1) + (k - 1)) // 2, ((s - 1) + (k - 1)) // 2),
            "kornia": ((k - 1) // 2, (k - 1) // 2),
        }[convention]
        befores.append(before)
        outs.append((size + before + after - k) // s + 1)
    y = np.zeros((*x.shape[:-rank], *outs))
    for place in np.ndindex(*outs):
        for taps in itertools.product(*(range(k) for k in kernel_size)):
            weight, cells = 1.0, []
            for i, tap, size, k, s, before in zip(place, taps, sizes, kernel_size, stride, befores, strict=True):
                weight *= math.comb(k - 1, tap) / 2 ** (k - 1)
                cells.append(_cell(i * s + tap - before, size, padding))
            if None not in cells:
                y[(..., *place)] += weight * x[(..., *cells)]
    return y


def _cell(i: int, size: int, padding: str) -> int | None:
    """Which cell stands at place `i`, inside or outside of the input; None for a zero."""
    if 0 <= i < size:
        return i
    if padding == "zeros":
        return None
    if padding == "replicate":
        return 0 if i < 0 else size - 1
    if padding == "circular":
        return i % size
    return -i if i < 0 else 2 * (size - 1) - i


def max_blur_pool(
    x: Floats, kernel_size: Sequence[int], filter_size: Sequence[int], max_padding: int = 0, **settings: Any
) -> Floats:
    """The maximum of every window one cell apart, then the blur."""
    rank = len(kernel_size)
    sizes = x.shape[-rank:]
    outs = [size + 2 * max_padding - k + 1 for size, k in zip(sizes, kernel_size, strict=True)]
    y = np.zeros((*x.shape[:-rank], *outs))
    for place in np.ndindex(*outs):
        cells = tuple(
            slice(max(i - max_padding, 0), min(i - max_padding + k, size))
            for i, k, size in zip(place, kernel_size, sizes, strict=True)
        )
        y[(..., *place)] = x[(..., *cells)].max(axis=tuple(range(-rank, 0)))
    return blur_pool(y, filter_size, **settings)


def adaptive_polyphase_pool(x: Floats, stride: int, p: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Chaman and Dokmanic, 2021: the values and the phase of each sample."""
    height, width = x.shape[-2:]
    rows, columns = -(-height // stride), -(-width // stride)
    y = np.zeros((*x.shape[:-2], rows, columns))
    chosen = np.zeros(len(x), np.int64)
    for n, sample in enumerate(x):
        best = -1.0
        for i, j in itertools.product(range(stride), repeat=2):
            across = [min(column * stride + j, width - 1) for column in range(columns)]
            down = [min(row * stride + i, height - 1) for row in range(rows)]
            phase = sample[:, down][:, :, across]
            norm = abs(phase).max() if math.isinf(p) else (abs(phase) ** p).sum() ** (1 / p)
            if norm > best:
                best, y[n], chosen[n] = norm, phase, i * stride + j
    return y, chosen
