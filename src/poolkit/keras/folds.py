"""Reducers that fold axis by axis in keras.ops: what is carried from one axis to the next grows with no kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.keras.cells import along, constant, ops, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.keras.cells import Layout, Pick, Tensor


def choose(
    x: Tensor, picks: Sequence[Pick], layout: Layout, *, least: bool = False, places: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The largest or smallest cell of each window, the first of equal ones and of NaN; and its place in the plane.

    The gradient goes to the chosen cell alone, which ops.max of no back end does.
    """
    value, place, sizes = x, None, layout.sizes(x.shape)
    for i in reversed(range(layout.rank)):
        axis = layout.spatial + i
        value = spread(value, axis, picks[i])
        if places:
            place = _places(place, picks[i], axis, value, math.prod(sizes[i + 1 :]), sizes[i])
        value, place = _first(value, place, axis + 1, least)
    return value, place


def _places(place: Tensor | None, pick: Pick, axis: int, value: Tensor, pace: int, size: int) -> Tensor:
    """Where the taps stand in the flat plane, as integers of the shape of `value`."""
    cells: Any = np.arange(size, dtype=np.int32)[None] if pick.cells is None else pick.cells
    if len(cells.shape) == 4:
        shape = tuple(ops.shape(cells))
        cells = ops.reshape(cells, (*shape[:2], *[1] * (axis - 2), *shape[2:], *[1] * (len(value.shape) - axis - 2)))
    else:
        cells = along(cells, axis, len(value.shape))
    own = ops.cast(cells, "int32") * pace
    return own + (ops.zeros_like(value, dtype="int32") if place is None else spread(place, axis, pick))


def _first(value: Tensor, place: Tensor | None, axis: int, least: bool) -> tuple[Tensor, Tensor | None]:
    """The best along an axis, which goes: neighbours against each other, so that the earlier one wins a tie."""
    lead = [slice(None)] * axis
    if value.shape[axis] is None:
        return _first_of_many(value, place, axis, least)
    taps = int(value.shape[axis])
    while taps > 1:
        pairs = taps // 2
        even, odd = (*lead, slice(0, 2 * pairs, 2)), (*lead, slice(1, 2 * pairs, 2))
        one, other = value[even], value[odd]
        kept = (one <= other) if least else (one >= other)
        better = ops.logical_and(ops.logical_not(kept), ops.equal(one, one))
        best = ops.where(better, other, one)
        rest = (*lead, slice(2 * pairs, taps))
        value = ops.concatenate([best, value[rest]], axis) if taps % 2 else best
        if place is not None:
            mine = ops.where(better, place[odd], place[even])
            place = ops.concatenate([mine, place[rest]], axis) if taps % 2 else mine
        taps = pairs + taps % 2
    return ops.squeeze(value, axis), None if place is None else ops.squeeze(place, axis)


def _first_of_many(value: Tensor, place: Tensor | None, axis: int, least: bool) -> tuple[Tensor, Tensor | None]:
    """As `_first`, for a number of taps that only a run knows."""
    best = ops.min(value, axis, keepdims=True) if least else ops.max(value, axis, keepdims=True)
    same = ops.logical_or(ops.equal(value, best), ops.not_equal(value, value))
    same = ops.where(ops.equal(best, best), same, ops.not_equal(value, value))
    return pick_first(value, same, axis), None if place is None else pick_first(place, same, axis)


def pick_first(value: Tensor, hit: Tensor, axis: int) -> Tensor:
    """The first along an axis that is hit, with the gradient to it alone; 0 where none is."""
    number = ops.cumsum(ops.cast(hit, "int32"), axis)
    first = ops.logical_and(hit, ops.equal(number, 1))
    return ops.sum(ops.where(first, value, ops.zeros_like(value)), axis)


def total(x: Tensor, picks: Sequence[Pick], layout: Layout) -> Tensor:
    """The sum of each window."""
    for i in reversed(range(layout.rank)):
        axis = layout.spatial + i
        x = spread(x, axis, picks[i])
        if picks[i].exists is not None:
            exists = along(picks[i].exists, axis, len(x.shape))
            x = ops.where(exists, x, ops.zeros_like(x))
        x = ops.sum(x, axis + 1)
    return x


def mean(x: Tensor, picks: Sequence[Pick], layout: Layout, divisor: Any) -> Tensor:
    """The sum of each window over `divisor`, a number or what broadcasts to the output."""
    y = total(x, picks, layout)
    return y / (divisor if isinstance(divisor, int) else constant(divisor, y))
