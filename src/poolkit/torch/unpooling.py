"""Max unpooling of torch tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from poolkit.errors import PoolError, PoolTypeError
from poolkit.torch import autograd, composite, ops
from poolkit.torch.checks import check_dtype, compiling, explain, is_plain
from poolkit.torch.samples import check_tensor
from poolkit.torch.sharding import is_sharded
from poolkit.unpooling import check_unpool

if TYPE_CHECKING:
    from collections.abc import Sequence


def max_unpool(
    x: Tensor,
    indices: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
    *,
    rank: int,
) -> Tensor:
    """Puts the values of x where max pooling found them, and zero elsewhere.

    Of equal indices the last in row-major order wins, and alone receives the gradient.

    Args:
        x: ``(N, C, *sizes)`` or ``(C, *sizes)``.
        indices: int64, of x's shape, as max pooling returned them.
        kernel_size: that of the max pooling.
        stride: that of the max pooling; None means `kernel_size`.
        padding: that of the max pooling.
        output_size: the spatial sizes wanted, or a full shape; each less than one stride away from
            ``(size - 1) * stride - 2 * padding + kernel_size``, which is the default.
        rank: number of pooled axes.

    Raises:
        PoolError: an argument breaks a rule, or an index lies outside of the output.
    """
    x, indices = check_tensor(x), check_tensor(indices, "indices")
    sizes = check_unpool(x.shape, indices.shape, kernel_size, stride, padding, output_size, rank)
    return index_unpool(x, indices, list(sizes))


def index_unpool(x: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """Puts the values of x at flat positions of planes of these sizes, and zero elsewhere; checks all but the sizes."""
    x, indices = check_tensor(x), check_tensor(indices, "indices")
    if not compiling():
        is_sharded(x)
    if indices.dtype != torch.int64:
        raise PoolTypeError(f"indices of dtype {indices.dtype}", "indices are int64", "pass indices.long()")
    if indices.shape != x.shape:
        raise PoolError(
            f"indices of shape {tuple(indices.shape)} for an input x of shape {tuple(x.shape)}",
            "indices have the shape of x",
            "pass the indices that came with x from max pooling",
        )
    check_dtype(x.dtype)
    if indices.device.type not in ("cpu", "meta") and _readable(indices):
        check_places(indices, math.prod(sizes))
    try:
        if autograd.forward_mode() and not compiling():
            return composite.operators.unpool(x, indices, sizes)
        if x.requires_grad or compiling() or not is_plain():
            return cast(Tensor, autograd.Unpool.apply(x, indices, sizes))
        return ops.unpool(x, indices, sizes)
    except (NotImplementedError, RuntimeError) as error:
        if "poolkit:" in str(error) and not compiling():
            raise _bad_indices(indices, math.prod(sizes), str(error)) from None
        raise explain(error, x) from None


def _readable(indices: Tensor) -> bool:
    """Whether their values can be waited for: not where a graph is recorded or a transform is under way."""
    if indices.__class__ is not Tensor or compiling() or not is_plain():
        return False
    return indices.device.type != "cuda" or not torch.cuda.is_current_stream_capturing()


def check_places(indices: Tensor, cells: int) -> None:
    """Reports positions that lie outside of planes of so many cells.

    The kernels of the CPU look at them one by one. On other devices torch's own operations would stop all that the
    process does there, so they are looked at before.
    """
    if indices.numel():
        low, high = torch.stack(torch.aminmax(indices)).tolist()  # pyright: ignore[reportUnknownVariableType]
        if low < 0 or high >= cells:
            raise _bad_indices(indices, cells, "")


def _bad_indices(indices: Tensor, cells: int, status: str) -> PoolError:
    low, high = (int(indices.min()), int(indices.max())) if indices.numel() else (0, 0)
    if low >= 0 and high < cells:
        return PoolError("indices", status.removeprefix("poolkit: "), "pass the indices that max pooling returned")
    return PoolError(
        f"indices with the value {low if low < 0 else high}",
        f"indices are flat positions in the output plane, in [0, {cells}), here {low} to {high}",
        "pass the indices that max pooling returned, and the output_size of its input",
    )
