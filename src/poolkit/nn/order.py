"""Order statistics over sliding windows: median, quantile, means of the largest cells, weights by rank."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from poolkit.errors import PoolError, flag, integer, show
from poolkit.nn._base import SlidingPool, sliding
from poolkit.reducer import Median, Ordinal, Quantile, RankMean, TopKMean
from poolkit.reducer.order import Interpolation, check_word, count_or_share
from poolkit.torch.functional import Parts, Result, run
from poolkit.window import Sliding, per_axis

Constraint = Literal["none", "softmax"]


class _Choosing(SlidingPool):
    """What median and quantile share: a word for what lies between two ranks, and perhaps indices."""

    interpolation: str
    return_indices: bool

    def _between(self, interpolation: str, return_indices: bool) -> None:
        self.interpolation = interpolation
        self.return_indices = flag(return_indices, "return_indices")
        self._check()
        if self.return_indices and interpolation in ("linear", "midpoint"):
            raise PoolError(
                f"return_indices=True with interpolation={interpolation!r}",
                f"a result between two cells has no index, and {interpolation!r} may lie there",
                "use interpolation='lower', 'higher' or 'nearest'",
            )

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        return run(input, type(self).build, self._values(), self.rank, self.return_indices)


class _MedianPool(_Choosing):
    """Median over sliding windows: the middle of the sorted cells that exist.

    ``y = x_((n - 1) / 2)`` with the n cells in rising order and ranks from 0; of an even number of cells
    `interpolation` says which. Padding takes no part.

    Source: Tukey, "Exploratory Data Analysis", 1977, chapter 7.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        interpolation: "lower" takes the lower of two middle cells, as torch.median; "midpoint" their mean, as
            numpy.median; also "higher", "nearest" and "linear".
        return_indices: also return the int64 positions of the medians in the flat, unpadded plane; not with
            "midpoint" or "linear".

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with pooled sizes; integers where a cell is chosen.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.MedianPool1d(3)(torch.tensor([[[1.0, 900.0, 2.0, 4.0, 3.0, 5.0]]]))
    tensor([[[2., 4.]]])
    """

    fields = (*SlidingPool.fields, "interpolation")
    build = sliding(Median)

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        interpolation: Interpolation = "lower",
        return_indices: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self._between(interpolation, return_indices)

    def extra_repr(self) -> str:
        """The window's settings, then interpolation."""
        return f"{super().extra_repr()}, interpolation={self.interpolation!r}"


class MedianPool1d(_MedianPool):
    rank = 1


class MedianPool2d(_MedianPool):
    rank = 2


class MedianPool3d(_MedianPool):
    rank = 3


class _QuantilePool(_Choosing):
    """Quantile over sliding windows: the cell at rank ``(n - 1) q`` of the n sorted cells that exist.

    Between two ranks `interpolation` decides, as in numpy.quantile and torch.quantile; 0 is the minimum, 1 the maximum.
    Padding takes no part.

    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996 (The American Statistician 50),
    definition 7.

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        q: 0 (minimum) to 1 (maximum).
        stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        interpolation: "linear", "lower", "higher", "nearest" (of two equally near the even rank) or "midpoint".
        return_indices: also return the int64 positions of the chosen cells in the flat, unpadded plane; only with
            "lower", "higher" and "nearest".

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with pooled sizes; integers where a cell is chosen.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.QuantilePool1d(4, 0.25)(torch.tensor([[[4.0, 1.0, 3.0, 2.0]]]))
    tensor([[[1.7500]]])
    """

    fields = (*SlidingPool.fields, "q", "interpolation")
    build = sliding(Quantile)

    def __init__(
        self,
        kernel_size: Any,
        q: float,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        interpolation: Interpolation = "linear",
        return_indices: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.q = q
        self._between(interpolation, return_indices)

    def extra_repr(self) -> str:
        """The window's settings, then q and interpolation."""
        return f"{super().extra_repr()}, q={self.q}, interpolation={self.interpolation!r}"


class QuantilePool1d(_QuantilePool):
    rank = 1


class QuantilePool2d(_QuantilePool):
    rank = 2


class QuantilePool3d(_QuantilePool):
    rank = 3


class _TopKMeanPool(SlidingPool):
    """Mean of the k largest cells over sliding windows, ``y = (x_(1) + ... + x_(k)) / k``.

    k = 1 is max pooling, all cells are average pooling without padding. Windows with fewer than k cells, at a border,
    take all they have.

    Source: rank-based average pooling of Shi, Ye and Wu, "Rank-Based Pooling for Deep Convolutional Neural Networks",
    2016 (Neural Networks 83).

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        k: an int, the number of cells; or a float in (0, 1], the share of the window's cells that exist, rounded to
            nearest and at least one.
        stride, padding, dilation, ceil_mode: as for `MinPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule; k exceeds the window.

    >>> import torch, poolkit.nn as nn
    >>> nn.TopKMeanPool1d(4, 2)(torch.tensor([[[1.0, 5.0, 2.0, 4.0]]]))
    tensor([[[4.5000]]])
    """

    fields = (*SlidingPool.fields, "k", "_kind")

    def __init__(
        self,
        kernel_size: Any,
        k: float,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.k = k
        self._check()
        _check_count(k, "k", kernel_size, self.rank)

    @property
    def _kind(self) -> str:
        return type(self.k).__name__  # 1 and 1.0 are equal, and settings are remembered by their values

    @staticmethod
    def build(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, k: Any, _: str) -> Parts:
        """The window and reducer of these settings."""
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), TopKMean(k)

    def extra_repr(self) -> str:
        """The window's settings, then k."""
        return f"{super().extra_repr()}, k={self.k}"


class TopKMeanPool1d(_TopKMeanPool):
    rank = 1


class TopKMeanPool2d(_TopKMeanPool):
    rank = 2


class TopKMeanPool3d(_TopKMeanPool):
    rank = 3


class _RankPool(SlidingPool):
    """Rank-based pooling over sliding windows: what a cell counts depends on its rank alone.

    Of the n cells that exist, ``x_(1)`` is the largest. ``mode="average"`` is ``y = (x_(1) + ... + x_(t)) / t``, which
    is `TopKMeanPool2d`; ``mode="weighted"`` is ``y = sum_r w_r x_(r)`` with ``w_r = alpha (1 - alpha)^(r - 1)``. The
    paper leaves those weights as they are, so that they sum to ``1 - (1 - alpha)^n``; here they are divided by that
    sum unless `normalize` is False. Its third pooling, which draws a rank, is `RankStochasticPool2d`.

    Source: Shi, Ye and Wu, "Rank-Based Pooling for Deep Convolutional Neural Networks", 2016 (Neural Networks 83).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        mode: "average" or "weighted".
        t: of "average": an int, the number of cells; or a float in (0, 1], their share, rounded to nearest and at
            least one.
        alpha: of "weighted": in (0, 1]; 1 is the maximum, small values approach the mean.
        normalize: of "weighted": make the weights sum to one.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule; t exceeds the window.

    >>> import torch, poolkit.nn as nn
    >>> x = torch.tensor([[[1.0, 5.0, 2.0, 4.0]]])
    >>> nn.RankPool1d(4, mode="average", t=2)(x)
    tensor([[[4.5000]]])
    >>> nn.RankPool1d(4, mode="weighted", alpha=0.5, normalize=False)(x)
    tensor([[[3.8125]]])
    """

    fields = (*SlidingPool.fields, "mode", "t", "alpha", "normalize", "_kind")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        mode: Literal["average", "weighted"] = "average",
        t: float = 0.5,
        alpha: float = 0.5,
        normalize: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.mode = mode
        self.t = t
        self.alpha = alpha
        self.normalize = normalize
        self._check()
        _check_count(t, "t", kernel_size, self.rank)

    @property
    def _kind(self) -> str:
        return type(self.t).__name__  # as for `TopKMeanPool2d`

    @staticmethod
    def build(
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: Any,
        mode: Any,
        t: Any,
        alpha: Any,
        normalize: Any,
        _: str,
    ) -> Parts:
        """The window and reducer of these settings."""
        check_word(mode, "mode", ("average", "weighted"))
        window, weighted = Sliding(kernel_size, stride, padding, dilation, ceil_mode), RankMean(alpha, normalize)
        average = TopKMean(count_or_share(t, "t"))
        return window, average if mode == "average" else weighted

    def extra_repr(self) -> str:
        """The window's settings, then the mode and its own."""
        own = f"t={self.t}" if self.mode == "average" else f"alpha={self.alpha}, normalize={self.normalize}"
        return f"{super().extra_repr()}, mode={self.mode!r}, {own}"


class RankPool1d(_RankPool):
    rank = 1


class RankPool2d(_RankPool):
    rank = 2


class RankPool3d(_RankPool):
    rank = 3


class _OrdinalPool(SlidingPool):
    """Learned sum of the sorted cells over sliding windows: a weight for each rank, ``y = sum_r w_r x_(r)``.

    ``x_(1)`` is the largest cell. The weights begin as those of the mean; maximum, minimum, median and all trimmed
    means are within reach. With ``constraint="softmax"`` ``w = softmax(weight)``: not negative, sum one, the ordered
    weighted average proper, whose result stays between the smallest and the largest cell. With "none" w is the
    parameter itself, so that differences of cells can be learned, too. Windows with fewer cells than the kernel, at a
    border, share the weights out as a step function over the quantiles, so that their sum stays what it is.

    Source: Yager, "On Ordered Weighted Averaging Aggregation Operators in Multicriteria Decisionmaking", 1988 (IEEE
    Transactions on Systems, Man and Cybernetics 18); as pooling: Kumar, "Ordinal Pooling Networks", 2018.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        channels: channels of the input, for a row of weights each; None: one row for all.
        constraint: "softmax" or "none".

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes. ``weight`` is
        ``[channels or 1, cells of the kernel]``, the largest cell's first.

    Raises:
        PoolError: an argument breaks a rule, or the input has another number of channels.

    >>> import torch, poolkit.nn as nn
    >>> pool = nn.OrdinalPool1d(2, constraint="none")
    >>> with torch.no_grad():
    ...     weight = pool.weight.copy_(torch.tensor([[1.0, -1.0]]))
    >>> pool(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]])).detach()
    tensor([[[2., 1.]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        channels: int | None = None,
        constraint: Constraint = "softmax",
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.channels = None if channels is None else integer(channels, "channels", 1)
        check_word(constraint, "constraint", ("softmax", "none"))
        self.constraint = constraint
        self._check()
        self.weight = nn.Parameter(torch.empty(self.channels or 1, _cells(kernel_size, self.rank)))
        self.reset_parameters()

    @staticmethod
    def build(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any) -> Parts:
        """The window and reducer of these settings; the weights come with each call."""
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), Ordinal((1.0,))

    def reset_parameters(self) -> None:
        """Begins with the mean."""
        nn.init.constant_(self.weight, 0.0 if self.constraint == "softmax" else 1 / self.weight.shape[1])

    @property
    def weights(self) -> Tensor:
        """The weight of each rank as it is used."""
        return self.weight.softmax(1) if self.constraint == "softmax" else self.weight

    def forward(self, input: Tensor) -> Result:
        """Pools `input`."""
        if self.channels is not None and isinstance(input, Tensor) and input.dim() > self.rank:  # pyright: ignore[reportUnnecessaryIsInstance]
            given = input.shape[-self.rank - 1]
            if given != self.channels:
                raise PoolError(
                    f"input of shape {tuple(input.shape)} with channels={self.channels}",
                    f"the input has {self.channels} channels, here {given}",
                    "make the module with channels=None, or with the input's number",
                )
        return run(input, type(self).build, self._values(), self.rank, extra=self.weights)

    def extra_repr(self) -> str:
        """The window's settings, then channels and constraint."""
        return f"{super().extra_repr()}, channels={self.channels}, constraint={self.constraint!r}"


class OrdinalPool1d(_OrdinalPool):
    rank = 1


class OrdinalPool2d(_OrdinalPool):
    rank = 2


class OrdinalPool3d(_OrdinalPool):
    rank = 3


def _cells(kernel_size: Any, rank: int) -> int:
    return math.prod(per_axis(kernel_size, "kernel_size", 1, rank))


def _check_count(count: Any, name: str, kernel_size: Any, rank: int) -> None:
    """A number of cells is at most the kernel's; reported when the module is made."""
    cells = _cells(kernel_size, rank)
    if isinstance(count, int) and count > cells:
        raise PoolError(
            f"{name}={show(count)} with kernel_size={show(kernel_size)}",
            f"{name} <= the cells of a window, here {cells}",
            f"pass a smaller {name}, or a share such as {name}=0.5",
        )
