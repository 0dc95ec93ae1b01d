"""The weights that order statistics give to the cells of a window, the largest first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poolkit.reducer import MaxDrop, Median, Quantile, RankMean, RankStochastic, TopKMean
from poolkit.reducer.order import INTERPOLATIONS

if TYPE_CHECKING:
    from poolkit.reducer import Params, Reducer

Floats = npt.NDArray[np.float64]

RANKED: tuple[type[Reducer], ...] = (Median, Quantile, TopKMean, RankMean, RankStochastic, MaxDrop)


def rank_weights(kind: type[Reducer], params: Params, n: int) -> Floats:
    """The weight of each of n ranks.

    >>> from poolkit.reducer import Params
    >>> rank_weights(Median, Params(level=0.5, mode=4), 4)
    array([0. , 0.5, 0.5, 0. ])
    """
    weights: Any = np.zeros(n)
    if kind in (Median, Quantile):
        place = (n - 1) * params.level
        low = math.floor(place)
        part = place - low
        word = INTERPOLATIONS[int(params.mode)]
        share = {
            "linear": part,
            "lower": 0.0,
            "higher": float(part > 0),
            "nearest": float(round(place) - low),
            "midpoint": 0.5 * (part > 0),
        }[word]
        weights[n - 1 - low] = 1 - share
        if share > 0:
            weights[n - 2 - low] = share
    elif kind is TopKMean:
        k = max(1, math.floor(params.level * n + 0.5)) if params.mode else int(params.level)
        weights[: min(k, n)] = 1 / min(k, n)
    else:
        weights = params.level * (1 - params.level) ** np.arange(n)
        normalized = kind is RankStochastic or (kind is RankMean and not params.mode)
        if normalized:
            weights = weights / weights.sum()
    return weights


def ordinal_shares(n: int, count: int) -> Floats:
    """The matrix ``[n, count]`` that takes `count` weights to those of n ranks: a step function shared out anew.

    >>> ordinal_shares(2, 4)
    array([[1., 1., 0., 0.],
           [0., 0., 1., 1.]])
    """
    ranks, steps = np.arange(n)[:, None], np.arange(count)
    low = np.maximum(ranks / n, steps / count)
    high = np.minimum((ranks + 1) / n, (steps + 1) / count)
    return np.maximum(high - low, 0) * count
