"""When poolkit takes a call over: where it gives torch's results, and where it gives them sooner.

The first question is about meaning and never gives way. The second is about time: its limits were measured with
``python -m bench.choice`` (one thread, float32), which shows both times beside what is decided here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from poolkit.errors import entries
from poolkit.torch.checks import is_plain
from poolkit.torch.ops import is_channels_last

_FULL = frozenset({torch.float32, torch.float64})
_HALF = frozenset({torch.float16, torch.bfloat16})
_compiling = torch.compiler.is_compiling
_exporting = torch.compiler.is_exporting
_tracing: Any = cast(Any, torch.jit).is_tracing  # torch leaves it without annotations


class Options(NamedTuple):
    """What the user chose."""

    only_faster: bool = True
    include_different: bool = False


class Shape(NamedTuple):
    """What the time of a pooling depends on besides its input."""

    kind: str  # "max", "mean", "adaptive_max", "adaptive_mean", "fractional", "unpool", "global_mean", "global_max"
    rank: int
    indices: bool = False
    whole: bool = False  # one window holds all


def takes(x: object, shape: Shape, options: Options) -> bool:
    """Whether poolkit takes over: the same result as torch's, and by default only where that comes sooner."""
    return same(x, shape, options) and (not options.only_faster or sooner(cast(Tensor, x), shape))


def same(x: Any, shape: Shape, options: Options) -> bool:
    """Whether poolkit gives torch's result for this input.

    Programs that are traced to run elsewhere (torch.export, torch.jit.trace, torch.fx) keep torch's operators, and so
    do forward-mode derivatives and functorch transforms, whose rules torch has for its own operators alone.
    """
    if not (x.__class__ is Tensor or x.__class__ is Parameter):
        return False
    dtype = x.dtype
    if not x.is_cpu or x.layout != torch.strided or not (dtype in _FULL or dtype in _HALF):
        return False
    if dtype in _HALF:
        # torch's three-dimensional averages of half precision sum in half precision, or do not exist; and autocast
        # gives some of its poolings back in float32.
        averages = shape.rank == 3 and shape.kind in ("mean", "adaptive_mean", "global_mean")
        if torch.is_autocast_enabled("cpu") or (averages and not options.include_different):
            return False
    # amax shares its gradient out among equal cells, a pooling gives it to the first.
    if shape.kind == "global_max" and _learns(x) and not options.include_different:
        return False
    return not _exporting() if _compiling() else is_plain() and not _tracing()


def sooner(x: Tensor, shape: Shape) -> bool:
    """Whether poolkit is known to be faster than torch for this input."""
    if shape.kind == "unpool":
        return False
    if _compiling():  # sizes stay symbolic, and every call is one node of the graph
        return True
    last = is_channels_last(x, shape.rank)
    size = x.numel()
    if _learns(x):
        return size >= _FEWEST_WITH_GRADIENT.get((shape.kind, last, shape.whole), _NEVER)
    return size >= _FEWEST[shape.kind, last, shape.indices or shape.whole]


_NEVER = math.inf
# Cells of an input from which on poolkit is faster without gradients, by kind, whether channels are last, and whether
# indices are asked for or one window holds all.
_FEWEST: dict[tuple[str, bool, bool], float] = {
    ("max", False, False): 2**12,
    ("max", False, True): 2**13,
    ("max", True, False): 2**14,
    ("max", True, True): _NEVER,
    ("mean", False, False): 2**12,
    ("mean", True, False): 2**18,
    ("adaptive_max", False, False): 2**13,
    ("adaptive_max", False, True): 2**13,
    ("adaptive_max", True, False): 2**14,
    ("adaptive_max", True, True): _NEVER,
    ("adaptive_mean", False, False): 2**14,
    ("adaptive_mean", False, True): _NEVER,
    ("adaptive_mean", True, False): 2**16,
    ("adaptive_mean", True, True): 2**18,
    ("fractional", False, False): 2**16,
    ("fractional", False, True): 2**16,
    ("fractional", True, False): _NEVER,
    ("fractional", True, True): _NEVER,
    ("global_mean", False, True): _NEVER,
    ("global_mean", True, True): 2**18,
    ("global_max", False, True): 2**15,
    ("global_max", True, True): 2**17,
}


# The same for forward and backward together.
_FEWEST_WITH_GRADIENT: dict[tuple[str, bool, bool], float] = {
    ("max", False, False): 2**17,
    ("mean", False, False): 2**17,
    ("adaptive_max", False, True): 2**20,
    ("adaptive_mean", False, False): 2**17,
    ("adaptive_mean", False, True): 2**17,
    ("adaptive_mean", True, True): 2**17,
}


def _learns(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def overlap(kernel_size: Any, stride: Any) -> bool:
    """Whether windows of this size and distance share cells."""
    kernels, strides = cells(kernel_size), cells(stride or kernel_size)
    width = max(len(kernels), len(strides))
    kernels, strides = (given * width if len(given) == 1 else given for given in (kernels, strides))
    return any(kernel > step for kernel, step in zip(kernels, strides, strict=False))


def cells(value: Any) -> tuple[Any, ...]:
    """One value for all axes, or one an axis, as a tuple."""
    several = entries(value)
    return (value,) if several is None else several


def all_ones(output_size: Any) -> bool:
    """Whether an adaptive pooling has one window for all."""
    return all(size == 1 for size in cells(output_size))
