"""The operators' rules under `torch.func.vmap`: the mapped axis joins the batch."""

# ruff: noqa: D103  one rule for each operator
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from poolkit.torch.shapes import decode, per_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _front(t: Tensor, axis: int | None, batch: int) -> Tensor:
    return t.expand(batch, *t.shape) if axis is None else t.movedim(axis, 0)


def _merge(t: Tensor, rank: int) -> Tensor:
    """[B, N, C, ...] to [B * N, C, ...]; an unbatched [B, C, ...] stays as it is."""
    return t.flatten(0, 1) if t.dim() == rank + 3 else t


def _merge_starts(starts: Tensor | None, axis: int | None, batch: int, planes: int) -> Tensor | None:
    if starts is None or (axis is None and starts.shape[0] == 1):
        return starts
    starts = _front(starts, axis, batch)
    return starts.expand(batch, planes, starts.shape[2]).flatten(0, 1)


def _planes_of(x: Tensor, rank: int) -> int:
    return x.shape[1] * x.shape[2] if x.dim() == rank + 3 else x.shape[1]


def _extra(extra: Tensor | None, axis: int | None, batch: int, plan: str) -> Tensor | None:
    if extra is None or not per_output(plan):
        return extra
    return _merge(_front(extra, axis, batch), decode(plan).rank)


def _one_by_one(op: Callable[..., Any], info: Any, in_dims: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """A kernel's weights have no batch: the mapped axis is gone through."""
    results: list[Any] = []
    for i in range(info.batch_size):
        one = [a if axis is None else a.select(axis, i) for a, axis in zip(arguments, in_dims, strict=True)]
        results.append(op(*one))
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])


def forward(op: Callable[..., Any], several: int) -> Callable[..., Any]:
    def rule(info: Any, in_dims: Sequence[Any], x: Tensor, plan: str, starts: Tensor | None = None, *rest: Any) -> Any:
        rank, axes = decode(plan).rank, (*in_dims, None)
        if rest and isinstance(rest[-1], Tensor):
            axis = in_dims[2 + len(rest)]
            if axis is not None and not per_output(plan):
                return _one_by_one(op, info, in_dims, (x, plan, starts, *rest))
            rest = (*rest[:-1], _extra(rest[-1], axis, info.batch_size, plan))
        x = _front(x, axes[0], info.batch_size)
        begins = _merge_starts(starts, axes[2], info.batch_size, _planes_of(x, rank))
        outputs = op(_merge(x, rank), plan, begins, *rest)
        if not several:
            return outputs.unflatten(0, x.shape[:2]) if x.dim() == rank + 3 else outputs, 0
        if x.dim() == rank + 3:
            outputs = tuple(output.unflatten(0, x.shape[:2]) for output in outputs)
        return outputs, (0,) * several

    return rule


def backward(info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Tensor, int]:
    return _backward(torch.ops.poolkit.pool_backward.default, info, in_dims, arguments)


def backward_extra(info: Any, in_dims: Sequence[Any], *arguments: Any) -> Any:
    return _backward(torch.ops.poolkit.pool_backward_extra.default, info, in_dims, arguments)


def _backward(op: Callable[..., Any], info: Any, in_dims: Sequence[Any], arguments: Sequence[Any]) -> Any:
    dy, plan, starts, *kept, channels_last = arguments[:8]
    extra = arguments[8] if len(arguments) > 8 else None
    rank = decode(plan).rank
    # The gradient of a kernel's weights is one for each plane, and planes of a joined batch could not be told apart.
    if extra is not None and not per_output(plan):
        return _one_by_one(op, info, in_dims, arguments)
    dy = _front(dy, in_dims[0], info.batch_size)
    begins = _merge_starts(starts, in_dims[2], info.batch_size, _planes_of(dy, rank))
    merged = [
        None if t is None else _merge(_front(t, axis, info.batch_size), rank)
        for t, axis in zip(kept, in_dims[3:7], strict=True)
    ]
    more = None if extra is None else _extra(extra, in_dims[8], info.batch_size, plan)
    outputs: Any = op(_merge(dy, rank), plan, begins, *merged, channels_last, more)
    single = isinstance(outputs, Tensor)
    parts: tuple[Tensor, ...] = (outputs,) if single else outputs
    if dy.dim() == rank + 3:
        parts = tuple(torch.unflatten(part, 0, dy.shape[:2]) for part in parts)
    return (parts[0], 0) if single else (parts, (0, 0))


def unpool(
    info: Any, in_dims: Sequence[Any], x: Tensor, indices: Tensor, output_size: Sequence[int]
) -> tuple[Tensor, int]:
    rank = len(output_size)
    x, indices = _front(x, in_dims[0], info.batch_size), _front(indices, in_dims[1], info.batch_size)
    out = torch.ops.poolkit.unpool.default(_merge(x, rank), _merge(indices, rank), output_size)
    return out.unflatten(0, x.shape[:2]) if x.dim() == rank + 3 else out, 0


def unpool_backward(
    info: Any, in_dims: Sequence[Any], dout: Tensor, indices: Tensor, rank: int, channels_last: bool
) -> tuple[Tensor, int]:
    dout, indices = _front(dout, in_dims[0], info.batch_size), _front(indices, in_dims[1], info.batch_size)
    dx = torch.ops.poolkit.unpool_backward.default(_merge(dout, rank), _merge(indices, rank), rank, channels_last)
    return dx.unflatten(0, dout.shape[:2]) if dout.dim() == rank + 3 else dx, 0
