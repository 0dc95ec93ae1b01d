"""Gradients: two `torch.autograd.Function` classes around the operators of `poolkit.torch.ops`.

`Pool` is the cheap one. `TransformedPool` does the same with ``setup_context``, which functorch (`torch.func.grad`,
`vmap`, ...) insists on and which costs 20 us more a call. Outside of both lies the plain operator, for whoever needs no
gradient. `Gradient` and `Gradients` stand for the backward pass where that may be differentiated again.

Kernels give values and first derivatives. Where these are not linear, second derivatives come from torch's
differentiation of the compositions in `poolkit.torch.composite`. Under forward mode the front end calls the
compositions instead of these classes, so that forward modes can be nested.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad

from poolkit.torch import composite, ops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_forward_ad: Any = forward_ad


def forward_mode() -> bool:
    """Whether forward-mode differentiation is under way, by dual tensors or `torch.func.jvp`."""
    return _forward_ad._current_level >= 0


# What a forward pass keeps for its backward pass, by name; a call hands it over as a bit mask, which is a constant to
# torch.compile. "x" and "y" are input and output, "lse" and "offsets" further outputs of the operator.
KEEPS = ("x", "y", "lse", "offsets")


def mask(keeps: Sequence[str]) -> int:
    """The bit mask of a reducer's ``keeps``.

    >>> mask(("offsets",)), mask(("x", "lse"))
    (8, 5)
    """
    return sum(1 << KEEPS.index(name) for name in keeps)


_X, _Y, _LSE, _OFFSETS = (1 << i for i in range(4))


def _forward(
    x: Tensor,
    starts: Tensor | None,
    extra: Tensor | None,
    plan: str,
    keeps: int,
    offset_bytes: int,
    return_indices: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """y, indices, lse and offsets; the last three only where asked for."""
    if keeps & _OFFSETS:
        if return_indices:
            y, offsets, indices = ops.pool_with_offsets_and_indices(x, plan, starts, offset_bytes, extra)
            return y, indices, None, offsets
        y, offsets = ops.pool_with_offsets(x, plan, starts, offset_bytes, extra)
        return y, None, None, offsets
    if keeps & _LSE:
        y, lse = ops.pool_with_lse(x, plan, starts)
        return y, None, lse, None
    return ops.pool(x, plan, starts, extra), None, None, None


def _keep(
    ctx: Any,
    x: Tensor,
    starts: Tensor | None,
    extra: Tensor | None,
    y: Tensor,
    lse: Tensor | None,
    offsets: Tensor | None,
    keeps: int,
) -> None:
    # Uniforms have done their work once the offsets say which cells they drew.
    extra = None if keeps & _OFFSETS else extra
    ctx.save_for_backward(x if keeps & _X else None, y if keeps & _Y else None, lse, offsets, starts, extra)


class _Function(torch.autograd.Function):
    if TYPE_CHECKING:  # torch leaves it without annotations

        @classmethod
        def apply(cls, *args: Any) -> Any: ...


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None]:
    """Of x and of the array beside it."""
    x, y, lse, offsets, starts, extra = ctx.saved_tensors
    arguments = (dy, ctx.plan, starts, x, y, lse, offsets, ctx.channels_last, extra)
    # Gradients are enabled here only under create_graph=True and functorch. Forward mode over a graph that was made
    # outside of it has no rule, and must not pass in silence.
    second = torch.is_grad_enabled() or forward_mode()
    if extra is None or not ctx.needs_input_grad[2]:
        return (Gradient.apply(*arguments) if second else ops.pool_backward(*arguments)), None
    if second:
        return Gradients.apply(*arguments)
    dx, dextra = ops.pool_backward_extra(*arguments)
    return dx, _per_channel(dextra, extra)


def _per_channel(dextra: Tensor, extra: Tensor) -> Tensor:
    """The gradient of a kernel's weights from that of every plane."""
    if dextra.shape == extra.shape:
        return dextra
    return dextra.view(-1, *extra.shape).sum(0)


class _Again:
    """A pooling that torch can differentiate as often as it likes, and its first derivative as a function."""

    def __init__(self, plan: str, starts: Tensor | None, extra: Tensor | None = None) -> None:
        self.plan, self.starts, self.extra = plan, starts, extra

    def value(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """y."""
        return composite.operators.pool(x, self.plan, self.starts, self.extra if extra is None else extra)

    def gradient(self, dy: Tensor, x: Tensor, *extra: Tensor) -> tuple[Tensor, ...]:
        """Of x, and of the array beside it where one is given."""
        return torch.func.vjp(self.value, x, *extra)[1](dy)


def _pulled_back(function: Callable[..., Any], inputs: Sequence[Tensor], cotangents: Any) -> tuple[Tensor, ...]:
    return torch.func.vjp(function, *inputs)[1](cotangents)


class Gradients(_Function):
    """`ops.pool_backward_extra`, to be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        dx, dextra = ops.pool_backward_extra(*arguments)
        return dx, _per_channel(dextra, arguments[8])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        dy, ctx.plan, starts, x, _, _, _, _, extra = inputs
        ctx.save_for_backward(dy, starts, x, extra)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dy, starts, x, extra = ctx.saved_tensors
        ddy, dx, dextra = _pulled_back(_Again(ctx.plan, starts).gradient, (dy, x, extra), grads)
        return ddy, None, None, dx, None, None, None, None, dextra


class Gradient(_Function):
    """`ops.pool_backward`, to be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        dy: Tensor,
        plan: str,
        starts: Tensor | None,
        x: Tensor | None,
        y: Tensor | None,
        lse: Tensor | None,
        offsets: Tensor | None,
        channels_last: bool,
        extra: Tensor | None,
    ) -> Tensor:
        return ops.pool_backward(dy, plan, starts, x, y, lse, offsets, channels_last, extra)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dy, ctx.plan, starts, x, _, _, offsets, _, extra = inputs
        ctx.linear = x is None or offsets is not None  # in dy, with nothing else to differentiate
        ctx.save_for_backward(None if ctx.linear else dy, starts, x, offsets, extra)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dy, starts, x, offsets, extra = ctx.saved_tensors
        if ctx.linear:
            return _transposed(grads[0], ctx.plan, starts, x, offsets), *[None] * 8

        def gradient(dy: Tensor, x: Tensor) -> Tensor:
            return _Again(ctx.plan, starts, extra).gradient(dy, x)[0]

        ddy, dx = _pulled_back(gradient, (dy, x), grads[0])
        return ddy, None, None, dx, *[None] * 5


def _transposed(v: Tensor, plan: str, starts: Tensor | None, x: Tensor | None, offsets: Tensor | None) -> Tensor:
    """What a pooling that is linear, or that chose its cells already, makes of v in place of x."""
    if offsets is None:
        return TransformedPool.apply(v, starts, None, plan, 0, 0, plan.count(" "), False)[0]
    return composite.operators.taken(v if x is None else v * x.sign(), plan, starts, offsets)


class Pool(_Function):
    """``apply(x, starts, extra, plan, keeps, offset_bytes, rank, return_indices)`` -> y, or (y, indices)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        starts: Tensor | None,
        extra: Tensor | None,
        plan: str,
        keeps: int,
        offset_bytes: int,
        rank: int,
        return_indices: bool,
    ) -> Any:
        y, indices, lse, offsets = _forward(x, starts, extra, plan, keeps, offset_bytes, return_indices)
        _keep(ctx, x, starts, extra, y, lse, offsets, keeps)
        ctx.plan, ctx.channels_last = plan, ops.is_channels_last(x, rank)
        if indices is None:
            return y
        ctx.mark_non_differentiable(indices)
        return y, indices

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dx, dextra = _gradients(ctx, grads[0])
        return dx, None, dextra, None, None, None, None, None


class PoolAlike(_Function):
    """``apply(x, plan, divisor)`` -> y, where dx is dy over the divisor for all cells: a view that takes no memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: str, divisor: float) -> Tensor:
        ctx.shape, ctx.divisor = x.shape, divisor
        return ops.pool(x, plan)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dy = grads[0] if ctx.divisor == 1 else grads[0] / ctx.divisor
        return dy.expand(ctx.shape), None, None


class TransformedPool(_Function):
    """`Pool` under functorch: every kept tensor is an output, since ``setup_context`` sees nothing else."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        starts: Tensor | None,
        extra: Tensor | None,
        plan: str,
        keeps: int,
        offset_bytes: int,
        rank: int,
        return_indices: bool,
    ) -> tuple[Tensor, ...]:
        outputs = _forward(x, starts, extra, plan, keeps, offset_bytes, return_indices)
        return tuple(output for output in outputs if output is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, starts, extra, plan, keeps, _, rank, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        kept = output[-1] if keeps & (_LSE | _OFFSETS) else None
        offsets, lse = (kept, None) if keeps & _OFFSETS else (None, kept)
        _keep(ctx, x, starts, extra, output[0], lse, offsets, keeps)
        ctx.plan, ctx.channels_last = plan, ops.is_channels_last(x, rank)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dx, dextra = _gradients(ctx, grads[0])
        return dx, None, dextra, None, None, None, None, None


class Unpool(_Function):
    """``apply(x, indices, output_size)`` -> out."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
        return ops.unpool(x, indices, output_size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, indices, output_size = inputs
        ctx.save_for_backward(indices)
        ctx.rank = len(output_size)
        ctx.channels_last = ops.is_channels_last(x, ctx.rank)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return UnpoolGradient.apply(grads[0], indices, ctx.rank, ctx.channels_last), None, None
        return ops.unpool_backward(grads[0], indices, ctx.rank, ctx.channels_last), None, None


class UnpoolGradient(_Function):
    """`ops.unpool_backward`, which is linear: its own gradient puts values back where they came from."""

    generate_vmap_rule = True

    @staticmethod
    def forward(dout: Tensor, indices: Tensor, rank: int, channels_last: bool) -> Tensor:
        return ops.unpool_backward(dout, indices, rank, channels_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dout, indices, ctx.rank, _ = inputs
        ctx.sizes = list(dout.shape[-ctx.rank :])
        ctx.save_for_backward(indices)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return Unpool.apply(grads[0], indices, ctx.sizes), None, None, None


class WeightedMean(_Function):
    """``apply(x, logits, lse, plan, spec)`` -> the mean of x over each window, with the softmax of logits as weights.

    `plan` is that of LogSumExp without the mean, of sliding windows, and lse its second output at `logits`. `Spread`
    is its adjoint for x, and each is the other's gradient, as often as one likes.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, logits: Tensor, lse: Tensor, plan: str, spec: tuple[int, ...]) -> Tensor:
        return _weighted_mean(x, logits, lse, spec)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, logits, lse, ctx.plan, ctx.spec = inputs
        ctx.save_for_backward(x, logits, lse, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, logits, lse, y = ctx.saved_tensors
        dx = Spread.apply(grads[0], logits, lse, ctx.plan, ctx.spec)
        dlogits = None
        if ctx.needs_input_grad[1]:
            dlogits = x * dx - Spread.apply(grads[0] * y, logits, lse, ctx.plan, ctx.spec)
        return dx, dlogits, None, None, None


class Spread(_Function):
    """``apply(y, logits, lse, plan, spec)`` -> each window's y shared out among its cells by the softmax of logits."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, logits: Tensor, lse: Tensor, plan: str, spec: tuple[int, ...]) -> Tensor:
        channels_last = ops.is_channels_last(logits, len(spec) // 8)
        # The derivative of LogSumExp is the softmax.
        return ops.pool_backward(y, plan, None, logits, None, lse, None, channels_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, logits, lse, ctx.plan, ctx.spec = inputs
        ctx.save_for_backward(y, logits, lse, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        y, logits, lse, out = ctx.saved_tensors
        dy = WeightedMean.apply(grads[0], logits, lse, ctx.plan, ctx.spec)
        dlogits = None
        if ctx.needs_input_grad[1]:
            dlogits = grads[0] * out - Spread.apply(y * dy, logits, lse, ctx.plan, ctx.spec)
        return dy, dlogits, None, None, None


def _weighted_mean(x: Tensor, logits: Tensor, lse: Tensor, spec: tuple[int, ...]) -> Tensor:
    axes = [spec[i : i + 8] for i in range(0, len(spec), 8)]
    sides: list[int] = []
    for _, size, out, kernel, stride, before, _, dilation in reversed(axes):
        sides += [before, (out - 1) * stride + (kernel - 1) * dilation + 1 - before - size]
    x, logits = pad(x, sides), pad(logits, sides, value=-math.inf)
    y = torch.zeros_like(lse)
    for taps in itertools.product(*(range(axis[3]) for axis in axes)):
        cells = tuple(
            slice(tap * dilation, tap * dilation + (out - 1) * stride + 1, stride)
            for tap, (_, _, out, _, stride, _, _, dilation) in zip(taps, axes, strict=True)
        )
        y = torch.addcmul(y, (logits[(..., *cells)] - lse).exp(), x[(..., *cells)])
    return y
