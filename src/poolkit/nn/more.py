"""The reducers that torch.nn has no module for, over sliding windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolkit.nn._base import SlidingPool, sliding
from poolkit.reducer import RMS, LogSumExp, Min, PowerMean, Soft, Sum
from poolkit.torch.functional import Result, run

if TYPE_CHECKING:
    from torch import Tensor


class _MinPool(SlidingPool):
    """Minimum over sliding windows; padding is never chosen.

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        stride: distance between windows; None means `kernel_size`.
        padding: cells added on both sides; also ``"same"``, ``"valid"`` or (before, after) pairs.
        dilation: distance between the cells of a window.
        return_indices: also return the int64 positions of the minima in the flat, unpadded plane.
        ceil_mode: keep a last window that overhangs the end.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` of any real dtype to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.MinPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]]))
    tensor([[[1., 4.]]])
    """

    build = sliding(Min)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices = return_indices
        self._check()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        return run(input, type(self).build, self._values(), self.rank, self.return_indices)


class MinPool1d(_MinPool):
    rank = 1


class MinPool2d(_MinPool):
    rank = 2


class MinPool3d(_MinPool):
    rank = 3


class _SumPool(SlidingPool):
    """Sum over sliding windows; integers give int64.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.SumPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]]))
    tensor([[[4., 9.]]])
    """

    build = sliding(Sum)

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self._check()


class SumPool1d(_SumPool):
    rank = 1


class SumPool2d(_SumPool):
    rank = 2


class SumPool3d(_SumPool):
    rank = 3


class _RMSPool(_SumPool):
    """Root mean square over sliding windows, ``sqrt(mean x**2)`` of the cells that exist.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.RMSPool1d(2)(torch.tensor([[[1.0, -7.0, 3.0, 3.0]]]))
    tensor([[[5., 3.]]])
    """

    build = sliding(RMS)


class RMSPool1d(_RMSPool):
    rank = 1


class RMSPool2d(_RMSPool):
    rank = 2


class RMSPool3d(_RMSPool):
    rank = 3


class _SoftPool(SlidingPool):
    """Softmax-weighted mean over sliding windows, ``sum x e**(beta x) / sum e**(beta x)`` (Stergiou et al., 2021).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        beta: sharpness; finite and not 0, large values approach the maximum.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.SoftPool1d(2)(torch.tensor([[[2.0, 2.0, 0.0, 100.0]]]))
    tensor([[[  2., 100.]]])
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

    def extra_repr(self) -> str:
        """The window's settings, then beta."""
        return f"{super().extra_repr()}, beta={self.beta}"


class SoftPool1d(_SoftPool):
    rank = 1


class SoftPool2d(_SoftPool):
    rank = 2


class SoftPool3d(_SoftPool):
    rank = 3


class _LogSumExpPool(SlidingPool):
    """Smooth maximum over sliding windows, ``log(mean e**(beta x)) / beta`` (Pinheiro and Collobert, 2015).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        beta: sharpness; finite and not 0.
        mean: log of the mean over the cells that exist, or of their sum.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.LogSumExpPool1d(2)(torch.tensor([[[1.0, 1.0, 3.0, 3.0]]]))
    tensor([[[1., 3.]]])
    """

    fields = (*SlidingPool.fields, "beta", "mean")
    build = sliding(LogSumExp)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        beta: float = 1.0,
        mean: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.beta = beta
        self.mean = mean
        self._check()

    def extra_repr(self) -> str:
        """The window's settings, then beta and mean."""
        return f"{super().extra_repr()}, beta={self.beta}, mean={self.mean}"


class LogSumExpPool1d(_LogSumExpPool):
    rank = 1


class LogSumExpPool2d(_LogSumExpPool):
    rank = 2


class LogSumExpPool3d(_LogSumExpPool):
    rank = 3


class _PowerMeanPool(SlidingPool):
    """Generalized mean over sliding windows, ``(mean max(x, eps)**p) ** (1 / p)`` (Radenovic et al., 2018).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        p: above 0 and finite; 1 is the mean, large values approach the maximum.
        eps: cells below it count as it.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.PowerMeanPool1d(2, p=2)(torch.tensor([[[1.0, 7.0, 3.0, 3.0]]]))
    tensor([[[5., 3.]]])
    """

    fields = (*SlidingPool.fields, "p", "eps")
    build = sliding(PowerMean)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        p: float = 3.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.p = p
        self.eps = eps
        self._check()

    def extra_repr(self) -> str:
        """The window's settings, then p and eps."""
        return f"{super().extra_repr()}, p={self.p}, eps={self.eps}"


class PowerMeanPool1d(_PowerMeanPool):
    rank = 1


class PowerMeanPool2d(_PowerMeanPool):
    rank = 2


class PowerMeanPool3d(_PowerMeanPool):
    rank = 3
