"""Unpoolings: back to the size before pooling, by transposes, by stored weights and by stored positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from poolkit.errors import PoolError, entries, integer, show
from poolkit.nn._base import PoolModule, SlidingPool, sliding
from poolkit.nn._maps import check_maps, wide
from poolkit.nn.drop_in import AvgPool2d
from poolkit.plan import check_cells
from poolkit.reducer import Soft
from poolkit.torch.unpooling import index_unpool
from poolkit.torch.weighted import adjoint, weighted_spread
from poolkit.window import per_axis

if TYPE_CHECKING:
    from collections.abc import Sequence


class _AvgUnpool(PoolModule):
    """Gives every cell of a window its share of the window's mean: the transpose of average pooling.

    ``x[i] = sum over windows j with i of y[j] / n[j]``, with n the divisor of `AvgPool2d` under the same arguments, so
    that ``<AvgPool(x), y> == <x, AvgUnpool(y)>`` for all x and y. With ``divisor_override=1`` it repeats the values
    instead, and ``AvgPool(AvgUnpool(y)) == y`` where windows do not overlap. It is the backward pass of
    average pooling (LeCun et al., 1990) as a layer.

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation: those of the average
            pooling, in the order of `AvgPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating; the output has the sizes given to the call as `output_size`,
        or ``(size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1`` (``size * stride`` where padding is
        "same").

    Raises:
        PoolError: an argument breaks a rule, or average pooling does not make the input's sizes of `output_size`.

    >>> import torch, poolkit.nn as nn
    >>> y = torch.tensor([[[2.0, 6.0]]])
    >>> nn.AvgUnpool1d(2)(y), nn.AvgUnpool1d(2, divisor_override=1)(y)
    (tensor([[[1., 1., 3., 3.]]]), tensor([[[2., 2., 6., 6.]]]))
    """

    fields = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override")
    extras: ClassVar = {"ceil_mode": False, "count_include_pad": True, "divisor_override": None, "dilation": 1}
    build = AvgPool2d.build

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        dilation: Any = 1,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self.dilation = dilation
        self._check()

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Un-pools `input`."""
        y = check_maps(input, self.rank)
        sizes = self._usual(y) if output_size is None else check_output_size(output_size, self.rank)
        return adjoint(y, type(self).build, self._values(), sizes)

    def _usual(self, y: Tensor) -> list[int]:
        kernels, strides, dilations = (
            per_axis(getattr(self, name), name, 1, self.rank) for name in ("kernel_size", "stride", "dilation")
        )
        if self.padding in ("same", "same_lower"):
            return [size * step for size, step in zip(y.shape[-self.rank :], strides, strict=True)]
        given = entries(self.padding)
        if given is None:
            given = (0 if self.padding == "valid" else self.padding,)
        padded = [_both_sides(pad) for pad in (given * self.rank if len(given) == 1 else given)]
        return [
            (size - 1) * step - pad + dilation * (kernel - 1) + 1
            for size, step, pad, dilation, kernel in zip(
                y.shape[-self.rank :], strides, padded, dilations, kernels, strict=True
            )
        ]

    def extra_repr(self) -> str:
        """kernel_size, stride, padding, and what differs from the defaults."""
        return self._shown("kernel_size", "stride", "padding")


def _both_sides(pad: Any) -> int:
    pair = entries(pad)
    return 2 * pad if pair is None else sum(pair)


class AvgUnpool1d(_AvgUnpool):
    rank = 1


class AvgUnpool2d(_AvgUnpool):
    rank = 2


class AvgUnpool3d(_AvgUnpool):
    rank = 3


class _SoftUnpool(SlidingPool):
    """Shares each pooled value out among the cells it came from, by the weights that soft pooling gave them.

    ``z[i] = sum over windows j with i of w[j, i] y[j]`` with ``w[j, i] = e**(beta x[i]) / sum e**(beta x)`` over
    window j of x, the tensor that was pooled: strong cells get back the most, and the windows' totals are y (the
    weighted unpooling of Stergiou and Poppe, 2022, arXiv:2111.00772, with soft pooling's weights).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode, beta: those of the soft pooling, as for `SoftPool2d`.

    Shape:
        input ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, and the tensor that was pooled; to the latter's shape.

    Raises:
        PoolError: an argument breaks a rule, or soft pooling does not make the input's sizes of `pooled`.

    >>> import torch, poolkit.nn as nn
    >>> x = torch.tensor([[[2.0, 2.0, 0.0, 1.0986]]])
    >>> nn.SoftUnpool1d(2)(nn.SoftPool1d(2)(x), x)
    tensor([[[1.0000, 1.0000, 0.2060, 0.6180]]])
    """

    fields = (*SlidingPool.fields, "beta")
    build = sliding(Soft)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        beta: float = 1.0,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.beta = beta
        self._check()

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  the weights come from a second tensor
        self, input: Tensor, pooled: Tensor
    ) -> Tensor:
        """Un-pools `input` by the weights of `pooled`, the tensor that soft pooling was given."""
        y, x = check_maps(input, self.rank), check_maps(pooled, self.rank, name="pooled")
        if x.shape[: -self.rank] != y.shape[: -self.rank] or x.dtype != y.dtype:
            raise PoolError(
                f"pooled of shape {tuple(x.shape)} and dtype {x.dtype} for an input x of shape {tuple(y.shape)} "
                f"and dtype {y.dtype}",
                "pooled has the batch, the channels and the dtype of x",
                "pass the tensor that soft pooling was given",
            )
        return weighted_spread(wide(y), wide(x) * self.beta, self.rank, *self._values()[:-1]).to(y.dtype)

    def extra_repr(self) -> str:
        """The window's settings, then beta."""
        return f"{super().extra_repr()}, beta={self.beta}"


class SoftUnpool1d(_SoftUnpool):
    rank = 1


class SoftUnpool2d(_SoftUnpool):
    rank = 2


class SoftUnpool3d(_SoftUnpool):
    rank = 3


class _IndexUnpool(nn.Module):
    """Puts values at the positions that any pooling with indices gave, and zero elsewhere.

    ``z[indices[j]] = y[j]``; of equal indices, which overlapping windows give, the last in row-major order wins and
    alone receives the gradient. What `MaxUnpool2d` does, without its question about the windows: for the indices of
    fractional, adaptive and global poolings, whose windows have no one stride.

    Shape:
        input and indices (int64) ``(N, C, *sizes)`` or ``(C, *sizes)``, and `output_size`, the sizes of the plane the
        indices count in or the whole shape of the pooled tensor; to the same with these sizes.

    Raises:
        PoolError: the sizes do not fit, or an index lies outside of the output.

    >>> import torch, poolkit.nn as nn
    >>> x = torch.tensor([[[4.0, 1.0, 2.0, 7.0, 3.0]]])
    >>> y, indices = nn.AdaptiveMaxPool1d(2, return_indices=True)(x)
    >>> nn.IndexUnpool1d()(y, indices, x.shape)
    tensor([[[4., 0., 0., 7., 0.]]])
    """

    rank: int

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
        """Un-pools `input`."""
        return index_unpool(check_maps(input, self.rank), indices, check_output_size(output_size, self.rank))


class IndexUnpool1d(_IndexUnpool):
    rank = 1


class IndexUnpool2d(_IndexUnpool):
    rank = 2


class IndexUnpool3d(_IndexUnpool):
    rank = 3


def check_output_size(output_size: object, rank: int) -> list[int]:
    """The last `rank` entries of an output_size, which may be a whole shape."""
    given = entries(output_size)
    if given is None or len(given) not in (rank, rank + 1, rank + 2):
        raise PoolError(
            f"output_size={show(output_size)}",
            f"output_size has {rank} sizes, or is the whole shape of the pooled tensor",
            "pass x.shape of the tensor that was pooled",
        )
    sizes = [integer(size, "output_size", 1, given=output_size) for size in given[-rank:]]
    check_cells(sizes, 1, 1, f"output_size={show(output_size)}")
    return sizes
