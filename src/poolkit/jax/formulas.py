"""Every reducer as a formula over the cells of its windows, in jax.numpy: for processors that the core does not serve.

Each formula takes `Seen` and gives the pooled values ``(P, *outs)``; its derivatives are JAX's own. Where a formula has
a kink, what is written here has the slope that `poolkit.reference` has there. Reducers that choose a cell are one
function instead, `choose`: values, positions and derivatives follow from the place of the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from poolkit.jax.calls import Call, accumulator, wide_integer
from poolkit.reducer import (
    RMS,
    Ada,
    Boltzmann,
    Filter,
    GeM,
    LogSumExp,
    Lp,
    Max,
    MaxDrop,
    Mean,
    Median,
    Min,
    Mixed,
    Ordinal,
    PowerMean,
    Quantile,
    RankMean,
    RankStochastic,
    Reducer,
    Soft,
    Std,
    Stochastic,
    Sum,
    TopKMean,
    Var,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.jax.taps import Taps

Array = jax.Array


@dataclass(frozen=True)
class Seen:
    """The windows of a call: their cells in the accumulator's dtype, and the array beside x.

    `extra` is ``(P, *outs)``, or ``(1 or P, K)`` for weights of a kernel.
    """

    taps: Taps
    cells: Array  # (P, *outs, T)
    extra: Array | None = None

    @property
    def real(self) -> Any:
        """Which places are filled."""
        return self.taps.real

    @cached_property
    def count(self) -> Array:
        """Cells of each window."""
        return jnp.asarray(self.taps.counts, self.cells.dtype)

    @cached_property
    def nan(self) -> Array:
        """Windows with a NaN."""
        return (jnp.isnan(self.cells) & self.real).any(-1)

    def sum(self, values: Array) -> Array:
        """The sum over each window."""
        return jnp.where(self.real, values, 0).sum(-1)

    def mean(self, values: Array) -> Array:
        """The mean over each window."""
        return self.sum(values) / self.count

    def top(self, values: Array) -> Array:
        """The largest over each window; without a slope."""
        return jax.lax.stop_gradient(jnp.where(self.real, values, _least(values.dtype)).max(-1))

    def parameter(self, value: float) -> Any:
        """A reducer's number, or the array that stands in for it."""
        return value if self.extra is None else self.extra


def _least(dtype: Any) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def _most(dtype: Any) -> Any:
    return jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).max


def choose(reducer: Reducer, seen: Seen) -> Array:
    """``(P, *outs)``: the place of the chosen cell, the first of equal ones; -1 where none is taken."""
    cells = abs(seen.cells) if isinstance(reducer, Lp) else seen.cells
    none: Any = False
    if isinstance(reducer, Stochastic):
        found, none = _drawn_by_activation(reducer, seen)
    else:
        if isinstance(reducer, Max | Lp):
            value = jnp.where(seen.real, cells, _least(cells.dtype)).max(-1)
        elif isinstance(reducer, Min):
            value = jnp.where(seen.real, cells, _most(cells.dtype)).min(-1)
        else:
            rank, none = _rank(reducer, seen)
            ascending = jnp.sort(jnp.where(seen.real, cells, _most(cells.dtype)), axis=-1)
            value = jnp.take_along_axis(ascending, rank[..., None], axis=-1)[..., 0]
        found = (cells == value[..., None]) & seen.real
    if jnp.issubdtype(cells.dtype, jnp.floating):
        nan = jnp.isnan(cells) & seen.real
        found = jnp.where(seen.nan[..., None], nan, found)
        none = none & ~seen.nan
    return jnp.where(none, -1, jnp.argmax(found, axis=-1))


def _rank(reducer: Reducer, seen: Seen) -> tuple[Array, Any]:
    """The chosen cell's rank, the smallest cell first, and where no cell is chosen."""
    counts, shape = jnp.asarray(seen.taps.counts), seen.cells.shape[:-1]
    if isinstance(reducer, Quantile | Median):
        low, weight = _quantile_tables(reducer, seen.taps.count)
        table = np.where(weight > 0, low + 1, low).astype(np.int32)
        return jnp.broadcast_to(jnp.asarray(table)[counts], shape), False
    assert seen.extra is not None
    # One more entry: past the last rank nothing is chosen.
    sums = np.cumsum(_geometric(reducer, seen.taps.count))
    total = jnp.asarray(sums, seen.cells.dtype)
    if isinstance(reducer, RankStochastic):
        total = total / jnp.asarray(sums, seen.cells.dtype)[counts - 1][..., None]
    below = (total <= seen.extra[..., None]) & (jnp.arange(seen.taps.count) < counts[..., None])
    rank = below.sum(-1)
    none = rank >= counts if isinstance(reducer, MaxDrop) else False
    return jnp.broadcast_to(counts - 1 - jnp.minimum(rank, counts - 1), shape), none


def _drawn_by_activation(reducer: Stochastic, seen: Seen) -> tuple[Array, Array]:
    assert seen.extra is not None
    weights = jnp.where(seen.real, _activation(reducer, seen), 0)
    sums = weights.cumsum(-1)
    found = (sums > seen.extra[..., None] * sums[..., -1:]) & (weights > 0)
    # Rounding may leave the draw just past the last sum: then the last cell with a weight is meant.
    last = weights.shape[-1] - 1 - jnp.argmax((weights > 0)[..., ::-1], axis=-1)
    found = found | ((jnp.arange(weights.shape[-1]) == last[..., None]) & (weights > 0))
    return found, sums[..., -1] == 0


def _activation(reducer: Stochastic, seen: Seen) -> Array:
    if reducer.activation == "relu":
        return jnp.maximum(seen.cells, 0)
    return jnp.exp((seen.cells - seen.top(seen.cells)[..., None]) / reducer.temperature)


def _quantile_tables(reducer: Quantile | Median, most: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For windows of 0, 1, ... cells: the lower of the two ranks, the smallest first, and the upper one's weight."""
    h = np.maximum(np.arange(most + 1) - 1, 0) * reducer.q
    low, part = np.floor(h), h - np.floor(h)
    nearest = (part > 0.5) | ((part == 0.5) & (low % 2 == 1))
    weight = {
        "linear": part,
        "lower": np.zeros_like(part),
        "higher": (part > 0).astype(float),
        "nearest": nearest.astype(float),
        "midpoint": (part > 0) * 0.5,
    }[reducer.interpolation]
    return low.astype(np.int32), weight


def _geometric(reducer: Reducer, most: int) -> np.ndarray[Any, Any]:
    if isinstance(reducer, MaxDrop):
        return (1 - reducer.drop_prob) * reducer.drop_prob ** np.arange(most)
    assert isinstance(reducer, RankMean | RankStochastic)
    return reducer.alpha * (1 - reducer.alpha) ** np.arange(most)


def _rank_weights(reducer: Reducer, seen: Seen) -> Array:
    """``(R, *outs, T)``: the weight of each rank, the largest cell first."""
    counts, dtype, most = jnp.asarray(seen.taps.counts)[..., None], seen.cells.dtype, seen.taps.count
    ranks = jnp.arange(most)
    if isinstance(reducer, Quantile | Median):
        low, weight = _quantile_tables(reducer, most)
        lower, upper = jnp.asarray(low)[counts], jnp.asarray(weight, dtype)[counts]
        weights = jnp.where(ranks == counts - 1 - lower, 1 - upper, 0)
        return weights + jnp.where(ranks == counts - 2 - lower, upper, 0)
    if isinstance(reducer, TopKMean):
        cells = np.arange(most + 1)
        wanted = np.full(most + 1, reducer.k) if isinstance(reducer.k, int) else np.floor(reducer.k * cells + 0.5)
        k = jnp.asarray(np.clip(wanted, 1, np.maximum(cells, 1)), dtype)[counts]
        return jnp.where(ranks < k, 1 / k, 0)
    if isinstance(reducer, Ordinal):
        assert seen.extra is not None
        K = seen.extra.shape[-1]
        r, k, n = ranks[:, None], jnp.arange(K), counts[..., None]
        overlap = jnp.minimum((r + 1) * K, (k + 1) * n) - jnp.maximum(r * K, k * n)
        shares = jnp.where(r < n, jnp.maximum(overlap, 0), 0).astype(dtype) / n
        # Rows of shares are one for all planes or one for each, and so are rows of weights: they broadcast.
        extra = seen.extra.reshape(len(seen.extra), *[1] * (shares.ndim - 2), K)
        return (shares * extra).sum(-1)
    base = _geometric(reducer, most)
    weights = jnp.where(ranks < counts, jnp.asarray(base, dtype), 0)
    if isinstance(reducer, RankStochastic) or (isinstance(reducer, RankMean) and reducer.normalize):
        weights = weights / jnp.asarray(np.cumsum(base), dtype)[counts - 1]
    return weights


def _rank_sum(reducer: Reducer, seen: Seen) -> Array:
    # Filled places last; of equal cells the first one is the largest: it has to come last in ascending order.
    filled = jnp.broadcast_to(jnp.asarray(seen.real).astype(np.int8), seen.cells.shape)[..., ::-1]
    _, ascending = jax.lax.sort((filled, seen.cells[..., ::-1]), num_keys=2, is_stable=True)
    weights = _rank_weights(reducer, seen)
    y = jnp.where(weights == 0, 0, weights * jnp.where(weights == 0, 0, ascending[..., ::-1])).sum(-1)
    # Slopes of a window with a NaN are NaN, too; those of others must not meet it.
    return jnp.where(seen.nan, seen.sum(jnp.where(seen.nan[..., None], seen.cells, 0)) * jnp.nan, y)


def _sum(reducer: Reducer, seen: Seen) -> Array:  # noqa: ARG001  all formulas have one signature
    return seen.sum(seen.cells)


def _mean(reducer: Mean, seen: Seen) -> Array:
    divisor = reducer.divisor or (seen.taps.padded if reducer.count_include_pad else seen.taps.counts)
    total = seen.sum(seen.cells)
    if jnp.issubdtype(total.dtype, jnp.floating):
        return total / jnp.asarray(divisor, total.dtype)
    # To nearest, ties to even, in integers alone.
    n = jnp.asarray(divisor, total.dtype)
    whole = total // n
    twice = 2 * (total - whole * n)
    return whole + ((twice > n) | ((twice == n) & (whole % 2 == 1)))


def _norm(seen: Seen, values: Array, p: Any, count: Any) -> Array:
    """``(sum values**p / count) ** (1 / p)`` of values that are not negative, relative to the largest."""
    top = seen.top(values)
    usual = (top > 0) & jnp.isfinite(top)
    scale = jnp.where(usual, top, 1)[..., None]
    power = jnp.asarray(p, values.dtype)
    some = values > 0
    shares = jnp.where(some, jnp.where(some, values / scale, 1) ** power[..., None], 0)
    total = seen.sum(shares) / count
    total = jnp.where(usual, total, 1)
    # Beyond the usual the largest value is the result: 0, infinity or NaN.
    return jnp.where(usual, scale[..., 0] * total ** (1 / power), top)


def _lp(reducer: Lp, seen: Seen) -> Array:
    return _norm(seen, abs(seen.cells), reducer.p, 1)


def _rms(reducer: RMS, seen: Seen) -> Array:  # noqa: ARG001
    return _norm(seen, abs(seen.cells), 2.0, seen.count)


def _power_mean(reducer: PowerMean | GeM, seen: Seen) -> Array:
    clamped = jnp.where(seen.cells < reducer.eps, reducer.eps, seen.cells)
    return _norm(seen, clamped, seen.parameter(reducer.p), seen.count)


def log_sum_exp(reducer: LogSumExp | Soft, seen: Seen) -> Array:
    """What the core keeps of a softmax for its backward pass: ``log sum exp(beta x)``."""
    logits = seen.cells * reducer.beta
    top = seen.top(logits)
    base = jnp.where(jnp.isfinite(top), top, 0)
    return base + jnp.log(seen.sum(jnp.exp(logits - base[..., None])))


def _lse(reducer: LogSumExp, seen: Seen) -> Array:
    shift = jnp.log(seen.count) if reducer.mean else 0
    return (log_sum_exp(reducer, seen) - shift) / reducer.beta


def _soft(reducer: Soft, seen: Seen) -> Array:
    return _soft_mean(seen, seen.cells * reducer.beta, reducer.beta)


def _boltzmann(reducer: Boltzmann, seen: Seen) -> Array:
    beta = jnp.asarray(seen.parameter(reducer.beta))
    beta = jnp.broadcast_to(beta, seen.cells.shape[:-1])
    flat = (beta == 0)[..., None] & jnp.isinf(seen.cells)
    logits = jnp.where(flat, 0, beta[..., None] * jnp.where(flat, 0, seen.cells))
    return _soft_mean(seen, logits, beta)


def _soft_mean(seen: Seen, logits: Array, beta: Any) -> Array:
    """The mean of the cells with the softmax of logits as weights; cells without weight have no part in it."""
    top = seen.top(logits)
    finite = jnp.isfinite(top)
    weights = jnp.where(seen.real, jnp.exp(logits - jnp.where(finite, top, 0)[..., None]), 0)
    none = weights == 0
    y = jnp.where(none, 0, weights * jnp.where(none, 0, seen.cells)).sum(-1) / weights.sum(-1)
    return jnp.where(finite, y, top / beta)


def _stochastic(reducer: Stochastic, seen: Seen) -> Array:
    if reducer.activation == "softmax":
        return _soft_mean(seen, seen.cells / reducer.temperature, 1 / reducer.temperature)
    weights = jnp.where(seen.real & ~(seen.cells <= 0), seen.cells, 0)
    total = weights.sum(-1)
    return jnp.where(total == 0, 0, (weights * weights).sum(-1) / jnp.where(total == 0, 1, total))


def _mixed(reducer: Mixed, seen: Seen) -> Array:
    weight = jnp.asarray(seen.parameter(reducer.weight), seen.cells.dtype)
    place = choose(Max(), seen)
    largest = jnp.take_along_axis(seen.cells, place[..., None], axis=-1)[..., 0]
    # A share of 0 takes nothing, not even of an infinity.
    first = jnp.where(weight == 0, 0, weight * jnp.where(weight == 0, 0, largest))
    rest = jnp.where(weight == 1, 0, (1 - weight) * jnp.where(weight == 1, 0, seen.mean(seen.cells)))
    if seen.extra is None:
        return first + rest
    # Without the branches, for the derivative by a weight of 0 or 1.
    return weight * largest + (1 - weight) * seen.mean(seen.cells)


def _var(reducer: Var, seen: Seen) -> Array:
    apart = seen.cells - seen.mean(seen.cells)[..., None]
    divisor = jnp.where(seen.count > 1, seen.count - 1, 1) if reducer.unbiased else seen.count
    return seen.sum(apart * apart) / divisor


def _std(reducer: Std, seen: Seen) -> Array:
    var = _var(reducer, seen)
    return jnp.where(var == 0, 0, jnp.sqrt(jnp.where(var == 0, 1, var)))


def _ada(reducer: Ada, seen: Seen) -> Array:
    weight, mean = seen.parameter(reducer.beta), seen.mean(seen.cells)[..., None]
    if reducer.weighting == "idw":
        like = 1 / (_size(seen.cells - mean) + reducer.eps)
    else:
        squares = seen.cells**2 + mean**2
        some = squares > 0
        like = jnp.exp(jnp.where(some, 2 * _size(seen.cells) * _size(mean) / jnp.where(some, squares, 1), 0))
    first = seen.sum(like * seen.cells) / seen.sum(like)
    return weight * first + (1 - weight) * _soft_mean(seen, seen.cells, 1.0)


def _size(values: Array) -> Array:
    """Magnitudes; without a slope at 0, where `abs` has one."""
    return values * jnp.sign(values)


def _filter(reducer: Filter, seen: Seen) -> Array:  # noqa: ARG001
    assert seen.extra is not None
    numbers = jnp.asarray(seen.taps.numbers)
    if len(seen.extra) == 1:
        weights = seen.extra[0][numbers]
    elif len(numbers) == 1:
        weights = seen.extra[:, numbers[0]]
    else:
        planes = jnp.arange(len(seen.extra)).reshape(-1, *[1] * (numbers.ndim - 1))
        weights = seen.extra[planes, numbers]
    return seen.sum(weights * seen.cells)


_FORMULAS: dict[type[Reducer], Callable[[Any, Seen], Array]] = {
    Sum: _sum,
    Mean: _mean,
    Lp: _lp,
    PowerMean: _power_mean,
    RMS: _rms,
    LogSumExp: _lse,
    Soft: _soft,
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
    Std: _std,
    Ada: _ada,
    Boltzmann: _boltzmann,
    GeM: _power_mean,
    Filter: _filter,
}


def see(taps: Taps, planes: Array, extra: Array | None) -> Seen:
    """The windows of planes, ready for a formula."""
    cells = taps.of(planes)
    if jnp.issubdtype(cells.dtype, jnp.floating):
        cells = cells.astype(accumulator(np.dtype(cells.dtype)))
    return Seen(taps, cells, extra)


def pooled(call: Call, taps: Taps, planes: Array, extra: Array | None) -> Array:
    """The pooled planes, of a reducer that chooses no cell."""
    seen = see(taps, planes, extra)
    if not jnp.issubdtype(planes.dtype, jnp.floating):
        seen = Seen(taps, seen.cells.astype(wide_integer()), extra)
    return _FORMULAS[type(call.reducer)](call.reducer, seen).astype(call.y_dtype(np.dtype(planes.dtype)))


def taken(call: Call, taps: Taps, planes: Array, places: Array, like: Array | None = None) -> Array:
    """The cells at `places` of their windows, 0 where a place is -1; with the sign of those of `like`, if given."""
    values = jnp.take_along_axis(taps.of(planes), jnp.maximum(places, 0)[..., None], axis=-1)[..., 0]
    if like is not None:
        values = values * jnp.sign(taken(call, taps, like, places))
    return jnp.where(places < 0, jnp.zeros((), values.dtype), values)
