"""torch operators that poolkit's modules use and torch.onnx leaves untranslated, or translates wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poolkit.torch.onnx.values import FLOATS, INT64, Value, constant, kind_of, op, rank_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def sort_stable(
    self: Value,
    *,
    stable: bool | None = None,  # noqa: ARG001  every TopK is
    dim: int = -1,
    descending: bool = False,
) -> tuple[Value, Value]:
    """TopK of all cells: of equal ones the first comes first, as ONNX says and a stable sort wants. NaN is the largest.

    A NaN and an infinite cell count as equal in a descending order.
    """
    axis = dim % rank_of(self)
    key = self
    if self.dtype in FLOATS:
        key = op.Where(op.IsNaN(self), op.CastLike(constant(np.inf, 1), self), self)
    count = op.Slice(op.Shape(self), constant([axis]), constant([axis + 1]))
    _, order = op.TopK(key, count, axis=axis, largest=int(descending))
    return op.GatherElements(self, order, axis=axis), order


def searchsorted(
    sorted_sequence: Value,
    self: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value = None,
) -> Value:
    """How many cells of a sorted row are below each value, or with `right` not above it."""
    if sorter is not None or kind_of(sorted_sequence) != kind_of(self):
        raise NotImplementedError("searchsorted with a sorter, or of two dtypes")
    rows, values = op.Unsqueeze(sorted_sequence, constant([-2])), op.Unsqueeze(self, constant([-1]))
    below = op.LessOrEqual(rows, values) if right or side == "right" else op.Less(rows, values)
    count = op.ReduceSum(op.Cast(below, to=INT64), constant([-1]), keepdims=0)
    return op.Cast(count, to=6) if out_int32 else count


def conv3d(
    input: Value,
    weight: Value,
    bias: Value = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Value:
    """A Conv. onnxscript 0.7.2 gives one without bias a bias of two columns, which its optimizer alone removes."""
    single = rank_of(input) == 4
    x = op.Unsqueeze(input, constant([0])) if single else input
    strides, sides, dilations = (list(value) * (3 // len(value)) for value in (stride, padding, dilation))
    y = op.Conv(x, weight, bias, strides=strides, pads=sides * 2, dilations=dilations, group=groups)
    return op.Squeeze(y, constant([0])) if single else y


def aten_translations() -> dict[Any, Callable[..., Any]]:
    """For each such operator the function that writes its graph."""
    aten = torch.ops.aten
    return {aten.sort.stable: sort_stable, aten.searchsorted.Tensor: searchsorted, aten.conv3d.default: conv3d}
