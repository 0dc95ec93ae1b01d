"""Pooling of torch tensors: `pool`, and the quick ways into it for callers that repeat themselves.

Everything about a call that does not depend on the tensor's values is worked out once per input shape and kept as a
`Call`; a repeated call costs one dictionary look-up on top of the operator.
"""

from __future__ import annotations

import contextlib
import marshal
import math
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function

from poolkit import pooling
from poolkit.arrays import offset_dtype
from poolkit.errors import PoolError, show
from poolkit.reducer import REDUCERS, Mean, Reducer, Sum
from poolkit.torch import autograd, composite, ops
from poolkit.torch.autocast import widens
from poolkit.torch.checks import check_dtype, compiling, explain, is_plain
from poolkit.torch.samples import Seed, check_tensor, fractional_starts, tiled_starts, uniforms
from poolkit.torch.sharding import beside, is_sharded
from poolkit.torch.unpooling import max_unpool
from poolkit.window import WINDOWS, Fractional, Global, Window, plan_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolkit.fractional import Tiles
    from poolkit.plan import Plan

__all__ = ["Call", "Parts", "Result", "find_call", "max_unpool", "named", "plan_of", "pool", "pooled_sizes", "run"]

Parts = tuple[Window, Reducer]
Result = Tensor | tuple[Tensor, Tensor]


class Call(NamedTuple):
    """A pooling call without its tensor: constants only, so that torch.compile can hold it."""

    plan: str
    rank: int
    keeps: int
    offset_bytes: int
    squeeze: bool
    outs: tuple[int, ...]  # pooled sizes
    extra: str  # the array beside x: "none", "outputs" or "kernel"
    draws: bool  # it holds uniforms
    delicate: bool  # in float32 under autocast
    values: tuple[float, ...] | None  # it holds these
    starts: tuple[tuple[int, ...], ...] | None  # one row for all planes, or one for each
    fractional: tuple[tuple[int, int, int], ...] | None  # (size, out, kernel) per axis, if samples set the starts
    tiles: Tiles | None  # how they set them in TensorFlow's style
    return_indices: bool
    direct: bool  # nothing to prepare, and nothing to do with what the operator gives
    alike: float  # where one window holds all cells and their gradients are alike: dy over this; else 0


def pool(
    x: Tensor,
    window: Window,
    reducer: Reducer,
    *,
    return_indices: bool = False,
    rank: int | None = None,
    data_format: str = "channels_first",
    seed: Seed = None,
    extra: Tensor | None = None,
) -> Result:
    """Pools a torch tensor; the same as `poolkit.pool`, which calls this.

    Args:
        x: ``(N, C, *sizes)`` or ``(C, *sizes)``, or with the channels last; on the CPU, any strides.
        window: which cells each output sees.
        reducer: what becomes of them.
        return_indices: also give the int64 positions of the chosen cells in the flat, unpadded plane.
        rank: number of pooled axes; None takes the window's, or all but two of x's axes.
        data_format: ``"channels_first"`` or ``"channels_last"``.
        seed: for `Fractional` windows without samples and for reducers that draw: an int, the same for the same draws,
            or a `torch.Generator`, which goes on; None uses torch's own generator.
        extra: what the reducer takes beside x, in place of what its record says, with gradients: `Mixed` and `Ada` a
            weight, `Boltzmann` a sharpness, `GeM` a power, that broadcast to the output; `Ordinal` and `Filter` weights
            ``[1 or C, K]``; reducers that draw uniforms in [0, 1) of the output's shape.

    Returns:
        A tensor of x's memory format, or (values, indices).

    Raises:
        PoolError: an argument breaks a rule; PoolTypeError where its type does.

    >>> import torch, poolkit as pk
    >>> from poolkit.torch.functional import pool
    >>> pool(torch.arange(6.0).view(1, 1, 6), pk.Sliding(2), pk.Mean())
    tensor([[[0.5000, 2.5000, 4.5000]]])
    """
    if rank is None:
        rank = window.rank or max(check_tensor(x).dim() - 2, 1)
    if data_format == "channels_last":
        return _channels_last(x, window, reducer, return_indices, rank, seed, extra)
    if data_format != "channels_first":
        raise PoolError(
            f"data_format={show(data_format)}",
            "data_format is 'channels_first' or 'channels_last'",
            "pass one of these two words",
        )
    samples = window.random_samples if isinstance(window, Fractional) else None
    if compiling():
        settings = (type(window), _values(window), type(reducer), _values(reducer))
        return run(x, _from_values, settings, rank, return_indices, samples, seed, extra)
    return run(x, _as_given, (window, reducer), rank, return_indices, samples, seed, extra)


def named(function: Callable[..., Any], rank: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """``function(rank, *arguments, **options)`` of a named function, quickly where it was called like this before.

    What the arguments mean is asked once, by a call without an input, and remembered under their exact bytes: 2, 2.0
    and True are equal to a dictionary, and only one of them is a kernel size.
    """
    if not compiling():
        x = arguments[0]
        try:
            key = (function, rank, marshal.dumps((arguments[1:], options), 2))
        except ValueError:  # tensors and records among the arguments
            return function(rank, *arguments, **options)
        call = _known.get((x.shape, x.dtype, key)) if x.__class__ is Tensor else None
        if call is not None:
            return _direct(x, call)
        kept = _named.get(key)
        if kept is None:
            kept = _Named(function(rank, pooling.PARTS, *arguments[1:], **options))
            _remember(_named, key, kept)
        if kept.plain:
            y = run(x, kept, (), rank, kept.return_indices)
            call = _calls.get((kept, (), x.shape, x.dtype, rank, kept.return_indices))
            if call is not None and call.direct:
                _remember(_known, (x.shape, x.dtype, key), call)
            return y
    return function(rank, *arguments, **options)


def _remember(where: dict[Any, Any], key: Any, value: Any) -> None:
    if len(where) >= 4096:
        where.clear()
    where[key] = value


class _Named:
    """The ``build`` of a remembered call; equal to itself alone, which makes it a quick key."""

    __slots__ = ("parts", "plain", "return_indices")

    def __init__(self, parts: pooling.Parts) -> None:
        self.parts: Parts = (parts.window, parts.reducer)
        self.plain = parts.data_format == "channels_first" and parts.seed is None
        self.return_indices = parts.return_indices

    def __call__(self) -> Parts:
        return self.parts


_named: dict[tuple[Any, ...], _Named] = {}
_known: dict[tuple[Any, ...], Call] = {}  # by shape and dtype, too


def run(
    x: Tensor,
    build: Callable[..., Parts],
    settings: tuple[Any, ...],
    rank: int,
    return_indices: bool = False,
    samples: Tensor | None = None,
    seed: Seed = None,
    extra: Tensor | None = None,
) -> Result:
    """Pools x by the window and reducer that ``build(*settings)`` makes; called once per settings and input shape."""
    if compiling():
        call = Call(*_constant_call(build, settings, _constant_shape(x, rank), x.dtype, rank, return_indices))
        return _pool(x, call, return_indices, samples, seed, extra)
    if x.__class__ is not Tensor:
        if not isinstance(cast(object, x), Tensor):
            return _foreign(x, build(*settings), rank, return_indices, seed, extra)
        is_sharded(x)  # whose operators then have rules
    try:
        call = _calls.get((build, settings, x.shape, x.dtype, rank, return_indices))
    except TypeError:  # a list among the settings, or symbolic sizes
        call = find_call(build, settings, _constant_shape(x, rank), x.dtype, rank, return_indices)
    if call is None:
        call = find_call(build, settings, tuple(map(int, x.shape)), x.dtype, rank, return_indices)
    return _direct(x, call) if call.direct else _pool(x, call, return_indices, samples, seed, extra)


def _direct(x: Tensor, call: Call) -> Result:
    """A call with nothing beside x, by the shortest way."""
    try:
        if call.delicate or not is_plain():
            return _pool(x, call, call.return_indices, None, None)
        if x.requires_grad and torch.is_grad_enabled():
            if call.alike:
                return autograd.PoolAlike.apply(x, call.plan, call.alike)
            return autograd.Pool.apply(
                x, None, None, call.plan, call.keeps, call.offset_bytes, call.rank, call.return_indices
            )
        return (_pool_with_indices if call.return_indices else _pool_alone)(x, call.plan)
    except (NotImplementedError, RuntimeError) as error:
        raise explain(error, x) from None


def find_call(
    build: Callable[..., Parts],
    settings: tuple[Any, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    rank: int,
    return_indices: bool,
) -> Call:
    """The `Call` for an input of this shape and dtype, after all checks; remembered where it can be."""
    window, reducer = build(*settings)
    reducer = reducer.on(window)
    check_dtype(dtype, reducer)
    if return_indices and not reducer.selects:
        raise PoolError(
            f"return_indices=True with {reducer}",
            f"only reducers that choose a cell have indices, and {reducer.name} chooses none",
            "drop return_indices, or use Max() or Min()",
        )
    drawn = isinstance(window, Fractional)
    if drawn:
        # The samples are tensors, and become starts by torch operations that torch.compile can see.
        window = replace(window, random_samples=None)
    plan = plan_for(window, shape, rank, itemsize=8 if return_indices or reducer.widens else dtype.itemsize)
    reducer.check(plan)
    squeeze = isinstance(window, Global) and not window.keepdims
    call = Call(
        ops.encode(reducer.code, reducer.params, plan.spec),
        rank,
        autograd.mask(reducer.keeps),
        offset_dtype(plan).itemsize if "offsets" in reducer.keeps else 0,
        squeeze,
        plan.out_shape,
        reducer.extra,
        reducer.draws,
        reducer.delicate,
        reducer.values,
        None if drawn or plan.starts is None else tuple(tuple(map(int, row)) for row in plan.starts),
        tuple((axis.size, axis.out, axis.kernel) for axis in plan.axes) if drawn else None,
        window.tiles if isinstance(window, Fractional) else None,
        return_indices,
        plan.starts is None and not drawn and not squeeze and reducer.extra == "none",
        _share(plan, reducer),
    )
    with contextlib.suppress(TypeError):  # a list among the settings
        _remember(_calls, (build, settings, shape, dtype, rank, return_indices), call)
    return call


def pooled_sizes(x: Tensor, build: Callable[..., Parts], settings: tuple[Any, ...], rank: int) -> tuple[int, ...]:
    """The pooled sizes of what `run` makes of x, without pooling it."""
    if compiling():
        return Call(*_constant_call(build, settings, _constant_shape(x, rank), x.dtype, rank, False)).outs
    return find_call(build, settings, _constant_shape(check_tensor(x), rank), x.dtype, rank, False).outs


def _constant_shape(x: Tensor, rank: int) -> tuple[int, ...]:
    """x's shape in plain integers: the pooled sizes as they are, batch and channels as 1, so that they stay symbolic.

    The plan is a constant of a graph: a new pooled size means a new graph. range() makes constants in Dynamo, too.
    """
    lead = max(x.dim() - rank, 0)
    return (1,) * lead + tuple([range(size).stop for size in x.shape[lead:]])


def _plain_call(*arguments: Any) -> tuple[Any, ...]:
    return tuple(find_call(*arguments))


# torch.compile runs it while it traces, and keeps what it returns as a constant.
_constant_call: Callable[..., tuple[Any, ...]] = cast(Any, torch.compiler).assume_constant_result(_plain_call)


def plan_of(
    build: Callable[..., Parts], settings: tuple[Any, ...], sizes: Sequence[int], dtype: torch.dtype
) -> tuple[str, tuple[int, ...]]:
    """The plan string for pooled axes of these sizes, and its eight integers an axis; constants to torch.compile."""
    plain = tuple([range(size).stop for size in sizes])
    return (_constant_plan if compiling() else _plan_and_spec)(build, settings, plain, dtype)


def _plan_and_spec(build: Callable[..., Parts], settings: tuple[Any, ...], sizes: tuple[int, ...], dtype: Any) -> Any:
    key = (build, settings, (1, 1, *sizes), dtype, len(sizes), False)
    try:
        call = _calls.get(key)
    except TypeError:  # a list among the settings
        call = None
    plan = (call or find_call(*key)).plan
    return plan, ops.decode(plan).spec


def _share(plan: Plan, reducer: Reducer) -> float:
    """By what dy is divided for every cell, where one window without padding adds up all of them; else 0."""
    whole = all(axis.out == 1 and axis.kind != "starts" and axis.count[0] == axis.size for axis in plan.axes)
    if not whole or any(axis.before or axis.after for axis in plan.axes):
        return 0.0
    if isinstance(reducer, Mean):
        return float(reducer.divisor or math.prod(axis.size for axis in plan.axes))
    return float(isinstance(reducer, Sum))


_constant_plan: Callable[..., Any] = cast(Any, torch.compiler).assume_constant_result(_plan_and_spec)


def _as_given(window: Window, reducer: Reducer) -> Parts:
    return window, reducer


# Dynamo can hand plain values to a function whose result is constant, but not records.
_FIELDS: dict[type[Any], tuple[str, ...]] = {
    record: tuple(field.name for field in fields(record) if field.compare) for record in (*WINDOWS, *REDUCERS)
}


def _values(record: Window | Reducer) -> tuple[Any, ...]:
    return tuple([getattr(record, name) for name in _FIELDS[type(record)]])


def _from_values(
    window: type[Any], window_values: tuple[Any, ...], reducer: type[Any], reducer_values: tuple[Any, ...]
) -> Parts:
    one = dict(zip(_FIELDS[window], window_values, strict=True))
    other = dict(zip(_FIELDS[reducer], reducer_values, strict=True))
    return window(**one), reducer(**other)


def _foreign(x: object, parts: Parts, rank: int, return_indices: bool, seed: Seed, extra: Tensor | None) -> Any:
    """Stand-ins for tensors, such as torch.fx proxies, take the call over; anything else is an error."""
    if not hasattr(type(x), "__torch_function__"):
        return check_tensor(x)
    stand_in = cast(Any, x)
    return handle_torch_function(
        pool, (stand_in,), stand_in, *parts, return_indices=return_indices, rank=rank, seed=seed, extra=extra
    )


_calls: dict[Any, Call] = {}
# Past OpOverload's own __call__, which does nothing but call these.
_pool_alone: Callable[..., Any] = cast(Any, ops.pool)._op
_pool_with_indices: Callable[..., Any] = cast(Any, ops.pool_with_indices)._op


def _pool(x: Tensor, call: Call, return_indices: bool, samples: Any, seed: Seed, extra: Tensor | None = None) -> Result:
    outputs: Any
    if call.delicate and widens(x):  # a plan is the same for every floating dtype
        x = x.float()
    starts = None if call.starts is None else _constant(x, call.starts, torch.int64)
    if call.fractional is not None:
        starts = (
            fractional_starts(x, call.fractional, samples, seed)
            if call.tiles is None
            else tiled_starts(x, call.fractional, call.tiles, samples, seed)
        )
    if call.extra != "none":
        extra = _extra(x, call, seed, extra)
    if x.__class__ is not Tensor and not compiling() and is_sharded(x):
        starts = None if starts is None else beside(starts, x)
        extra = None if extra is None else beside(extra, x)
    arguments = (x, starts, extra, call.plan, call.keeps, call.offset_bytes, call.rank, return_indices)
    try:
        if compiling() or is_plain():
            learns = x.requires_grad or (extra is not None and extra.requires_grad)
            if not learns or not torch.is_grad_enabled():
                outputs = None
            elif call.alike and not compiling():
                outputs = autograd.PoolAlike.apply(x, call.plan, call.alike)
            else:
                outputs = autograd.Pool.apply(*arguments)
        elif autograd.forward_mode():
            whole = composite.operators.pool_with_indices if return_indices else composite.operators.pool
            outputs = whole(x, call.plan, starts, extra)
        else:
            outputs = autograd.TransformedPool.apply(*arguments)
            outputs = outputs[:2] if return_indices else outputs[0]
        if outputs is None:
            op = ops.pool_with_indices if return_indices else ops.pool
            outputs = op(x, call.plan, starts, extra)
    except (NotImplementedError, RuntimeError) as error:
        if compiling():
            raise
        raise explain(error, x) from None
    if call.squeeze:
        drop = tuple(range(-call.rank, 0))
        return (outputs[0].squeeze(drop), outputs[1].squeeze(drop)) if return_indices else outputs.squeeze(drop)
    return outputs


def _constant(x: Tensor, values: tuple[Any, ...], dtype: torch.dtype) -> Tensor:
    """These values on x's device; made once, since the host would wait for each copy to a GPU."""
    if x.__class__ is Tensor and not compiling() and is_plain():
        return _kept(values, dtype, x.device)
    return torch.tensor(values, dtype=dtype, device=x.device)


@lru_cache(maxsize=256)
def _kept(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # an inference tensor could not be used for gradients later
        return torch.tensor(values, dtype=dtype, device=device)


def _extra(x: Tensor, call: Call, seed: Seed, extra: Tensor | None) -> Tensor | None:
    """The array beside x, in the accumulator's dtype: as given, drawn, or as the record says."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    shape = (*x.shape[: -call.rank], *call.outs)
    if extra is None:
        if call.draws:
            return uniforms(x, shape, dtype, seed)
        if call.values is None:
            return None
        extra = _constant(x, call.values, dtype)
        return extra.expand(shape) if call.extra == "outputs" else extra.unsqueeze(0)
    extra = check_tensor(extra, "extra").to(dtype)
    if call.extra == "outputs":
        try:
            return extra.broadcast_to(shape)
        except RuntimeError:
            raise PoolError(
                f"extra of shape {tuple(extra.shape)} for an output of shape {tuple(shape)}",
                f"extra broadcasts to the output's shape {tuple(shape)}",
                "pass for example one value for each channel: shape (C, 1, 1) in 2-D",
            ) from None
    channels = x.shape[-call.rank - 1]
    # Compared one by one: torch.compile does not find a symbolic size in a tuple.
    if extra.dim() != 2 or not (extra.shape[0] == 1 or extra.shape[0] == channels) or extra.shape[1] == 0:
        raise PoolError(
            f"extra of shape {tuple(extra.shape)}",
            f"weights have the shape (1, K) or ({channels}, K) for {channels} channels",
            "pass one row for all channels, or one for each",
        )
    return extra


def _channels_last(
    x: Tensor,
    window: Window,
    reducer: Reducer,
    return_indices: bool,
    rank: int,
    seed: Seed,
    extra: Tensor | None,
) -> Result:
    moved = check_tensor(x).movedim(-1, -rank - 1)
    if extra is not None and reducer.extra == "outputs" and extra.dim() > rank:
        extra = extra.movedim(-1, -rank - 1)
    y = pool(moved, window, reducer, return_indices=return_indices, rank=rank, seed=seed, extra=extra)
    if isinstance(window, Global) and not window.keepdims:
        return y
    if isinstance(y, tuple):
        return y[0].movedim(-rank - 1, -1), y[1].movedim(-rank - 1, -1)
    return y.movedim(-rank - 1, -1)
