"""Reducers that see a window whole, in keras.ops: one formula each over the taps of every window along one axis."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from poolkit.errors import PoolError
from poolkit.keras.cells import constant, dtype_of, floating, known, ops, outer, spread
from poolkit.keras.folds import pick_first
from poolkit.reducer import (
    RMS,
    Ada,
    Boltzmann,
    Filter,
    GeM,
    LogSumExp,
    Lp,
    MaxDrop,
    Median,
    Ordinal,
    PowerMean,
    Quantile,
    RankMean,
    RankStochastic,
    Reducer,
    Soft,
    Std,
    Stochastic,
    TopKMean,
    Var,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolkit.keras.cells import Layout, Pick, Tensor


class Windows(NamedTuple):
    """All windows: `cells` with their taps along `axis`, which of them exist (None: all), and how many.

    A tap that does not exist holds a cell of its window, or 0 where the window is filtered, so that it is no other
    maximum or NaN.
    """

    cells: Tensor
    axis: int
    exists: Any
    count: Any

    def sum(self, values: Tensor) -> Tensor:
        """The sum over taps that exist, the axis kept."""
        if self.exists is not None:
            values = ops.where(self.exists, values, ops.zeros_like(values))
        return ops.sum(values, self.axis, keepdims=True)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over taps that exist, the axis kept."""
        return self.sum(values) / constant(self.count, values)

    def max(self, values: Tensor) -> Tensor:
        """The largest of the taps, without a gradient, the axis kept."""
        return ops.stop_gradient(ops.max(values, self.axis, keepdims=True))


def windows_of(x: Tensor, picks: Sequence[Pick], layout: Layout) -> Windows:
    """The windows of `x`, each with its taps in row-major order."""
    rank, first = layout.rank, layout.spatial
    for i in reversed(range(rank)):
        x = spread(x, first + i, picks[i])
    order = [*range(first), *range(first, first + 2 * rank, 2), *range(first + 1, first + 2 * rank, 2)]
    shape = tuple(ops.shape(x))
    outs, taps = shape[first : first + 2 * rank : 2], shape[first + 1 : first + 2 * rank : 2]
    tail = [*range(first + 2 * rank, len(shape))]
    cells = math.prod(taps) if all(isinstance(size, int) for size in taps) else -1
    x = ops.transpose(x, order + tail)
    if rank > 1:
        x = ops.reshape(x, (*shape[:first], *outs, cells, *(shape[axis] for axis in tail)))
    axis, ndim = first + rank, len(shape) - rank + 1
    exists: Any = None
    if any(pick.exists is not None for pick in picks):
        exists = _exists(picks, outs, taps, first, ndim)
    return Windows(x, axis, exists, outer([pick.count for pick in picks], first, ndim))


def _exists(picks: Sequence[Pick], outs: Any, taps: Any, first: int, ndim: int) -> Any:
    rank = len(picks)
    if len(picks[0].exists.shape if picks[0].exists is not None else ()) == ndim:
        return picks[0].exists  # a mask, which is for one pooled axis
    one: Any = True
    for i, pick in enumerate(picks):
        if pick.exists is not None:
            fixed = known(pick.exists)
            own: list[Any] = [1] * (2 * rank)
            own[i], own[rank + i] = pick.exists.shape if fixed else ops.shape(pick.exists)
            one = one & (pick.exists.reshape(own) if fixed else ops.reshape(pick.exists, own))
    full = (*outs, *taps)
    shape = (*[1] * first, *outs, math.prod(taps), *[1] * (ndim - first - rank - 1))
    if known(one):
        return np.broadcast_to(one, full).reshape(shape)
    return ops.reshape(ops.broadcast_to(one, full), shape)


def reduce(windows: Windows, reducer: Reducer, extra: Tensor | None) -> Tensor:
    """What the reducer makes of each window; `extra` is what it takes beside the cells, the taps' axis kept."""
    t, axis = windows.cells, windows.axis
    y = _FORMULAS[type(reducer)](windows, reducer, extra)
    if isinstance(reducer, Filter):
        return y
    bad = ops.any(ops.not_equal(t, t), axis)
    return ops.where(bad, constant(np.array(np.nan), y), y) if floating(t) else y


def _size(x: Tensor) -> Tensor:
    """``|x|``, with a slope of 0 at its kink; that of ops.abs is another on each back end."""
    return x * ops.stop_gradient(ops.sign(x))


def _power(base: Tensor, p: Any) -> Tensor:
    """``base ** p`` for bases that are not negative; at 0 it is 0, with a gradient of 0."""
    some = base > 0
    return ops.where(some, ops.power(ops.where(some, base, ops.ones_like(base)), p), ops.zeros_like(base))


def _norm(windows: Windows, sizes: Tensor, p: Any, *, mean: bool) -> Tensor:
    """``(sum sizes**p) ** (1 / p)``, or of the mean, in units of the largest: no power overflows or vanishes."""
    top = windows.max(sizes)
    plain = ops.logical_and(top > 0, ops.isfinite(top))
    unit = ops.where(plain, top, ops.ones_like(top))
    powers = _power(sizes / unit, p)
    y = unit * _power(windows.mean(powers) if mean else windows.sum(powers), 1 / p)
    y = ops.where(ops.isinf(top), top, y)
    return ops.squeeze(y, windows.axis)


def _lp(windows: Windows, reducer: Lp, _: Any) -> Tensor:
    return _norm(windows, _size(windows.cells), reducer.p, mean=False)


def _rms(windows: Windows, _: RMS, __: Any) -> Tensor:
    return _norm(windows, _size(windows.cells), 2.0, mean=True)


def _power_mean(windows: Windows, reducer: PowerMean | GeM, extra: Any) -> Tensor:
    least = constant(np.array(reducer.eps), windows.cells)
    sizes = ops.where(windows.cells < least, least, windows.cells)
    return _norm(windows, sizes, reducer.p if extra is None else extra, mean=True)


def _weights(windows: Windows, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Exponentials in units of the largest, and its logarithm."""
    top = windows.max(logits)
    shift = ops.where(ops.isfinite(top), top, ops.zeros_like(top))
    return ops.exp(logits - shift), shift


def _lse(windows: Windows, reducer: LogSumExp, _: Any) -> Tensor:
    weights, shift = _weights(windows, windows.cells * reducer.beta)
    y = ops.log(windows.mean(weights) if reducer.mean else windows.sum(weights)) + shift
    return ops.squeeze(y / reducer.beta, windows.axis)


def _soft(windows: Windows, reducer: Soft | Boltzmann, extra: Any) -> Tensor:
    t = windows.cells
    beta = reducer.beta if extra is None else extra
    logits = t * beta
    weights, _ = _weights(windows, logits)
    # A cell without weight has no part in the sum, even where it is infinite.
    parts = ops.where(weights > 0, weights * ops.where(weights > 0, t, ops.zeros_like(t)), ops.zeros_like(t))
    y = windows.sum(parts) / windows.sum(weights)
    top = windows.max(logits)
    return ops.squeeze(ops.where(ops.isinf(top), top / beta, y), windows.axis)


@lru_cache(maxsize=64)
def _rank_table(reducer: Reducer, most: int) -> npt.NDArray[np.float64]:
    """Row n: for a window of n cells the weight of each, the smallest cell first; ``[most + 1, most]``."""
    table = np.zeros((most + 1, most))
    for n in range(1, most + 1):
        table[n, :n] = _rank_weights(reducer, n)[::-1]
    return table


def _rank_weights(reducer: Any, n: int) -> npt.NDArray[np.float64]:
    """The weight of each of n cells, the largest first."""
    ranks = np.arange(n)
    if isinstance(reducer, Median | Quantile):
        place = n - 1 - float(np.quantile(ranks, reducer.q, method=reducer.interpolation))
        return np.maximum(1 - abs(ranks - place), 0.0)
    if isinstance(reducer, TopKMean):
        k = reducer.k if isinstance(reducer.k, int) else max(1, math.floor(reducer.k * n + 0.5))
        return np.asarray((ranks < k) / min(k, n), np.float64)
    if isinstance(reducer, Ordinal):
        count = len(reducer.weights)
        edges = np.arange(count) / count
        shared = np.minimum((ranks[:, None] + 1) / n, edges + 1 / count) - np.maximum(ranks[:, None] / n, edges)
        return np.asarray(np.maximum(shared, 0.0) @ np.array(reducer.weights) * count, np.float64)
    if isinstance(reducer, MaxDrop):
        return np.asarray((1 - reducer.drop_prob) * reducer.drop_prob**ranks, np.float64)
    weights = reducer.alpha * (1 - reducer.alpha) ** ranks
    whole = isinstance(reducer, RankStochastic) or reducer.normalize
    return weights / weights.sum() if whole else weights


def _by_rank(windows: Windows, table: Callable[[int], npt.NDArray[np.float64]], like: Tensor) -> Tensor:
    """A table's row for the number of cells of each window, along the taps' axis."""
    t, axis = windows.cells, windows.axis
    if t.shape[axis] is None:
        raise PoolError(
            "ranked cells of windows whose number only a run of the graph knows",
            "order statistics take windows of at most so many cells, known when the graph is made",
            "give keras.Input its sizes, or use Sliding windows",
        )
    most = int(t.shape[axis])
    ndim = len(t.shape)
    if known(windows.count):
        rows = np.moveaxis(table(most)[np.squeeze(windows.count, axis)], -1, axis)
        return constant(rows, like)
    rows = ops.take(constant(table(most), like), ops.cast(ops.squeeze(windows.count, axis), "int32"), axis=0)
    return ops.transpose(rows, [*range(axis), ndim - 1, *range(axis, ndim - 1)])


def _sorted(windows: Windows) -> Tensor:
    """The cells, the smallest first, of equal ones the last; then NaN, and taps that do not exist."""
    t, axis = windows.cells, windows.axis
    exists = windows.exists
    if floating(t):
        number = ops.equal(t, t)
        t = ops.where(number if exists is None else ops.logical_and(exists, number), t, constant(np.array(np.inf), t))
    elif exists is not None:
        t = ops.where(exists, t, constant(np.array(np.iinfo(dtype_of(t)).max), t))
    return ops.sort(ops.flip(t, axis), axis)


def _ranked(windows: Windows, reducer: Reducer, extra: Any) -> Tensor:
    """A sum weighted by rank; where only one cell has a weight, that cell."""
    if reducer.selects:
        return _chosen_by_rank(windows, reducer, extra)
    ordered = _sorted(windows)
    weights = _by_rank(windows, lambda most: _rank_table(reducer, most), ordered)
    some = ops.not_equal(weights, 0)
    finite = ops.where(some, ordered, ops.zeros_like(ordered))
    return ops.sum(finite * weights, windows.axis)


def _chosen_by_rank(windows: Windows, reducer: Reducer, uniform: Any) -> Tensor:
    """The cell of a rank that is fixed, or drawn; of equal cells the first, which alone receives the gradient."""
    t, axis = windows.cells, windows.axis
    ordered = ops.stop_gradient(_sorted(windows))
    if uniform is None:
        hit = ops.equal(_by_rank(windows, lambda most: _rank_table(reducer, most), ops.cast(ordered, "float32")), 1)
    else:
        # In the order of the ranks, the largest cell first; the smallest takes what rounding leaves.
        upto = _by_rank(windows, lambda most: _cumulated(reducer, most), uniform)
        hit = upto > uniform
        if isinstance(reducer, RankStochastic):
            least = _by_rank(windows, _smallest, uniform)
            hit = ops.logical_or(hit, least > 0)
        ordered, hit = ops.flip(ordered, axis), ops.flip(hit, axis)
    value = ops.expand_dims(pick_first(ordered, hit, axis), axis)
    same = ops.logical_and(ops.any(hit, axis, keepdims=True), ops.equal(t, value))
    return pick_first(t, same if windows.exists is None else ops.logical_and(same, windows.exists), axis)


@lru_cache(maxsize=64)
def _cumulated(reducer: Reducer, most: int) -> npt.NDArray[np.float64]:
    """Row n: the probability that one of the cells is drawn that are at least as large; none for what is no cell."""
    table = np.full((most + 1, most), -1.0)
    for n in range(1, most + 1):
        table[n, :n] = np.cumsum(_rank_weights(reducer, n))[::-1]
    return table


@lru_cache(maxsize=64)
def _smallest(most: int) -> npt.NDArray[np.float64]:
    table = np.zeros((most + 1, most))
    table[1:, 0] = 1
    return table


def _activation(windows: Windows, reducer: Stochastic) -> Tensor:
    t = windows.cells
    if reducer.activation == "relu":
        return ops.where(t > 0, t, ops.zeros_like(t))
    return _weights(windows, t / reducer.temperature)[0]


def _stochastic(windows: Windows, reducer: Stochastic, uniform: Any) -> Tensor:
    axis = windows.axis
    weights = _activation(windows, reducer)
    whole = windows.sum(weights)
    if uniform is None:
        nothing = ops.equal(whole, 0)
        y = windows.sum(weights * windows.cells) / ops.where(nothing, ops.ones_like(whole), whole)
        return ops.squeeze(y, axis)
    exists = windows.exists
    if exists is not None:
        weights = ops.where(exists, weights, ops.zeros_like(weights))
    weights = ops.stop_gradient(weights)
    upto = ops.cumsum(weights, axis)
    # The last sum and not another one of the same numbers: some cell always reaches it.
    last = upto[(*[slice(None)] * axis, slice(-1, None))]
    hit = ops.logical_and(upto > uniform * last, weights > 0)
    return pick_first(windows.cells, hit, axis)


def _var(windows: Windows, reducer: Var, _: Any) -> Tensor:
    off = windows.cells - windows.mean(windows.cells)
    count = windows.count
    less = np.where(count > 1, count - 1, count) if known(count) else ops.where(count > 1, count - 1, count)
    taken = less if reducer.unbiased else count
    return ops.squeeze(windows.sum(ops.square(off)) / constant(taken, off), windows.axis)


def _std(windows: Windows, reducer: Std, _: Any) -> Tensor:
    variance = _var(windows, reducer, None)
    some = variance > 0
    return ops.where(some, ops.sqrt(ops.where(some, variance, ops.ones_like(variance))), ops.zeros_like(variance))


def _ada(windows: Windows, reducer: Ada, extra: Any) -> Tensor:
    t, axis = windows.cells, windows.axis
    m = windows.mean(t)
    if reducer.weighting == "idw":
        like = 1 / (_size(t - m) + reducer.eps)
    else:
        # 2 |t m| / (t^2 + m^2) by the smaller's share of the larger, whose squares cannot overflow.
        one, other = _size(t), _size(m)
        least, most = ops.minimum(one, other), ops.maximum(one, other)
        some = most > 0
        share = ops.where(some, least / ops.where(some, most, ops.ones_like(most)), ops.zeros_like(most))
        like = ops.exp(2 * share / (1 + ops.square(share)))
    soft, _ = _weights(windows, t)
    beta = reducer.beta if extra is None else extra
    y = beta * windows.sum(like * t) / windows.sum(like) + (1 - beta) * windows.sum(soft * t) / windows.sum(soft)
    return ops.squeeze(y, axis)


def _filter(windows: Windows, _: Filter, extra: Any) -> Tensor:
    return ops.squeeze(windows.sum(windows.cells * extra), windows.axis)


_FORMULAS: dict[type[Reducer], Callable[[Windows, Any, Any], Tensor]] = {
    Lp: _lp,
    RMS: _rms,
    PowerMean: _power_mean,
    GeM: _power_mean,
    LogSumExp: _lse,
    Soft: _soft,
    Boltzmann: _soft,
    Median: _ranked,
    Quantile: _ranked,
    TopKMean: _ranked,
    RankMean: _ranked,
    Ordinal: _ranked,
    RankStochastic: _ranked,
    MaxDrop: _ranked,
    Stochastic: _stochastic,
    Var: _var,
    Std: _std,
    Ada: _ada,
    Filter: _filter,
}
