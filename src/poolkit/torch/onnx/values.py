"""Constants, types and the smallest steps of a graph under construction.

Nodes are added by calling the methods of ``op``, inside of torch.onnx's translation of a program. They are written for
operator set 18, the one torch.onnx translates to; a later one is converted to afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnxscript

if TYPE_CHECKING:
    from collections.abc import Sequence

Value = Any  # an onnx_ir.Value; onnxscript's operators are untyped

op: Any = onnxscript.opset18

FLOAT, DOUBLE, INT32, INT64, UINT8, BOOL = (
    int(kind)
    for kind in (
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.UINT8,
        ir.DataType.BOOL,
    )
)
FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

_NUMPY: dict[int, Any] = {FLOAT: np.float32, DOUBLE: np.float64, INT32: np.int32, INT64: np.int64}


def constant(value: Any, kind: int = INT64) -> Value:
    """A constant of this type: a number, a list or an array."""
    return op.Constant(value=ir.tensor(np.asarray(value).astype(_NUMPY[kind])))


def cast(x: Value, kind: int, given: int) -> Value:
    """`x`, which is of the type `given`, as one of the type `kind`."""
    return x if kind == given else op.Cast(x, to=kind)


def kind_of(x: Value) -> int:
    """The type of a tensor that torch.onnx made."""
    return int(x.dtype)


def rank_of(x: Value) -> int:
    """The number of axes of a tensor that torch.onnx made."""
    return len(x.shape)


def lead_shape(x: Value, lead: int, tail: Sequence[int]) -> Value:
    """The shape ``[*the first axes of x, *tail]``, whether these are known or not."""
    dims: list[Any] = [x.shape[i] for i in range(lead)]
    if sum(not isinstance(dim, int) for dim in dims) <= 1 and 0 not in dims:
        return constant([*(dim if isinstance(dim, int) else -1 for dim in dims), *tail])
    return op.Concat(op.Shape(x, start=0, end=lead), constant(list(tail)), axis=0)


def repair_nan(y: Value, any_nan: Value, kind: int) -> Value:
    """`y` with a NaN where `any_nan` is true."""
    return op.Where(any_nan, constant(np.nan, kind), y)


def has_nan(x: Value, axes: Sequence[int], *, keepdims: bool = False) -> Value:
    """Whether there is a NaN along these axes: what ONNX Runtime's ReduceMax does not tell."""
    flags = op.Cast(op.IsNaN(x), to=UINT8)
    return op.Cast(op.ReduceMax(flags, constant(list(axes)), keepdims=int(keepdims)), to=BOOL)
