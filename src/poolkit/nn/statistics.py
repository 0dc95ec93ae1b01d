"""Statistics of a signal over time: mean and standard deviation, plain or with learned weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poolkit.errors import flag, integer, number
from poolkit.nn._tokens import count, masked_softmax, signals, unless_empty, wide


def _only(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask.unsqueeze(1), 0.0)


def _moments(x: Tensor, mask: Tensor | None, divisor: Tensor | int, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over time, of shape ``(N, C)``."""
    mean = x.sum(-1) / count(x.mT, mask)
    apart = _only(x - mean.unsqueeze(-1), mask)
    return mean, (apart.square().sum(-1) / divisor).clamp(min=eps).sqrt()


class StatisticsPool1d(nn.Module):
    """Mean and standard deviation of each channel over time, one after the other.

    ``y = [mean; std]`` with ``mean = sum x_t / T`` and ``std = sqrt(max(sum (x_t - mean)^2 / T, eps))``.

    Source: Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker Recognition", 2018 (ICASSP);
    Okabe, Koshinaka and Shinoda, 2018 (arXiv:1803.10963).

    Args:
        unbiased: divide the squares by ``T - 1`` instead of T (by 1 where T is 1).
        eps: the smallest variance; below it the standard deviation has no gradient.

    Shape:
        ``(N, C, L)`` or ``(C, L)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real element), or with int64
        ``lengths`` ``(N,)`` or ``()``, or with neither; to ``(N, 2 C)`` or ``(2 C,)``. A row without a real element
        gives zeros.

    Raises:
        PoolError: an argument breaks a rule, or the input, mask or lengths do not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.StatisticsPool1d()(torch.tensor([[[1.0, 3.0, 9.0]]]), lengths=torch.tensor([2]))
    tensor([[2., 1.]])
    """

    def __init__(self, unbiased: bool = False, *, eps: float = 1e-12) -> None:
        super().__init__()
        self.unbiased = flag(unbiased, "unbiased")
        self.eps = number(eps, "eps", low=0.0)

    def forward(self, input: Tensor, mask: Tensor | None = None, *, lengths: Tensor | None = None) -> Tensor:
        """Gives the means, then the standard deviations."""
        x, mask, single = signals(input, mask, lengths)
        real = count(x.mT, mask)
        less = real - 1 if self.unbiased else real
        divisor = max(less, 1) if isinstance(less, int) else less.clamp(min=1)
        y = torch.cat(_moments(wide(_only(x, mask)), mask, divisor, self.eps), 1)
        y = unless_empty(y, mask).to(x.dtype)
        return y[0] if single else y

    def extra_repr(self) -> str:
        """unbiased, eps."""
        return f"unbiased={self.unbiased}, eps={self.eps}"


class AttentiveStatisticsPool1d(nn.Module):
    """Mean and standard deviation of each channel over time, weighted by an attention of its own.

    ``a_c = softmax_t(e_ct)``, ``e_t = V tanh(W h_t + b) + k``, ``mean_c = sum_t a_ct x_ct``,
    ``std_c = sqrt(max(sum_t a_ct (x_ct - mean_c)^2, eps))`` and ``y = [mean; std]``. ``h_t`` is ``x_t``, with
    `global_context` followed by the plain mean and standard deviation of the whole signal.

    Source: Okabe, Koshinaka and Shinoda, "Attentive Statistics Pooling for Deep Speaker Embedding", 2018
    (arXiv:1803.10963); weights for each channel and the context: Desplanques, Thienpondt and
    Demuynck, "ECAPA-TDNN", 2020 (arXiv:2005.07143), equations 1 to 4. There is no batch norm inside the attention, in
    which padding and neighbours would have a say, and no noise. ``sum a (x - mean)^2`` equals the papers'
    ``sum a x^2 - mean^2`` and does not cancel.

    Args:
        channels: channels of the input.
        attention_channels: width of the hidden layer.
        global_context: the attention also sees the statistics of the whole signal.
        eps: the smallest variance; below it the standard deviation has no gradient.

    Shape:
        ``(N, channels, L)`` or ``(channels, L)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real element), or
        with int64 ``lengths`` ``(N,)`` or ``()``, or with neither; to ``(N, 2 channels)`` or ``(2 channels,)``. A row
        without a real element gives zeros.

    Raises:
        PoolError: an argument breaks a rule, or the input, mask or lengths do not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.AttentiveStatisticsPool1d(16)(torch.rand(2, 16, 100), lengths=torch.tensor([100, 60])).shape
    torch.Size([2, 32])
    """

    def __init__(
        self, channels: int, attention_channels: int = 128, global_context: bool = True, *, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.channels = integer(channels, "channels", 1)
        self.attention_channels = integer(attention_channels, "attention_channels", 1)
        self.global_context = flag(global_context, "global_context")
        self.eps = number(eps, "eps", low=0.0)
        self.W = nn.Conv1d(self.channels, self.attention_channels, 1)
        # The part of W that sees the context, which is the same at all times.
        self.W_context = (
            nn.Linear(2 * self.channels, self.attention_channels, bias=False) if self.global_context else None
        )
        self.V = nn.Conv1d(self.attention_channels, self.channels, 1)

    def forward(self, input: Tensor, mask: Tensor | None = None, *, lengths: Tensor | None = None) -> Tensor:
        """Gives the weighted means, then the weighted standard deviations."""
        given, mask, single = signals(input, mask, lengths, ("channels", self.channels))
        given = _only(given, mask)
        x = wide(given)
        hidden = self.W(given)
        if self.W_context is not None:
            context = torch.cat(_moments(x, mask, count(x.mT, mask), self.eps), 1).to(given.dtype)
            hidden = hidden + self.W_context(context).unsqueeze(-1)
        weights = masked_softmax(self.V(hidden.tanh()), None if mask is None else mask.unsqueeze(1), -1)
        mean = (weights * x).sum(-1)
        # In a row without a real element all weights are 0.
        var = (weights * (x - mean.unsqueeze(-1)).square()).sum(-1)
        y = torch.cat([mean, var.clamp(min=self.eps).sqrt()], 1)
        y = unless_empty(y, mask).to(given.dtype)
        return y[0] if single else y

    def extra_repr(self) -> str:
        """channels, attention_channels, global_context."""
        return f"{self.channels}, attention_channels={self.attention_channels}, global_context={self.global_context}"
