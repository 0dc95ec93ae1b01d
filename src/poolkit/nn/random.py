"""Random poolings over sliding windows: training draws, evaluation takes the mean over all draws."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from poolkit.errors import PoolTypeError, integer, show
from poolkit.nn._base import SlidingPool
from poolkit.reducer import MaxDrop, Mixed, RankStochastic, Stochastic
from poolkit.reducer.order import check_word, share
from poolkit.reducer.random import Activation
from poolkit.torch.functional import Parts, Result, run
from poolkit.torch.samples import Seed, uniforms
from poolkit.window import Sliding

Per = Literal["layer", "channel", "sample", "plane"]


def source_of(generator: object) -> Seed:
    """`generator` of a forward pass after its check."""
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    try:
        return integer(generator, "generator", 0)
    except PoolTypeError:
        raise PoolTypeError(
            f"generator={show(generator)}",
            f"generator is a torch.Generator, an int or None, here {type(generator).__name__}",
            "pass torch.Generator().manual_seed(0), for example",
        ) from None


class _RandomPool(SlidingPool):
    """What the random poolings share: `generator`, and the switch between drawing and the mean over all draws."""

    def forward(self, input: Tensor, *, generator: Seed = None) -> Result:
        """Pools `input`: training draws, evaluation gives the mean over all draws."""
        return run(input, type(self).build, self._values(), self.rank, seed=source_of(generator))


class _StochasticPool(_RandomPool):
    """Stochastic pooling over sliding windows: one cell of each, drawn in proportion to its activation.

    Training gives ``y = x_i`` with probability ``p_i = a_i / (a_1 + ... + a_n)``; evaluation the mean over all draws,
    ``y = sum p_i x_i``, which is not the plain mean. ``a = max(x, 0)`` for "relu", where a window without a positive
    cell gives 0; ``a = exp(x / temperature)`` for "softmax", which is meant for any sign. Padding is never drawn.

    Source: Zeiler and Fergus, "Stochastic Pooling for Regularization of Deep Convolutional Neural Networks", 2013
    (arXiv:1301.3557), equations 4 to 6.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        activation: "relu" or "softmax".
        temperature: of the softmax; above 0.

    The call takes ``generator``: a `torch.Generator`, which goes on; an int, for the same draws at every call; None
    for torch's own generator, whose draws activation checkpointing repeats.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> pool, x = nn.StochasticPool1d(3), torch.tensor([[[1.6, 0.0, 2.4]]])
    >>> pool.eval()(x)
    tensor([[[2.0800]]])
    >>> pool.train()(x, generator=0).item() in (x[0, 0, 0], x[0, 0, 2])
    True
    """

    fields = (*SlidingPool.fields, "activation", "temperature", "training")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        activation: Activation = "relu",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.activation = activation
        self.temperature = temperature
        self._check()

    @staticmethod
    def build(
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: Any,
        activation: Any,
        temperature: Any,
        training: bool,
    ) -> Parts:
        """The window and reducer of these settings."""
        window = Sliding(kernel_size, stride, padding, dilation, ceil_mode)
        return window, Stochastic(activation, temperature, sample=training)

    def extra_repr(self) -> str:
        """The window's settings, then activation and temperature."""
        own = f"activation={self.activation!r}, temperature={self.temperature}"
        return f"{super().extra_repr()}, {own}"


class StochasticPool1d(_StochasticPool):
    rank = 1


class StochasticPool2d(_StochasticPool):
    rank = 2


class StochasticPool3d(_StochasticPool):
    rank = 3


class _RankStochasticPool(_RandomPool):
    """Rank-based stochastic pooling over sliding windows: one cell of each, drawn by its rank.

    Training gives the r-th largest cell with probability ``p_r = alpha (1 - alpha)^(r - 1)``, divided by the sum of all
    n of them; evaluation the mean over all draws, which is `RankPool2d` with ``mode="weighted"``. How large the cells
    are does not matter, so that one huge cell is not always drawn. Padding is never drawn.

    Source: Shi, Ye and Wu, "Rank-Based Pooling for Deep Convolutional Neural Networks", 2016 (Neural Networks 83).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        alpha: in (0, 1]; 1 is the maximum, small values draw all cells alike.

    The call takes ``generator``, as that of `StochasticPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.RankStochasticPool1d(2, alpha=0.5).eval()(torch.tensor([[[1.0, 4.0]]]))
    tensor([[[3.]]])
    """

    fields = (*SlidingPool.fields, "alpha", "training")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        alpha: float = 0.5,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.alpha = alpha
        self._check()

    @staticmethod
    def build(
        kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, alpha: Any, training: bool
    ) -> Parts:
        """The window and reducer of these settings."""
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), RankStochastic(alpha, sample=training)

    def extra_repr(self) -> str:
        """The window's settings, then alpha."""
        return f"{super().extra_repr()}, alpha={self.alpha}"


class RankStochasticPool1d(_RankStochasticPool):
    rank = 1


class RankStochasticPool2d(_RankStochasticPool):
    rank = 2


class RankStochasticPool3d(_RankStochasticPool):
    rank = 3


class _MaxDropPool(_RandomPool):
    """Max pooling of what dropout leaves over sliding windows: each cell of a window is dropped with `drop_prob`.

    Training gives the largest cell that survives, the r-th largest with probability ``(1 - q) q^(r - 1)``, and 0 where
    none does; evaluation the mean over all draws, ``y = sum (1 - q) q^(r - 1) x_(r)``. Nothing is scaled up: the paper
    does not either. Windows that overlap drop a cell each for itself.

    Source: Wu and Gu, "Max-Pooling Dropout for Regularization of Convolutional Neural Networks", 2015
    (arXiv:1512.01400).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        drop_prob: q, in [0, 1); 0 is max pooling.

    The call takes ``generator``, as that of `StochasticPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.MaxDropPool1d(2, drop_prob=0.5).eval()(torch.tensor([[[1.0, 4.0]]]))
    tensor([[[2.2500]]])
    """

    fields = (*SlidingPool.fields, "drop_prob", "training")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.drop_prob = drop_prob
        self._check()

    @staticmethod
    def build(
        kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, drop_prob: Any, training: bool
    ) -> Parts:
        """The window and reducer of these settings."""
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), MaxDrop(drop_prob, sample=training)

    def extra_repr(self) -> str:
        """The window's settings, then drop_prob."""
        return f"{super().extra_repr()}, drop_prob={self.drop_prob}"


class MaxDropPool1d(_MaxDropPool):
    rank = 1


class MaxDropPool2d(_MaxDropPool):
    rank = 2


class MaxDropPool3d(_MaxDropPool):
    rank = 3


def _chosen(input: Tensor, rank: int, prob: float, per: str, generator: Seed) -> Tensor | None:
    """Whether each layer, channel, sample or plane takes the maximum; None where the input's shape is an error."""
    if has_torch_function((input,)):  # a stand-in, such as a torch.fx proxy, has no shape yet
        return handle_torch_function(_chosen, (input,), input, rank, prob, per, generator)
    if not isinstance(input, Tensor) or input.dim() not in (rank + 1, rank + 2):  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    samples, channels = (1, *input.shape[:-rank])[-2:]
    rows = samples if per in ("sample", "plane") else 1
    columns = channels if per in ("channel", "plane") else 1
    # In float32 whatever the input, so that one seed means one choice in every precision.
    drawn = uniforms(input, (rows, columns, *(1,) * rank), torch.float32, generator) < prob
    return drawn if input.dim() == rank + 2 else drawn[0]


class _RandomMixedPool(SlidingPool):
    """Maximum or mean over sliding windows, drawn anew at every training step.

    Training gives ``y = l max x + (1 - l) mean x`` with l either 1 or 0, 1 with probability `prob`; evaluation the mean
    over all draws, ``y = prob max x + (1 - prob) mean x``. The paper instead counts what was drawn in training and goes
    by the more frequent one. Padding takes no part in either.

    Source: Yu, Wang, Chen and Wei, "Mixed Pooling for Convolutional Neural Networks", 2014 (Rough Sets and Knowledge
    Technology). The mixture that is learned is another: Lee, Gallagher and Tu, 2016 (arXiv:1509.08985).

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MinPool2d`.
        prob: of the maximum, in [0, 1].
        per: what draws for itself: the "layer", each "channel", each "sample", or each "plane", that is each channel
            of each sample.

    The call takes ``generator``, as that of `StochasticPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> pool, x = nn.RandomMixedPool1d(2), torch.tensor([[[1.0, 3.0, 5.0, 7.0]]])
    >>> pool.eval()(x)
    tensor([[[2.5000, 6.5000]]])
    >>> pool.train()(x, generator=0), pool(x, generator=2)
    (tensor([[[3., 7.]]]), tensor([[[2., 6.]]]))
    """

    fields = (*SlidingPool.fields, "prob")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        prob: float = 0.5,
        per: Per = "layer",
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.prob = prob
        check_word(per, "per", ("layer", "channel", "sample", "plane"))
        self.per = per
        self._check()

    @staticmethod
    def build(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, prob: Any) -> Parts:
        """The window and reducer of these settings."""
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), Mixed(share(prob, "prob", zero=True))

    def forward(self, input: Tensor, *, generator: Seed = None) -> Result:
        """Pools `input`: training draws, evaluation gives the mean over all draws."""
        generator, chosen = source_of(generator), None
        if self.training:
            chosen = _chosen(input, self.rank, self.prob, self.per, generator)
        return run(input, type(self).build, self._values(), self.rank, extra=chosen)

    def extra_repr(self) -> str:
        """The window's settings, then prob and per."""
        return f"{super().extra_repr()}, prob={self.prob}, per={self.per!r}"


class RandomMixedPool1d(_RandomMixedPool):
    rank = 1


class RandomMixedPool2d(_RandomMixedPool):
    rank = 2


class RandomMixedPool3d(_RandomMixedPool):
    rank = 3
