"""JAX as a contestant: `lax.reduce_window` under `jit`, on the CPU."""

from __future__ import annotations

import os
import sys
from functools import partial, reduce
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.bench.task import Task, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.bench.rows import Row
    from poolkit.bench.task import Run


def limit_threads(threads: int) -> None:
    """Tells XLA, which reads it once, when JAX makes its CPU client, how many threads its pool may have.

    Raises:
        Unavailable: it is too late, or another number was told before.
    """
    if "NPROC" not in os.environ:
        if "jax" in sys.modules:
            raise Unavailable("JAX was loaded before its threads could be limited")
        os.environ["NPROC"] = str(threads)
    if os.environ["NPROC"] != str(threads):
        raise Unavailable(f"JAX's pool of {os.environ['NPROC']} threads cannot be changed once it is made")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def reduce_window(task: Task, threads: int) -> Run:
    """The layer as one compiled function of its input, in JAX's default layout, channels first."""
    limit_threads(threads)  # before the layer's own import of JAX
    return compiled(task, threads, _layer(task.row))


def compiled(task: Task, threads: int, layer: Callable[[Any], Any]) -> Run:
    """A layer, or its gradient, as one compiled function of the task's input."""
    limit_threads(threads)
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    x = jnp.asarray(task.x)
    if not task.backward:
        return partial(_waiting, jax.jit(layer), x)

    def gradient(x: Any, grad: Any) -> Any:
        return jax.vjp(layer, x)[1](grad)[0]

    shape = jax.eval_shape(layer, x).shape
    return partial(_waiting, jax.jit(gradient), x, jnp.asarray(task.grad(shape)))


def _waiting(call: Callable[..., Any], *arguments: Any) -> Any:
    """JAX returns before it has computed."""
    return call(*arguments).block_until_ready()


def _layer(row: Row) -> Callable[[Any], Any]:
    """The row as windows of `lax`.

    Raises:
        Unavailable: windows of one size cannot say it.
    """
    from jax import lax

    kernel, stride, padding = row.kernel, row.stride, row.padding
    spatial = row.shape[2:]
    if row.kind.startswith("global"):
        kernel = stride = spatial
    elif row.kind.startswith("adaptive"):
        if any(size % out for size, out in zip(spatial, row.target, strict=True)):
            raise Unavailable("windows of one size give this adaptive pooling only where sizes divide")
        kernel = stride = tuple(size // out for size, out in zip(spatial, row.target, strict=True))
    elif row.kind not in {"max", "avg", "avg_exclude_pad"}:
        raise Unavailable(f"JAX has no operator for {row.kind}")
    padding = padding or ((0, 0),) * row.rank
    if row.ceil_mode:
        if "max" not in row.kind:
            raise Unavailable("JAX's windows have no ceil_mode: those that overhang the input would count its padding")
        out = row.window.plan(spatial).out_shape
        reach = [(n - 1) * s + k for n, s, k in zip(out, stride, kernel, strict=True)]
        padding = tuple(
            (before, max(end - size - before, 0))
            for (before, _), end, size in zip(padding, reach, spatial, strict=True)
        )
    window: dict[str, Any] = {
        "window_dimensions": (1, 1, *kernel),
        "window_strides": (1, 1, *stride),
        "padding": ((0, 0), (0, 0), *padding),
    }
    if "max" in row.kind:

        def maximum(x: Any) -> Any:
            lowest: Any = -np.inf if np.issubdtype(x.dtype, np.floating) or x.dtype.name == "bfloat16" else -128
            return lax.reduce_window(x, np.array(lowest, x.dtype)[()], lax.max, **window)

        return maximum

    # Counted here: XLA takes minutes to fold the windows of a constant.
    counts: Any = float(prod(kernel))
    if row.kind == "avg_exclude_pad":
        counts = reduce(np.multiply.outer, [axis.count for axis in row.window.plan(spatial).axes])

    def mean(x: Any) -> Any:
        return lax.reduce_window(x, np.array(0, x.dtype)[()], lax.add, **window) / np.asarray(counts, x.dtype)

    return mean
