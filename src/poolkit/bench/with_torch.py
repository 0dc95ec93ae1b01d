"""PyTorch as a contestant: its default layout, its channels-last format, and compiled by inductor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from poolkit.bench.mine import gradient
from poolkit.bench.task import Task, Unavailable, to_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.bench.rows import Row
    from poolkit.bench.task import Run

    Layer = Callable[[Any], Any]


def first(task: Task, _threads: int) -> Run:
    """PyTorch in its default layout."""
    return _timed(task, task.tensor, layer(task))


def last(task: Task, _threads: int) -> Run:
    """PyTorch in its channels-last memory format."""
    import torch

    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    if task.row.rank not in formats:
        raise Unavailable("torch has no channels-last format for 1-D")
    return _timed(task, task.tensor.contiguous(memory_format=formats[task.row.rank]), layer(task))


def compiled(task: Task, _threads: int) -> Run:
    """PyTorch's own layer through torch.compile with inductor, for this shape alone."""
    import torch

    # Otherwise every row after the eighth would run uncompiled: torch counts them as one function, compiled too often.
    torch.compiler.reset()
    made = torch.compile(layer(task), dynamic=False, backend="inductor")
    try:
        run = _timed(task, task.tensor, made)
        run()
    except RuntimeError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise Unavailable(f"torch.compile cannot compile it: {lines[0]}") from error
    return run


def gradient_in_float32(task: Task) -> Any:
    """The gradient that a half-precision task should have: torch's own sums in half precision round after each term."""
    x = task.tensor.float().requires_grad_()
    y = layer(task)(x)
    return gradient(lambda: y, x, to_tensor(task.grad(tuple(y.shape))).float())


def layer(task: Task) -> Layer:
    """torch's own function for a row, of the input alone.

    Raises:
        Unavailable: torch has none.
    """
    import torch
    import torch.nn.functional as F

    row = task.row
    axes = tuple(range(2, 2 + row.rank))
    match row.kind:
        case "adaptive_avg" | "adaptive_max":
            name = "avg" if row.kind.endswith("avg") else "max"
            return partial(getattr(F, f"adaptive_{name}_pool{row.rank}d"), output_size=row.target)
        case "global_avg":
            return partial(torch.mean, dim=axes, keepdim=True)
        case "global_max":
            return partial(torch.amax, dim=axes, keepdim=True)
        case "gem_p3":
            return lambda x: x.clamp(min=1e-6).pow(3.0).mean(axes, keepdim=True).pow(1.0 / 3.0)
        case "fractional_max":
            size: dict[str, Any] = (
                {"output_size": row.target} if row.target else {"output_ratio": (row.ratio,) * row.rank}
            )
            samples = to_tensor(task.uniforms)
            return partial(F.fractional_max_pool2d, kernel_size=row.kernel, **size, _random_samples=samples)
        case _:
            return _sliding(row, indices=not task.backward)


def _sliding(row: Row, *, indices: bool) -> Layer:
    import torch.nn.functional as F

    rank, kind = row.rank, row.kind
    # torch's 1-D functions want an int, not a tuple of one.
    kernel, stride = (sizes[0] if rank == 1 else sizes for sizes in (row.kernel, row.stride))
    geometry: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "ceil_mode": row.ceil_mode}
    if kind == "lp_p2":
        return partial(getattr(F, f"lp_pool{rank}d"), norm_type=2.0, **geometry)
    if kind.startswith("avg"):
        include = kind != "avg_exclude_pad"
        average = getattr(F, f"avg_pool{rank}d")
        return partial(average, padding=row.torch_padding, count_include_pad=include, **geometry)
    maximum = partial(getattr(F, f"max_pool{rank}d"), return_indices=indices and kind == "max_with_indices", **geometry)
    if row.asymmetric:
        sides = [side for pair in reversed(row.padding) for side in pair]
        return lambda x: maximum(F.pad(x, sides, value=float("-inf")))
    return partial(maximum, padding=row.torch_padding)


def _timed(task: Task, x: Any, call: Layer) -> Run:
    """A run of the layer on `x`; torch says what it cannot do on the first call."""
    import torch

    if task.backward:
        x = x.detach().requires_grad_()
    run = partial(call, x)
    try:
        y = run()
    except (NotImplementedError, RuntimeError) as error:
        raise Unavailable(f"torch has no such layer in {task.dtype}: {str(error).splitlines()[0]}") from error
    if not task.backward:
        return run
    grad = to_tensor(task.grad(tuple(y.shape))).contiguous(memory_format=_format_of(torch, y))
    return partial(gradient, run, x, grad)


def _format_of(torch: Any, y: Any) -> Any:
    """The memory format of `y`: a gradient in another one would be rearranged at torch's expense."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    wanted = formats.get(y.ndim)
    if wanted is not None and not y.is_contiguous() and y.is_contiguous(memory_format=wanted):
        return wanted
    return torch.contiguous_format
