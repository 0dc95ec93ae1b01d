"""Mean and maximum in equal parts, or side by side, over sliding and adaptive windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from poolkit.nn._base import PoolModule, SlidingPool, sliding
from poolkit.nn._tokens import choice
from poolkit.reducer import Max, Mean, Mixed
from poolkit.torch.functional import Parts, run
from poolkit.window import Adaptive, Sliding

if TYPE_CHECKING:
    from torch import Tensor

First = Literal["avg", "max"]


class _AvgMaxPool(SlidingPool):
    """The mean of average and maximum over sliding windows, ``y = (mean x + max x) / 2``, in one pass.

    Source: the layer ``avgmax`` of timm (2019); Lee, Gallagher and Tu, 2016 (arXiv:1509.08985) mix with a learned
    share: `MixedPool2d`.

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        stride: distance between windows; None means `kernel_size`.
        padding: cells added on both sides, neither chosen nor counted; also ``"same"``, ``"valid"`` or (before, after)
            pairs.
        dilation: distance between the cells of a window.
        ceil_mode: keep a last window that overhangs the end.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AvgMaxPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]]))
    tensor([[[2.5000, 4.7500]]])
    """

    build = sliding(Mixed)

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self._check()


class AvgMaxPool1d(_AvgMaxPool):
    rank = 1


class AvgMaxPool2d(_AvgMaxPool):
    rank = 2


class AvgMaxPool3d(_AvgMaxPool):
    rank = 3


class _AdaptiveAvgMaxPool(PoolModule):
    """The mean of average and maximum over windows that share out the input, as timm's module of the same name.

    Args:
        output_size: windows per axis, 1 for one over everything; None keeps an axis as it is.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveAvgMaxPool1d()(torch.tensor([[[1.0, 3.0, 5.0, 3.0]]]))
    tensor([[[4.]]])
    """

    fields = ("output_size",)

    def __init__(self, output_size: Any = 1) -> None:
        super().__init__()
        self.output_size = output_size
        self._check()

    @staticmethod
    def build(output_size: Any) -> Parts:
        """The window and reducer of these settings."""
        return Adaptive(output_size), Mixed()

    def extra_repr(self) -> str:
        """output_size."""
        return self._shown("output_size")


class AdaptiveAvgMaxPool1d(_AdaptiveAvgMaxPool):
    rank = 1


class AdaptiveAvgMaxPool2d(_AdaptiveAvgMaxPool):
    rank = 2


class AdaptiveAvgMaxPool3d(_AdaptiveAvgMaxPool):
    rank = 3


def _side_by_side(module: PoolModule, input: Tensor, settings: tuple[Any, ...], first: str) -> Tensor:
    """What the module's ``average`` and ``maximum`` give, one after the other along the channels."""
    kind: Any = type(module)
    builds = (kind.average, kind.maximum) if first == "avg" else (kind.maximum, kind.average)
    pooled: list[Any] = [run(input, build, settings, module.rank) for build in builds]
    return torch.cat(pooled, -module.rank - 1)


class _CatAvgMaxPool(_AvgMaxPool):
    """Average and maximum over sliding windows side by side: twice the channels.

    ``y = [mean x; max x]`` along the channels, or with ``first="max"`` the other way round. Padding counts in neither.

    Source: ``AdaptiveConcatPool2d`` of fastai (2017), which puts the maximum first, and ``catavgmax`` of timm (2019),
    which puts the average first, as is the default here.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `AvgMaxPool2d`.
        first: ``"avg"`` or ``"max"``, the first C channels.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` of any real dtype, to the same with ``2 C`` channels and pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.CatAvgMaxPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]]))
    tensor([[[2.0000, 4.5000],
             [3.0000, 5.0000]]])
    """

    maximum = sliding(Max)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        first: First = "avg",
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.first = choice(first, "first", ("avg", "max"))

    @staticmethod
    def average(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any) -> Parts:
        """The window, and the mean of the cells that exist."""
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), Mean(count_include_pad=False)

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        return _side_by_side(self, input, self._values(), self.first)

    def extra_repr(self) -> str:
        """The window's settings, then first."""
        return f"{super().extra_repr()}, first={self.first!r}"


class CatAvgMaxPool1d(_CatAvgMaxPool):
    rank = 1


class CatAvgMaxPool2d(_CatAvgMaxPool):
    rank = 2


class CatAvgMaxPool3d(_CatAvgMaxPool):
    rank = 3


class _AdaptiveCatAvgMaxPool(_AdaptiveAvgMaxPool):
    """Average and maximum over windows that share out the input, side by side: twice the channels.

    As timm's module of the same name; ``first="max"`` is fastai's ``AdaptiveConcatPool2d``.

    Args:
        output_size: windows per axis, 1 for one over everything; None keeps an axis as it is.
        first: ``"avg"`` or ``"max"``, the first C channels.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` of any real dtype, to the same with ``2 C`` channels and sizes
        `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveCatAvgMaxPool1d()(torch.tensor([[[1.0, 3.0, 5.0, 3.0]]]))
    tensor([[[3.],
             [5.]]])
    """

    def __init__(self, output_size: Any = 1, *, first: First = "avg") -> None:
        super().__init__(output_size)
        self.first = choice(first, "first", ("avg", "max"))

    @staticmethod
    def average(output_size: Any) -> Parts:
        """The window and the mean."""
        return Adaptive(output_size), Mean()

    @staticmethod
    def maximum(output_size: Any) -> Parts:
        """The window and the maximum."""
        return Adaptive(output_size), Max()

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        return _side_by_side(self, input, self._values(), self.first)

    def extra_repr(self) -> str:
        """output_size, first."""
        return f"{super().extra_repr()}, first={self.first!r}"


class AdaptiveCatAvgMaxPool1d(_AdaptiveCatAvgMaxPool):
    rank = 1


class AdaptiveCatAvgMaxPool2d(_AdaptiveCatAvgMaxPool):
    rank = 2


class AdaptiveCatAvgMaxPool3d(_AdaptiveCatAvgMaxPool):
    rank = 3
