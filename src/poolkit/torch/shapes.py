"""What a call's output looks like: plan strings, shapes, strides and dtypes of the operators, without any kernel."""

# ruff: noqa: ARG001, D103  the shape rules have the operators' signatures
from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poolkit.plan import KIND_CODES, AxisPlan, Kind
from poolkit.reducer import REDUCERS, Lp, Params
from poolkit.reducer.order import INTERPOLATIONS, AtRank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.reducer import Reducer

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

_KINDS: dict[int, Kind] = {code: kind for kind, code in KIND_CODES.items()}
_BY_CODE = {kind.code: kind for kind in REDUCERS}

_AXIS = r" ([0-2])\((\d+),(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)"
_NUMBER = r"(-?[0-9.e+-]+|inf)"
_PLAN = re.compile(
    rf"(\d{{1,3}})\({_NUMBER},{_NUMBER},{_NUMBER},(\d+),([01]),([01]),{_NUMBER},(\d),([01])\)((?:{_AXIS}){{1,3}})"
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a plan string says."""

    reducer: int
    params: Params
    spec: tuple[int, ...]
    sizes: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of pooled axes."""
        return len(self.sizes)


@lru_cache(maxsize=1024)
def decode(plan: str) -> Decoded:
    """The inverse of `poolkit.plan_text.encode`; RuntimeError for any other text."""
    match = _PLAN.fullmatch(plan)
    if match is None:
        raise RuntimeError("poolkit: plan: expected the text that poolkit.plan_text.encode makes")
    reducer, *numbers = match.groups()[:10]
    params = Params(*map(float, numbers))
    p, eps, beta = params[:3]
    require(int(reducer) in _BY_CODE, "plan: unknown reducer")
    require(p > 0 and (int(reducer) == Lp.code or p < math.inf), "plan: p must be above 0")
    require(0 <= eps < math.inf, "plan: eps must be finite and not negative")
    require(beta != 0 and math.isfinite(beta), "plan: beta must be finite and not 0")
    require(math.isfinite(params.level), "plan: level must be finite")
    axes = [tuple(map(int, axis)) for axis in re.findall(_AXIS, match.group(11))]
    return Decoded(
        int(reducer),
        params,
        tuple(number for axis in axes for number in axis),
        tuple(axis[1] for axis in axes),
        tuple(axis[2] for axis in axes),
    )


def reducer_of(plan: Decoded) -> type[Reducer]:
    """The record of a plan's reducer."""
    return _BY_CODE[plan.reducer]


def axes_of(plan: str) -> list[AxisPlan]:
    """The plan's axes; the starts of those that take them are not in the text.

    >>> axes_of("0(2.0,0.0,1.0,0,1,1,0.5,0,0) 0(6,3,2,2,0,0,1)")[0].count.tolist()
    [2, 2, 2]
    """
    spec = decode(plan).spec
    axes: list[AxisPlan] = []
    for i in range(0, len(spec), 8):
        kind, size, out, kernel, stride, before, after, dilation = spec[i : i + 8]
        axes.append(AxisPlan(_KINDS[kind], size, out, kernel, stride, before, after, dilation))
    return axes


def is_channels_last(x: Tensor, rank: int) -> bool:
    """torch's own rule for strides that mean channels-last, for any rank, batched or not.

    >>> x = torch.zeros(2, 3, 4, 5)
    >>> is_channels_last(x, 2), is_channels_last(x.to(memory_format=torch.channels_last), 2)
    (False, True)
    """
    stride = x.stride()[-rank - 1 :]
    if stride[0] == 0 or stride[-1] < stride[0]:  # the second would come out below, later
        return False
    size = x.shape[-rank - 1 :]
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


def require(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(f"poolkit: {message}")


def lead_of(x: Tensor, rank: int, sizes: Sequence[int], name: str) -> tuple[int, ...]:
    """The leading axes of `x`, after a check that the others are `sizes`."""
    require(x.dim() in (rank + 1, rank + 2), f"{name}: a tensor's rank does not fit the plan")
    require(tuple(x.shape[-rank:]) == tuple(sizes), f"{name}: its shape does not fit the plan")
    require(x.shape[-rank - 1] >= 1, "only the batch may be empty")
    return tuple(x.shape[:-rank])


def output_dtype(reducer: int, dtype: torch.dtype) -> torch.dtype:
    require(dtype in DTYPES, f"unsupported dtype {dtype}")
    if dtype.is_floating_point:
        return dtype
    require(bool(_BY_CODE[reducer].integers), "this reducer takes floating-point input only")
    return torch.int64 if _BY_CODE[reducer].widens else dtype


def chooses(kind: type[Reducer], params: Params) -> bool:
    """Whether each output is one of its window's cells, as the record's ``selects`` says it, and Lp(inf)."""
    if kind.core == "select":
        return True
    if kind is Lp:
        return math.isinf(params.p)
    if issubclass(kind, AtRank):
        return INTERPOLATIONS[int(params.mode)] not in ("linear", "midpoint")
    return bool(params.sample)


def outputs(x: Tensor, plan: str, *extra: torch.dtype | None) -> list[Tensor]:
    """Empty outputs: y, then one tensor of y's shape per extra dtype (None: that of lse)."""
    what = decode(plan)
    kind = _BY_CODE[what.reducer]
    require(None not in extra or kind.core == "softmax", "only LogSumExp and Soft have lse")
    require(None in extra or not extra or chooses(kind, what.params), "this reducer chooses no element")
    shape = (*lead_of(x, what.rank, what.sizes, "x"), *what.outs)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    last = is_channels_last(x, what.rank)
    dtypes = [output_dtype(what.reducer, x.dtype), *(wide if dtype is None else dtype for dtype in extra)]
    return [_new(x, shape, what.rank, dtype, last) for dtype in dtypes]


def offset_dtype(offset_bytes: int) -> torch.dtype:
    require(offset_bytes in OFFSET_DTYPES, "offset_bytes must be 1, 2 or 4")
    return OFFSET_DTYPES[offset_bytes]


def input_gradient(dy: Tensor, plan: str, channels_last: bool) -> Tensor:
    what = decode(plan)
    require(dy.dtype.is_floating_point, "dy: gradients are floating-point")
    shape = (*lead_of(dy, what.rank, what.outs, "dy"), *what.sizes)
    return _new(dy, shape, what.rank, dy.dtype, channels_last)


def check_kept(
    dy: Tensor, plan: str, x: Tensor | None, y: Tensor | None, lse: Tensor | None, offsets: Tensor | None
) -> tuple[int, ...]:
    """The leading axes of dy, after a check of what a forward pass kept."""
    what = decode(plan)
    require(dy.dtype.is_floating_point, "dy: gradients are floating-point")
    lead = lead_of(dy, what.rank, what.outs, "dy")
    for name, tensor, sizes in (("x", x, what.sizes), ("y", y, what.outs), ("lse", lse, what.outs)):
        require(tensor is None or tuple(tensor.shape) == (*lead, *sizes), f"{name}: its shape does not fit dy")
    require(offsets is None or offsets.shape == dy.shape, "offsets: must have dy's shape")
    require(offsets is None or offsets.dtype in OFFSET_DTYPES.values(), "offsets: expected uint8, int16 or int32")
    return lead


def unpooled(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    rank = len(output_size)
    require(1 <= rank <= 3 and x.dim() in (rank + 1, rank + 2), "output_size: expected one size per pooled axis")
    require(indices.shape == x.shape and indices.dtype == torch.int64, "indices: expected int64 of x's shape")
    return _new(x, (*x.shape[:-rank], *output_size), rank, x.dtype, is_channels_last(x, rank))


# What meta tensors, torch.compile and torch.export run instead of a kernel.


def fake_pool(x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
    return outputs(x, plan)[0]


def fake_offsets(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    return tuple(outputs(x, plan, offset_dtype(offset_bytes)))


def fake_indices(x: Tensor, plan: str, starts: Tensor | None = None, extra: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(outputs(x, plan, torch.int64))


def fake_offsets_and_indices(
    x: Tensor, plan: str, starts: Tensor | None, offset_bytes: int, extra: Tensor | None = None
) -> tuple[Tensor, ...]:
    return tuple(outputs(x, plan, offset_dtype(offset_bytes), torch.int64))


def fake_lse(x: Tensor, plan: str, starts: Tensor | None = None) -> tuple[Tensor, ...]:
    return tuple(outputs(x, plan, None))


def fake_backward(
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
    return input_gradient(dy, plan, channels_last)


def fake_backward_extra(
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
    return input_gradient(dy, plan, channels_last), extra_gradient(dy, plan, channels_last, extra)


def per_output(plan: str) -> bool:
    """Whether the array beside x has a value for each output (else for each cell of the kernel)."""
    return _BY_CODE[decode(plan).reducer].extra == "outputs"


def extra_gradient(dy: Tensor, plan: str, channels_last: bool, extra: Tensor) -> Tensor:
    """Of dy's shape, or [planes, weights]."""
    what = decode(plan)
    if per_output(plan):
        return _new(dy, tuple(dy.shape), what.rank, extra.dtype, channels_last)
    return dy.new_empty((math.prod(dy.shape[: -what.rank]), extra.shape[1]), dtype=extra.dtype)


def check_extra(extra: Tensor | None, plan: str, shape: Sequence[int]) -> None:
    """The array beside x as the operators take it: of y's shape, or [1 or channels, weights]."""
    if extra is None:
        return
    if per_output(plan):
        require(tuple(extra.shape) == tuple(shape), "extra: must have the output's shape")
    else:
        require(extra.dim() == 2, "extra: expected [1 or channels, weights]")


def fake_unpool(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    return unpooled(x, indices, output_size)


def fake_unpool_backward(dout: Tensor, indices: Tensor, rank: int, channels_last: bool) -> Tensor:
    require(1 <= rank <= 3, "rank must be 1, 2 or 3")
    return _new(dout, tuple(indices.shape), rank, dout.dtype, channels_last)
