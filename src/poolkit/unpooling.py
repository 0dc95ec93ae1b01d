"""Max unpooling: values back to where max pooling found them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from poolkit import arrays
from poolkit.errors import PoolError, PoolTypeError, entries, integer, show
from poolkit.plan import check_cells
from poolkit.pooling import Array, check_no_out, front_end, to_channels_first, to_channels_last
from poolkit.window import per_axis

if TYPE_CHECKING:
    from collections.abc import Sequence


def unpool(
    values: Array,
    indices: Array,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
    rank: int,
    data_format: str,
    out: Any = None,
) -> Array:
    """The work of ``max_unpool1d``, ``2d`` and ``3d``, which document it."""
    front = front_end(values)
    if front is not None:
        check_no_out(out)
        x, places = (to_channels_first(a, data_format, rank) for a in (values, indices))
        y = front.max_unpool(x, places, kernel_size, stride, padding, output_size, rank=rank)
        return to_channels_last(y, data_format, rank)
    values = arrays.check_array(values)
    check_axes(values.shape, getattr(indices, "shape", ()), rank)
    indices = _check_indices(indices)
    x, places = (to_channels_first(a, data_format, rank) for a in (values, indices))
    sizes = check_unpool(x.shape, places.shape, kernel_size, stride, padding, output_size, rank)
    batched, target = x.ndim == rank + 2, None
    if out is not None:
        cell = np.broadcast_to(np.zeros((), np.int8), (*x.shape[:-rank], *sizes))
        arrays.check_out(out, to_channels_last(cell, data_format, rank).shape, x.dtype, x)
        arrays.check_out(out, out.shape, x.dtype, places)
        target = to_channels_first(out, data_format, rank)
        target = target if batched else target[None]
    y = arrays.unpool(x if batched else x[None], places if batched else places[None], sizes, target)
    return to_channels_last(y if batched else y[0], data_format, rank) if out is None else out


def check_axes(shape: Sequence[int], indices_shape: Sequence[int], rank: int) -> str:
    """The input has the axes that unpooling takes; gives what was given, in words."""
    given = f"input x of shape {tuple(shape)} with indices of shape {tuple(indices_shape)}"
    if len(shape) not in (rank + 1, rank + 2):
        raise PoolError(
            given,
            f"max_unpool{rank}d takes an input of {rank + 2} axes (N, C, {rank} pooled) or {rank + 1}, "
            f"here {len(shape)}",
            "pass what max pooling of the same rank returned",
        )
    return given


def check_unpool(
    shape: Sequence[int],
    indices_shape: Sequence[int],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
    rank: int,
) -> tuple[int, ...]:
    """The spatial sizes of what unpooling makes of a channels-first input, after all checks of shapes and arguments."""
    given = check_axes(shape, indices_shape, rank)
    if tuple(shape) != tuple(indices_shape):
        raise PoolError(given, "indices has the shape of the input x", "pass the values and indices of one max pooling")
    kernel, strides, paddings = check_arguments(kernel_size, stride, padding, rank)
    if min(shape[-rank - 1 :]) < 1:
        raise PoolError(
            given, "every axis except the batch has at least one cell", "drop the empty input before unpooling"
        )
    sizes = _unpooled_sizes(tuple(shape), kernel, strides, paddings, output_size, rank)
    planes = math.prod(shape[:-rank])
    if type(planes) is int:  # a batch that torch.export leaves open is none
        check_cells(sizes, max(planes, 1), 8, f"output_size={sizes}")
    return sizes


def check_arguments(kernel_size: Any, stride: Any, padding: Any, rank: int) -> tuple[tuple[int, ...], ...]:
    """kernel_size, stride and padding of an un-pooling, one value for each axis."""
    kernel = per_axis(kernel_size, "kernel_size", 1, rank)
    strides = kernel if stride is None else per_axis(stride, "stride", 1, rank)
    return kernel, strides, per_axis(padding, "padding", 0, rank)


def _check_indices(indices: Any) -> npt.NDArray[np.int64]:
    kind = str(getattr(indices, "dtype", type(indices).__name__))
    if not isinstance(indices, np.ndarray) or kind != "int64":
        raise PoolTypeError(
            f"indices of type {kind}", f"indices is an int64 array, here {kind}", "pass the indices of max pooling"
        )
    return arrays.check_array(cast("object", indices), "indices")


def _unpooled_sizes(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_size: Any,
    rank: int,
) -> tuple[int, ...]:
    default = tuple(
        (size - 1) * s - 2 * p + k for size, k, s, p in zip(shape[-rank:], kernel, stride, padding, strict=True)
    )
    low = tuple(max(d - s + 1, 1) for d, s in zip(default, stride, strict=True))
    high = tuple(d + s - 1 for d, s in zip(default, stride, strict=True))
    legal = " x ".join(f"{a}..{b}" for a, b in zip(low, high, strict=True))
    if output_size is None:
        wanted, gave = default, f"output_size=None, which means {default}"
    else:
        given = entries(output_size)
        values = (output_size,) if given is None else given
        wanted, gave = values[-rank:], f"output_size={show(output_size)}"
        if len(values) not in (rank, rank + 1, rank + 2) or values[: len(values) - rank] not in (
            (),
            shape[:-rank],
            shape[-rank - 1 : -rank],
        ):
            raise PoolError(
                gave,
                f"output_size holds the {rank} pooled axes, or the whole shape of the result",
                f"pass {rank} values, each in {legal}",
            )
        wanted = tuple(integer(value, "output_size", 1, given=output_size) for value in wanted)
    if any(not a <= w <= b for a, w, b in zip(low, wanted, high, strict=True)):
        raise PoolError(
            f"{gave}, for an input x of shape {shape}",
            f"output_size is less than a stride away from (size - 1) * stride - 2 * padding + kernel_size, "
            f"here {legal}",
            f"pass an output_size in {legal}",
        )
    return wanted
