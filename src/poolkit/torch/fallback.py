"""The operators' kernels over the NumPy binding, for a poolkit that was built without torch."""

# ruff: noqa: D103  one function for each operator, described in ops.SCHEMAS
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import poolkit._core
from poolkit.torch.shapes import (
    DTYPES,
    OFFSET_DTYPES,
    Decoded,
    check_extra,
    decode,
    extra_gradient,
    fake_unpool_backward,
    input_gradient,
    offset_dtype,
    outputs,
    per_output,
    require,
    unpooled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Its stub says which arrays may be None, which lists of arguments cannot express.
_core: Any = poolkit._core


def _array(x: Tensor | None, rank: int) -> NDArray[Any] | None:
    """A view of a CPU tensor in the order N, C, spatial; bfloat16 travels as uint16."""
    if x is None:
        return None
    x = x.detach()
    array = x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()
    return array[np.newaxis] if x.dim() == rank + 1 else array


def _extra(extra: Tensor | None, plan: str, shape: Sequence[int]) -> NDArray[Any] | None:
    check_extra(extra, plan, shape)
    if extra is None:
        return None
    return _array(extra, decode(plan).rank) if per_output(plan) else extra.detach().numpy()[np.newaxis]


def _starts(what: Decoded, starts: Tensor | None, planes: Sequence[int]) -> NDArray[np.int64] | None:
    """The starts as an array, after the checks that keep every window inside the input."""
    columns = [(a, what.spec[8 * a + 2]) for a in range(what.rank) if what.spec[8 * a] == 2]
    if not columns:
        require(starts is None, "starts: this plan takes none")
        return None
    if starts is None:
        raise RuntimeError("poolkit: starts: this plan needs them")
    require(starts.dtype == torch.int64 and starts.dim() == 2, "starts: expected a 2-D int64 tensor")
    require(starts.shape[1] == sum(out for _, out in columns), "starts: expected one column per window")
    require(starts.shape[0] in (1, int(np.prod(planes))), "starts: expected one row, or one per plane")
    array = np.ascontiguousarray(starts.numpy())
    begin = 0
    for axis, out in columns:
        _, size, _, kernel, _, _, after, _ = what.spec[8 * axis : 8 * axis + 8]
        part = array[:, begin : begin + out]
        # Windows that reach to the next one are checked by the core, which alone knows their lengths.
        fits = part.size == 0 or after > 0 or (part.min() >= 0 and part.max() <= size - kernel)
        require(bool(fits), "starts: a window leaves the input")
        begin += out
    return array


def _report(message: str | None) -> None:
    if message:
        raise RuntimeError(f"poolkit: {message}")


def _forward(
    x: Tensor,
    plan: str,
    starts: Tensor | None,
    *,
    offset_bytes: int = 0,
    indices: bool = False,
    lse: bool = False,
    extra: Tensor | None = None,
) -> list[Tensor]:
    what = decode(plan)
    further: list[torch.dtype | None] = [OFFSET_DTYPES[offset_bytes]] if offset_bytes else []
    further += [torch.int64] * indices + [None] * lse
    results = outputs(x, plan, *further)
    begins = _starts(what, starts, x.shape[: -what.rank])
    if offset_bytes:
        taps = math.prod(_core.offset_box(what.spec, begins))
        require(taps < 2 ** (8 * offset_bytes - (offset_bytes == 4)), "offset_bytes: the window needs more")
    places = iter(results[1:])
    offset_out = next(places) if offset_bytes else None
    index_out = next(places) if indices else None
    lse_out = next(places) if lse else None
    if x.numel() > 0:
        arrays = [_array(t, what.rank) for t in (x, results[0], offset_out, index_out, lse_out)]
        arrays.append(_extra(extra, plan, results[0].shape))
        _report(_core.forward(what.reducer, what.params, what.spec, begins, *arrays, DTYPES[x.dtype]))
    return results


def pool(x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
    return _forward(x, plan, starts, extra=extra)[0]


def offsets(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    offset_dtype(offset_bytes)
    return tuple(_forward(x, plan, starts, offset_bytes=offset_bytes, extra=extra))


def indices(x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(_forward(x, plan, starts, indices=True, extra=extra))


def offsets_and_indices(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    offset_dtype(offset_bytes)
    return tuple(_forward(x, plan, starts, offset_bytes=offset_bytes, indices=True, extra=extra))


def lse(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(_forward(x, plan, starts, lse=True))


def backward(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    lse: Tensor | None,
    offsets: Tensor | None,
    channels_last: bool,
    extra: Tensor | None = None,
) -> Tensor:
    return _backward(dy, plan, starts, (x, y, lse, offsets), channels_last, extra, None)


def backward_extra(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    lse: Tensor | None,
    offsets: Tensor | None,
    channels_last: bool,
    extra: Tensor,
) -> tuple[Tensor, Tensor]:
    dextra = extra_gradient(dy, plan, channels_last, extra)
    return _backward(dy, plan, starts, (x, y, lse, offsets), channels_last, extra, dextra), dextra


def _backward(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    kept: tuple[Tensor | None, ...],
    channels_last: bool,
    extra: Tensor | None,
    dextra: Tensor | None,
) -> Tensor:
    what = decode(plan)
    dx = input_gradient(dy, plan, channels_last)
    x, y, lse, offsets = kept
    for name, tensor, shape in (("x", x, dx.shape), ("y", y, dy.shape), ("lse", lse, dy.shape)):
        require(tensor is None or tensor.shape == shape, f"{name}: its shape does not fit dy")
    require(offsets is None or offsets.shape == dy.shape, "offsets: must have dy's shape")
    begins = _starts(what, starts, dy.shape[: -what.rank])
    if dy.numel() > 0:
        arrays = [_array(t, what.rank) for t in (dy, dx, *kept)]
        arrays.append(_extra(extra, plan, dy.shape))
        arrays.append(_array(dextra, what.rank) if dextra is None or per_output(plan) else dextra.numpy()[np.newaxis])
        _report(_core.backward(what.reducer, what.params, what.spec, begins, *arrays, DTYPES[dy.dtype]))
    return dx


def unpool(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    rank = len(output_size)
    require(all(size >= 1 for size in output_size), "output_size: every size must be at least 1")
    out = unpooled(x, indices, output_size)
    if x.numel() > 0:
        arrays = [_array(t, rank) for t in (x, indices, out)]
        _report(_core.unpool(*arrays, rank, DTYPES[x.dtype]))
    return out


def unpool_backward(dout: Tensor, indices: Tensor, rank: int, channels_last: bool) -> Tensor:
    dx = fake_unpool_backward(dout, indices, rank, channels_last)
    require(dout.dim() == dx.dim() and dout.shape[:-rank] == dx.shape[:-rank], "indices: its planes must be dout's")
    if dx.numel() > 0:
        arrays = [_array(t, rank) for t in (dout, indices, dx)]
        _report(_core.unpool_backward(*arrays, rank, DTYPES[dx.dtype]))
    return dx
