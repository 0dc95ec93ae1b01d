"""The operators' rules under `torch.func.vmap`: the mapped axis joins the batch."""

# ruff: noqa: D103  one rule for each operator
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from poolkit.torch.shapes import decode

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


def forward(op: Callable[..., Any], several: int) -> Callable[..., Any]:
    def rule(info: Any, in_dims: Sequence[Any], x: Tensor, plan: str, starts: Tensor | None = None, *rest: int) -> Any:
        rank, axes = decode(plan).rank, (*in_dims, None)
        x = _front(x, axes[0], info.batch_size)
        begins = _merge_starts(starts, axes[2], info.batch_size, _planes_of(x, rank))
        outputs = op(_merge(x, rank), plan, begins, *rest)
        if not several:
            return outputs.unflatten(0, x.shape[:2]) if x.dim() == rank + 3 else outputs, 0
        if x.dim() == rank + 3:
            outputs = tuple(output.unflatten(0, x.shape[:2]) for output in outputs)
        return outputs, (0,) * several

    return rule


def backward(
    info: Any, in_dims: Sequence[Any], dy: Tensor, plan: str, starts: Tensor | None, *rest: Any
) -> tuple[Tensor, int]:
    rank = decode(plan).rank
    *kept, channels_last = rest
    dy = _front(dy, in_dims[0], info.batch_size)
    begins = _merge_starts(starts, in_dims[2], info.batch_size, _planes_of(dy, rank))
    merged = [
        None if t is None else _merge(_front(t, axis, info.batch_size), rank)
        for t, axis in zip(kept, in_dims[3:7], strict=True)
    ]
    dx = torch.ops.poolkit.pool_backward.default(_merge(dy, rank), plan, begins, *merged, channels_last)
    return dx.unflatten(0, dy.shape[:2]) if dy.dim() == rank + 3 else dx, 0


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
