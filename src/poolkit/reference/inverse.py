"""Direct NumPy formulas of the unpoolings, in float64: window by window, cell by cell."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Floats = npt.NDArray[np.float64]
Place = tuple[int, ...]


def windows(
    sizes: Sequence[int],
    outs: Sequence[int],
    kernel_size: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
) -> Iterator[tuple[Place, list[Place], int]]:
    """Each window: its place, the cells it has inside the input, and its taps inside input and padding."""
    for place in np.ndindex(*outs):
        axes = [[i * stride - padding + tap * dilation for tap in range(kernel_size)] for i in place]
        padded = [[c for c in axis if c < size + padding] for axis, size in zip(axes, sizes, strict=True)]
        inside = [[c for c in axis if 0 <= c < size] for axis, size in zip(axes, sizes, strict=True)]
        yield place, list(itertools.product(*inside)), int(np.prod([len(axis) for axis in padded]))


def avg_unpool(
    y: Floats,
    sizes: Sequence[int],
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    **geometry: Any,
) -> Floats:
    """The transpose of average pooling."""
    rank = len(sizes)
    x = np.zeros((*y.shape[:-rank], *sizes))
    for place, cells, padded in windows(sizes, y.shape[-rank:], **geometry):
        divisor = divisor_override or (padded if count_include_pad else len(cells))
        for cell in cells:
            x[(..., *cell)] += y[(..., *place)] / divisor
    return x


def soft_unpool(y: Floats, x: Floats, rank: int, beta: float = 1.0, **geometry: Any) -> Floats:
    """Each window's y among its cells, by their softmax."""
    z = np.zeros_like(x)
    for place, cells, _ in windows(x.shape[-rank:], y.shape[-rank:], **geometry):
        total = sum(np.exp(beta * x[(..., *cell)]) for cell in cells)
        for cell in cells:
            z[(..., *cell)] += y[(..., *place)] * np.exp(beta * x[(..., *cell)]) / total
    return z


def index_unpool(y: Floats, indices: npt.NDArray[np.int64], sizes: Sequence[int]) -> Floats:
    """Value by value in row-major order, so that the last of equal indices wins."""
    rank = len(sizes)
    z = np.zeros((*y.shape[:-rank], int(np.prod(sizes))))
    for where in np.ndindex(*y.shape):
        z[(*where[:-rank], int(indices[where]))] = y[where]
    return z.reshape(*y.shape[:-rank], *sizes)
