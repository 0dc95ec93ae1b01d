"""Poolings of bags by a learned score of each instance: ABMIL, its gated form, and structured self-attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from poolkit.errors import flag, integer
from poolkit.nn._tokens import masked_softmax, only, tokens, wide


class _ScoredPool(nn.Module):
    """Weighted means of the elements, weights from a softmax of learned scores."""

    in_features: int

    def scores(self, x: Tensor) -> Tensor:
        """``(N, L, rows)``: a score of each element for each mean."""
        raise NotImplementedError

    def _weights(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``(N, rows, L)``, in the precision of sums."""
        return masked_softmax(self.scores(x).transpose(1, 2), None if mask is None else mask[:, None], -1)


class _ABMILPool(_ScoredPool):
    def __init__(self, in_features: int, hidden_features: int, bias: bool) -> None:
        super().__init__()
        self.in_features = integer(in_features, "in_features", 1)
        self.hidden_features = integer(hidden_features, "hidden_features", 1)
        bias = flag(bias, "bias")
        self.V = nn.Linear(self.in_features, self.hidden_features, bias=bias)
        self.w = nn.Linear(self.hidden_features, 1, bias=bias)

    def forward(self, input: Tensor, mask: Tensor | None = None, *, return_attention: bool = False) -> Any:
        """Pools bags; with ``return_attention`` gives (y, weights)."""
        x, mask, single = tokens(input, mask, ("in_features", self.in_features))
        x = only(x, mask)
        weights = self._weights(x, mask)
        y = (weights @ wide(x))[:, 0].to(x.dtype)
        weights = weights[:, 0].to(x.dtype)
        if single:
            y, weights = y[0], weights[0]
        return (y, weights) if return_attention else y

    def extra_repr(self) -> str:
        """in_features, hidden_features."""
        return f"{self.in_features}, hidden_features={self.hidden_features}"


class ABMILPool(_ABMILPool):
    """Attention-based multiple-instance pooling: a weighted mean of a bag's instances, the weights learned.

    ``y = sum_k a_k h_k`` with ``a = softmax_k(w tanh(V h_k))``.

    Source: Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", 2018 (arXiv:1802.04712),
    equations 7 and 8. The paper writes no biases, the code published with it has them: ``bias``.

    Args:
        in_features: features of an instance.
        hidden_features: width of the hidden layer.
        bias: both layers have a bias.

    Shape:
        ``(N, L, in_features)`` or ``(L, in_features)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real
        instance) or none, to ``(N, in_features)`` or ``(in_features,)``; with ``return_attention`` also the weights,
        of the mask's shape. A bag without a real instance gives zeros.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> y, attention = nn.ABMILPool(512)(torch.rand(2, 30, 512), return_attention=True)
    >>> y.shape, attention.shape
    (torch.Size([2, 512]), torch.Size([2, 30]))
    """

    def __init__(self, in_features: int, hidden_features: int = 128, bias: bool = True) -> None:
        super().__init__(in_features, hidden_features, bias)

    def scores(self, x: Tensor) -> Tensor:
        """``w tanh(V h)``."""
        return self.w(self.V(x).tanh())


class GatedABMILPool(_ABMILPool):
    """Gated attention-based multiple-instance pooling: `ABMILPool` with a gate beside the tanh, which alone is nearly
    linear for small values.

    ``y = sum_k a_k h_k`` with ``a = softmax_k(w (tanh(V h_k) * sigmoid(U h_k)))``.

    Source: Ilse, Tomczak and Welling, 2018 (arXiv:1802.04712), equations 7 and 9.

    Args:
        in_features: features of an instance.
        hidden_features: width of both hidden layers.
        bias: the three layers have a bias.

    Shape:
        As `ABMILPool`.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.GatedABMILPool(512)(torch.rand(2, 30, 512)).shape
    torch.Size([2, 512])
    """

    def __init__(self, in_features: int, hidden_features: int = 128, bias: bool = True) -> None:
        super().__init__(in_features, hidden_features, bias)
        self.U = nn.Linear(self.in_features, self.hidden_features, bias=bool(bias))

    def scores(self, x: Tensor) -> Tensor:
        """``w (tanh(V h) * sigmoid(U h))``."""
        return self.w(self.V(x).tanh() * self.U(x).sigmoid())


class SelfAttentivePool(_ScoredPool):
    """Structured self-attention: several weighted means of a sequence, each with a focus of its own.

    ``M = A H`` with ``A = softmax(W_2 tanh(W_1 H^T))``, the softmax over the elements; a row of ``A`` for each hop. To
    keep the hops apart, training adds ``P = ||A A^T - I||_F^2`` to its loss.

    Source: Lin et al., "A Structured Self-attentive Sentence Embedding", 2017 (arXiv:1703.03130), equations 6 to 8.
    As there, the layers have no biases.

    Args:
        in_features: features of an element.
        hidden_features: width of the hidden layer; the paper's ``d_a``, 350.
        num_hops: number of means; the paper's ``r``, 30.

    Shape:
        ``(N, L, in_features)`` or ``(L, in_features)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real
        element) or none, to ``(N, num_hops, in_features)`` or without N. With ``return_attention`` also ``A``
        ``(N, num_hops, L)``, with ``return_penalty`` then ``P`` ``(N,)``. A row without a real element gives zeros,
        and a penalty of `num_hops` without gradient.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> y, penalty = nn.SelfAttentivePool(300, 350, num_hops=4)(torch.rand(2, 20, 300), return_penalty=True)
    >>> y.shape, penalty.shape
    (torch.Size([2, 4, 300]), torch.Size([2]))
    """

    def __init__(self, in_features: int, hidden_features: int, num_hops: int) -> None:
        super().__init__()
        self.in_features = integer(in_features, "in_features", 1)
        self.hidden_features = integer(hidden_features, "hidden_features", 1)
        self.num_hops = integer(num_hops, "num_hops", 1)
        self.W1 = nn.Linear(self.in_features, self.hidden_features, bias=False)
        self.W2 = nn.Linear(self.hidden_features, self.num_hops, bias=False)

    def scores(self, x: Tensor) -> Tensor:
        """``W_2 tanh(W_1 h)``."""
        return self.W2(self.W1(x).tanh())

    def forward(
        self,
        input: Tensor,
        mask: Tensor | None = None,
        *,
        return_attention: bool = False,
        return_penalty: bool = False,
    ) -> Any:
        """Pools sequences; gives (M, A, P), without what was not asked for."""
        x, mask, single = tokens(input, mask, ("in_features", self.in_features))
        x = only(x, mask)
        weights = self._weights(x, mask)
        found = [(weights @ wide(x)).to(x.dtype)]
        if return_attention:
            found.append(weights.to(x.dtype))
        if return_penalty:
            gram = weights @ weights.transpose(1, 2)
            apart = gram - torch.eye(self.num_hops, dtype=gram.dtype, device=gram.device)
            found.append(apart.square().sum((1, 2)).to(x.dtype))
        if single:
            found = [part[0] for part in found]
        return found[0] if len(found) == 1 else tuple(found)

    def extra_repr(self) -> str:
        """in_features, hidden_features, num_hops."""
        return f"{self.in_features}, hidden_features={self.hidden_features}, num_hops={self.num_hops}"
