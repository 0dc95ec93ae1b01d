"""Uniforms of random poolings as JAX arrays, and the places of fractional windows that follow from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from poolkit import arrays
from poolkit.errors import PoolError, PoolTypeError, integer, show
from poolkit.fractional import fractional_starts, tiled_lots, tiled_starts
from poolkit.jax.calls import accumulator
from poolkit.window import plan_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.plan import Plan
    from poolkit.reducer import Reducer
    from poolkit.window import Fractional

Array = jax.Array
Seed = int | jax.Array | None


def uniforms(reducer: Reducer, shape: tuple[int, ...], dtype: np.dtype[Any], seed: Seed) -> Array:
    """One for each output, in the order (N, C, spatial...): of an int those of NumPy arrays under the same seed."""
    key = _key(seed)
    if key is None:
        return jnp.asarray(arrays.extra_of(reducer, shape, dtype, _number(seed, reducer)))
    # Not the stream that the places of fractional windows come from.
    return jax.random.uniform(jax.random.fold_in(key, 1), shape, accumulator(dtype))


def starts(window: Fractional, plan: Plan, shape: Sequence[int], dtype: np.dtype[Any], seed: Seed) -> Array:
    """The windows' places ``[planes or 1, windows of all axes]`` for an input ``(N, C, *sizes)`` or ``(C, *sizes)``."""
    rank, planes = plan.rank, max(math.prod(shape[: -plan.rank]), 1)
    samples: Any = window.random_samples
    if samples is None:
        key = _key(seed)
        if key is None:
            samples = window.draw(planes, plan.sizes, _number(seed, window), dtype)
        else:
            lots = (planes, rank) if window.tiles is None else (tiled_lots(plan.out_shape, window.tiles),)
            samples = jax.random.uniform(key, lots, accumulator(dtype))
    if isinstance(samples, Tracer):
        return _traced_starts(window, plan, cast("Array", samples), planes)
    known = plan_for(window, shape, rank, samples=np.asarray(samples)).starts
    assert known is not None
    return jnp.asarray(known, jnp.int32)


def _traced_starts(window: Fractional, plan: Plan, samples: Array, planes: int) -> Array:
    """The places as operations of JAX, where the uniforms are not known yet."""
    name, rank = "random_samples", plan.rank
    if not jnp.issubdtype(samples.dtype, jnp.floating):
        raise PoolTypeError(
            f"{name} of dtype {samples.dtype}", f"{name} holds floats in [0, 1)", "draw them with jax.random.uniform"
        )
    if window.tiles is not None:
        count = tiled_lots(plan.out_shape, window.tiles)
        if samples.shape != (count,):
            raise PoolError(
                f"{name} of shape {samples.shape}",
                f"{name} of TensorFlow's style has one uniform for each window, or with pseudo_random for each axis: "
                f"({count},)",
                f"pass {count} uniforms",
            )
        parts, at = list[Array](), 0
        for axis in plan.axes:
            mine = tiled_lots([axis.out], window.tiles)
            parts.append(tiled_starts(axis.size, axis.out, samples[at : at + mine], window.tiles, jnp, jnp.int32))
            at += mine
        return jnp.concatenate(parts, axis=1)
    if samples.ndim not in (2, 3) or samples.shape[-1] != rank or math.prod(samples.shape[:-1]) not in (1, planes):
        raise PoolError(
            f"{name} of shape {samples.shape}",
            f"{name} has one uniform for each sample, channel and pooled axis: (N, C, {rank})",
            f"pass {name} of shape (N, C, {rank})",
        )
    columns = samples.reshape(-1, rank)
    columns = columns.astype(jnp.float32) if columns.dtype.itemsize < 4 else columns
    # torch keeps its samples in the order W, H for images, but T, H, W for volumes.
    order = (1, 0) if rank == 2 else range(rank)
    found = [fractional_starts(a, columns[:, c], jnp, jnp.int32) for a, c in zip(plan.axes, order, strict=True)]
    return jnp.concatenate(found, axis=1)


def _key(seed: Seed) -> Array | None:
    """The seed, if it is a key of `jax.random`."""
    if not isinstance(seed, jax.Array):
        return None
    legacy = seed.dtype == np.uint32 and seed.shape == (2,)
    if legacy or jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed
    raise PoolTypeError(
        f"seed of dtype {seed.dtype} and shape {seed.shape}",
        "seed is an int or a key of jax.random",
        "pass jax.random.key(0)",
    )


def _number(seed: Seed, what: object) -> int:
    if seed is None:
        raise PoolError(
            f"seed=None with {show(what)}",
            "a random pooling of JAX arrays has a seed: JAX has no generator of its own, and a traced function would "
            "repeat one draw for ever",
            "pass seed=jax.random.key(0), a key of your own for each call, or an int",
        )
    return integer(seed, "seed", 0)
