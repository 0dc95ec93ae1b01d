"""The oracle of learned powers, sharpnesses, likenesses and filters: one window after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from poolkit.reference.sliding import Cells, Floats, Place, adaptive, pool, sliding

Mask = npt.NDArray[np.bool_] | None


def _windows(
    kernel: Sequence[int] | None, window: dict[str, Any]
) -> Callable[[Sequence[int]], tuple[Place, Iterator[tuple[Place, Cells]]]]:
    if kernel is None:
        return lambda sizes: adaptive(sizes, [1] * len(sizes))
    return lambda sizes: sliding(sizes, kernel, **window)


def _of(values: Floats, channel: int) -> Any:
    return values[channel] if len(values) > 1 else values[0]


def _boltzmann(values: Floats, beta: float) -> float:
    weights = np.exp(beta * values - (beta * values).max())
    return float((weights * values).sum() / weights.sum())


def gem_pool(x: Floats, p: Floats, kernel: Sequence[int] | None, *, eps: float = 1e-6, **window: Any) -> Floats:
    """`p` is ``(1 or C,)``."""

    def reduce(values: Floats, _: Sequence[int], channel: int, __: Place) -> float:
        power = _of(p, channel)
        return float((np.maximum(values, eps) ** power).mean() ** (1 / power))

    return pool(x, reduce, _windows(kernel, window))


def boltzmann_pool(x: Floats, beta: Floats, kernel: Sequence[int] | None, **window: Any) -> Floats:
    """`beta` is ``(1 or C,)``."""
    return pool(x, lambda v, _, channel, __: _boltzmann(v, _of(beta, channel)), _windows(kernel, window))


def ada_pool(
    x: Floats,
    beta: Floats,
    kernel: Sequence[int] | None,
    *,
    weighting: str = "edscw",
    eps: float = 1e-6,
    **window: Any,
) -> Floats:
    """`beta` is ``(1 or C,)``."""

    def reduce(values: Floats, _: Sequence[int], channel: int, __: Place) -> float:
        mean = values.mean()
        if weighting == "idw":
            weights = [1 / (abs(v - mean) + eps) for v in values]
        else:
            weights = [math.exp(2 * abs(v * mean) / (v**2 + mean**2) if v or mean else 0.0) for v in values]
        like = float(np.average(values, weights=weights))
        share = _of(beta, channel)
        return share * like + (1 - share) * _boltzmann(values, 1.0)

    return pool(x, reduce, _windows(kernel, window))


def filter_pool(x: Floats, weight: Floats, **window: Any) -> Floats:
    """`weight` is ``(1 or C, *kernel)``."""

    def reduce(values: Floats, numbers: Sequence[int], channel: int, _: Place) -> float:
        return math.fsum(_of(weight, channel).ravel()[numbers] * values)

    return pool(x, reduce, _windows(weight.shape[1:], window))


def auto_pool(x: Floats, alpha: Floats, mask: Mask = None) -> Floats:
    """``(N, C, L)`` to ``(N, C)``, over the real elements."""
    y = np.zeros(x.shape[:2])
    for n, c in np.ndindex(*x.shape[:2]):
        values = x[n, c] if mask is None else x[n, c, mask[n]]
        if len(values):
            y[n, c] = _boltzmann(values, float(alpha[c]))
    return y
