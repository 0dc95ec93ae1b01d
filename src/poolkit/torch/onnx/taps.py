"""Which cells each window sees, along one axis, as indices that a graph can gather by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poolkit.plan import KIND_CODES, AxisPlan
from poolkit.torch.onnx.values import FLOAT, Value, constant, lead_shape, op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.torch.shapes import Decoded

Ints = npt.NDArray[np.int64]

_KINDS: dict[int, Any] = {code: kind for kind, code in KIND_CODES.items()}


@dataclass(frozen=True)
class Taps:
    """Rows of cell numbers along one axis: for each of `out` rows up to `longest` cells of an axis of `size`.

    A missing cell has the number `size`. Fixed rows are an array ``[out, longest]``. Those of fractional windows hang
    on uniforms that the graph receives: ``[1 or planes, out, longest]``, the same for all planes or with `each` not.
    `sliding` is the plan of rows that are evenly spaced before the ends cut them.
    """

    size: int
    out: int
    longest: int
    table: Ints | None
    ragged: bool
    moving: Value = None
    each: bool = False
    sliding: AxisPlan | None = None

    @property
    def counts(self) -> Ints:
        """How many cells each fixed row has."""
        assert self.table is not None
        return (self.table < self.size).sum(1)

    @property
    def everything(self) -> bool:
        """The one row that has every cell in order."""
        return self.table is not None and self.out == 1 and self.longest == self.size

    @property
    def transposed(self) -> Taps:
        """For each cell the rows that have it."""
        assert self.table is not None
        rows: list[list[int]] = [[] for _ in range(self.size)]
        for row, cells in enumerate(self.table.tolist()):
            for cell in cells:
                if cell < self.size:
                    rows[cell].append(row)
        return _fixed(self.out, rows)


def _fixed(size: int, rows: Sequence[Sequence[int]]) -> Taps:
    longest = max((len(row) for row in rows), default=0) or 1
    table = np.full((len(rows), longest), size, np.int64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return Taps(size, len(rows), longest, table, bool((table == size).any()))


def axis_plans(plan: Decoded) -> tuple[AxisPlan, ...]:
    """The axes of a plan as its string has them: without the starts, which are a tensor."""
    rows: list[Any] = [plan.spec[i : i + 8] for i in range(0, len(plan.spec), 8)]
    return tuple(AxisPlan(_KINDS[row[0]], *row[1:]) for row in rows)


def taps_of(plan: Decoded, starts: Value) -> tuple[Taps, ...]:
    """The cells of every window along each axis."""
    made: list[Taps] = []
    begin = 0
    for axis in axis_plans(plan):
        if axis.kind != "starts":
            longest = int(axis.count.max())
            steps = np.arange(longest, dtype=np.int64)
            table = axis.start[:, None] + steps * axis.step
            table[steps >= axis.count[:, None]] = axis.size
            sliding = axis if axis.kind == "sliding" else None
            ragged = bool((table == axis.size).any())
            made.append(Taps(axis.size, axis.out, longest, table, ragged, sliding=sliding))
            continue
        mine = op.Slice(starts, constant([begin]), constant([begin + axis.out]), constant([1]))
        cells = op.Add(op.Unsqueeze(mine, constant([2])), constant(np.arange(axis.kernel)))
        if axis.reaches:
            # A window ends after - 1 cells past the start of the next one, the last with the input.
            ends: Value = constant([[axis.size]])
            if axis.out > 1:
                after = op.Add(
                    op.Slice(mine, constant([1]), constant([axis.out]), constant([1])), constant(axis.after - 1)
                )
                last = op.Add(op.Mul(op.Slice(mine, constant([0]), constant([1]), constant([1])), constant(0)), ends)
                ends = op.Concat(op.Min(after, constant(axis.size)), last, axis=1)
            cells = op.Where(op.Less(cells, op.Unsqueeze(ends, constant([2]))), cells, constant(axis.size))
        each = starts.shape[0] != 1
        made.append(Taps(axis.size, axis.out, axis.kernel, None, axis.reaches, cells, each))
        begin += axis.out
    return tuple(made)


def spread(x: Value, lead: int, before: Sequence[int], taps: Taps, after: Sequence[int], fill: Any, kind: int) -> Value:
    """The cells of each row: ``[lead..., *before, size, *after]`` to ``[lead..., *before, out, longest, *after]``.

    `fill` stands for missing cells.
    """
    axis = -len(after) - 1
    if taps.ragged:
        x = op.Pad(x, constant([0, 1]), constant(fill, kind), constant([axis]))
    if taps.table is not None:
        return op.Gather(x, constant(taps.table), axis=axis)
    if not taps.each:
        return op.Gather(x, op.Squeeze(taps.moving, constant([0])), axis=axis)
    inner, outer = math.prod(after), math.prod(before)
    flat = op.Reshape(x, constant([-1, outer, taps.size + taps.ragged, inner]))
    rows = op.Reshape(taps.moving, constant([-1, 1, taps.out * taps.longest, 1]))
    rows = op.Expand(rows, constant([1, outer, taps.out * taps.longest, inner]))
    found = op.GatherElements(flat, rows, axis=2)
    return op.Reshape(found, lead_shape_of(x, lead, [*before, taps.out, taps.longest, *after]))


def lead_shape_of(x: Value, lead: int, tail: Sequence[int]) -> Value:
    """`lead_shape` for a tensor that the graph itself made, whose shape nobody has written down."""
    if x.shape is not None:
        return lead_shape(x, lead, tail)
    return op.Concat(op.Shape(x, start=0, end=lead), constant(list(tail)), axis=0)


def counts(taps: Sequence[Taps], lead: int, x: Value, kind: int = FLOAT) -> Any:
    """The cells of each window: a number, an array ``[*outs]``, or a tensor that broadcasts to the output."""
    rank = len(taps)
    fixed = np.ones((1,) * rank, np.int64)
    moving: Value = None
    for i, mine in enumerate(taps):
        if mine.table is not None or not mine.ragged:
            number = mine.counts if mine.table is not None else np.full(mine.out, mine.longest)
            fixed = fixed * number.reshape([-1 if i == a else 1 for a in range(rank)])
            continue
        real = op.Cast(op.Less(mine.moving, constant(mine.size)), to=kind)
        number = op.ReduceSum(real, constant([2]), keepdims=0)
        tail = [mine.out if i == a else 1 for a in range(rank)]
        number = op.Reshape(number, lead_shape_of(x, lead, tail) if mine.each else constant(tail))
        moving = number if moving is None else op.Mul(moving, number)
    if moving is not None:
        return op.Mul(moving, constant(fixed, kind))
    return int(fixed.flat[0]) if (fixed == fixed.flat[0]).all() else fixed


def as_constant(number: Any, kind: int) -> Value:
    """What `counts` or a computation with it gave, as a tensor of the graph."""
    return constant(number, kind) if isinstance(number, int | float | np.ndarray) else number
