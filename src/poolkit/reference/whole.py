"""The oracle of reducers that see a window whole: order statistics, draws, learned weights, moments.

Each formula takes one window as a flat float64 array in row-major order, and `Seen`: what else belongs to the window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poolkit.reducer import (
    Ada,
    Boltzmann,
    Filter,
    GeM,
    MaxDrop,
    Median,
    Mixed,
    Ordinal,
    PowerMean,
    Quantile,
    RankMean,
    RankStochastic,
    Reducer,
    Std,
    Stochastic,
    TopKMean,
    Var,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Beside the cells: each cell's number in the unclipped kernel, and the number drawn for this output."""

    numbers: tuple[int, ...]
    uniform: float = 0.0


def by_rank(values: Floats) -> list[int]:
    """Positions of the cells, the largest first; of equal cells the first comes first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def rank_weights(n: int, reducer: Reducer) -> Floats:
    """The weight of each rank, the largest cell first."""
    weights: Any = np.zeros(n)
    if isinstance(reducer, Quantile | Median):
        # NumPy's own definition, asked for the ranks themselves.
        ranks = np.arange(n, dtype=np.float64)
        method: Any = reducer.interpolation
        place = float(np.quantile(ranks, reducer.q, method=method))
        low = math.floor(place)
        weights[n - 1 - low] += 1 - (place - low)
        if place > low:
            weights[n - 2 - low] += place - low
    elif isinstance(reducer, TopKMean):
        k = reducer.k if isinstance(reducer.k, int) else max(1, math.floor(reducer.k * n + 0.5))
        weights[: min(k, n)] = 1 / min(k, n)
    elif isinstance(reducer, RankMean | RankStochastic):
        weights = reducer.alpha * (1 - reducer.alpha) ** np.arange(n)
        if isinstance(reducer, RankStochastic) or reducer.normalize:
            weights = weights / weights.sum()
    elif isinstance(reducer, MaxDrop):
        weights = (1 - reducer.drop_prob) * reducer.drop_prob ** np.arange(n)
    elif isinstance(reducer, Ordinal):
        # The weights as a step function on [0, 1), integrated over the n equal parts of it.
        count = len(reducer.weights)
        edges = np.concatenate([[0.0], np.cumsum(reducer.weights)]) / count
        integral = np.interp(np.arange(n + 1) / n, np.arange(count + 1) / count, edges)
        weights = np.diff(integral) * count
    return weights


def choose(values: Floats, reducer: Reducer, seen: Seen) -> int:
    """Position of the chosen cell, the first of equal ones; -1 where none is taken."""
    if np.isnan(values).any():
        return int(np.flatnonzero(np.isnan(values))[0])
    if isinstance(reducer, Stochastic):
        weights = _activation(values, reducer)
        if weights.sum() == 0:
            return -1
        return int(np.flatnonzero((np.cumsum(weights) > seen.uniform * weights.sum()) & (weights > 0))[0])
    order, weights = by_rank(values), rank_weights(len(values), reducer)
    if isinstance(reducer, Quantile | Median):
        rank = int(np.argmax(weights))
    else:
        above = np.flatnonzero(np.cumsum(weights) > seen.uniform)
        if len(above) == 0 and isinstance(reducer, MaxDrop):
            return -1
        rank = int(above[0]) if len(above) else len(values) - 1
    return int(np.flatnonzero(values == values[order[rank]])[0])


def value(values: Floats, reducer: Reducer, seen: Seen) -> float:
    """The pooled value of one window."""
    if reducer.selects:
        chosen = choose(values, reducer, seen)
        return 0.0 if chosen < 0 else float(values[chosen])
    with np.errstate(all="ignore"):
        return float(_FORMULAS[type(reducer)](values, reducer, seen))


def slopes(values: Floats, reducer: Reducer, seen: Seen) -> Floats:
    """The derivative of the pooled value by each cell."""
    if reducer.selects:
        one, chosen = np.zeros_like(values), choose(values, reducer, seen)
        if chosen >= 0:
            one[chosen] = 1.0
        return one
    with np.errstate(all="ignore"):
        return _SLOPES[type(reducer)](values, reducer, seen)


def _rank_sum(values: Floats, reducer: Reducer, _: Seen) -> float:
    if np.isnan(values).any():
        return math.nan
    weights = rank_weights(len(values), reducer)
    return math.fsum(weights[r] * values[i] for r, i in enumerate(by_rank(values)) if weights[r] != 0)


def _rank_slope(values: Floats, reducer: Reducer, _: Seen) -> Floats:
    slope, weights = np.zeros_like(values), rank_weights(len(values), reducer)
    for rank, i in enumerate(by_rank(values)):
        slope[i] = weights[rank]
    return slope


def _activation(values: Floats, reducer: Stochastic) -> Floats:
    if reducer.activation == "relu":
        return np.maximum(values, 0)
    return np.exp((values - values.max()) / reducer.temperature)


def _stochastic(values: Floats, reducer: Stochastic, _: Seen) -> float:
    weights = _activation(values, reducer)
    return 0.0 if weights.sum() == 0 else float((weights * values).sum() / weights.sum())


def _stochastic_slope(values: Floats, reducer: Stochastic, seen: Seen) -> Floats:
    weights, y = _activation(values, reducer), _stochastic(values, reducer, seen)
    if weights.sum() == 0:
        return np.zeros_like(values)
    if reducer.activation == "relu":
        return np.where(values > 0, (2 * values - y) / weights.sum(), 0.0)
    return weights / weights.sum() * (1 + (values - y) / reducer.temperature)


def _mixed(values: Floats, reducer: Mixed, _: Seen) -> float:
    return reducer.weight * float(values.max()) + (1 - reducer.weight) * float(values.mean())


def _mixed_slope(values: Floats, reducer: Mixed, _: Seen) -> Floats:
    slope = np.full_like(values, (1 - reducer.weight) / len(values))
    slope[int(np.flatnonzero(values == values.max())[0])] += reducer.weight
    return slope


def _divisor(values: Floats, reducer: Var) -> int:
    return len(values) - 1 if reducer.unbiased and len(values) > 1 else len(values)


def _var(values: Floats, reducer: Var, _: Seen) -> float:
    return float(((values - values.mean()) ** 2).sum()) / _divisor(values, reducer)


def _var_slope(values: Floats, reducer: Var, _: Seen) -> Floats:
    return 2 * (values - values.mean()) / _divisor(values, reducer)


def _std_slope(values: Floats, reducer: Std, seen: Seen) -> Floats:
    y = math.sqrt(_var(values, reducer, seen))
    return np.zeros_like(values) if y == 0 else _var_slope(values, reducer, seen) / (2 * y)


def _likeness(values: Floats, mean: float, reducer: Ada) -> Floats:
    """Unnormalised weights."""
    if reducer.weighting == "idw":
        return 1 / (abs(values - mean) + reducer.eps)
    squares = values**2 + mean**2
    return np.exp(np.divide(2 * abs(values * mean), squares, out=np.zeros_like(values), where=squares > 0))


def _ada(values: Floats, reducer: Ada, _: Seen) -> float:
    like, soft = _likeness(values, float(values.mean()), reducer), np.exp(values - values.max())
    first = float((like * values).sum() / like.sum())
    return reducer.beta * first + (1 - reducer.beta) * float((soft * values).sum() / soft.sum())


def _ada_slope(values: Floats, reducer: Ada, _: Seen) -> Floats:
    """Not worked out by hand: complex steps through the formula, exact to rounding, away from its kinks."""
    step, slope = 1e-30, np.zeros_like(values)
    for i in range(len(values)):
        z = values.astype(np.complex128)
        z[i] += 1j * step
        mean = z.mean()
        size: Callable[[Any], Any] = lambda w: np.sign(w.real) * w  # noqa: E731  at its kink without a slope
        if reducer.weighting == "idw":
            like = 1 / (size(z - mean) + reducer.eps)
        else:
            squares, some = z**2 + mean**2, abs(z) + abs(mean) > 0
            like = np.exp(np.where(some, 2 * size(z) * size(mean) / np.where(some, squares, 1), 0))
        soft = np.exp(z - values.max())
        first, second = (like * z).sum() / like.sum(), (soft * z).sum() / soft.sum()
        slope[i] = (reducer.beta * first + (1 - reducer.beta) * second).imag / step
    return slope


def _boltzmann(values: Floats, reducer: Boltzmann, _: Seen) -> float:
    logits = reducer.beta * values
    weights = np.exp(logits - logits.max())
    return float((weights * values).sum() / weights.sum())


def _boltzmann_slope(values: Floats, reducer: Boltzmann, seen: Seen) -> Floats:
    logits = reducer.beta * values
    weights = np.exp(logits - logits.max())
    return weights / weights.sum() * (1 + reducer.beta * (values - _boltzmann(values, reducer, seen)))


def _gem(values: Floats, reducer: GeM | PowerMean, _: Seen) -> float:
    clamped = np.maximum(values, reducer.eps)
    top = float(clamped.max())
    return (
        top
        if top == 0 or not math.isfinite(top)
        else top * float(((clamped / top) ** reducer.p).mean()) ** (1 / reducer.p)
    )


def _gem_slope(values: Floats, reducer: GeM, seen: Seen) -> Floats:
    y = _gem(values, reducer, seen)
    if y == 0:
        return np.zeros_like(values)
    slope = (np.maximum(values, reducer.eps) / y) ** (reducer.p - 1) / len(values)
    return np.where(values < reducer.eps, 0.0, slope)


def _filter(values: Floats, reducer: Filter, seen: Seen) -> float:
    return math.fsum(reducer.weights[k] * v for k, v in zip(seen.numbers, values, strict=True))


def _filter_slope(_: Floats, reducer: Filter, seen: Seen) -> Floats:
    return np.array([reducer.weights[k] for k in seen.numbers])


_FORMULAS: dict[type[Reducer], Callable[[Floats, Any, Seen], float]] = {
    Median: _rank_sum,
    Quantile: _rank_sum,
    TopKMean: _rank_sum,
    RankMean: _rank_sum,
    RankStochastic: _rank_sum,
    MaxDrop: _rank_sum,
    Ordinal: _rank_sum,
    Stochastic: _stochastic,
    Mixed: _mixed,
    Var: _var,
    Std: lambda values, reducer, seen: math.sqrt(_var(values, reducer, seen)),
    Ada: _ada,
    Boltzmann: _boltzmann,
    GeM: _gem,
    Filter: _filter,
}

_SLOPES: dict[type[Reducer], Callable[[Floats, Any, Seen], Floats]] = {
    Median: _rank_slope,
    Quantile: _rank_slope,
    TopKMean: _rank_slope,
    RankMean: _rank_slope,
    RankStochastic: _rank_slope,
    MaxDrop: _rank_slope,
    Ordinal: _rank_slope,
    Stochastic: _stochastic_slope,
    Mixed: _mixed_slope,
    Var: _var_slope,
    Std: _std_slope,
    Ada: _ada_slope,
    Boltzmann: _boltzmann_slope,
    GeM: _gem_slope,
    Filter: _filter_slope,
}
