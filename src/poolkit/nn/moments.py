"""Spread over sliding windows: variance and standard deviation."""

from __future__ import annotations

from typing import Any

from poolkit.nn._base import SlidingPool, sliding
from poolkit.reducer import Std, Var


class _VarPool(SlidingPool):
    """Variance over sliding windows, ``y = mean (x - mean x)^2`` of the cells that exist.

    The differences are squared, not ``mean x^2 - (mean x)^2`` taken, so that nothing cancels far from zero. Padding
    takes no part.

    Source: Fisher, 1918 (Transactions of the Royal Society of Edinburgh 52), who named it; as pooling over whole maps
    it stands in style and texture statistics.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        unbiased: divide by ``n - 1`` instead of n. The variance of one cell alone is 0.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.VarPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 5.0]]]))
    tensor([[[1., 0.]]])
    """

    fields = (*SlidingPool.fields, "unbiased")
    build = sliding(Var)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        unbiased: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.unbiased = unbiased
        self._check()

    def extra_repr(self) -> str:
        """The window's settings, then unbiased."""
        return f"{super().extra_repr()}, unbiased={self.unbiased}"


class VarPool1d(_VarPool):
    rank = 1


class VarPool2d(_VarPool):
    rank = 2


class VarPool3d(_VarPool):
    rank = 3


class _StdPool(_VarPool):
    """Standard deviation over sliding windows, the root of the variance of the cells that exist.

    Where all cells of a window are equal the result is 0, and so is its gradient. Padding takes no part.

    Source: Pearson, 1894 (Philosophical Transactions of the Royal Society A 185), who named it.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        unbiased: divide the squares by ``n - 1`` instead of n. The deviation of one cell alone is 0.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.StdPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 2.0]]]))
    tensor([[[2., 0.]]])
    """

    build = sliding(Std)


class StdPool1d(_StdPool):
    rank = 1


class StdPool2d(_StdPool):
    rank = 2


class StdPool3d(_StdPool):
    rank = 3
