"""poolkit as a contestant: NumPy arrays in both layouts, tensors of torch, arrays of JAX."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import poolkit as pk
from poolkit.bench import with_jax
from poolkit.bench.task import Task, Unavailable, to_tensor

if TYPE_CHECKING:
    from poolkit.bench.task import Run


def numpy_first(task: Task, _threads: int) -> Run:
    """A NumPy array, channels first."""
    return _on_arrays(task, task.x, "channels_first")


def numpy_last(task: Task, _threads: int) -> Run:
    """A NumPy array, channels last."""
    return _on_arrays(task, task.last, "channels_last")


def torch_first(task: Task, _threads: int) -> Run:
    """A tensor of torch, channels first."""
    x = task.tensor
    if not task.backward:
        return _forward(task, x)
    x.requires_grad_()
    run = _forward(task, x)
    grad = to_tensor(task.grad(tuple(run().shape)))
    return partial(gradient, run, x, grad)


def jax_first(task: Task, threads: int) -> Run:
    """An array of JAX, channels first, under `jit`."""
    if task.row.kind in {"fractional_max", "max_with_indices"}:
        raise Unavailable(f"{task.row.kind} is not timed on JAX arrays")
    return with_jax.compiled(task, threads, partial(pk.pool, window=task.row.window, reducer=task.row.reducer))


def gradient(run: Run, x: Any, grad: Any) -> Any:
    """The input's gradient by torch's autograd, from a fresh forward pass."""
    autograd: Any = import_module("torch.autograd")
    return autograd.grad(run(), x, grad)[0]


def _on_arrays(task: Task, x: Any, data_format: str) -> Run:
    if not task.backward:
        return _forward(task, x, data_format=data_format)
    if task.row.kind in {"fractional_max", "max_with_indices"}:
        raise Unavailable(f"no gradient of {task.row.kind} on NumPy arrays is timed")

    def run() -> Any:
        _, back = pk.pool_vjp(x, task.row.window, task.row.reducer, data_format=data_format)
        return back(grad)

    # Everybody gets the same gradient, drawn channels first.
    y = pk.pool(task.x, task.row.window, task.row.reducer)
    grad = task.grad(tuple(y.shape))
    if data_format == "channels_last":
        grad = np.ascontiguousarray(np.moveaxis(grad, 1, -1))
    return run


def _forward(task: Task, x: Any, **extra: Any) -> Run:
    row = task.row
    if row.kind == "fractional_max":
        size: dict[str, Any] = {"output_size": row.target} if row.target else {"output_ratio": (row.ratio,) * row.rank}
        samples = to_tensor(task.uniforms) if hasattr(x, "detach") else task.uniforms
        return partial(pk.fractional_max_pool2d, x, row.kernel, **size, _random_samples=samples, **extra)
    indices = row.kind == "max_with_indices" and not task.backward
    return partial(pk.pool, x, row.window, row.reducer, return_indices=indices, **extra)
