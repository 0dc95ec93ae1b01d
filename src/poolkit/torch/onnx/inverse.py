"""The way back: values in their places, sums and shares of what windows had; and the gradients, which have no form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from poolkit.errors import PoolError
from poolkit.reducer import LogSumExp, Mean, Sum
from poolkit.torch.onnx import whole
from poolkit.torch.onnx.folds import Field, divisors, total
from poolkit.torch.onnx.taps import as_constant, axis_plans, taps_of
from poolkit.torch.onnx.values import DOUBLE, FLOAT, FLOATS, INT32, INT64, Value, cast, constant, kind_of, op, rank_of
from poolkit.torch.shapes import decode, reducer_of

_GRADIENT = PoolError(
    "a graph with the gradient of a pooling",
    "export writes what a model computes, not how it learns; only the adjoints that unpooling uses have an ONNX form",
    "export the model itself, which is traced without gradients",
)


def refused(*_: Any, **__: Any) -> None:
    """Stands for what only a gradient has."""
    raise _GRADIENT


def pool_backward(
    dy: Value,
    plan: str,
    starts: Value,
    x: Value,
    y: Value,  # noqa: ARG001  the operator's signature
    lse: Value,
    offsets: Value,  # noqa: ARG001
    channels_last: bool,  # noqa: ARG001
    extra: Value = None,  # noqa: ARG001
) -> Value:
    """What each cell receives of the windows that have it: of sums and means, and of shares by a softmax."""
    what = decode(plan)
    kind, given = reducer_of(what), kind_of(dy)
    if starts is not None or not (kind in (Sum, Mean) or (kind is LogSumExp and lse is not None)):
        raise _GRADIENT
    work = DOUBLE if given == DOUBLE else FLOAT
    taps = taps_of(what, None)
    field = Field(cast(dy, work, given), rank_of(dy) - what.rank, tuple(part.transposed for part in taps), work)
    if kind is not LogSumExp:
        if kind is Mean:
            number = divisors(Field(dy, field.lead, taps, work), axis_plans(what), what.params)
            field = field.on(op.Div(field.x, as_constant(number, work)))
        return cast(total(field), given, work)
    windows = whole.Windows(field)
    cells = windows.per_window(cast(x, work, given))
    if what.params.beta != 1:
        cells = op.Mul(cells, constant(what.params.beta, work))
    share = op.Exp(op.Sub(cells, windows.gather(0, cast(lse, work, kind_of(lse)))))
    return cast(windows.sum(windows.real(op.Mul(share, windows.gather(0)))), given, work)


def unpool(x: Value, indices: Value, output_size: list[int]) -> Value:
    """Of equal indices the last in row-major order wins, which ScatterElements alone leaves open."""
    rank, given = len(output_size), kind_of(x)
    lead = rank_of(x) - rank
    cells, plane = math.prod(int(size) for size in x.shape[lead:]), math.prod(output_size)
    flat = op.Reshape(indices, constant([-1, cells]))
    values = op.Reshape(x, constant([-1, cells]))
    numbers = op.Add(op.Sub(flat, flat), constant(np.arange(cells)))
    rows = op.Slice(op.Shape(flat), constant([0]), constant([1]))
    empty = op.Expand(constant([[-1]]), op.Concat(rows, constant([plane]), axis=0))
    winner = op.ScatterElements(empty, flat, numbers, axis=1, reduction="max")
    found = op.GatherElements(values, op.Max(winner, constant(0)), axis=1)
    taken = op.GreaterOrEqual(winner, constant(0))
    # ONNX Runtime chooses between values of these types only.
    work = given if given in (FLOAT, DOUBLE, INT32, INT64) else FLOAT if x.dtype in FLOATS else INT32
    out = op.Where(taken, cast(found, work, given), constant(0, work))
    shape = op.Concat(op.Shape(x, start=0, end=lead), constant(list(output_size)), axis=0)
    return cast(op.Reshape(out, shape), given, work)
