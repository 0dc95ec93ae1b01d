"""What random poolings draw, in keras.ops, and where fractional windows start by it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from poolkit.errors import PoolTypeError, integer, show
from poolkit.fractional import tiled_bounds, tiled_lots, tiled_scale
from poolkit.keras.cells import Layout, Pick, dtype_of, ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.keras.cells import Tensor
    from poolkit.plan import AxisPlan, Plan
    from poolkit.window import Fractional

Seed = Any
"""An int, a `keras.random.SeedGenerator`, which goes on, or None for Keras's global one."""


def check_seed(seed: Seed) -> Seed:
    """`seed` after its check."""
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return seed
    try:
        return integer(seed, "seed", 0)
    except PoolTypeError:
        raise PoolTypeError(
            f"seed={show(seed)}",
            f"seed is an int, a keras.random.SeedGenerator or None, here {type(seed).__name__}",
            "pass seed=0, for example",
        ) from None


def uniforms(x: Tensor, outs: Sequence[int], layout: Layout, seed: Seed) -> Tensor:
    """A uniform in [0, 1) for each output, the same for either layout."""
    shape = ops.shape(x)
    drawn = keras.random.uniform((shape[0], shape[layout.channels], *outs), dtype=_kind(x), seed=seed)
    return layout.moved(drawn)


def samples_of(x: Tensor, window: Fractional, plan: Plan, layout: Layout, seed: Seed) -> Tensor:
    """The uniforms that say where fractional windows stand."""
    if window.tiles is not None:
        return keras.random.uniform((tiled_lots(plan.out_shape, window.tiles),), dtype="float32", seed=seed)
    shape = ops.shape(x)
    return keras.random.uniform((shape[0], shape[layout.channels], layout.rank), dtype=_kind(x), seed=seed)


def _kind(x: Tensor) -> str:
    return "float64" if dtype_of(x) == "float64" else "float32"


def fractional_picks(window: Fractional, plan: Plan, samples: Tensor) -> list[Pick]:
    """`poolkit.fractional`'s windows as tensors, one `Pick` an axis."""
    if window.tiles is None:
        order = (1, 0) if plan.rank == 2 else range(plan.rank)
        return [_placed(axis, samples[..., column]) for axis, column in zip(plan.axes, order, strict=True)]
    picks: list[Pick] = []
    for axis in plan.axes:
        count = tiled_lots([axis.out], window.tiles)
        picks.append(_tiled(axis, samples[:count], random=window.tiles == "random"))
        samples = samples[count:]
    return picks


def _placed(axis: AxisPlan, u: Tensor) -> Pick:
    """Torch's style, each plane ``[N, C]`` by its own uniform."""
    room, u = axis.size - axis.kernel, ops.expand_dims(u, -1)
    starts = ops.full_like(ops.cast(u, "int32"), room)
    if axis.out > 1:
        windows = ops.cast(ops.arange(axis.out - 1), u.dtype)
        alpha = ops.cast(room, u.dtype) / ops.cast(axis.out - 1, u.dtype)
        first = ops.cast((windows + u) * alpha, "int32") - ops.cast(u * alpha, "int32")
        starts = ops.concatenate([ops.clip(first, 0, room), starts], -1)
    cells = ops.expand_dims(starts, -1) + ops.arange(axis.kernel, dtype="int32")
    count = np.full(axis.out, axis.kernel)
    return Pick(cells, None, count, count)


def _tiled(axis: AxisPlan, lots: Tensor, *, random: bool) -> Pick:
    """TensorFlow's style, the same for all planes."""
    size, out = axis.size, axis.out
    k, rest = divmod(size, out)
    if random:
        order = ops.argsort(ops.argsort(lots))
        widths = k + ops.cast(order < rest, "int32")
        starts = ops.cumsum(widths) - widths
    else:
        u = ops.maximum(lots[0], 2.0**-24) * tiled_scale(size, out)
        low, high = tiled_bounds(size, out)
        first = ops.cast(ops.ceil((ops.cast(ops.arange(out), u.dtype) + u) * (size / out)), "int32") - 1
        starts = ops.clip(first, ops.convert_to_tensor(low, "int32"), ops.convert_to_tensor(high, "int32"))
    ends = ops.concatenate([starts[1:] + (axis.after - 1), ops.full((1,), size, dtype="int32")], 0)
    count = ops.minimum(ends, size) - starts
    number = ops.arange(axis.kernel, dtype="int32")
    last = ops.expand_dims(count, -1) - 1
    cells = ops.expand_dims(starts, -1) + ops.minimum(number, last)
    return Pick(cells, number <= last, count, count)


def moved_extra(reducer_extra: str, extra: Tensor, layout: Layout) -> Tensor:
    """Weights ``[1 or C, K]`` of a kernel as what broadcasts over the taps of all windows."""
    if reducer_extra != "kernel":
        return ops.expand_dims(extra, layout.spatial + layout.rank)
    shape = [1] * (layout.rank + 3)
    if layout.last:
        shape[-2:] = [int(extra.shape[1]), int(extra.shape[0])]
        return ops.reshape(ops.transpose(extra), shape)
    shape[1], shape[-1] = int(extra.shape[0]), int(extra.shape[1])
    return ops.reshape(extra, shape)


def cells_of(plan: Plan) -> int:
    """Cells of the unclipped kernel."""
    return math.prod(axis.kernel for axis in plan.axes)
