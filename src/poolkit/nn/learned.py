"""Poolings whose weights are learned from the maps themselves, made of several steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from poolkit import functional as pools
from poolkit.errors import PoolError, PoolTypeError, flag, integer, number, show
from poolkit.nn._maps import check_cells, check_maps, one_of, wide
from poolkit.torch.checks import check_rank
from poolkit.torch.weighted import weighted_mean
from poolkit.window import Sliding

if TYPE_CHECKING:
    from collections.abc import Callable


class LIPPool2d(nn.Module):
    """Local importance pooling: a mean weighted by how important a small network finds each cell.

    ``y = sum x e**G(x) / sum e**G(x)`` over each window, ``G = 12 sigmoid(instance norm(convolution(x)))``: weights
    between 1 and e**12. The convolution starts at zero, and the pooling as a plain mean (Gao, Wang and Wu, 2019,
    arXiv:1908.04156).

    Args:
        channels: channels of the input and of the result.
        kernel_size, stride, padding: of the windows, as for `AvgPool2d`; padding has no weight.
        logit: a module for G instead, from ``(N, channels, H, W)`` to the same shape; its values may be any, nothing
            overflows.

    Shape:
        ``(N, channels, H, W)`` to the same with pooled sizes.

    Raises:
        PoolError: an argument or the input breaks a rule, or `logit` changes the shape.

    >>> import torch, poolkit.nn as nn
    >>> nn.LIPPool2d(1, 2, 2, 0)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).round(decimals=4)
    tensor([[[[3.]]]], grad_fn=<RoundBackward1>)
    """

    def __init__(
        self, channels: int, kernel_size: Any = 3, stride: Any = 2, padding: Any = 1, logit: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.channels = integer(channels, "channels", 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        check_rank(Sliding(kernel_size, self.stride, padding), 2)
        if logit is not None and not isinstance(cast(object, logit), nn.Module):
            raise PoolTypeError(
                f"logit={show(logit)}", f"logit is a torch.nn.Module, here {type(logit).__name__}", "wrap it in one"
            )
        self.logit = _Importance(channels) if logit is None else logit

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        x = check_maps(input, 2, self.channels, batched=True)
        logits = cast(Tensor, self.logit(x))
        if logits.shape != x.shape:
            raise PoolError(
                f"logit of shape {tuple(logits.shape)} for an input x of shape {tuple(x.shape)}",
                "logit gives one number for each cell of x",
                "pass a module that keeps the shape, such as a padded convolution",
            )
        values, logits, window = wide(x), wide(logits), (self.kernel_size, self.stride, self.padding)
        if not isinstance(self.logit, _Importance):
            return weighted_mean(values, logits, 2, *window).to(x.dtype)
        weights = logits.exp()  # at most e**12: two plain means are safe, and several times as fast
        y = cast(Tensor, pools.avg_pool2d(weights * values, *window) / pools.avg_pool2d(weights, *window))
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """channels, kernel_size, stride, padding."""
        return f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _Importance(nn.Module):
    """12 sigmoid(instance norm(convolution)); maps of a single cell, which have no variance, become the bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.convolution.weight)
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The logits of `x`."""
        y = self.convolution(x)
        y = functional.layer_norm(y, y.shape[-2:], eps=1e-5) * self.weight + self.bias
        return 12 * torch.sigmoid(y)


class DetailPreservingPool2d(nn.Module):
    """A mean that favours the cells that stand out from their surroundings, by a learned amount.

    ``y = sum w x / sum w`` over each window, ``w = alpha + rho(x - b)``, with ``rho(d) = (d**2 + eps**2)**(lambda /
    2)``, or only for cells above b, ``rho(d) = (max(d, 0)**2 + eps**2)**(lambda / 2)``. b is the window's mean
    (``"lite"``), or the means of 3 x 3 windows under a learned filter that starts as ``[1, 2, 1]`` in both directions
    (``"full"``). alpha and lambda are learned for each channel, as exponentials: at first 1 (Saeedan, Weber, Goesele
    and Roth, 2018, arXiv:1804.04076, section 3).

    Args:
        channels: channels of the input and of the result.
        variant: ``"lite"`` or ``"full"``.
        symmetric: favour deviations of both signs, or upwards only.
        kernel_size: cells of a window and distance between windows; what is left over at the end is not seen.
        eps: above 0.

    Shape:
        ``(N, channels, H, W)`` or ``(channels, H, W)`` to the same with sizes divided by `kernel_size`, rounded down.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.DetailPreservingPool2d(1)(torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]])).round(decimals=4)
    tensor([[[[1.6000]]]], grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        channels: int,
        variant: str = "lite",
        symmetric: bool = True,
        *,
        kernel_size: int = 2,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        self.channels = integer(channels, "channels", 1)
        self.variant = one_of(variant, "variant", ("lite", "full"))
        self.symmetric = flag(symmetric, "symmetric")
        self.kernel_size = integer(kernel_size, "kernel_size", 1)
        self.eps = number(eps, "eps", low=0.0)
        self.log_alpha = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_lambda = nn.Parameter(torch.zeros(channels, 1, 1))
        row = torch.tensor([0.25, 0.5, 0.25])
        self.filter = None
        if variant == "full":
            self.filter = nn.Parameter((row[:, None] * row).repeat(channels, 1, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        given = check_maps(input, 2, self.channels)
        k = self.kernel_size
        base = self._windows(pools.avg_pool2d, wide(given))
        x = wide(given)[..., : base.shape[-2] * k, : base.shape[-1] * k]
        if self.filter is not None:
            sides = functional.pad(base, (1, 1, 1, 1), mode="replicate")
            base = functional.conv2d(sides, self.filter.to(x.dtype), groups=self.channels)
        difference = x - base.repeat_interleave(k, -2).repeat_interleave(k, -1)
        if not self.symmetric:
            difference = difference.relu()
        alpha, power = self.log_alpha.to(x.dtype).exp(), self.log_lambda.to(x.dtype).exp() / 2
        weights = alpha + (difference.square() + self.eps**2) ** power
        y = self._windows(pools.sum_pool2d, weights * x) / self._windows(pools.sum_pool2d, weights)
        return y.to(given.dtype)

    def _windows(self, pool: Callable[..., Any], x: Tensor) -> Tensor:
        return cast(Tensor, pool(x, self.kernel_size))

    def extra_repr(self) -> str:
        """channels, variant, symmetric, kernel_size, eps."""
        return (
            f"{self.channels}, variant={self.variant!r}, symmetric={self.symmetric}, "
            f"kernel_size={self.kernel_size}, eps={self.eps}"
        )


class GaussianPool2d(nn.Module):
    """Mean plus a random share of the standard deviation: between average and maximum, and a regulariser.

    ``y = mean(x) + w std(x)`` over each window; w is one number for each sample and channel, from the map as a whole.
    ``"isp"``: ``w = softplus(m + s e)`` with e standard normal in training and 0 in evaluation. ``"half"``: ``w = s
    |e|`` in training and its mean ``s sqrt(2 / pi)`` in evaluation. m and s come from the channel means through a layer
    of half as many units with ReLU and one linear layer each, s through a sigmoid (Kobayashi, 2019, Gaussian-Based
    Pooling for Convolutional Neural Networks, NeurIPS).

    Args:
        num_features: channels of the input and of the result.
        kernel_size, stride, padding: of the windows, as for `AvgPool2d`; padding does not count.
        variant: ``"isp"`` (inverse softplus) or ``"half"`` (half-Gaussian).
        eps: variances below it count as it.

    Shape:
        ``(N, num_features, H, W)`` to the same with pooled sizes. The call takes e as `noise` of shape
        ``(N, num_features)``, too; else it comes from torch's generator.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.GaussianPool2d(4, 2)(torch.rand(2, 4, 6, 6)).shape
    torch.Size([2, 4, 3, 3])
    """

    def __init__(
        self,
        num_features: int,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        *,
        variant: str = "isp",
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_features = integer(num_features, "num_features", 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        check_rank(Sliding(kernel_size, self.stride, padding), 2)
        self.variant = one_of(variant, "variant", ("isp", "half"))
        self.eps = number(eps, "eps", low=0.0)
        hidden = max(num_features // 2, 1)
        self.hidden = nn.Linear(num_features, hidden)
        self.location = nn.Linear(hidden, num_features) if variant == "isp" else None
        self.scale = nn.Linear(hidden, num_features)

    def forward(self, input: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pools `input`; `noise` is used in training only."""
        x = wide(check_maps(input, 2, self.num_features, batched=True))
        middle = cast(Tensor, pools.adaptive_avg_pool2d(x, 1))
        share = wide(self._share(middle.flatten(1).to(input.dtype), noise))[..., None, None]
        # The variance does not change under a shift, and around the map's mean it loses no digits.
        around = x - middle
        mean = self._mean(around)
        deviation = (self._mean(around.square()) - mean.square()).clamp_min(self.eps).sqrt()
        return (mean + middle + share * deviation).to(input.dtype)

    def _mean(self, x: Tensor) -> Tensor:
        return cast(Tensor, pools.avg_pool2d(x, self.kernel_size, self.stride, self.padding, count_include_pad=False))

    def _share(self, means: Tensor, noise: Tensor | None) -> Tensor:
        hidden = self.hidden(means).relu()
        if self.training:
            noise = torch.randn_like(means) if noise is None else self._check_noise(noise, means)
        if self.location is None:
            scale = torch.sigmoid(self.scale(hidden))
            return scale * (math.sqrt(2 / math.pi) if noise is None or not self.training else noise.abs())
        location = self.location(hidden)
        if noise is None or not self.training:
            return functional.softplus(location)
        return functional.softplus(location + torch.sigmoid(self.scale(hidden)) * noise)

    @staticmethod
    def _check_noise(noise: object, means: Tensor) -> Tensor:
        if not isinstance(noise, Tensor) or noise.shape != means.shape:
            given = tuple(noise.shape) if isinstance(noise, Tensor) else show(noise)
            raise PoolError(
                f"noise of shape {given}",
                f"noise has one standard normal number for each sample and channel: {tuple(means.shape)}",
                f"draw it with torch.randn{tuple(means.shape)}",
            )
        return noise.to(means.dtype)

    def extra_repr(self) -> str:
        """num_features, kernel_size, stride, padding, variant, eps."""
        return (
            f"{self.num_features}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"variant={self.variant!r}, eps={self.eps}"
        )


class AlphaPool(nn.Module):
    """Between average and bilinear pooling, by a learned exponent.

    ``y = mean over cells of a x**T`` with ``a = sign(x) max(|x|, eps)**(alpha - 1)``: for alpha = 1 and positive x
    every row is the mean vector, for alpha = 2 it is bilinear pooling ``mean x x**T`` (Simon et al., 2017,
    arXiv:1705.00487). A signed square root and an L2 norm usually follow.

    Args:
        alpha: the exponent to begin with.
        eps: magnitudes below it count as it, in the power only.
        learn: learn alpha, or keep it.
        flatten: a vector of ``C * C`` numbers per sample; False keeps the matrix.

    Shape:
        ``(N, C, *sizes)`` with one to three sizes to ``(N, C * C)`` or ``(N, C, C)``.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> x = torch.tensor([[[1.0, 3.0], [2.0, 4.0]]])
    >>> nn.AlphaPool(2.0, learn=False)(x), nn.AlphaPool(1.0, learn=False)(x)
    (tensor([[ 5.,  7.,  7., 10.]]), tensor([[2., 3., 2., 3.]]))
    """

    def __init__(self, alpha: float = 1.0, eps: float = 1e-5, learn: bool = True, flatten: bool = True) -> None:
        super().__init__()
        start = torch.tensor(number(alpha, "alpha", low=-math.inf))
        self.eps = number(eps, "eps", low=0.0)
        self.learn = flag(learn, "learn")
        self.flatten = flag(flatten, "flatten")
        self.alpha = nn.Parameter(start, requires_grad=self.learn)

    def forward(self, input: Tensor) -> Tensor:
        """The pairwise means of `input`."""
        x = wide(check_cells(input))
        first = x.sign() * x.abs().clamp_min(self.eps) ** (self.alpha.to(x.dtype) - 1)
        y = first @ x.mT / x.shape[-1]
        return (y.flatten(1) if self.flatten else y).to(input.dtype)

    def extra_repr(self) -> str:
        """eps, learn, flatten."""
        return f"eps={self.eps}, learn={self.learn}, flatten={self.flatten}"


class PowerPool(nn.Module):
    """A mean of probabilities weighted by their own power, learned for each class.

    ``y = sum x x**n / sum x**n``, for x in [0, 1]: n = 0 is the mean, 1 the linear softmax, large n approach the
    maximum (Liu et al., 2020, arXiv:2010.09985). All zeros give 0.

    Args:
        channels: classes, each with an exponent of its own.
        n: the exponents to begin with.
        eps: probabilities below it count as it, in the weights only.
        learn: learn the exponents, or keep them.

    Shape:
        ``(N, channels, *sizes)`` with one to three sizes to ``(N, channels)``.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.PowerPool(1, learn=False)(torch.tensor([[[0.2, 0.8, 0.0, 0.0]]]))
    tensor([[0.6800]])
    """

    def __init__(self, channels: int, n: float = 1.0, eps: float = 1e-7, learn: bool = True) -> None:
        super().__init__()
        self.channels = integer(channels, "channels", 1)
        self.eps = number(eps, "eps", low=0.0)
        self.learn = flag(learn, "learn")
        start = torch.full((channels, 1), number(n, "n", low=-math.inf))
        self.n = nn.Parameter(start, requires_grad=self.learn)

    def forward(self, input: Tensor) -> Tensor:
        """The score of each class of `input`."""
        x = wide(check_cells(input, self.channels))
        # x**n as exp(n log x) under a softmax: no power vanishes, whatever n.
        weights = torch.softmax(self.n.to(x.dtype) * x.clamp_min(self.eps).log(), -1)
        return (weights * x).sum(-1).to(input.dtype)

    def extra_repr(self) -> str:
        """channels, eps, learn."""
        return f"{self.channels}, eps={self.eps}, learn={self.learn}"
