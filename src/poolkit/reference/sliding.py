"""Windows of the oracles that have no core behind them: whole numbers of stride, padding and dilation, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Place = tuple[int, ...]
Cells = list[tuple[int, Place]]  # of each cell that exists: its number in the kernel, and where it is


def sliding(
    sizes: Sequence[int], kernel: Sequence[int], stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[Place, Iterator[tuple[Place, Cells]]]:
    """The pooled sizes, and for each output its place and its cells."""
    outs = tuple(
        (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for size, k in zip(sizes, kernel, strict=True)
    )

    def windows() -> Iterator[tuple[Place, Cells]]:
        for out in itertools.product(*map(range, outs)):
            cells: Cells = []
            for number, tap in enumerate(itertools.product(*map(range, kernel))):
                place = tuple(o * stride - padding + t * dilation for o, t in zip(out, tap, strict=True))
                if all(0 <= p < size for p, size in zip(place, sizes, strict=True)):
                    cells.append((number, place))
            yield out, cells

    return outs, windows()


def adaptive(sizes: Sequence[int], outs: Sequence[int]) -> tuple[Place, Iterator[tuple[Place, Cells]]]:
    """The same for windows that share out the input."""

    def windows() -> Iterator[tuple[Place, Cells]]:
        for out in itertools.product(*map(range, outs)):
            bounds = [
                range(i * size // count, -(-(i + 1) * size // count))
                for i, size, count in zip(out, sizes, outs, strict=True)
            ]
            yield out, list(enumerate(itertools.product(*bounds)))

    return tuple(outs), windows()


def pool(
    x: Floats,
    reduce: Callable[[Floats, Sequence[int], int, Place], float],
    windows: Callable[[Sequence[int]], tuple[Place, Iterator[tuple[Place, Cells]]]],
) -> Floats:
    """``(N, C, *sizes)`` pooled plane by plane: `reduce` takes cells, their numbers, the channel and the place."""
    outs, _ = windows(x.shape[2:])
    y = np.zeros((*x.shape[:2], *outs))
    for n, c in np.ndindex(*x.shape[:2]):
        for out, cells in windows(x.shape[2:])[1]:
            values = np.array([x[n, c][place] for _, place in cells])
            y[(n, c, *out)] = reduce(values, [number for number, _ in cells], c, out)
    return y


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
