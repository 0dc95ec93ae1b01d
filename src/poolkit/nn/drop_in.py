"""Every pooling module of torch.nn, under its name, with its arguments, its repr and its state.

Each family is written once, without a rank; the classes with a rank in their names only say which. Where torch.nn
itself is wrong these are right: docs/differences.md lists the cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch.nn import Module

from poolkit.errors import integer, number
from poolkit.nn._base import PoolModule, sliding
from poolkit.reducer import Lp, Max, Mean
from poolkit.torch.functional import Parts, Result, run
from poolkit.torch.unpooling import max_unpool
from poolkit.unpooling import check_arguments
from poolkit.window import Adaptive, Sliding, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _tuple(value: Any, rank: int) -> Any:
    """What torch's modules store: one value per axis."""
    return tuple(cast("list[Any]", value)) if isinstance(value, list | tuple) else spread(value, rank)


class _MaxPool(PoolModule):
    """Maximum over sliding windows, as torch.nn's module of the same name.

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        stride: distance between windows; None means `kernel_size`.
        padding: cells added on both sides, never chosen; also ``"same"``, ``"valid"`` or (before, after) pairs.
        dilation: distance between the cells of a window.
        return_indices: also return the int64 positions of the maxima in the flat, unpadded plane.
        ceil_mode: keep a last window that overhangs the end.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` of any real dtype, to the same with pooled sizes and the same
        memory format.

    Raises:
        PoolError: an argument breaks a rule, at construction or, where it depends on the input, at the call.

    >>> import torch, poolkit.nn as nn
    >>> nn.MaxPool2d(2)(torch.arange(16.0).view(1, 1, 4, 4))
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """

    fields = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    build = sliding(Max)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        self._check()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        return run(input, type(self).build, self._values(), self.rank, self.return_indices)

    def extra_repr(self) -> str:
        """As torch.nn's."""
        return self._shown("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool1d(_MaxPool):
    rank = 1


class MaxPool2d(_MaxPool):
    rank = 2


class MaxPool3d(_MaxPool):
    rank = 3


class _AvgPool(PoolModule):
    """Mean over sliding windows, as torch.nn's module of the same name.

    Args:
        kernel_size, stride, padding, ceil_mode: as for `MaxPool2d`.
        count_include_pad: padding counts as zeros (never the overhang of ceil_mode).
        divisor_override: divide by this instead of the number of cells.
        dilation: distance between the cells of a window.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with pooled sizes. Integers are rounded to nearest.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AvgPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 9.0]]]))
    tensor([[[2., 7.]]])
    """

    fields = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override")
    extras: ClassVar = {"dilation": 1}

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
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self.dilation = dilation
        self._check()

    @staticmethod
    def build(
        kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, include_pad: Any, divisor: Any
    ) -> Parts:
        """The window and reducer of these settings."""
        if divisor is not None:
            divisor = integer(divisor, "divisor_override", 1)
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), Mean(include_pad, divisor)

    def extra_repr(self) -> str:
        """As torch.nn's."""
        return self._shown("kernel_size", "stride", "padding")


class AvgPool1d(_AvgPool):
    rank = 1

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        dilation: Any = 1,
    ) -> None:
        stride = kernel_size if stride is None else stride
        # torch.nn stores, and shows, tuples here and only here.
        kernel_size, stride, padding = (
            value if isinstance(value, str) else _tuple(value, 1) for value in (kernel_size, stride, padding)
        )
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad, dilation=dilation)


class AvgPool2d(_AvgPool):
    rank = 2


class AvgPool3d(_AvgPool):
    rank = 3


class _LPPool(PoolModule):
    """p-norm over sliding windows, ``(sum |x|**p) ** (1 / p)``; as torch.nn's module of the same name, with ``|x|``.

    Args:
        norm_type: p, above 0 or infinity.
        kernel_size, stride, ceil_mode, padding, dilation: as for `MaxPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.LPPool1d(2, 2)(torch.tensor([[[3.0, -4.0, 0.0, 2.0]]]))
    tensor([[[5., 2.]]])
    """

    fields = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "norm_type")
    extras: ClassVar = {"padding": 0, "dilation": 1}

    def __init__(
        self,
        norm_type: float,
        kernel_size: Any,
        stride: Any = None,
        ceil_mode: bool = False,
        *,
        padding: Any = 0,
        dilation: Any = 1,
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode
        self.padding = padding
        self.dilation = dilation
        self._check()

    @staticmethod
    def build(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, norm_type: Any) -> Parts:
        """The window and reducer of these settings."""
        p = number(norm_type, "norm_type", low=0.0, allow_inf=True)
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), Lp(p)

    def extra_repr(self) -> str:
        """As torch.nn's."""
        return self._shown("norm_type", "kernel_size", "stride", "ceil_mode")


class LPPool1d(_LPPool):
    rank = 1


class LPPool2d(_LPPool):
    rank = 2


class LPPool3d(_LPPool):
    rank = 3


class _AdaptiveMaxPool(PoolModule):
    """Maximum over windows ``floor(i I / O) .. ceil((i + 1) I / O)``, as torch.nn's module of the same name.

    Args:
        output_size: windows per axis; None keeps an axis as it is.
        return_indices: also return the int64 positions of the maxima in the flat plane.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveMaxPool1d(2)(torch.tensor([[[3.0, 4.0, 0.0, 2.0, 1.0]]]))
    tensor([[[4., 2.]]])
    """

    fields = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices
        self._check()

    @staticmethod
    def build(output_size: Any) -> Parts:
        """The window and reducer of these settings."""
        return Adaptive(output_size), Max()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        return run(input, type(self).build, self._values(), self.rank, self.return_indices)

    def extra_repr(self) -> str:
        """As torch.nn's."""
        return self._shown("output_size")


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    rank = 3


class _AdaptiveAvgPool(PoolModule):
    """Mean over windows ``floor(i I / O) .. ceil((i + 1) I / O)``, as torch.nn's module of the same name.

    Args:
        output_size: windows per axis; None keeps an axis as it is.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveAvgPool1d(2)(torch.tensor([[[3.0, 4.0, 2.0, 2.0, 2.0]]]))
    tensor([[[3., 2.]]])
    """

    fields = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size
        self._check()

    @staticmethod
    def build(output_size: Any) -> Parts:
        """The window and reducer of these settings."""
        return Adaptive(output_size), Mean()

    def extra_repr(self) -> str:
        """As torch.nn's."""
        return self._shown("output_size")


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    rank = 3


class _MaxUnpool(Module):
    """Puts values where max pooling found them and zero elsewhere, as torch.nn's module of the same name.

    Args:
        kernel_size, stride, padding: those of the max pooling.

    Shape:
        input and indices ``(N, C, *sizes)`` or ``(C, *sizes)``; the output has the sizes given to the call as
        `output_size`, or ``(size - 1) * stride - 2 * padding + kernel_size``.

    Raises:
        PoolError: an argument breaks a rule, or an index lies outside of the output.

    >>> import torch, poolkit.nn as nn
    >>> values, indices = nn.MaxPool1d(2, return_indices=True)(torch.tensor([[[1.0, 2.0, 4.0, 3.0]]]))
    >>> nn.MaxUnpool1d(2)(values, indices)
    tensor([[[0., 2., 4., 0.]]])
    """

    rank: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _tuple(kernel_size, self.rank)
        self.stride = _tuple(stride if stride is not None else kernel_size, self.rank)
        self.padding = _tuple(padding, self.rank)
        check_arguments(self.kernel_size, self.stride, self.padding, self.rank)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Un-pools `input`."""
        return max_unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size, rank=self.rank)

    def extra_repr(self) -> str:
        """As torch.nn's."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    rank = 1


class MaxUnpool2d(_MaxUnpool):
    rank = 2


class MaxUnpool3d(_MaxUnpool):
    rank = 3
