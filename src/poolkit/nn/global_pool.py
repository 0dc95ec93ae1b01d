"""One window over the whole map, with every reducer.

Each family is written once, without a rank; the classes with a rank in their names only say which, and take their
docstrings from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from poolkit.errors import number
from poolkit.nn._base import RankedPool
from poolkit.reducer import RMS, LogSumExp, Lp, Max, Mean, Min, PowerMean, Reducer, Soft, Sum
from poolkit.torch.functional import Parts, Result, run
from poolkit.window import Global

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _whole(reducer: Callable[..., Reducer]) -> Callable[..., Parts]:
    """The ``build`` of modules whose settings are keepdims, then the reducer's."""

    def build(keepdims: Any, *rest: Any) -> Parts:
        return Global(keepdims), reducer(*rest)

    return staticmethod(build)


def _norm(norm_type: Any) -> Lp:
    return Lp(number(norm_type, "norm_type", low=0.0, allow_inf=True))


class _GlobalPool(RankedPool):
    fields = ("keepdims",)

    def __init__(self, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = keepdims
        self._check()


class _GlobalSelect(RankedPool):
    fields = ("keepdims",)
    extras: ClassVar = {"return_indices": False}

    def __init__(self, keepdims: bool = False, return_indices: bool = False) -> None:
        super().__init__()
        self.keepdims = keepdims
        self.return_indices = return_indices
        self._check()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        return run(input, type(self).build, self._values(), self.rank, self.return_indices)


class _GlobalMaxPool(_GlobalSelect):
    """Maximum over the whole map, {n}-D.

    ``y = max x``; of equal cells the first in row-major order is chosen and alone receives the gradient.

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.
        return_indices: also give the int64 positions of the chosen cells in the flat plane.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes of any real dtype, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalMaxPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(Max)


class GlobalMaxPool1d(_GlobalMaxPool):
    rank = 1


class GlobalMaxPool2d(_GlobalMaxPool):
    rank = 2


class GlobalMaxPool3d(_GlobalMaxPool):
    rank = 3


class _GlobalMinPool(_GlobalSelect):
    """Minimum over the whole map, {n}-D.

    ``y = min x``; of equal cells the first in row-major order is chosen and alone receives the gradient.

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.
        return_indices: also give the int64 positions of the chosen cells in the flat plane.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes of any real dtype, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalMinPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(Min)


class GlobalMinPool1d(_GlobalMinPool):
    rank = 1


class GlobalMinPool2d(_GlobalMinPool):
    rank = 2


class GlobalMinPool3d(_GlobalMinPool):
    rank = 3


class _GlobalAvgPool(_GlobalPool):
    """Mean over the whole map, {n}-D (Lin, Chen and Yan, 2014, arXiv:1312.4400).

    ``y = sum x / n``

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes of any real dtype, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalAvgPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(Mean)


class GlobalAvgPool1d(_GlobalAvgPool):
    rank = 1


class GlobalAvgPool2d(_GlobalAvgPool):
    rank = 2


class GlobalAvgPool3d(_GlobalAvgPool):
    rank = 3


class _GlobalSumPool(_GlobalPool):
    """Sum over the whole map, {n}-D (SPoC: Babenko and Lempitsky, 2015, arXiv:1510.07493).

    ``y = sum x``; integers give int64.

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes of any real dtype, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalSumPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(Sum)


class GlobalSumPool1d(_GlobalSumPool):
    rank = 1


class GlobalSumPool2d(_GlobalSumPool):
    rank = 2


class GlobalSumPool3d(_GlobalSumPool):
    rank = 3


class _GlobalRMSPool(_GlobalPool):
    """Root mean square over the whole map, {n}-D.

    ``y = sqrt(mean x**2)``

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalRMSPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(RMS)


class GlobalRMSPool1d(_GlobalRMSPool):
    rank = 1


class GlobalRMSPool2d(_GlobalRMSPool):
    rank = 2


class GlobalRMSPool3d(_GlobalRMSPool):
    rank = 3


class _GlobalLpPool(RankedPool):
    """p-norm over the whole map, {n}-D.

    ``y = (sum |x|**p) ** (1 / p)``

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.
        norm_type: p, above 0 or infinity.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalLpPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(_norm)
    fields = ("keepdims", "norm_type")

    def __init__(self, norm_type: float = 2.0, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = keepdims
        self.norm_type = norm_type
        self._check()


class GlobalLpPool1d(_GlobalLpPool):
    rank = 1


class GlobalLpPool2d(_GlobalLpPool):
    rank = 2


class GlobalLpPool3d(_GlobalLpPool):
    rank = 3


class _GlobalPowerMeanPool(RankedPool):
    """Generalized mean over the whole map, {n}-D (GeM: Radenovic et al., 2018, arXiv:1711.02512).

    ``y = (mean max(x, eps)**p) ** (1 / p)``

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.
        p: above 0 and finite; 1 is the mean, large values approach the maximum.
        eps: cells below it count as it.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalPowerMeanPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(PowerMean)
    fields = ("keepdims", "p", "eps")

    def __init__(self, keepdims: bool = False, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.keepdims = keepdims
        self.p = p
        self.eps = eps
        self._check()


class GlobalPowerMeanPool1d(_GlobalPowerMeanPool):
    rank = 1


class GlobalPowerMeanPool2d(_GlobalPowerMeanPool):
    rank = 2


class GlobalPowerMeanPool3d(_GlobalPowerMeanPool):
    rank = 3


class _GlobalSoftPool(RankedPool):
    """Softmax-weighted mean over the whole map, {n}-D (Stergiou et al., 2021, arXiv:2101.00440).

    ``y = sum x e**(beta x) / sum e**(beta x)``

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.
        beta: sharpness; finite and not 0, large values approach the maximum.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalSoftPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(Soft)
    fields = ("keepdims", "beta")

    def __init__(self, keepdims: bool = False, *, beta: float = 1.0) -> None:
        super().__init__()
        self.keepdims = keepdims
        self.beta = beta
        self._check()


class GlobalSoftPool1d(_GlobalSoftPool):
    rank = 1


class GlobalSoftPool2d(_GlobalSoftPool):
    rank = 2


class GlobalSoftPool3d(_GlobalSoftPool):
    rank = 3


class _GlobalLogSumExpPool(RankedPool):
    """Smooth maximum over the whole map, {n}-D (Pinheiro and Collobert, 2015, arXiv:1411.6228).

    ``y = log(mean e**(beta x)) / beta``

    Args:
        keepdims: keep the pooled axes with size 1; False drops them.
        beta: sharpness; finite and not 0, large values approach the maximum.
        mean: logarithm of the mean (True) or of the sum.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to ``(N, C)`` or ``(C,)``;
        with `keepdims` to {n} more sizes of 1.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GlobalLogSumExpPool{n}d()(torch.ones(2, 3, {sizes})).shape
    torch.Size([2, 3])
    """

    build = _whole(LogSumExp)
    fields = ("keepdims", "beta", "mean")

    def __init__(self, keepdims: bool = False, *, beta: float = 1.0, mean: bool = True) -> None:
        super().__init__()
        self.keepdims = keepdims
        self.beta = beta
        self.mean = mean
        self._check()


class GlobalLogSumExpPool1d(_GlobalLogSumExpPool):
    rank = 1


class GlobalLogSumExpPool2d(_GlobalLogSumExpPool):
    rank = 2


class GlobalLogSumExpPool3d(_GlobalLogSumExpPool):
    rank = 3
