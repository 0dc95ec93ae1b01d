"""The cells of each window as one axis of an array: what the formulas of `poolkit.jax.formulas` reduce.

Everything is planes here: arrays ``(P, *sizes)`` with P samples times channels. ``R`` is 1, or P where every plane has
window places of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from poolkit import _core
from poolkit.jax.calls import Call, wide_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.plan import AxisPlan

Array = jax.Array


@dataclass(frozen=True)
class AxisTaps:
    """Along one axis: each window's cells ``[R, out, K]``, and which of its K places it fills, from the front on."""

    cells: Any
    real: Any
    numbers: Any  # of each tap in the unclipped kernel
    padded: Any  # [R, out]: taps inside the input and its padding
    kernel: int  # taps of the unclipped kernel


class Taps:
    """The windows of one call, with the starts bound to them."""

    def __init__(self, call: Call, starts: Array | None) -> None:
        spec = tuple(value for axis in call.axes for value in axis.spec)
        column, axes = 0, list[AxisTaps]()
        sides = _core.offset_box(spec)
        for axis, side in zip(call.axes, sides, strict=True):
            if axis.kind == "starts":
                assert starts is not None
                axes.append(_of_starts(axis, side, starts[:, column : column + axis.out]))
                column += axis.out
            else:
                axes.append(_of_plan(axis, side))
        self.axes = tuple(axes)
        self.sizes = tuple(axis.size for axis in call.axes)
        self.outs = tuple(axis.out for axis in call.axes)
        self.count = math.prod(sides)  # places of a window

    def of(self, planes: Array) -> Array:
        """``(P, *outs, T)``: the cells of each window; places that it does not fill hold any cell."""
        cells = [axis.cells for axis in self.axes]
        if all(len(one) == 1 for one in cells):
            return self._gathering(None, [one[0] for one in cells])(planes)
        own = [0 if len(one) > 1 else None for one in cells]
        shared = [one if len(one) > 1 else one[0] for one in cells]
        return self._gathering(own, None)(planes, *shared)

    def _gathering(self, own: list[int | None] | None, cells: list[Any] | None) -> Callable[..., Array]:
        """`_gather` over planes, with cells that are the same for all or, where `own` says so, their own."""

        def gather(plane: Array, *ids: Array) -> Array:
            return self._gather(plane, ids if cells is None else cells)

        return jax.vmap(gather, in_axes=(0, *(own or ())))

    def _gather(self, plane: Array, cells: Any) -> Array:
        for i, ids in enumerate(cells):
            taken = jnp.take(plane, ids.reshape(-1), axis=2 * i, mode="clip")
            plane = taken.reshape(*plane.shape[: 2 * i], *ids.shape, *plane.shape[2 * i + 1 :])
        rank = len(self.axes)
        order = (*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
        return plane.transpose(order).reshape(*self.outs, self.count)

    @cached_property
    def real(self) -> Any:
        """``(R, *outs, T)``: whether a place is filled."""
        return self._product([axis.real for axis in self.axes], np.logical_and)

    @cached_property
    def numbers(self) -> Any:
        """``(R, *outs, T)``: each tap's number in the unclipped kernel, row-major."""
        sides = [axis.kernel for axis in self.axes]
        strides = [math.prod(sides[i + 1 :]) for i in range(len(sides))]
        return self._product([a.numbers * s for a, s in zip(self.axes, strides, strict=True)], np.add)

    @cached_property
    def counts(self) -> Any:
        """``(R, *outs)``: filled places of each window."""
        return self._product([axis.real.sum(-1)[..., None] for axis in self.axes], np.multiply)[..., 0]

    @cached_property
    def padded(self) -> Any:
        """``(R, *outs)``: taps inside the input and its padding."""
        return self._product([axis.padded[..., None] for axis in self.axes], np.multiply)[..., 0]

    def positions(self, chosen: Array) -> Array:
        """The flat position in its plane of each window's chosen place, from ``(P, *outs)``."""
        kind = wide_integer()
        flat = jnp.zeros(chosen.shape, kind)
        inner = [axis.cells.shape[-1] for axis in self.axes]
        for i, axis in enumerate(self.axes):
            place = chosen // math.prod(inner[i + 1 :]) % inner[i]
            shape = [axis.cells.shape[0], *[1] * len(self.axes), inner[i]]
            shape[1 + i] = axis.cells.shape[1]
            cells = jnp.asarray(axis.cells, kind).reshape(shape)
            cells = jnp.broadcast_to(cells, (*chosen.shape, inner[i]))
            cell = jnp.take_along_axis(cells, place[..., None].astype(kind), axis=-1)[..., 0]
            flat = flat * self.sizes[i] + cell
        return flat

    def _product(self, parts: list[Any], combine: Any) -> Any:
        """Per-axis arrays ``[R, out, K]`` combined to ``(R, *outs, T)``; in NumPy where all of them are constants."""
        rank = len(parts)
        total: Any = None
        for i, part in enumerate(parts):
            shape = [1] * (2 * rank)
            shape[i], shape[rank + i] = part.shape[1:]
            spread = part.reshape(part.shape[0], *shape)
            total = spread if total is None else _call(combine, total, spread)
        return total.reshape(*total.shape[: 1 + rank], -1)


def _call(combine: Any, a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return combine(a, b)
    return getattr(jnp, combine.__name__)(a, b)


def _of_plan(axis: AxisPlan, side: int) -> AxisTaps:
    places = np.arange(side)
    cells = axis.start[:, None] + places * axis.step
    real = places < axis.count[:, None]
    begin = axis.start if axis.kind == "adaptive" else np.arange(axis.out) * axis.stride - axis.before
    numbers = (axis.start - begin)[:, None] // axis.step + places
    kernel = axis.kernel if axis.kind == "sliding" else side
    return AxisTaps(cells[None], real[None], numbers[None], axis.count_padded[None], kernel)


def _of_starts(axis: AxisPlan, side: int, starts: Array) -> AxisTaps:
    places = np.arange(side)
    cells = starts[..., None] + places
    if axis.reaches:
        last = jnp.full((len(starts), 1), axis.size, starts.dtype)
        ends = jnp.concatenate([jnp.minimum(starts[:, 1:] + axis.after - 1, axis.size), last], axis=1)
    else:
        ends = starts + axis.kernel
    real = cells < ends[..., None]
    numbers = jnp.broadcast_to(places, cells.shape)
    return AxisTaps(cells, real, numbers, ends - starts, axis.kernel)
