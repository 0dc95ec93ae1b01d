"""Means weighted by a softmax over each window, and their adjoints; what is linear in one of its two tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from poolkit.errors import PoolError
from poolkit.reducer import LogSumExp
from poolkit.torch import autograd, ops
from poolkit.torch.functional import Parts, plan_of
from poolkit.window import Sliding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def weighted_mean(x: Tensor, logits: Tensor, rank: int, *window: Any) -> Tensor:
    """``sum x e**logits / sum e**logits`` over sliding windows; nothing overflows, and padding has no weight.

    Args:
        x: ``(N, C, *sizes)`` or ``(C, *sizes)``, float32 or float64.
        logits: of x's shape and dtype.
        rank: number of pooled axes.
        window: the arguments of `Sliding`.

    >>> import torch
    >>> weighted_mean(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[0.0, 0.0, 900.0, 0.0]]), 1, 2)
    tensor([[1.5000, 4.0000]])
    """
    if logits is x:  # torch.compile cannot follow one tensor that is two arguments of a Function
        logits = x.view_as(x)
    plan, spec = plan_of(_log_sum_exp, window, x.shape[-rank:], x.dtype)
    _, lse = ops.pool_with_lse(logits.detach(), plan)
    return cast(
        Tensor, autograd.traceable(autograd.WeightedMean, autograd.TracedWeightedMean).apply(x, logits, lse, plan, spec)
    )


def weighted_spread(y: Tensor, logits: Tensor, rank: int, *window: Any) -> Tensor:
    """Shares each window's y out among its cells, by the softmax of logits: the adjoint of `weighted_mean` for x.

    Args:
        y: ``(N, C, *outs)`` or ``(C, *outs)``, float32 or float64.
        logits: ``(N, C, *sizes)`` or ``(C, *sizes)``, of y's dtype.
        rank: number of pooled axes.
        window: the arguments of `Sliding`.

    Raises:
        PoolError: y is not what these windows make of logits' sizes.

    >>> import torch
    >>> weighted_spread(torch.tensor([[3.0, 8.0]]), torch.tensor([[0.0, 0.0, 900.0, 0.0]]), 1, 2)
    tensor([[1.5000, 1.5000, 8.0000, 0.0000]])
    """
    sizes = logits.shape[-rank:]
    plan, spec = plan_of(_log_sum_exp, window, sizes, y.dtype)
    check_pooled(y, spec, sizes)
    _, lse = ops.pool_with_lse(logits.detach(), plan)
    return cast(Tensor, autograd.traceable(autograd.Spread, autograd.TracedSpread).apply(y, logits, lse, plan, spec))


def adjoint(y: Tensor, build: Callable[..., Parts], settings: tuple[Any, ...], sizes: Sequence[int]) -> Tensor:
    """Transposes a Sum or Mean pooling of inputs with these sizes.

    For all x of these sizes ``<pool(x), y> == <x, adjoint(y)>``.

    Raises:
        PoolError: y is not what the windows make of these sizes.
    """
    plan, spec = plan_of(build, settings, sizes, y.dtype)
    check_pooled(y, spec, sizes)
    channels_last = ops.is_channels_last(y, len(sizes))
    return cast(
        Tensor,
        autograd.traceable(autograd.Gradient, autograd.TracedGradient).apply(
            y, plan, None, None, None, None, None, channels_last, None
        ),
    )


def check_pooled(y: Tensor, spec: Sequence[int], sizes: Sequence[int]) -> None:
    """Reports a `y` whose sizes are not those of the windows over inputs of `sizes`."""
    outs = tuple(spec[2::8])
    if tuple(y.shape[-len(outs) :]) != outs:
        raise PoolError(
            f"output_size={tuple(sizes)} for an input x of shape {tuple(y.shape)}",
            f"pooling output_size with these windows gives the sizes of x, here {outs}",
            "pass the sizes of the tensor that was pooled",
        )


def _log_sum_exp(*window: Any) -> Parts:
    return Sliding(*window), LogSumExp(1.0, False)
