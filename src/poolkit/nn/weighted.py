"""Windows whose power, sharpness, mixture or filter is learned; without a kernel_size over everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn import Module, Parameter

from poolkit.errors import PoolError, flag, integer, number, show
from poolkit.nn._base import SlidingPool
from poolkit.nn._parameters import FilteringPool, LearnedPool
from poolkit.nn._tokens import masked_softmax, signals, unless_empty, wide
from poolkit.reducer import Ada, Boltzmann, GeM, PowerMean
from poolkit.reducer.weighted import LEAST_POWER
from poolkit.torch.functional import Parts, run
from poolkit.window import sliding_or_everything

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.reducer.weighted import Weighting


class _SwitchedPool(LearnedPool):
    """A number that is learned, or fixed with ``learned=False``."""

    extras: ClassVar = {"channels": None, "learned": True}

    def __init__(
        self,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: bool,
        channels: int | None,
        learned: bool,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels)
        self.learned = flag(learned, "learned")
        if channels is not None and not self.learned:
            raise PoolError(
                f"channels={show(channels)} with learned=False",
                "channels says that each channel learns a value of its own",
                "drop channels, or learned=False",
            )

    def _start(self, value: float) -> Any:
        return self._values_of(value) if self.learned else value

    def _run(self, input: Tensor, values: Tensor | None, *fixed: float) -> Tensor:
        """Pools with learned values, or with fixed ones among the settings."""
        extra = None if values is None else self._spread(values)
        y: Any = run(input, type(self).build, (*self._values(), *fixed), self.rank, extra=extra)
        return y


class _GeMPool(_SwitchedPool):
    """Generalized-mean pooling with a learned power, ``y = (mean max(x, eps)**p) ** (1 / p)``.

    Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018
    (arXiv:1711.02512), equation 3; the power is shared, or each feature map learns its own.

    p = 1 is the mean and large powers approach the maximum. Cells below `eps` count as `eps` and receive no gradient. A
    learned power that falls below 0.01 counts as 0.01.

    Args:
        kernel_size: cells of a window, an int or one per axis; None for one window over everything.
        stride: distance between windows; None means `kernel_size`.
        padding: cells added on both sides, which never count; also ``"same"``, ``"valid"`` or (before, after) pairs.
        dilation: distance between the cells of a window.
        ceil_mode: keep a last window that overhangs the end.
        p: every power before training; at least 0.01.
        eps: cells below it count as it.
        channels: channels of the input, each with a power of its own; None shares one.
        learned: False keeps p as it is, as `PowerMeanPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes: 1 each without a kernel_size.
        The parameter ``p`` is ``(1,)`` or ``(channels,)``.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> nn.GeMPool2d(p=2)(torch.tensor([[[1.0, 7.0], [1.0, 7.0]]])).detach()
    tensor([[[5.]]])
    """

    fields = (*SlidingPool.fields, "eps")
    extras: ClassVar = {**_SwitchedPool.extras, "eps": 1e-6}

    def __init__(
        self,
        kernel_size: Any = None,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        p: float = 3.0,
        eps: float = 1e-6,
        channels: int | None = None,
        learned: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels, learned)
        self.eps = eps
        self._check()
        self.p = self._start(number(p, "p", low=LEAST_POWER, open_low=False))

    @staticmethod
    def build(
        kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, eps: Any, p: Any = None
    ) -> Parts:
        """The window, and the power mean of a power that comes beside the input, or of p."""
        window = sliding_or_everything(kernel_size, stride, padding, dilation, ceil_mode)
        return window, GeM(eps=eps) if p is None else PowerMean(p, eps)

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        if self.learned:
            return self._run(input, self.p.clamp(min=LEAST_POWER))
        return self._run(input, None, self.p)


class GeMPool1d(_GeMPool):
    rank = 1


class GeMPool2d(_GeMPool):
    rank = 2


class GeMPool3d(_GeMPool):
    rank = 3


class _BoltzmannPool(_SwitchedPool):
    """Softmax-weighted mean with a learned sharpness, ``y = sum x e**(beta x) / sum e**(beta x)``.

    beta = 0 is the mean, large values approach the maximum and negative ones the minimum.

    Source: the Boltzmann operator, Asadi and Littman, 2017 (arXiv:1612.05628); with a learned sharpness McFee,
    Salamon and Bello, "Adaptive Pooling Operators for Weakly Labeled Sound Event Detection", 2018 (arXiv:1804.10070).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `GeMPool2d`.
        beta: every sharpness before training; finite.
        channels: channels of the input, each with a sharpness of its own; None shares one.
        learned: False keeps beta as it is, as `SoftPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes: 1 each without a kernel_size.
        The parameter ``beta`` is ``(1,)`` or ``(channels,)``.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> nn.BoltzmannPool1d(2, beta=0.0)(torch.tensor([[[1.0, 3.0, 0.0, 100.0]]])).detach()
    tensor([[[ 2., 50.]]])
    """

    def __init__(
        self,
        kernel_size: Any = None,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        beta: float = 1.0,
        channels: int | None = None,
        learned: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels, learned)
        self._check()
        self.beta = self._start(number(beta, "beta", low=-torch.inf))

    @staticmethod
    def build(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, beta: Any = 1.0) -> Parts:
        """The window, and the softmax of a sharpness that comes beside the input, or of beta."""
        return sliding_or_everything(kernel_size, stride, padding, dilation, ceil_mode), Boltzmann(beta)

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        return self._run(input, self.beta) if self.learned else self._run(input, None, self.beta)


class BoltzmannPool1d(_BoltzmannPool):
    rank = 1


class BoltzmannPool2d(_BoltzmannPool):
    rank = 2


class BoltzmannPool3d(_BoltzmannPool):
    rank = 3


class _AdaPool(_SwitchedPool):
    """Weights by likeness to the window's mean, mixed with soft pooling: ``y = b like(x) + (1 - b) soft(x)``.

    ``soft(x) = sum x e**x / sum e**x``. With the mean m of the window, ``like`` weighs cells by the softmax of the
    Dice-Soerensen coefficient ``2 |x m| / (x**2 + m**2)`` (``"edscw"``; 0 where both are 0), or by ``1 / (|x - m| +
    eps)`` (``"idw"``).

    Source: Stergiou and Poppe, "AdaPool: Exponential Adaptive Pooling for Information-Retaining Downsampling", 2022
    (arXiv:2111.00772). The published code has one b for each place of the output, so that a layer takes the one input
    size it was made for; here it belongs to the layer or the channel, and any size will do. There a coefficient
    of 0 / 0 is NaN, rewritten to 0 in the output.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `GeMPool2d`.
        weighting: ``"edscw"`` or ``"idw"``.
        beta: every share b before training, in [0, 1].
        eps: for ``"idw"``.
        channels: channels of the input, each with a share of its own; None has one.
        learned: False keeps beta as it is.
        clamp: shares that training drives out of [0, 1] count as the nearer end, and receive no gradient there.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes: 1 each without a kernel_size.
        The parameter ``beta`` is ``(1,)`` or ``(channels,)``.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaPool1d(2)(torch.tensor([[[2.0, 2.0, 0.0, 0.0]]])).detach()
    tensor([[[2., 0.]]])
    """

    fields = (*SlidingPool.fields, "weighting", "eps")
    extras: ClassVar = {**_SwitchedPool.extras, "eps": 1e-6, "clamp": True}

    def __init__(
        self,
        kernel_size: Any = None,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        weighting: Weighting = "edscw",
        beta: float = 0.5,
        eps: float = 1e-6,
        channels: int | None = None,
        learned: bool = True,
        clamp: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels, learned)
        self.weighting = weighting
        self.eps = eps
        self._check()
        self.clamp = flag(clamp, "clamp")
        self.beta = self._start(Ada(beta).beta)

    @staticmethod
    def build(
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: Any,
        weighting: Any,
        eps: Any,
        beta: Any = 0.5,
    ) -> Parts:
        """The window, and the mixture of a share that comes beside the input, or of beta."""
        return sliding_or_everything(kernel_size, stride, padding, dilation, ceil_mode), Ada(beta, weighting, eps)

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        if not self.learned:
            return self._run(input, None, self.beta)
        return self._run(input, self.beta.clamp(0, 1) if self.clamp else self.beta)

    def extra_repr(self) -> str:
        """The window's settings, then weighting."""
        return f"{super().extra_repr()}, weighting={self.weighting!r}"


class AdaPool1d(_AdaPool):
    rank = 1


class AdaPool2d(_AdaPool):
    rank = 2


class AdaPool3d(_AdaPool):
    rank = 3


class _FilterPool(FilteringPool):
    """A learned weight for each cell of the kernel, ``y = sum_i w_i x_i``.

    A depthwise convolution without bias over any of the library's windows; cells outside the input count as 0. One
    leaf of `TreePool2d`.

    Source: the pooling filters of Lee, Gallagher and Tu, 2016 (arXiv:1509.08985), section 3.3.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MixedPool2d`.
        channels: channels of the input, each with a filter of its own; None shares one.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes. The parameter ``weight`` is
        ``(1 or channels, *kernel)`` and starts as the mean over the kernel.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> nn.FilterPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]])).detach()
    tensor([[[2.0000, 4.5000]]])
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
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels)
        self.weight = Parameter(self._weights() + 1 / self.cells)

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        return self._filter(input, self.weight)


class FilterPool1d(_FilterPool):
    rank = 1


class FilterPool2d(_FilterPool):
    rank = 2


class FilterPool3d(_FilterPool):
    rank = 3


class AutoPool1d(Module):
    """Softmax-weighted mean over time with a learned sharpness for each class, between mean and maximum.

    ``y_c = sum_t w_ct x_ct`` with ``w_c = softmax_t(alpha_c x_ct)``. Each alpha starts at 0, the mean.

    Source: McFee, Salamon and Bello, "Adaptive Pooling Operators for Weakly Labeled Sound Event Detection", 2018
    (arXiv:1804.10070). Its constrained and regularized forms bound alpha or add its square to the loss: clamp the
    parameter after a step, or use the optimizer's weight decay.

    Args:
        channels: channels of the input, one for each class.

    Shape:
        ``(N, channels, L)`` or ``(channels, L)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real element), or
        with int64 ``lengths`` ``(N,)`` or ``()``, or with neither; to ``(N, channels)`` or ``(channels,)``. A row
        without a real element gives zeros. Inputs are usually probabilities. The parameter ``alpha`` is
        ``(channels,)``.

    Raises:
        PoolError: an argument breaks a rule, or the input, mask or lengths do not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.AutoPool1d(1)(torch.tensor([[[0.5, 1.0, 9.0]]]), lengths=torch.tensor([2])).detach()
    tensor([[0.7500]])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = integer(channels, "channels", 1)
        self.alpha = Parameter(torch.zeros(self.channels))

    def forward(self, input: Tensor, mask: Tensor | None = None, *, lengths: Tensor | None = None) -> Tensor:
        """Pools over time."""
        given, mask, single = signals(input, mask, lengths, ("channels", self.channels))
        x = wide(given)
        if mask is not None:
            x = x.masked_fill(~mask.unsqueeze(1), 0.0)
        scores = wide(self.alpha).unsqueeze(-1) * x
        weights = masked_softmax(scores, None if mask is None else mask.unsqueeze(1), -1)
        y = unless_empty((weights * x).sum(-1), mask).to(given.dtype)
        return y[0] if single else y

    def extra_repr(self) -> str:
        """channels."""
        return f"{self.channels}"
