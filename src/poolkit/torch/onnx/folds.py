"""What folds axis by axis, the state of each fold carried from one axis to the next, as the compiled core does it.

A maximum is an n-ary Max of slices and no ReduceMax, and a sum no MatMul with zeros and ones: ReduceMax of ONNX Runtime
drops a NaN, and zero times infinity is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poolkit.torch.onnx.taps import Taps, as_constant, counts, spread
from poolkit.torch.onnx.values import INT32, Value, constant, has_nan, op, repair_nan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.plan import AxisPlan
    from poolkit.reducer import Params
    from poolkit.torch.onnx.taps import Ints

Pick = Literal["Max", "Min"]


@dataclass(frozen=True)
class Field:
    """A tensor ``[lead..., *sizes]`` of the type `kind`, in which the pooling is worked out, and its windows."""

    x: Value
    lead: int
    taps: tuple[Taps, ...]
    kind: int
    floating: bool = True

    @property
    def rank(self) -> int:
        """Number of pooled axes."""
        return len(self.taps)

    @property
    def sizes(self) -> list[int]:
        """Of the pooled axes before pooling."""
        return [taps.size for taps in self.taps]

    @property
    def outs(self) -> list[int]:
        """Of the pooled axes after pooling."""
        return [taps.out for taps in self.taps]

    @property
    def count(self) -> Any:
        """The cells of each window: see `counts`."""
        return counts(self.taps, self.lead, self.x, self.kind)

    @property
    def counted(self) -> Value:
        """The cells of each window as a tensor."""
        return as_constant(self.count, self.kind)

    def on(self, x: Value) -> Field:
        """The same windows on another tensor of the same shape."""
        return Field(x, self.lead, self.taps, self.kind, self.floating)

    def along(self, axis: int, state: Value, fill: Any) -> tuple[Value, bool]:
        """A state between the axes before and from this one on, as rows of cells; whether a reduction keeps their axis.

        The rows lie along the axis ``axis - rank``. A single row of all cells is the tensor itself.
        """
        taps = self.taps[axis]
        if taps.everything:
            return state, True
        return spread(state, self.lead, self.outs[:axis], taps, self.sizes[axis + 1 :], fill, self.kind), False


def extreme(field: Field, pick: Pick) -> Value:
    """The largest or smallest cell of each window; a NaN in it is the result."""
    if all(taps.everything for taps in field.taps):
        return _global_extreme(field, pick)
    y, worst = field.x, lowest(field) if pick == "Max" else highest(field)
    for i, taps in enumerate(field.taps):
        axis = i - field.rank
        if taps.table is not None:
            y = _extreme_along(y, axis, taps, pick, worst, field.kind)
            continue
        rows, keep = field.along(i, y, worst)
        y = reduce(pick, rows, [axis], keepdims=keep)
        if field.floating:
            y = repair_nan(y, has_nan(rows, [axis], keepdims=keep), field.kind)
    return y


def reduce(pick: Pick, x: Value, axes: Sequence[int], *, keepdims: bool = False) -> Value:
    """ReduceMax or ReduceMin, which in ONNX Runtime drop a NaN."""
    return getattr(op, f"Reduce{pick}")(x, constant(list(axes)), keepdims=int(keepdims))


def lowest(field: Field) -> float:
    """What no cell is below."""
    return -math.inf if field.floating else -(2**31) if field.kind == INT32 else -(2**63)


def highest(field: Field) -> float:
    """What no cell is above."""
    return math.inf if field.floating else 2**31 - 1 if field.kind == INT32 else 2**63 - 1


def _global_extreme(field: Field, pick: Pick) -> Value:
    axes = range(-field.rank, 0)
    y = reduce(pick, field.x, axes, keepdims=True)
    return repair_nan(y, has_nan(field.x, axes, keepdims=True), field.kind) if field.floating else y


def _extreme_along(x: Value, axis: int, taps: Taps, pick: Pick, worst: float, kind: int) -> Value:
    """Few taps: each by itself. Many: the extremes of 1, 2, 4, ... cells, from which each window's is joined."""
    join: Any = getattr(op, pick)
    assert taps.table is not None
    table, number = taps.table, taps.counts
    step = _step(table, number)
    levels = int(number.min()).bit_length() - 1
    if axis == -1 and taps.ragged and taps.sliding is not None and taps.sliding.kernel <= 4:
        # A Gather along the innermost axis moves single cells: slower than to pad, and to slice.
        return join(*_padded_slices(x, taps.sliding, worst, kind))
    if taps.longest <= 4 or levels == 0 or taps.longest * taps.out <= levels * taps.size:
        # A missing tap is made up for by the last real one, which changes no extreme.
        last = np.take_along_axis(table, number[:, None] - 1, 1)[:, 0]
        parts = [take(x, axis, np.where(t < number, table[:, t], last)) for t in range(taps.longest)]
        return parts[0] if len(parts) == 1 else join(*parts)
    width, length = 1, taps.size
    for _ in range(levels):
        length -= width * step
        x = join(take(x, axis, np.arange(length)), take(x, axis, np.arange(length) + width * step))
        width *= 2
    first = table[:, 0]
    final = first + (number - width) * step
    several = -(-int(number.max()) // width)
    parts = [take(x, axis, np.minimum(first + t * width * step, final)) for t in range(several)]
    return join(*parts) if len(parts) > 1 else parts[0]


def _padded_slices(x: Value, plan: AxisPlan, worst: float, kind: int) -> list[Value]:
    reach = (plan.out - 1) * plan.stride + plan.effective - plan.before - plan.size
    x = op.Pad(x, constant([plan.before, max(reach, 0)]), constant(worst, kind), constant([-1]))
    windows = np.arange(plan.out) * plan.stride
    return [take(x, -1, windows + tap * plan.dilation) for tap in range(plan.kernel)]


def _step(table: Ints, number: Ints) -> int:
    """The distance between the taps of a row."""
    rows = np.flatnonzero(number > 1)
    return int(table[rows[0], 1] - table[rows[0], 0]) if len(rows) else 1


def take(x: Value, axis: int, cells: Ints) -> Value:
    """These cells along a negative axis: a Slice where they are evenly spaced, else a Gather."""
    distance = np.diff(cells)
    if len(cells) > 1 and not ((distance == distance[0]) & (distance > 0)).all():
        return op.Gather(x, constant(cells), axis=axis)
    step = int(distance[0]) if len(cells) > 1 else 1
    ends = int(cells[-1]) + 1
    return op.Slice(x, constant([int(cells[0])]), constant([ends]), constant([axis]), constant([step]))


def total(field: Field, x: Value | None = None) -> Value:
    """The sum of each window's cells."""
    y = field.x if x is None else x
    for i in range(field.rank):
        rows, keep = field.along(i, y, 0)
        y = op.ReduceSum(rows, constant([i - field.rank]), keepdims=int(keep))
    return y


def divisors(field: Field, axes: tuple[AxisPlan, ...], params: Params) -> Any:
    """What the sums of a mean are divided by: a number, an array or a tensor, as `counts` gives it."""
    if params.divisor:
        return int(params.divisor)
    if not params.include_pad or any(axis.kind == "starts" for axis in axes):
        return field.count
    numbers = np.ones((1,) * len(axes), np.int64)
    for i, axis in enumerate(axes):
        numbers = numbers * axis.count_padded.reshape([-1 if i == a else 1 for a in range(len(axes))])
    return numbers


def softmax(field: Field, logits: Value, x: Value | None) -> tuple[Value, Value, Value | None]:
    """Top logit m, ``sum e**(logits - m)`` and, of x where it is given, ``sum x e**(logits - m)``.

    Infinite logits share the weight among themselves. A cell without weight has no part in the last sum.
    """
    top, weight, mean = logits, None, x
    for i in range(field.rank):
        axis = i - field.rank
        rows, keep = field.along(i, top, -math.inf)
        highest = reduce("Max", rows, [axis], keepdims=True)
        share = op.Exp(below(rows, highest, field.kind))
        if mean is not None:
            values, _ = field.along(i, mean, 0)
            mean = op.ReduceSum(part(share, values, field.kind), constant([axis]), keepdims=int(keep))
        if weight is not None:
            share = op.Mul(share, field.along(i, weight, 0)[0])
        weight = op.ReduceSum(share, constant([axis]), keepdims=int(keep))
        top = highest if keep else op.Squeeze(highest, constant([axis]))
    return top, weight, mean


def below(x: Value, top: Value, kind: int) -> Value:
    """``x - top``, and 0 for what equals the top, be it infinite."""
    return op.Where(op.Equal(x, top), constant(0, kind), op.Sub(x, top))


def part(weight: Value, x: Value, kind: int) -> Value:
    """``weight * x``, and 0 without weight, also of an infinite x."""
    return op.Where(op.Equal(weight, constant(0, kind)), constant(0, kind), op.Mul(weight, x))


def norm(field: Field, magnitudes: Value, p: float, *, mean: bool) -> Value:
    """``(sum m**p) ** (1 / p)`` of cells that are not negative, or with the mean for the sum.

    Relative to the largest, so that no power overflows or vanishes on the way.
    """
    top, power = magnitudes, None
    for i in range(field.rank):
        axis = i - field.rank
        rows, keep = field.along(i, top, 0)
        highest = reduce("Max", rows, [axis], keepdims=True)
        share = raised(op.Div(rows, divisor(highest, field.kind)), p, field.kind)
        if power is not None:
            share = op.Mul(share, field.along(i, power, 0)[0])
        power = op.ReduceSum(share, constant([axis]), keepdims=int(keep))
        top = highest if keep else op.Squeeze(highest, constant([axis]))
    if mean:
        power = op.Div(power, field.counted)
    return op.Mul(top, raised(power, 1 / p, field.kind))


def divisor(top: Value, kind: int) -> Value:
    """What cells are divided by to be at most 1: the largest, or 1 where that is 0 or infinite."""
    useless = op.Or(op.IsInf(top), op.Equal(top, constant(0, kind)))
    return op.Where(useless, constant(1, kind), top)


def raised(x: Value, p: float, kind: int) -> Value:
    """``x**p`` of an x that is not negative, by the most exact operator."""
    if p == 1:
        return x
    if p == 0.5:
        return op.Sqrt(x)
    if p == 2:
        return op.Mul(x, x)
    return op.Pow(x, constant(p, kind))
