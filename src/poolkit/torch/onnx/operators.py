"""The translation of every registered operator, for torch.onnx's ``custom_translation_table``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poolkit.errors import PoolError
from poolkit.reducer import (
    RMS,
    Ada,
    Boltzmann,
    Filter,
    GeM,
    LogSumExp,
    Lp,
    Max,
    Mean,
    Median,
    Min,
    Mixed,
    Ordinal,
    PowerMean,
    Quantile,
    Soft,
    Std,
    Stochastic,
    Sum,
    Var,
)
from poolkit.torch.onnx import folds, inverse, native, whole
from poolkit.torch.onnx.aten import aten_translations
from poolkit.torch.onnx.folds import Field
from poolkit.torch.onnx.ranks import RANKED
from poolkit.torch.onnx.taps import as_constant, axis_plans, taps_of
from poolkit.torch.onnx.values import DOUBLE, FLOAT, FLOATS, INT32, INT64, Value, cast, constant, kind_of, op, rank_of
from poolkit.torch.shapes import chooses, decode, reducer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.plan import AxisPlan
    from poolkit.reducer import Params, Reducer
    from poolkit.torch.shapes import Decoded


@dataclass(frozen=True)
class Call:
    """One pooling: its windows on the tensor, in the type in which it is worked out, and its reducer."""

    field: Field
    plan: Decoded
    axes: tuple[AxisPlan, ...]
    extra: Value
    finite: bool  # the caller vouches that nothing is infinite, NaN, or overflows as a power
    given: int  # the tensor's own type

    @property
    def reducer(self) -> type[Reducer]:
        """The reducer's record."""
        return reducer_of(self.plan)

    @property
    def params(self) -> Params:
        """Its parameters."""
        return self.plan.params

    @property
    def windows(self) -> whole.Windows:
        """The windows, to be seen whole."""
        return whole.Windows(self.field)


def _call(x: Value, plan: str, starts: Value, extra: Value, *, finite: bool) -> Call:
    what = decode(plan)
    kind, given = reducer_of(what), kind_of(x)
    if what.params.sample:
        raise PoolError(
            f"{kind.__name__} that draws",
            "a graph gives the same for the same input: what draws at random cannot be exported",
            "call eval() on the model before the export; the evaluation form is the mean over all draws",
        )
    floating = x.dtype in FLOATS
    work = (DOUBLE if given == DOUBLE else FLOAT) if floating else INT32
    if not floating and (kind in (Sum, Mean) or given == INT64):
        work = INT64
    field = Field(cast(x, work, given), rank_of(x) - what.rank, taps_of(what, starts), work, floating)
    return Call(field, what, axis_plans(what), extra, finite, given)


def _forward(call: Call) -> Value:
    """The pooled values, in the type in which they are worked out."""
    return _FORMS[call.reducer](call)


def _extreme(call: Call, pick: folds.Pick) -> Value:
    field = call.field
    if not (call.finite and field.floating and native.geometry(call.axes)):
        return folds.extreme(field, pick)
    if pick == "Max":
        return native.maximum(field, call.axes)
    return op.Neg(native.maximum(field.on(op.Neg(field.x)), call.axes))


def _mean(call: Call) -> Value:
    field, params = call.field, call.params
    if not field.floating:
        return _integer_mean(call)
    y = native.average(field, call.axes, params)
    if y is not None:
        return y
    fixed = all(taps.table is not None for taps in field.taps)
    if call.finite and fixed and all(axis.kind == "adaptive" for axis in call.axes) and not params.divisor:
        return native.averaging_matrices(field)
    return op.Div(folds.total(field), as_constant(folds.divisors(call.field, call.axes, call.params), field.kind))


def _integer_mean(call: Call) -> Value:
    """Rounded to nearest, ties to even; ONNX divides integers towards zero."""
    total, number = folds.total(call.field), as_constant(folds.divisors(call.field, call.axes, call.params), INT64)
    zero, one = constant(0), constant(1)
    rest = op.Mod(total, number)  # of the sign of the divisor, which is positive
    low = op.Div(op.Sub(total, rest), number)
    twice = op.Add(rest, rest)
    odd = op.Not(op.Equal(op.Mod(low, constant(2)), zero))
    up = op.Or(op.Greater(twice, number), op.And(op.Equal(twice, number), odd))
    return op.Add(low, op.Where(up, one, zero))


def _lp(call: Call) -> Value:
    field, p = call.field, call.params.p
    if math.isinf(p):
        return folds.extreme(field.on(op.Abs(field.x)), "Max")
    y = native.norm(field, call.axes, p) if call.finite else None
    return folds.norm(field, op.Abs(field.x), p, mean=False) if y is None else y


def _power_mean(call: Call) -> Value:
    clamped = op.Max(call.field.x, constant(call.params.eps, call.field.kind))
    return folds.norm(call.field, clamped, call.params.p, mean=True)


def _softmax(call: Call, x: Value | None) -> tuple[Value, Value, Value | None]:
    field, beta = call.field, call.params.beta
    logits = field.x if beta == 1 else op.Mul(field.x, constant(beta, field.kind))
    return folds.softmax(field, logits, x)


def _log_sum_exp(call: Call) -> Value:
    """Without the mean and the division by beta."""
    top, weight, _ = _softmax(call, None)
    return op.Add(top, op.Log(weight))


def _logarithms(number: Any) -> Any:
    return np.log(number)


def _lse(call: Call, lse: Value | None = None) -> Value:
    field, params = call.field, call.params
    y = _log_sum_exp(call) if lse is None else lse
    if params.mean:
        number: Any = field.count
        fixed = isinstance(number, int | np.ndarray)
        y = op.Sub(y, constant(_logarithms(number), field.kind) if fixed else op.Log(number))
    return y if params.beta == 1 else op.Div(y, constant(params.beta, field.kind))


def _soft(call: Call) -> Value:
    _, weight, mean = _softmax(call, call.field.x)
    return op.Div(mean, weight)


def _ranked(call: Call) -> Value:
    cells = call.windows.gather(folds.lowest(call.field))
    return whole.ranked(call.windows, cells, call.reducer, call.params)


def _ordinal(call: Call) -> Value:
    cells = call.windows.gather(folds.lowest(call.field))
    return whole.ordinal(call.windows, cells, call.extra, int(call.extra.shape[1]))


def _mixed(call: Call) -> Value:
    field = call.field
    plain = replace(call, plan=replace(call.plan, params=call.params._replace(include_pad=0.0, divisor=0.0)))
    top, mean = folds.extreme(field, "Max"), _mean(plain)
    if call.extra is None:
        a = call.params.level
        if a in (0, 1):
            return top if a else mean
        return op.Add(op.Mul(top, constant(a, field.kind)), op.Mul(mean, constant(1 - a, field.kind)))
    one, a = constant(1, field.kind), call.extra
    both = op.Add(op.Mul(a, top), op.Mul(op.Sub(one, a), mean))
    # Weight 0 leaves a side out altogether, be it infinite.
    return op.Where(op.Equal(a, constant(0, field.kind)), mean, op.Where(op.Equal(a, one), top, both))


def _filter(call: Call) -> Value:
    rows = call.extra.shape[0]
    channels = call.field.x.shape[call.field.lead - 1] if call.field.x.shape is not None else None
    y = native.convolved(call.field, call.axes, call.extra, int(rows), channels)
    return whole.filtered(call.windows, call.extra) if y is None else y


def _stochastic(call: Call) -> Value:
    return _soft(call) if call.params.mode == 1 else whole.likely(call.windows)


def _ada(call: Call) -> Value:
    beta = constant(call.params.level, call.field.kind) if call.extra is None else call.extra
    return whole.ada(call.windows, beta, call.params.eps, inverse_distance=call.params.mode == 1)


def _variance(call: Call) -> Value:
    return whole.variance(call.windows, unbiased=bool(call.params.mode))


_FORMS: dict[type[Reducer], Callable[[Call], Value]] = {
    Max: lambda call: _extreme(call, "Max"),
    Min: lambda call: _extreme(call, "Min"),
    Sum: lambda call: folds.total(call.field),
    Mean: _mean,
    Lp: _lp,
    PowerMean: _power_mean,
    RMS: lambda call: folds.norm(call.field, op.Abs(call.field.x), 2, mean=True),
    LogSumExp: _lse,
    Soft: _soft,
    **dict.fromkeys(RANKED, _ranked),
    Ordinal: _ordinal,
    Stochastic: _stochastic,
    Mixed: _mixed,
    Var: _variance,
    Std: lambda call: op.Sqrt(_variance(call)),
    Ada: _ada,
    Boltzmann: lambda call: whole.soft(call.windows, call.windows.gather(0), call.extra),
    GeM: lambda call: whole.gem(call.windows, call.extra, call.params.eps),
    Filter: _filter,
}


def _finished(y: Value, call: Call) -> Value:
    """In the type of the output: that of the input, and int64 for sums of integers."""
    return cast(y, INT64 if call.reducer is Sum and not call.field.floating else call.given, call.field.kind)


def _with_places(call: Call) -> tuple[Value, Value]:
    """Values and flat places of a reducer that chooses cells."""
    field, kind = call.field, call.reducer
    if kind in (Max, Min):
        sign = field if kind is Max else field.on(op.Neg(field.x))
        found = native.maximum_and_places(sign, call.axes, finite=call.finite)
        if found is not None:
            return (found[0] if kind is Max else op.Neg(found[0])), found[1]
    windows = call.windows
    if kind in (Median, Quantile):
        cells = windows.gather(folds.lowest(field))
        y = whole.ranked(windows, cells, kind, call.params)
    else:
        field = field.on(op.Abs(field.x)) if kind is Lp else field
        windows, pick = whole.Windows(field), "Min" if kind is Min else "Max"
        cells = windows.gather(folds.lowest(field) if pick == "Max" else folds.highest(field))
        y = whole.extreme(windows, cells, pick)
    return y, windows.place_of(cells, y)


def translations(*, finite: bool = False) -> dict[Any, Callable[..., Any]]:
    """For each operator the function that writes its graph.

    Args:
        finite: the caller vouches that no cell is infinite or NaN and no power overflows or vanishes: more poolings
            then are one operator of ONNX.
    """

    def pool(x: Value, plan: str, starts: Value = None, extra: Value = None) -> Value:
        call = _call(x, plan, starts, extra, finite=finite)
        return _finished(_forward(call), call)

    def pool_with_indices(x: Value, plan: str, starts: Value = None, extra: Value = None) -> tuple[Value, Value]:
        call = _call(x, plan, starts, extra, finite=finite)
        assert chooses(call.reducer, call.params)
        y, places = _with_places(call)
        return _finished(y, call), places

    def pool_with_lse(x: Value, plan: str, starts: Value = None) -> tuple[Value, Value]:
        call = _call(x, plan, starts, None, finite=finite)
        lse = _log_sum_exp(call)
        y = _lse(call, lse) if call.reducer is LogSumExp else _soft(call)
        return _finished(y, call), lse

    ops = torch.ops.poolkit
    written = {
        ops.pool: pool,
        ops.pool_with_indices: pool_with_indices,
        ops.pool_with_lse: pool_with_lse,
        ops.pool_backward: inverse.pool_backward,
        ops.unpool: inverse.unpool,
        ops.pool_with_offsets: inverse.refused,
        ops.pool_with_offsets_and_indices: inverse.refused,
        ops.pool_backward_extra: inverse.refused,
        ops.unpool_backward: inverse.refused,
    }
    return {operator.default: function for operator, function in written.items()} | aten_translations()
