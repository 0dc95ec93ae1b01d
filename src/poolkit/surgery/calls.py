"""Pooling calls inside of a forward pass: ``F.max_pool2d(x, 2)``, ``torch.adaptive_avg_pool1d``, ``x.mean((-2, -1))``.

A `TorchFunctionMode` sees every call of a torch function, and nothing is traced or patched: a model may branch and loop
as it likes, and other threads and other models see torch as it is. torch.compile follows it without a graph break.
"""

from __future__ import annotations

import copyreg
import functools
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, overrides
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from poolkit import nn
from poolkit.errors import PoolError
from poolkit.surgery.choice import Options, Shape, all_ones, overlap, takes
from poolkit.torch.functional import run
from poolkit.torch.unpooling import max_unpool

if TYPE_CHECKING:
    from torch.nn import Module

_exporting = torch.compiler.is_exporting
_stack: Any = overrides._get_current_function_mode_stack  # pyright: ignore[reportPrivateUsage]  there is no public way to ask


def _plain(value: Any) -> Any:
    """Lists as tuples, which can be remembered."""
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _max(rank: int, *, pair: bool = False) -> Any:
    build = getattr(nn, f"MaxPool{rank}d").build

    def call(
        options: Options,
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        indices = pair or return_indices
        if not takes(input, Shape("max", rank, indices=indices), options):
            return NotImplemented
        settings = (kernel_size, stride or kernel_size, padding, dilation, ceil_mode)
        return run(input, build, tuple([_plain(value) for value in settings]), rank, indices)

    return call


def _mean(rank: int) -> Any:
    build = getattr(nn, f"AvgPool{rank}d").build

    def call(
        options: Options,
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        if not takes(input, Shape("mean", rank), options):
            return NotImplemented
        settings = (kernel_size, stride or kernel_size, padding, 1, ceil_mode, count_include_pad, divisor_override)
        return run(input, build, tuple([_plain(value) for value in settings]), rank)

    return call


def _lp(rank: int) -> Any:
    build = getattr(nn, f"LPPool{rank}d").build

    def call(
        options: Options, input: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Any:
        shape = Shape("mean", rank)
        if not options.include_different or not takes(input, shape, options):
            return NotImplemented
        settings = (kernel_size, stride or kernel_size, 0, 1, ceil_mode, norm_type)
        return run(input, build, tuple([_plain(value) for value in settings]), rank)

    return call


def _adaptive_max(rank: int, *, pair: bool = False) -> Any:
    build = getattr(nn, f"AdaptiveMaxPool{rank}d").build

    def call(options: Options, input: Any, output_size: Any, return_indices: bool = False) -> Any:
        indices = pair or return_indices
        if not takes(input, Shape("adaptive_max", rank, indices=indices), options):
            return NotImplemented
        return run(input, build, (_plain(output_size),), rank, indices)

    return call


def _adaptive_mean(rank: int) -> Any:
    build = getattr(nn, f"AdaptiveAvgPool{rank}d").build

    def call(options: Options, input: Any, output_size: Any) -> Any:
        if not takes(input, Shape("adaptive_mean", rank, whole=all_ones(output_size)), options):
            return NotImplemented
        return run(input, build, (_plain(output_size),), rank)

    return call


def _fractional(rank: int, *, pair: bool = False) -> Any:
    build = getattr(nn, f"FractionalMaxPool{rank}d").build

    def call(
        options: Options,
        input: Any,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        indices = pair or return_indices
        if not takes(input, Shape("fractional", rank, indices=indices), options):
            return NotImplemented
        settings = (_plain(kernel_size), _plain(output_size), _plain(output_ratio), "torch", None, False, False)
        return run(input, build, settings, rank, indices, _random_samples)

    return call


def _unpool(rank: int) -> Any:
    def call(
        options: Options,
        input: Any,
        indices: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Any:
        # Where windows overlap an index may come twice, and poolkit's gradient is not torch's (docs/differences.md).
        same = options.include_different or not overlap(kernel_size, stride)
        if not same or not takes(input, Shape("unpool", rank), options):
            return NotImplemented
        return max_unpool(input, indices, kernel_size, stride or None, padding, output_size, rank=rank)

    return call


def spatial(x: Any, dim: Any) -> int | None:
    """How many axes ``dim`` names, if these are all spatial axes of ``(N, C, *sizes)`` with two or three of them."""
    if not isinstance(x, Tensor) or not isinstance(dim, list | tuple) or x.dim() not in (4, 5):
        return None
    rank = x.dim() - 2
    axes = cast("list[Any]", dim)
    if len(axes) != rank or any(not isinstance(axis, int) for axis in axes):
        return None
    return rank if sorted([axis % x.dim() for axis in axes]) == list(range(2, x.dim())) else None


def _whole(x: Tensor, shape: Shape, name: str, keepdim: bool) -> Any:
    y = run(x, getattr(nn, f"{name}{shape.rank}d").build, (1,), shape.rank)
    return y if keepdim else cast(Tensor, y).flatten(-shape.rank - 1)


def _global_mean(options: Options, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    shape = Shape("global_mean", spatial(input, dim) or 0, whole=True)
    if not shape.rank or dtype not in (None, input.dtype) or not takes(input, shape, options):
        return NotImplemented
    return _whole(input, shape, "AdaptiveAvgPool", keepdim)


def _global_max(options: Options, input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    shape = Shape("global_max", spatial(input, dim) or 0, whole=True)
    if not shape.rank or not takes(input, shape, options):
        return NotImplemented
    return _whole(input, shape, "AdaptiveMaxPool", keepdim)


def _table() -> dict[Any, Any]:
    """Every function of torch that pools, and what takes it over."""
    low: Any = cast(Any, torch._C)._nn  # pyright: ignore[reportPrivateUsage]  some live nowhere else
    table: dict[Any, Any] = {
        torch.mean: _global_mean,
        Tensor.mean: _global_mean,
        torch.amax: _global_max,
        Tensor.amax: _global_max,
    }

    def add(handler: Any, *places: tuple[Any, str]) -> None:
        for place, name in places:
            function = getattr(place, name, None)
            if function is not None:
                table[function] = handler

    for rank in (1, 2, 3):
        end = f"pool{rank}d"
        add(_max(rank), (functional, f"max_{end}"), (torch, f"max_{end}"))
        pairs = f"max_{end}_with_indices"
        add(_max(rank, pair=True), (functional, pairs), (torch, pairs), (low, pairs))
        add(_mean(rank), (functional, f"avg_{end}"), (torch, f"avg_{end}"), (low, f"avg_{end}"))
        add(_lp(rank), (functional, f"lp_{end}"))
        add(_adaptive_max(rank), (functional, f"adaptive_max_{end}"))
        pairs = f"adaptive_max_{end}_with_indices"
        add(_adaptive_max(rank, pair=True), (functional, pairs), (torch, f"adaptive_max_{end}"))
        add(_adaptive_max(rank, pair=True), (low, f"adaptive_max_{end}"))
        means = f"adaptive_avg_{end}"
        add(_adaptive_mean(rank), (functional, means), (torch, means), (low, means))
        add(_unpool(rank), (functional, f"max_un{end}"))
        if rank > 1:
            add(_fractional(rank), (functional, f"fractional_max_{end}"))
            add(_fractional(rank, pair=True), (functional, f"fractional_max_{end}_with_indices"))
    return table


CALLS: dict[Any, Any] = _table()
"""Every function of torch that pools, and what takes it over: ``handler(options, *arguments)``."""

NAMES = frozenset(function.__name__ for function in CALLS) | {
    f"{kind}_pool{rank}d" for kind in ("max", "adaptive_max", "fractional_max") for rank in (1, 2, 3)
}
"""How these functions are called in source text."""


class Interception(TorchFunctionMode):
    """Hands pooling calls to poolkit where it takes over, and all others on."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given: dict[str, Any] = kwargs or {}
        handler = CALLS.get(func)
        if handler is not None:
            try:
                result = handler(self.options, *args, **given)
            except (PoolError, TypeError):  # torch takes it, or says in its own words why it does not
                result = NotImplemented
            if result is not NotImplemented:
                return result
        return func(*args, **given)


def accelerated(*, only_faster: bool = True, include_different: bool = False) -> Interception:
    """A context in which this thread's torch poolings are poolkit's, modules and functions alike.

    The same rules hold as for `accelerate`, and the same arguments are taken.

    Args:
        only_faster: leave a call to torch where poolkit is known to take as long; False takes over wherever the result
            is the same.
        include_different: also take over where the result is not torch's; see `docs/differences.md`.

    >>> import torch, poolkit as pk
    >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> with pk.accelerated():
    ...     y = torch.nn.functional.max_pool2d(x, 2)
    >>> torch.equal(y, torch.nn.functional.max_pool2d(x, 2))
    True
    """
    return Interception(Options(only_faster, include_different))


def is_active() -> bool:
    """Whether an `Interception` is under way in this thread."""
    return Interception in [type(mode) for mode in _stack()]


class Intercepting:
    """Marks the classes that `intercepting` makes."""

    poolkit_options: Options = Options()


@functools.cache
def intercepting(base: type[Module]) -> type[Any]:
    """A class like `base` whose forward runs under an `Interception`; a module becomes one by having its class changed.

    Copies of such a module and what pickle makes of it are such modules again.
    """
    base_forward: Any = base.forward

    @functools.wraps(base_forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _exporting() or is_active():
            return base_forward(self, *args, **kwargs)
        with Interception(self.poolkit_options):
            return base_forward(self, *args, **kwargs)

    def reduce(self: Any, protocol: Any) -> Any:
        made = base.__reduce_ex__(self, max(int(protocol), 2))
        if isinstance(made, tuple) and made[0] is copyreg.__newobj__ and made[1][0] is type(self):  # pyright: ignore[reportUnknownMemberType,reportAttributeAccessIssue]
            return (_again, (base, *made[1][1:]), *made[2:])
        return made

    body = {
        "__doc__": base.__doc__,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "forward": forward,
        "__reduce_ex__": reduce,
        "poolkit_base": base,
    }
    return type(base.__name__, (Intercepting, base), body)


def _again(base: type[Module], *arguments: Any) -> Any:
    kind = intercepting(base)
    return kind.__new__(kind, *arguments)
