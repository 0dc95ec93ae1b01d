"""Pooling of JAX arrays: `pool`, and what `poolkit.pool` and the named functions ask of a front end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from poolkit.arrays import DTYPE_CODES, check_reducer, index_error
from poolkit.errors import PoolError, PoolTypeError, show
from poolkit.jax import primitives
from poolkit.jax.calls import Call, accumulator, wide_integer
from poolkit.jax.samples import Seed, starts, uniforms
from poolkit.plan import Plan
from poolkit.pooling import check_format, check_parts, pooled_rank
from poolkit.reducer import Filter
from poolkit.reducer.weighted import check_kernel
from poolkit.unpooling import check_unpool
from poolkit.window import Fractional, Global, plan_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.reducer import Reducer
    from poolkit.window import Window

Array = jax.Array


def pool(
    x: Any,
    window: Window,
    reducer: Reducer,
    *,
    return_indices: bool = False,
    rank: int | None = None,
    data_format: str = "channels_first",
    seed: Seed = None,
    extra: Any = None,
) -> Any:
    """Pools a JAX array; the same as `poolkit.pool`, which calls this.

    Works under `jax.jit`, `grad`, `jvp`, `vmap`, `shard_map` and their compositions, and for the second derivative. On
    the CPU the compiled core runs, on XLA's own threads; elsewhere, and for derivatives in forward mode, JAX's own
    operations.

    Args:
        x: ``(N, C, *sizes)`` or ``(C, *sizes)``, or with the channels last; float32, float16, bfloat16, with 64-bit
            types enabled float64; for Max, Min, Sum and Mean also int8, uint8, int16, int32, int64. NumPy arrays are
            converted.
        window: which cells each output sees.
        reducer: what becomes of them.
        return_indices: also give the positions of the chosen cells in the flat, unpadded plane, as int64, or as int32
            where JAX has no 64-bit types.
        rank: number of pooled axes; None takes the window's, or all but two of x's axes.
        data_format: ``"channels_first"`` or ``"channels_last"``.
        seed: for `Fractional` windows without samples and for reducers that draw: an int, which draws what NumPy arrays
            get under it, or a key of `jax.random`.
        extra: what the reducer takes beside x, in place of what its record says, with gradients: `Mixed` and `Ada` a
            weight, `Boltzmann` a sharpness, `GeM` a power, that broadcast to the output; `Ordinal` and `Filter` weights
            ``[1 or C, K]``; reducers that draw uniforms in [0, 1) of the output's shape.

    Returns:
        An array in x's layout and dtype (Sum of integers: int64, or int32 where JAX has no 64-bit types), or the pair
        of it and the indices.

    Raises:
        PoolError: an argument breaks a rule; PoolTypeError where its type does.

    >>> import jax, jax.numpy as jnp, poolkit as pk
    >>> pk.jax.pool(jnp.arange(6.0).reshape(1, 1, 6), pk.Sliding(2), pk.Mean())
    Array([[[0.5, 2.5, 4.5]]], dtype=float32)
    >>> jax.grad(lambda x: pk.max_pool1d(x, 3).sum())(jnp.array([[1.0, 3.0, 2.0]]))
    Array([[0., 1., 0.]], dtype=float32)
    """
    check_parts(window, reducer, return_indices)
    x = _array(x, "input x")
    if rank is None:
        rank = pooled_rank(window, x.ndim)
    shape, dtype, reducer = _logical(x.shape, data_format, rank), np.dtype(x.dtype), reducer.on(window)
    _check_dtype(dtype)
    check_reducer(reducer, dtype)
    plain = replace(window, random_samples=None) if isinstance(window, Fractional) else window
    itemsize = max(dtype.itemsize, 8 if return_indices or reducer.widens else 1)
    plan = plan_for(plain, shape, rank, itemsize=itemsize)
    reducer.check(plan)
    call = Call.of(plan, reducer, channels_last=data_format == "channels_last")
    _check_positions(call, return_indices)
    given: dict[str, Array] = {}
    if isinstance(window, Fractional):
        given["starts"] = starts(window, plan, shape, dtype, seed)
    beside = _extra(call, shape, dtype, seed, extra)
    if beside is not None:
        given["extra"] = beside
    found = primitives.pool(call, x, given, ["indices"] if return_indices else [])
    y = _dropped(found["y"], window, call)
    return (y, _dropped(found["indices"], window, call)) if return_indices else y


def named(function: Callable[..., Any], rank: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """``function(rank, *arguments, **options)`` of a named function, which calls `pool`."""
    return function(rank, *arguments, **options)


def max_unpool(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    rank: int,
) -> Array:
    """Puts the values of x, channels first, where max pooling found them, and zero elsewhere.

    Of equal indices the last in row-major order wins, and alone receives the gradient. Indices that JAX does not know
    yet cannot be checked: one outside the plane is dropped.

    Args:
        x: ``(N, C, *sizes)`` or ``(C, *sizes)``.
        indices: int64 or int32, of x's shape, as max pooling returned them.
        kernel_size: that of the max pooling.
        stride: that of the max pooling; None means `kernel_size`.
        padding: that of the max pooling.
        output_size: the spatial sizes wanted, or a full shape.
        rank: number of pooled axes.

    Raises:
        PoolError: an argument breaks a rule, or an index lies outside of the output.
    """
    x, indices = _array(x, "input x"), _array(indices, "indices")
    _check_dtype(np.dtype(x.dtype))
    if indices.dtype not in (np.int64, np.int32):
        raise PoolTypeError(
            f"indices of type {indices.dtype}",
            f"indices is an int64 or int32 array, here {indices.dtype}",
            "pass the indices of max pooling",
        )
    sizes = check_unpool(x.shape, indices.shape, kernel_size, stride, padding, output_size, rank)
    cells = math.prod(sizes)
    if not isinstance(indices, Tracer) and indices.size:
        known = np.asarray(indices)
        if known.min() < 0 or known.max() >= cells:
            raise index_error(known, cells, "an index lies outside the plane")
    lead = x.shape[:-rank]
    planes = x.reshape(-1, math.prod(x.shape[-rank:]))
    places = indices.reshape(planes.shape)
    places = jnp.where(places < 0, cells, places)

    def put(values: Array, places: Array) -> Array:
        # The last writer of a cell is found first, so that no order of writing matters.
        last = jnp.full(cells, -1, jnp.int32).at[places].max(jnp.arange(len(values), dtype=jnp.int32), mode="drop")
        return jnp.where(last < 0, jnp.zeros((), values.dtype), values[jnp.maximum(last, 0)])

    return jax.vmap(put)(planes, places).reshape(*lead, *sizes)


def _array(value: Any, name: str) -> Array:
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, np.ndarray):
        return jnp.asarray(value)
    raise PoolTypeError(
        f"{name}={show(value)}",
        f"{name} is a JAX array, here {type(value).__name__}",
        "convert it first, for example with jax.numpy.asarray(x)",
    )


def _check_dtype(dtype: np.dtype[Any]) -> None:
    if dtype.name not in DTYPE_CODES:
        raise PoolTypeError(
            f"input x of dtype {dtype}",
            f"the dtype is one of {', '.join(DTYPE_CODES)}, here {dtype}",
            "convert it first, for example x.astype('float32')",
        )


def _logical(shape: tuple[int, ...], data_format: str, rank: int) -> tuple[int, ...]:
    """The shape with the channels before the pooled axes."""
    check_format(data_format)
    return shape if data_format == "channels_first" else (*shape[: -rank - 1], shape[-1], *shape[-rank - 1 : -1])


def _placed(array: Array, call: Call) -> Array:
    """An array in the order (N, C, spatial...) in the layout of the call."""
    return jnp.moveaxis(array, -call.rank - 1, -1) if call.channels_last else array


def _check_positions(call: Call, return_indices: bool) -> None:
    cells = math.prod(axis.size for axis in call.axes)
    if return_indices and cells > np.iinfo(wide_integer()).max:
        raise PoolError(
            f"return_indices=True for planes of {cells} cells",
            f"positions fit {wide_integer()}, JAX's widest integer as it is set up",
            "enable 64-bit types: jax.config.update('jax_enable_x64', True)",
        )


def _extra(call: Call, shape: tuple[int, ...], dtype: np.dtype[Any], seed: Seed, extra: Any) -> Array | None:
    """The array beside x, in the accumulator's dtype: as given, drawn, or as the record says.

    `shape` is that of the input with its channels first.
    """
    reducer, wide = call.reducer, accumulator(dtype)
    if reducer.extra == "none":
        return None
    out = (*shape[: -call.rank], *(axis.out for axis in call.axes))
    if extra is None:
        if reducer.draws:
            return _placed(uniforms(reducer, out, dtype, seed), call)
        if reducer.values is None:
            return None
        values = jnp.asarray(np.array(reducer.values, wide))
        return values[None] if call.kernel_extra else jnp.broadcast_to(values[0], _placed_shape(out, call))
    extra = _array(extra, "extra").astype(wide)
    if not call.kernel_extra:
        wanted = _placed_shape(out, call)
        try:
            return jnp.broadcast_to(extra, wanted)
        except ValueError:
            raise PoolError(
                f"extra of shape {extra.shape} for an output of shape {wanted}",
                f"extra broadcasts to the output's shape {wanted}",
                "pass for example one value for each channel: shape (C, 1, 1) in 2-D",
            ) from None
    channels = shape[-call.rank - 1]
    if extra.ndim != 2 or extra.shape[0] not in (1, channels) or extra.shape[1] == 0:
        raise PoolError(
            f"extra of shape {extra.shape}",
            f"weights have the shape (1, K) or ({channels}, K) for {channels} channels",
            "pass one row for all channels, or one for each",
        )
    if isinstance(reducer, Filter):
        check_kernel(Plan(call.axes), extra.shape[1])
    return extra


def _placed_shape(shape: tuple[int, ...], call: Call) -> tuple[int, ...]:
    if not call.channels_last:
        return shape
    return (*shape[: -call.rank - 1], *shape[-call.rank :], shape[-call.rank - 1])


def _dropped(y: Array, window: Window, call: Call) -> Array:
    """Without the axes that `Global` drops."""
    if not isinstance(window, Global) or window.keepdims:
        return y
    at = range(y.ndim)[call.at()]
    return y.squeeze(tuple(at))
