"""The registered operators ``torch.ops.poolkit.*``: schemas, shape rules, vmap rules, and the kernels behind them.

The kernels come from the compiled extension ``poolkit._torch``. Where it was not built, or when the environment variable
``POOLKIT_TORCH_BINDING`` is ``python``, the same schemas are registered here over the NumPy binding, with the same
results at a higher cost per call.

A window over inputs of one size, together with a reducer, crosses the operator boundary as one string, made by
`encode`. That costs 0.5 us a call less than lists of numbers, is a plain constant to `torch.compile` and
`torch.export`, and the compiled side parses and checks each string once.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCHEMAS = (
    "pool(Tensor x, str plan, Tensor? starts=None) -> Tensor",
    "pool_with_offsets(Tensor x, str plan, Tensor? starts, int offset_bytes) -> (Tensor, Tensor)",
    "pool_with_indices(Tensor x, str plan, Tensor? starts=None) -> (Tensor, Tensor)",
    "pool_with_offsets_and_indices(Tensor x, str plan, Tensor? starts, int offset_bytes) -> (Tensor, Tensor, Tensor)",
    "pool_with_lse(Tensor x, str plan, Tensor? starts=None) -> (Tensor, Tensor)",
    "pool_backward(Tensor dy, str plan, Tensor? starts, Tensor? x, Tensor? y, Tensor? lse, Tensor? offsets, "
    "bool channels_last) -> Tensor",
    "unpool(Tensor x, Tensor indices, int[] output_size) -> Tensor",
    "unpool_backward(Tensor dout, Tensor indices, int rank, bool channels_last) -> Tensor",
)

# The core's code of each dtype.
DTYPES: dict[torch.dtype, int] = {
    torch.float32: 0,
    torch.float64: 1,
    torch.float16: 2,
    torch.bfloat16: 3,
    torch.int8: 4,
    torch.uint8: 5,
    torch.int16: 6,
    torch.int32: 7,
    torch.int64: 8,
}
OFFSET_DTYPES = {1: torch.uint8, 2: torch.int16, 4: torch.int32}

# The core's codes of the reducers that need a rule of their own here.
SELECT, SUM, LP, SOFTMAX = (0, 1), 2, 4, (7, 8)

_AXIS = r" ([0-2])\((\d+),(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)"
_NUMBER = r"(-?[0-9.e+-]+|inf)"
_PLAN = re.compile(rf"([0-8])\({_NUMBER},{_NUMBER},{_NUMBER},(\d+),([01]),([01])\)((?:{_AXIS}){{1,3}})")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a plan string says."""

    reducer: int
    params: tuple[float, ...]
    spec: tuple[int, ...]
    sizes: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.sizes)


def encode(reducer: int, params: Sequence[float], spec: Sequence[int]) -> str:
    """The plan string of a reducer's code and parameters and the flat geometry of a plan.

    >>> encode(0, (2.0, 0.0, 1.0, 0, 1, 1), (0, 8, 4, 3, 2, 1, 1, 1))
    '0(2.0,0.0,1.0,0,1,1) 0(8,4,3,2,1,1,1)'
    """
    p, eps, beta, divisor, include_pad, mean = params
    head = f"{reducer}({float(p)!r},{float(eps)!r},{float(beta)!r},{int(divisor)},{int(include_pad)},{int(mean)})"
    axes = (spec[i : i + 8] for i in range(0, len(spec), 8))
    return head + "".join(f" {axis[0]}({','.join(map(str, axis[1:]))})" for axis in axes)


@lru_cache(maxsize=1024)
def decode(plan: str) -> Decoded:
    """The inverse of `encode`; RuntimeError for any other text."""
    match = _PLAN.fullmatch(plan)
    if match is None:
        raise RuntimeError("poolkit: plan: expected the text that poolkit.torch.ops.encode makes")
    reducer, *params = match.groups()[:7]
    p, eps, beta, *_ = map(float, params)
    _require(p > 0 and (reducer == str(LP) or p < math.inf), "plan: p must be above 0")
    _require(0 <= eps < math.inf, "plan: eps must be finite and not negative")
    _require(beta != 0 and math.isfinite(beta), "plan: beta must be finite and not 0")
    axes = [tuple(map(int, axis)) for axis in re.findall(_AXIS, match.group(8))]
    return Decoded(
        int(reducer),
        tuple(map(float, params)),
        tuple(number for axis in axes for number in axis),
        tuple(axis[1] for axis in axes),
        tuple(axis[2] for axis in axes),
    )


def is_channels_last(x: Tensor, rank: int) -> bool:
    """torch's own rule for strides that mean channels-last, for any rank, batched or not.

    >>> x = torch.zeros(2, 3, 4, 5)
    >>> is_channels_last(x, 2), is_channels_last(x.to(memory_format=torch.channels_last), 2)
    (False, True)
    """
    size, stride = x.shape[-rank - 1 :], x.stride()[-rank - 1 :]
    if stride[0] == 0:
        return False
    least = stride[0] * size[0] if size[0] > 1 else stride[0]
    for n, step in zip(reversed(size[1:]), reversed(stride[1:]), strict=True):
        if step < least:
            return False
        least = step * n if n > 1 else step
    if least == stride[0]:
        return False
    return x.dim() == rank + 1 or bool(x.shape[0] != 0 and x.stride()[0] >= least)


def _strides(shape: Sequence[int], rank: int, channels_last: bool) -> list[int]:
    lead = len(shape) - rank - 1
    order = [*range(lead, len(shape))]
    if channels_last:
        order = [*order[1:], order[0]]
    strides, count = [0] * len(shape), 1
    for axis in [*reversed(order), *range(lead)]:
        strides[axis] = count
        # An empty batch keeps strides that stay positive, as every allocation of torch does.
        count *= shape[axis]
    return strides


def _new(like: Tensor, shape: Sequence[int], rank: int, dtype: torch.dtype, channels_last: bool) -> Tensor:
    return like.new_empty_strided(list(shape), _strides(shape, rank, channels_last), dtype=dtype)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(f"poolkit: {message}")


def _planes(x: Tensor, rank: int, sizes: Sequence[int], name: str) -> tuple[int, ...]:
    """The leading axes of `x`, after a check that the others are `sizes`."""
    _require(x.dim() in (rank + 1, rank + 2), f"{name}: a tensor's rank does not fit the plan")
    _require(tuple(x.shape[-rank:]) == tuple(sizes), f"{name}: its shape does not fit the plan")
    _require(x.shape[-rank - 1] >= 1, "only the batch may be empty")
    return tuple(x.shape[:-rank])


def _output_dtype(reducer: int, dtype: torch.dtype) -> torch.dtype:
    _require(dtype in DTYPES, f"unsupported dtype {dtype}")
    if dtype.is_floating_point:
        return dtype
    _require(reducer <= 3, "this reducer takes floating-point input only")
    return torch.int64 if reducer == SUM else dtype


def _outputs(x: Tensor, plan: str, *extra: torch.dtype | None) -> list[Tensor]:
    """Empty outputs: y, then one tensor of y's shape per extra dtype (None: that of lse)."""
    what = decode(plan)
    _require(None not in extra or what.reducer in SOFTMAX, "only LogSumExp and Soft have lse")
    chooses = what.reducer in SELECT or (what.reducer == LP and math.isinf(what.params[0]))
    _require(None in extra or not extra or chooses, "only Max, Min and Lp(inf) choose an element")
    shape = (*_planes(x, what.rank, what.sizes, "x"), *what.outs)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    last = is_channels_last(x, what.rank)
    dtypes = [_output_dtype(what.reducer, x.dtype), *(wide if dtype is None else dtype for dtype in extra)]
    return [_new(x, shape, what.rank, dtype, last) for dtype in dtypes]


def _offset_dtype(offset_bytes: int) -> torch.dtype:
    _require(offset_bytes in OFFSET_DTYPES, "offset_bytes must be 1, 2 or 4")
    return OFFSET_DTYPES[offset_bytes]


def _input_gradient(dy: Tensor, plan: str, channels_last: bool) -> Tensor:
    what = decode(plan)
    _require(dy.dtype.is_floating_point, "dy: gradients are floating-point")
    shape = (*_planes(dy, what.rank, what.outs, "dy"), *what.sizes)
    return _new(dy, shape, what.rank, dy.dtype, channels_last)


def _unpooled(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    rank = len(output_size)
    _require(1 <= rank <= 3 and x.dim() in (rank + 1, rank + 2), "output_size: expected one size per pooled axis")
    _require(indices.shape == x.shape and indices.dtype == torch.int64, "indices: expected int64 of x's shape")
    return _new(x, (*x.shape[:-rank], *output_size), rank, x.dtype, is_channels_last(x, rank))


# The shape rules: what meta tensors, torch.compile and torch.export run instead of a kernel.


def _fake_pool(x: Tensor, plan: str, starts: Tensor | None = None) -> Tensor:
    return _outputs(x, plan)[0]


def _fake_offsets(x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int) -> tuple[Tensor, ...]:
    return tuple(_outputs(x, plan, _offset_dtype(offset_bytes)))


def _fake_indices(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(_outputs(x, plan, torch.int64))


def _fake_offsets_and_indices(x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int) -> tuple[Tensor, ...]:
    return tuple(_outputs(x, plan, _offset_dtype(offset_bytes), torch.int64))


def _fake_lse(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(_outputs(x, plan, None))


def _fake_backward(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    lse: Tensor | None,
    offsets: Tensor | None,
    channels_last: bool,
) -> Tensor:
    return _input_gradient(dy, plan, channels_last)


def _fake_unpool(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    return _unpooled(x, indices, output_size)


def _fake_unpool_backward(dout: Tensor, indices: Tensor, rank: int, channels_last: bool) -> Tensor:
    _require(1 <= rank <= 3, "rank must be 1, 2 or 3")
    return _new(dout, tuple(indices.shape), rank, dout.dtype, channels_last)


# The kernels over the NumPy binding.


def _array(x: Tensor | None, rank: int) -> NDArray[Any] | None:
    """A view of a CPU tensor in the order N, C, spatial; bfloat16 travels as uint16."""
    if x is None:
        return None
    x = x.detach()
    if x.dtype == torch.bfloat16:
        array = x.view(torch.int16).numpy().view(np.uint16)
    else:
        array = x.numpy()
    return array[np.newaxis] if x.dim() == rank + 1 else array


def _starts(what: Decoded, starts: Tensor | None, planes: Sequence[int]) -> NDArray[np.int64] | None:
    """The starts as an array, after the checks that keep every window inside the input."""
    columns = [(a, what.spec[8 * a + 2]) for a in range(what.rank) if what.spec[8 * a] == 2]
    if not columns:
        _require(starts is None, "starts: this plan takes none")
        return None
    if starts is None:
        raise RuntimeError("poolkit: starts: this plan needs them")
    _require(starts.dtype == torch.int64 and starts.dim() == 2, "starts: expected a 2-D int64 tensor")
    _require(starts.shape[1] == sum(out for _, out in columns), "starts: expected one column per window")
    _require(starts.shape[0] in (1, int(np.prod(planes))), "starts: expected one row, or one per plane")
    array = np.ascontiguousarray(starts.numpy())
    begin = 0
    for axis, out in columns:
        _, size, _, kernel, _, _, _, dilation = what.spec[8 * axis : 8 * axis + 8]
        part = array[:, begin : begin + out]
        fits = part.size == 0 or (part.min() >= 0 and part.max() <= size - 1 - (kernel - 1) * dilation)
        _require(bool(fits), "starts: a window leaves the input")
        begin += out
    return array


def _report(message: str | None) -> None:
    if message:
        raise RuntimeError(f"poolkit: {message}")


def _cpu_forward(
    x: Tensor,
    plan: str,
    starts: Tensor | None,
    *,
    offset_bytes: int = 0,
    indices: bool = False,
    lse: bool = False,
) -> list[Tensor]:
    from poolkit import _core

    what = decode(plan)
    extra: list[torch.dtype | None] = [OFFSET_DTYPES[offset_bytes]] if offset_bytes else []
    extra += [torch.int64] * indices + [None] * lse
    outputs = _outputs(x, plan, *extra)
    begins = _starts(what, starts, x.shape[: -what.rank])
    if offset_bytes:
        taps = math.prod(_core.offset_box(what.spec, begins))
        _require(taps < 2 ** (8 * offset_bytes - (offset_bytes == 4)), "offset_bytes: the window needs more")
    places = iter(outputs[1:])
    offset_out = next(places) if offset_bytes else None
    index_out = next(places) if indices else None
    lse_out = next(places) if lse else None
    if x.numel() > 0:
        arrays = [_array(t, what.rank) for t in (x, outputs[0], offset_out, index_out, lse_out)]
        _report(_core.forward(what.reducer, what.params, what.spec, begins, *arrays, DTYPES[x.dtype]))
    return outputs


def _cpu_pool(x: Tensor, plan: str, starts: Tensor | None = None) -> Tensor:
    return _cpu_forward(x, plan, starts)[0]


def _cpu_offsets(x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int) -> tuple[Tensor, ...]:
    _offset_dtype(offset_bytes)
    return tuple(_cpu_forward(x, plan, starts, offset_bytes=offset_bytes))


def _cpu_indices(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(_cpu_forward(x, plan, starts, indices=True))


def _cpu_offsets_and_indices(x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int) -> tuple[Tensor, ...]:
    _offset_dtype(offset_bytes)
    return tuple(_cpu_forward(x, plan, starts, offset_bytes=offset_bytes, indices=True))


def _cpu_lse(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(_cpu_forward(x, plan, starts, lse=True))


def _cpu_backward(
    dy: Tensor,
    plan: str,
    starts: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    lse: Tensor | None,
    offsets: Tensor | None,
    channels_last: bool,
) -> Tensor:
    from poolkit import _core

    what = decode(plan)
    dx = _input_gradient(dy, plan, channels_last)
    for name, tensor, shape in (("x", x, dx.shape), ("y", y, dy.shape), ("lse", lse, dy.shape)):
        _require(tensor is None or tensor.shape == shape, f"{name}: its shape does not fit dy")
    _require(offsets is None or offsets.shape == dy.shape, "offsets: must have dy's shape")
    begins = _starts(what, starts, dy.shape[: -what.rank])
    if dy.numel() > 0:
        arrays = [_array(t, what.rank) for t in (dy, dx, x, y, lse, offsets)]
        _report(_core.backward(what.reducer, what.params, what.spec, begins, *arrays, DTYPES[dy.dtype]))
    return dx


def _cpu_unpool(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    from poolkit import _core

    rank = len(output_size)
    _require(all(size >= 1 for size in output_size), "output_size: every size must be at least 1")
    out = _unpooled(x, indices, output_size)
    if x.numel() > 0:
        arrays = [_array(t, rank) for t in (x, indices, out)]
        _report(_core.unpool(*arrays, rank, DTYPES[x.dtype]))
    return out


def _cpu_unpool_backward(dout: Tensor, indices: Tensor, rank: int, channels_last: bool) -> Tensor:
    from poolkit import _core

    dx = _fake_unpool_backward(dout, indices, rank, channels_last)
    _require(dout.dim() == dx.dim() and dout.shape[:-rank] == dx.shape[:-rank], "indices: its planes must be dout's")
    if dx.numel() > 0:
        arrays = [_array(t, rank) for t in (dout, indices, dx)]
        _report(_core.unpool_backward(*arrays, rank, DTYPES[dx.dtype]))
    return dx


# The vmap rules: the mapped axis joins the batch.


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


def _vmap_forward(op: Callable[..., Any], several: int) -> Callable[..., Any]:
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


def _vmap_backward(
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


def _vmap_unpool(
    info: Any, in_dims: Sequence[Any], x: Tensor, indices: Tensor, output_size: Sequence[int]
) -> tuple[Tensor, int]:
    rank = len(output_size)
    x, indices = _front(x, in_dims[0], info.batch_size), _front(indices, in_dims[1], info.batch_size)
    out = torch.ops.poolkit.unpool.default(_merge(x, rank), _merge(indices, rank), output_size)
    return out.unflatten(0, x.shape[:2]) if x.dim() == rank + 3 else out, 0


def _vmap_unpool_backward(
    info: Any, in_dims: Sequence[Any], dout: Tensor, indices: Tensor, rank: int, channels_last: bool
) -> tuple[Tensor, int]:
    dout, indices = _front(dout, in_dims[0], info.batch_size), _front(indices, in_dims[1], info.batch_size)
    dx = torch.ops.poolkit.unpool_backward.default(_merge(dout, rank), _merge(indices, rank), rank, channels_last)
    return dx.unflatten(0, dout.shape[:2]) if dout.dim() == rank + 3 else dx, 0


_KERNELS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "pool": (_cpu_pool, _fake_pool),
    "pool_with_offsets": (_cpu_offsets, _fake_offsets),
    "pool_with_indices": (_cpu_indices, _fake_indices),
    "pool_with_offsets_and_indices": (_cpu_offsets_and_indices, _fake_offsets_and_indices),
    "pool_with_lse": (_cpu_lse, _fake_lse),
    "pool_backward": (_cpu_backward, _fake_backward),
    "unpool": (_cpu_unpool, _fake_unpool),
    "unpool_backward": (_cpu_unpool_backward, _fake_unpool_backward),
}


def _register() -> tuple[str, torch.library.Library | None]:
    """Registers the operators; answers which binding serves them."""
    found = importlib.util.find_spec("poolkit._torch")
    wanted = os.environ.get("POOLKIT_TORCH_BINDING", "")
    if wanted not in ("", "python", "compiled"):
        raise ImportError(f"POOLKIT_TORCH_BINDING={wanted!r}: expected 'compiled' or 'python'")
    library = None
    if found is not None and found.origin is not None and wanted != "python":
        torch.ops.load_library(found.origin)
    elif wanted == "compiled":
        raise ImportError("POOLKIT_TORCH_BINDING=compiled, but poolkit was built without its torch extension")
    else:
        library = torch.library.Library("poolkit", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        for name, (kernel, _) in _KERNELS.items():
            library.impl(name, kernel, "CPU")
    for name, (_, fake) in _KERNELS.items():
        torch.library.register_fake(f"poolkit::{name}", fake)
    ops = torch.ops.poolkit
    for name, several in (
        ("pool", 0),
        ("pool_with_offsets", 2),
        ("pool_with_indices", 2),
        ("pool_with_offsets_and_indices", 3),
        ("pool_with_lse", 2),
    ):
        torch.library.register_vmap(f"poolkit::{name}", _vmap_forward(getattr(ops, name).default, several))
    torch.library.register_vmap("poolkit::pool_backward", _vmap_backward)
    torch.library.register_vmap("poolkit::unpool", _vmap_unpool)
    torch.library.register_vmap("poolkit::unpool_backward", _vmap_unpool_backward)
    return ("python" if library else "compiled"), library


binding, _library = _register()

# Bound once: resolving torch.ops.poolkit.<name>.default costs 0.5 us a call.
pool: Callable[..., Tensor] = torch.ops.poolkit.pool.default
pool_with_offsets: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_with_offsets.default
pool_with_indices: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_with_indices.default
pool_with_offsets_and_indices: Callable[..., tuple[Tensor, Tensor, Tensor]] = (
    torch.ops.poolkit.pool_with_offsets_and_indices.default
)
pool_with_lse: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_with_lse.default
pool_backward: Callable[..., Tensor] = torch.ops.poolkit.pool_backward.default
unpool: Callable[..., Tensor] = torch.ops.poolkit.unpool.default
unpool_backward: Callable[..., Tensor] = torch.ops.poolkit.unpool_backward.default
