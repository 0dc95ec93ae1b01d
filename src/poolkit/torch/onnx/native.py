"""ONNX's own pooling operators, where they say the same as poolkit and ONNX Runtime computes what they say.

Two things are never asked of them: ``ceil_mode``, in place of which the padding at the end is as long as the last
window needs; and padding that counts, unless all of it is inside the padding that was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from poolkit.torch.onnx.folds import divisors
from poolkit.torch.onnx.values import FLOAT, Value, constant, op

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.plan import AxisPlan
    from poolkit.reducer import Params
    from poolkit.torch.onnx.folds import Field


@dataclass(frozen=True)
class Geometry:
    """Sliding windows in ONNX's words."""

    kernel: list[int]
    strides: list[int]
    pads: list[int]  # all beginnings, then all ends
    dilations: list[int]

    @property
    def dilated(self) -> bool:
        """Whether there are cells between those of a window."""
        return max(self.dilations) > 1

    @property
    def cells(self) -> int:
        """Of a whole kernel."""
        return math.prod(self.kernel)


def geometry(axes: tuple[AxisPlan, ...]) -> Geometry | None:
    """The windows as sliding ones, which adaptive ones of equal length are, too; None if they are not."""
    rows: list[tuple[int, int, int, int, int]] = []
    for axis in axes:
        if axis.kind == "adaptive" and axis.size % axis.out == 0:
            side = axis.size // axis.out
            rows.append((side, side, 0, 0, 1))
        elif axis.kind == "sliding":
            reach = (axis.out - 1) * axis.stride + axis.effective - axis.before - axis.size
            rows.append((axis.kernel, axis.stride, axis.before, max(reach, 0), axis.dilation))
        else:
            return None
    kernel, strides, before, after, dilations = (list(column) for column in zip(*rows, strict=True))
    return Geometry(kernel, strides, before + after, dilations)


def batched(field: Field, run: Callable[[Value], Value]) -> Value:
    """`run` on a tensor with a batch axis, which ONNX's pooling insists on."""
    if field.lead == 2:
        return run(field.x)
    return op.Squeeze(run(op.Unsqueeze(field.x, constant([0]))), constant([0]))


def average(field: Field, axes: tuple[AxisPlan, ...], params: Params) -> Value | None:
    """AveragePool or GlobalAveragePool; None where they do not fit."""
    shape = geometry(axes)
    if field.kind != FLOAT or shape is None or shape.dilated or params.divisor:
        return None
    if all(taps.everything for taps in field.taps):
        return batched(field, op.GlobalAveragePool)
    padded = bool(params.include_pad) and any(axis.before or axis.after for axis in axes)
    y = batched(
        field,
        lambda x: op.AveragePool(
            x,
            kernel_shape=shape.kernel,
            strides=shape.strides,
            pads=shape.pads,
            count_include_pad=int(padded),
        ),
    )
    if not padded:
        return y
    # What overhangs the padding does not count, and ONNX counted it.
    number = divisors(field, axes, params)
    return y if (number == shape.cells).all() else op.Mul(y, constant(shape.cells / number, FLOAT))


def maximum(field: Field, axes: tuple[AxisPlan, ...]) -> Value | None:
    """MaxPool or GlobalMaxPool alone: right where no cell is NaN and no window all minus infinity."""
    shape = geometry(axes)
    if shape is None or not field.floating:
        return None
    if field.kind == FLOAT and all(taps.everything for taps in field.taps):
        return batched(field, op.GlobalMaxPool)
    return batched(field, lambda x: _max_pool(x, shape)[0])


def maximum_and_places(field: Field, axes: tuple[AxisPlan, ...], *, finite: bool) -> tuple[Value, Value] | None:
    """MaxPool with its indices, counted within each plane; of a window with a NaN the place of the first one."""
    shape = geometry(axes)
    if shape is None or not field.floating:
        return None
    plane = constant(math.prod(axis.size for axis in axes))

    def run(x: Value) -> tuple[Value, Value]:
        y, places = _max_pool(x, shape)
        if not finite:
            # ONNX Runtime's MaxPool drops a NaN; that of the marks finds it.
            marked, first = _max_pool(op.Cast(op.IsNaN(x), to=FLOAT), shape)
            lost = op.Greater(marked, constant(0, FLOAT))
            y, places = op.Where(lost, constant(np.nan, field.kind), y), op.Where(lost, first, places)
        return y, op.Mod(places, plane)

    if field.lead == 2:
        return run(field.x)
    y, places = run(op.Unsqueeze(field.x, constant([0])))
    return op.Squeeze(y, constant([0])), op.Squeeze(places, constant([0]))


def _max_pool(x: Value, shape: Geometry) -> tuple[Value, Value]:
    return op.MaxPool(x, kernel_shape=shape.kernel, strides=shape.strides, pads=shape.pads, dilations=shape.dilations)


def norm(field: Field, axes: tuple[AxisPlan, ...], p: float) -> Value | None:
    """LpPool: right where no power overflows or vanishes."""
    shape = geometry(axes)
    if field.kind != FLOAT or shape is None or p != int(p):
        return None
    if all(taps.everything for taps in field.taps):
        return batched(field, lambda x: op.GlobalLpPool(x, p=int(p)))
    return batched(
        field,
        lambda x: op.LpPool(
            x, kernel_shape=shape.kernel, strides=shape.strides, pads=shape.pads, dilations=shape.dilations, p=int(p)
        ),
    )


def averaging_matrices(field: Field) -> Value:
    """The mean of fixed windows of any kind as a MatMul for each axis: right where all cells are finite."""
    y = field.x
    for i, taps in enumerate(field.taps):
        table, number = taps.table, taps.counts
        assert table is not None
        matrix = np.zeros((taps.out, taps.size + 1))
        np.put_along_axis(matrix, table, (1 / number)[:, None], 1)
        weights = constant(matrix[:, :-1], field.kind)
        after = field.sizes[i + 1 :]
        if not after:
            return op.MatMul(y, op.Transpose(weights, perm=[1, 0]))
        if len(after) == 1:
            y = op.MatMul(weights, y)
            continue
        before = [0] * (field.lead + i)
        flat = op.Reshape(y, constant([*before, taps.size, math.prod(after)]))
        y = op.Reshape(op.MatMul(weights, flat), constant([*before, taps.out, *after]))
    return y


def convolved(field: Field, axes: tuple[AxisPlan, ...], weights: Value, rows: int, channels: object) -> Value | None:
    """A depthwise Conv: a sum with a weight for each cell of the kernel, ``[1 or channels, cells]``."""
    shape = geometry(axes)
    if field.kind != FLOAT or shape is None or (rows > 1 and not isinstance(channels, int)):
        return None
    kernel = op.Reshape(weights, constant([-1, 1, *shape.kernel]))
    settings = {"strides": shape.strides, "pads": shape.pads, "dilations": shape.dilations}
    if rows > 1:
        return batched(field, lambda x: op.Conv(x, kernel, group=channels, **settings))
    planes = op.Reshape(field.x, constant([-1, 1, *field.sizes]))
    y = op.Conv(planes, kernel, **settings)
    return op.Reshape(y, op.Concat(op.Shape(field.x, start=0, end=field.lead), constant(field.outs), axis=0))
