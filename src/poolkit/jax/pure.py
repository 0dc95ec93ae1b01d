"""The pooling in JAX's own operations: forward, derivative and gradient, with the arrays that `Call` describes.

It serves every processor, needs no compiled extension, and is the derivative in forward mode everywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from poolkit.jax import formulas
from poolkit.jax.calls import Call, accumulator, wide_integer
from poolkit.jax.taps import Taps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Array = jax.Array
Arrays = dict[str, Array]


def forward(call: Call, x: Array, given: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
    """y, then what is wanted of indices, offsets and lse."""
    taps, planes, extra = _bind(call, x, given)
    results: Arrays = {}
    if call.chooses:
        places = formulas.choose(call.reducer, formulas.see(taps, planes, extra))
        y = formulas.taken(call, taps, planes, places, planes if call.magnitude else None)
        results["offsets"] = jnp.where(places < 0, _none(call.offsets), places).astype(call.offsets)
        if "indices" in wanted:
            results["indices"] = taps.positions(jnp.maximum(places, 0)).astype(wide_integer())
    else:
        y = formulas.pooled(call, taps, planes, extra)
        if "lse" in wanted:
            results["lse"] = formulas.log_sum_exp(_softmax(call), formulas.see(taps, planes, extra))
    shape = call.out_shape(x.shape)
    return [_from_planes(call, one, shape) for one in (y, *(results[name] for name in wanted))]


def derivative(call: Call, tangents: Mapping[str, Array], given: Mapping[str, Array], shape: Sequence[int]) -> Array:
    """The output's tangent for tangents of x and of the array beside it."""
    starts = {name: given[name] for name in given if name == "starts"}
    if call.linear:
        return forward(call, tangents["x"], starts, ())[0]
    if call.chooses:
        taps, planes, _ = _bind(call, tangents["x"], starts)
        offsets = _planes(call, given["offsets"])
        places = jnp.where(offsets == _none(call.offsets), -1, offsets.astype(wide_integer()))
        like = _planes(call, given["x"]) if call.magnitude else None
        return _from_planes(call, formulas.taken(call, taps, planes, places, like), shape)
    moved = {name: given[name] for name in tangents}
    fixed = {name: given[name] for name in ("starts", "x", "extra") if name in given and name not in moved}

    def pool(moving: Arrays) -> Array:
        arrays = {**fixed, **moving}
        return forward(call, arrays.pop("x"), arrays, ())[0]

    return jax.jvp(pool, (moved,), (dict(tangents),))[1]


def gradient(call: Call, dy: Array, given: Mapping[str, Array], moved: Sequence[str]) -> list[Array]:
    """The gradients of x and of the array beside it, as far as they are in `moved`."""
    shape = call.in_shape(dy.shape)
    zeros = {"x": jnp.zeros(shape, dy.dtype)} if "x" in moved else {}
    if "extra" in moved:
        zeros["extra"] = jnp.zeros_like(given["extra"])

    def push(tangents: Arrays) -> Array:
        return derivative(call, tangents, given, dy.shape)

    transpose: Callable[[Array], tuple[Arrays]] = cast("Any", jax.linear_transpose)(push, zeros)
    (found,) = transpose(dy)
    return [found[name] for name in moved]


def _softmax(call: Call) -> formulas.LogSumExp | formulas.Soft:
    assert isinstance(call.reducer, formulas.LogSumExp | formulas.Soft)
    return call.reducer


def _none(dtype: np.dtype[np.unsignedinteger]) -> int:
    """The offset that means: no cell."""
    return int(np.iinfo(dtype).max)


def _planes(call: Call, array: Array) -> Array:
    """``(P, *sizes)`` of an array of the call."""
    if call.channels_last:
        array = jnp.moveaxis(array, -1, -call.rank - 1)
    return array.reshape(-1, *array.shape[-call.rank :])


def _from_planes(call: Call, planes: Array, shape: Sequence[int]) -> Array:
    if not call.channels_last:
        return planes.reshape(shape)
    lead = shape[: -call.rank - 1]
    return jnp.moveaxis(planes.reshape(*lead, shape[-1], *planes.shape[1:]), -call.rank - 1, -1)


def _bind(call: Call, x: Array, given: Mapping[str, Array]) -> tuple[Taps, Array, Array | None]:
    """The windows, the planes and the array beside them as the formulas take it."""
    planes = _planes(call, x)
    starts, extra = given.get("starts"), given.get("extra")
    if starts is not None:
        rows = starts.reshape(-1, starts.shape[-1])
        starts = rows if len(rows) == 1 else jnp.repeat(rows, len(planes) // len(rows), axis=0)
    if extra is not None and not call.kernel_extra:
        extra = _planes(call, extra)
    elif extra is not None:
        extra = _weights(call, extra, x.shape, len(planes))
    if extra is not None:
        extra = extra.astype(accumulator(np.dtype(x.dtype)))
    return Taps(call, starts), planes, extra


def _weights(call: Call, extra: Array, shape: Sequence[int], planes: int) -> Array:
    """Weights ``(M..., 1 or C, K)`` as ``(1 or P, K)``."""
    groups, (rows, count) = math.prod(extra.shape[:-2]), extra.shape[-2:]
    if groups == rows == 1:
        return extra.reshape(1, count)
    channels = call.channels(shape)
    samples = planes // channels // groups
    spread = jnp.broadcast_to(extra.reshape(groups, 1, rows, count), (groups, samples, channels, count))
    return spread.reshape(planes, count)
