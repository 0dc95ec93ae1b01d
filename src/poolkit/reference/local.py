"""The oracle: every reducer as one direct formula over explicit lists of taps, in float64 or exact integers.

Slow on purpose, and alone on purpose: it shares no code with the plans' arrays or with the compiled core, so that it
cannot share their mistakes. Tests compare everything with it. ``values`` is one window as a flat float64 array in
row-major order (integers: Python ints); a gradient function gives the derivative of the output by each of them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from poolkit.reducer import RMS, LogSumExp, Lp, Max, Mean, Min, PowerMean, Reducer, Soft, Sum
from poolkit.reference import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.plan import AxisPlan, Plan

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """What pooling gives: values, and for reducers that choose, the flat position of the choice in its plane."""

    values: Array
    indices: npt.NDArray[np.int64]


def taps(axis: AxisPlan, window: int, plane: int = 0) -> tuple[list[int], int]:
    """The cells of one window along one axis, and how many taps lie inside the input and its padding.

    Looks at each cell and asks whether the window has a tap there.
    """
    if axis.kind == "adaptive":
        low = math.floor(Fraction(window * axis.size, axis.out))
        high = math.ceil(Fraction((window + 1) * axis.size, axis.out))
        return list(range(low, high)), high - low
    if axis.kind == "starts":
        rows = cast("npt.NDArray[np.int64]", axis.starts)
        row = rows[plane if len(rows) > 1 else 0]
        stop = int(row[window]) + axis.kernel
        if axis.after > 0:
            stop = axis.size if window + 1 == axis.out else min(int(row[window + 1]) + axis.after - 1, axis.size)
        return list(range(int(row[window]), stop)), stop - int(row[window])
    begin = window * axis.stride - axis.before

    def is_tap(cell: int) -> bool:
        return cell >= begin and (cell - begin) % axis.dilation == 0 and (cell - begin) // axis.dilation < axis.kernel

    cells = [cell for cell in range(axis.size) if is_tap(cell)]
    # padded cells may be astronomically many: those on each side are counted by division, those inside one by one
    left = min(axis.kernel, max(0, -(begin // axis.dilation)))
    end = begin + (axis.kernel - 1) * axis.dilation
    right = 0
    if end >= axis.size and cells:
        last = min(end, axis.size + axis.after - 1)
        right = (last - cells[-1]) // axis.dilation
    return cells, left + len(cells) + max(right, 0)


def forward(x: Array, plan: Plan, reducer: Reducer, uniforms: Floats | None = None) -> Pooled:
    """Pools ``x`` (N, C, spatial...) window by window; floats in float64, integers exactly.

    `uniforms`, of the output's shape, are what reducers that draw go by.
    """
    exact = x.dtype.kind in "iu"
    shape = (*x.shape[:2], *plan.out_shape)
    values = np.zeros(shape, object if exact else np.float64)
    indices = np.zeros(shape, np.int64)
    for n, c, where, cells, padded in _windows(x.shape, plan):
        plane = x[n, c]
        window = plane[np.ix_(*cells)].reshape(-1)
        chosen = 0
        if reducer.core == "whole":
            floats, seen = window.astype(np.float64), _seen(plan, where, cells, n * x.shape[1] + c, uniforms, (n, c))
            chosen = max(whole.choose(floats, reducer, seen), 0) if reducer.selects else 0
            # an integer is taken as it is: the largest ones are no float64
            values[n, c, *where] = window[chosen] if exact else whole.value(floats, reducer, seen)
        elif isinstance(reducer, Max | Min) or (isinstance(reducer, Lp) and math.isinf(reducer.p)):
            chosen = choose(window if exact else window.astype(np.float64), reducer)
            values[n, c, *where] = window[chosen] if not isinstance(reducer, Lp) else abs(float(window[chosen]))
        elif exact:
            values[n, c, *where] = exact_reduce([int(v) for v in window], padded, reducer)
        else:
            values[n, c, *where] = float_reduce(window.astype(np.float64), padded, reducer)
        cell = np.unravel_index(chosen, [len(axis) for axis in cells])
        position = [axis[int(i)] for axis, i in zip(cells, cell, strict=True)]
        indices[n, c, *where] = int(np.ravel_multi_index(position, plane.shape))
    result = np.int64 if exact and reducer.widens else x.dtype if exact else np.float64
    return Pooled(values.astype(result), indices)


def backward(x: Array, grad: Array, plan: Plan, reducer: Reducer, uniforms: Floats | None = None) -> Floats:
    """The gradient of the input in float64, from the reducers' own derivatives."""
    dx = np.zeros(x.shape, np.float64)
    for n, c, where, cells, padded in _windows(x.shape, plan):
        window = x[n, c][np.ix_(*cells)]
        flat = window.astype(np.float64).reshape(-1)
        if reducer.core == "whole":
            slope = whole.slopes(flat, reducer, _seen(plan, where, cells, n * x.shape[1] + c, uniforms, (n, c)))
        else:
            slope = derivative(flat, padded, reducer)
        dx[n, c][np.ix_(*cells)] += float(grad[n, c, *where]) * slope.reshape(window.shape)
    return dx


def choose(values: Array, reducer: Reducer) -> int:
    """Position of the chosen value: the first NaN, else the first of the best."""
    nan = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)
    if nan.any():
        return int(np.flatnonzero(nan)[0])
    if isinstance(reducer, Lp):
        values = abs(values)
    best = values.min() if isinstance(reducer, Min) else values.max()
    return int(np.flatnonzero(values == best)[0])


def exact_reduce(values: list[int], padded: int, reducer: Reducer) -> int:
    """Sum and Mean of integers; a mean is rounded to nearest, ties to even."""
    if isinstance(reducer, Sum):
        return sum(values)
    if isinstance(reducer, Mean):
        return round(Fraction(sum(values), _divisor(len(values), padded, reducer)))
    raise TypeError(f"{reducer} takes floats")


def float_reduce(values: Floats, padded: int, reducer: Reducer) -> float:
    """Every reducer that does not choose, on one window."""
    with np.errstate(all="ignore"):
        return float(_FORMULAS[type(reducer)](values, padded, cast(Any, reducer)))


def derivative(values: Floats, padded: int, reducer: Reducer) -> Floats:
    """The derivative of the pooled value by each cell of the window."""
    if isinstance(reducer, Max | Min) or (isinstance(reducer, Lp) and math.isinf(reducer.p)):
        chosen = choose(values, reducer)
        one = np.zeros_like(values)
        one[chosen] = np.sign(values[chosen]) if isinstance(reducer, Lp) else 1.0
        return one
    with np.errstate(all="ignore"):
        return _SLOPES[type(reducer)](values, padded, cast(Any, reducer))


def _seen(
    plan: Plan,
    where: tuple[int, ...],
    cells: list[list[int]],
    plane: int,
    uniforms: Floats | None,
    place: tuple[int, int],
) -> whole.Seen:
    """What belongs to a window beside its cells."""
    numbers = [0]
    for axis, window, inside in zip(plan.axes, where, cells, strict=True):
        if axis.kind == "starts":
            rows = cast("npt.NDArray[np.int64]", axis.starts)
            begin = int(rows[plane if len(rows) > 1 else 0, window])
        else:
            begin = inside[0] if axis.kind == "adaptive" else window * axis.stride - axis.before
        numbers = [number * axis.kernel + (cell - begin) // axis.dilation for number in numbers for cell in inside]
    return whole.Seen(tuple(numbers), 0.0 if uniforms is None else float(uniforms[*place, *where]))


def _windows(shape: tuple[int, ...], plan: Plan) -> Any:
    """Every window: sample, channel, place in the output, cells along each axis, taps inside input and padding."""
    for n, c in itertools.product(range(shape[0]), range(shape[1])):
        per_axis = [[taps(axis, i, n * shape[1] + c) for i in range(axis.out)] for axis in plan.axes]
        for where in itertools.product(*(range(axis.out) for axis in plan.axes)):
            found = [axis[i] for axis, i in zip(per_axis, where, strict=True)]
            yield n, c, where, [cells for cells, _ in found], math.prod(count for _, count in found)


def _divisor(count: int, padded: int, reducer: Mean) -> int:
    return reducer.divisor or (padded if reducer.count_include_pad else count)


def _mean(values: Floats, padded: int, reducer: Mean) -> float:
    return _total(values) / _divisor(len(values), padded, reducer)


def _total(values: Floats) -> float:
    return math.fsum(values) if np.isfinite(values).all() else float(values.sum())


def _lp(values: Floats, _: int, reducer: Lp) -> float:
    return _norm(abs(values), reducer.p, 1)


def _rms(values: Floats, _: int, reducer: RMS) -> float:  # noqa: ARG001  all formulas have one signature
    return _norm(abs(values), 2.0, len(values))


def _power_mean(values: Floats, _: int, reducer: PowerMean) -> float:
    return _norm(np.maximum(values, reducer.eps), reducer.p, len(values))


def _norm(values: Floats, p: float, count: int) -> float:
    """``(sum values**p / count) ** (1 / p)`` of values that are not negative, relative to the largest."""
    top = float(values.max())  # a NaN anywhere is the maximum
    if math.isnan(top) or top == 0 or math.isinf(top):
        return top
    return top * (math.fsum((values / top) ** p) / count) ** (1 / p)


def _lse(values: Floats, _: int, reducer: LogSumExp) -> float:
    return (_log_sum_exp(values * reducer.beta) - (math.log(len(values)) if reducer.mean else 0.0)) / reducer.beta


def _log_sum_exp(logits: Floats) -> float:
    top = float(logits.max())
    return top if math.isnan(top) or math.isinf(top) else top + math.log(math.fsum(np.exp(logits - top)))


def _soft(values: Floats, _: int, reducer: Soft) -> float:
    logits = values * reducer.beta
    top = float(logits.max())
    if math.isnan(top) or math.isinf(top):
        return top / reducer.beta
    weights = np.exp(logits - top)
    kept = weights > 0  # 0 * inf: a cell without weight has no part in the sum
    return math.fsum(weights[kept] * values[kept]) / math.fsum(weights)


_FORMULAS: dict[type[Reducer], Callable[[Floats, int, Any], float]] = {
    Sum: lambda values, _, __: _total(values),
    Mean: _mean,
    Lp: _lp,
    PowerMean: _power_mean,
    RMS: _rms,
    LogSumExp: _lse,
    Soft: _soft,
}


def _mean_slope(values: Floats, padded: int, reducer: Mean) -> Floats:
    return np.full_like(values, 1 / _divisor(len(values), padded, reducer))


def _lp_slope(values: Floats, padded: int, reducer: Lp) -> Floats:
    y = _lp(values, padded, reducer)
    slope = np.sign(values) * (abs(values) / y) ** (reducer.p - 1)
    return np.where((values == 0) | (y == 0), 0.0, slope)  # the norm has no slope at 0: 0 by agreement


def _rms_slope(values: Floats, padded: int, reducer: RMS) -> Floats:
    y = _rms(values, padded, reducer)
    return np.zeros_like(values) if y == 0 else values / y / len(values)


def _power_mean_slope(values: Floats, padded: int, reducer: PowerMean) -> Floats:
    y = _power_mean(values, padded, reducer)
    if y == 0:
        return np.zeros_like(values)
    return np.where(values < reducer.eps, 0.0, (values / y) ** (reducer.p - 1) / len(values))


def _lse_slope(values: Floats, _: int, reducer: LogSumExp) -> Floats:
    logits = values * reducer.beta
    return np.exp(logits - _log_sum_exp(logits))


def _soft_slope(values: Floats, padded: int, reducer: Soft) -> Floats:
    logits = values * reducer.beta
    weights = np.exp(logits - _log_sum_exp(logits))
    y = _soft(values, padded, reducer)
    return np.where(weights == 0, 0.0, weights * (1 + reducer.beta * (values - y)))


_SLOPES: dict[type[Reducer], Callable[[Floats, int, Any], Floats]] = {
    Sum: lambda values, _, __: np.ones_like(values),
    Mean: _mean_slope,
    Lp: _lp_slope,
    PowerMean: _power_mean_slope,
    RMS: _rms_slope,
    LogSumExp: _lse_slope,
    Soft: _soft_slope,
}
