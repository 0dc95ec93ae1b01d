"""The oracle of mixtures of maximum and mean, and of trees of filters: one window after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from poolkit.reference.sliding import Floats, Place, adaptive, pool, sliding


def _of(values: Floats, channel: int) -> Floats:
    """The row of this channel; a single row is for all."""
    return values[channel] if len(values) > 1 else values[0]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mixed_pool(x: Floats, weight: Floats, kernel: Sequence[int], **window: Any) -> Floats:
    """`weight` is ``(1 or C,)``, or ``(1 or C, *regions)``."""
    outs, _ = sliding(x.shape[2:], kernel, **window)

    def reduce(values: Floats, _: Sequence[int], channel: int, out: Place) -> float:
        share = _of(weight, channel)
        for i, size in zip(out, outs, strict=True):
            if share.ndim:
                # The region in which the middle of the i-th of `size` equal parts lies.
                middle = (i + 0.5) / size
                share = share[int(np.flatnonzero(middle >= np.arange(len(share)) / len(share))[-1])]
        return float(share) * values.max() + (1 - float(share)) * values.mean()

    return pool(x, reduce, lambda sizes: sliding(sizes, kernel, **window))


def gated_pool(x: Floats, weight: Floats, **window: Any) -> Floats:
    """`weight` is ``(1 or C, *kernel)``."""

    def reduce(values: Floats, numbers: Sequence[int], channel: int, _: Place) -> float:
        gate = _sigmoid(math.fsum(_of(weight, channel).ravel()[numbers] * values))
        return gate * values.max() + (1 - gate) * values.mean()

    return pool(x, reduce, lambda sizes: sliding(sizes, weight.shape[1:], **window))


def tree_pool(x: Floats, leaves: Floats, gates: Floats, **window: Any) -> Floats:
    """`leaves` are ``(2**(depth - 1), 1 or C, *kernel)``, `gates` one less, the root first."""

    def reduce(values: Floats, numbers: Sequence[int], channel: int, _: Place) -> float:
        def seen(weights: Floats) -> float:
            return math.fsum(_of(weights, channel).ravel()[numbers] * values)

        def node(index: int) -> float:
            if index >= len(gates):
                return seen(leaves[index - len(gates)])
            gate = _sigmoid(seen(gates[index]))
            return gate * node(2 * index + 1) + (1 - gate) * node(2 * index + 2)

        return node(0)

    return pool(x, reduce, lambda sizes: sliding(sizes, leaves.shape[2:], **window))


def avg_max_pool(x: Floats, kernel: Sequence[int], **window: Any) -> Floats:
    """Half the mean and half the maximum."""
    return mixed_pool(x, np.array([0.5]), kernel, **window)


def adaptive_avg_max_pool(x: Floats, outs: Sequence[int]) -> Floats:
    """The same over windows that share out the input."""
    return pool(x, lambda values, _, __, ___: (values.max() + values.mean()) / 2, lambda sizes: adaptive(sizes, outs))


def cat_avg_max_pool(x: Floats, kernel: Sequence[int], first: str = "avg", **window: Any) -> Floats:
    """Mean and maximum, or maximum and mean, along the channels."""
    parts = [mixed_pool(x, np.array([share]), kernel, **window) for share in (0.0, 1.0)]
    return np.concatenate(parts if first == "avg" else parts[::-1], axis=1)


def adaptive_cat_avg_max_pool(x: Floats, outs: Sequence[int], first: str = "avg") -> Floats:
    """The same over windows that share out the input."""
    mean = pool(x, lambda values, _, __, ___: values.mean(), lambda sizes: adaptive(sizes, outs))
    top = pool(x, lambda values, _, __, ___: values.max(), lambda sizes: adaptive(sizes, outs))
    return np.concatenate([mean, top] if first == "avg" else [top, mean], axis=1)
