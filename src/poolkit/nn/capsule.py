"""Dynamic routing between capsules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poolkit.errors import flag, integer
from poolkit.nn._tokens import check_input, check_mask, only, wide


class CapsuleRouting(nn.Module):
    """Dynamic routing by agreement: each output capsule is a sum of votes, weighted by how well they agree with it.

    Votes ``u_hat_ji = W_ij u_i``; from logits ``b = 0``, `num_iterations` times: ``c_i = softmax_j(b_ij)``,
    ``s_j = sum_i c_ij u_hat_ji``, ``v_j = squash(s_j)``, ``b_ij += u_hat_ji . v_j``. The squash
    ``v = |s|^2 / (1 + |s|^2) s / |s|`` keeps the direction and gives a length below 1; at 0 it and its
    derivative are 0.

    Source: Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules", 2017 (arXiv:1710.09829), equations 1 to 3 and
    procedure 1. Gradients flow through all iterations, since the paper excludes nothing from them: they are the
    derivatives of what is computed. Many ports take only the last weighted sum, with constant weights, which takes
    less memory: ``detach_routing=True``.

    Args:
        in_capsules: number of input capsules; also the number of transformations, one for each pair of capsules.
        in_features: length of an input capsule.
        out_capsules: number of output capsules.
        out_features: length of an output capsule.
        num_iterations: iterations of the routing; 1 weights all votes alike.
        detach_routing: gradients only through the last weighted sum of votes.

    Shape:
        ``(N, in_capsules, in_features)`` or without N, with a bool mask ``(N, in_capsules)`` or ``(in_capsules,)``
        (True: a capsule that votes) or none, to ``(N, out_capsules, out_features)`` or without N. Where nobody votes
        the output is 0.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> y = nn.CapsuleRouting(32, 8, out_capsules=10, out_features=16)(torch.rand(2, 32, 8))
    >>> y.shape, bool((y.norm(dim=-1) < 1).all())
    (torch.Size([2, 10, 16]), True)
    """

    def __init__(
        self,
        in_capsules: int,
        in_features: int,
        out_capsules: int,
        out_features: int,
        num_iterations: int = 3,
        *,
        detach_routing: bool = False,
    ) -> None:
        super().__init__()
        self.in_capsules = integer(in_capsules, "in_capsules", 1)
        self.in_features = integer(in_features, "in_features", 1)
        self.out_capsules = integer(out_capsules, "out_capsules", 1)
        self.out_features = integer(out_features, "out_features", 1)
        self.num_iterations = integer(num_iterations, "num_iterations", 1)
        self.detach_routing = flag(detach_routing, "detach_routing")
        weight = torch.randn(self.out_capsules, self.in_capsules, self.out_features, self.in_features)
        self.weight = nn.Parameter(weight * self.in_features**-0.5)

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Routes the input capsules to the output capsules."""
        sizes = {-2: ("in_capsules", self.in_capsules), -1: ("in_features", self.in_features)}
        x = check_input(input, {3: "(N, in_capsules, in_features)", 2: "(in_capsules, in_features)"}, sizes)
        single = x.dim() == 2
        mask = check_mask(mask, x.shape[:-1], "(in_capsules,)" if single else "(N, in_capsules)")
        x = x.unsqueeze(0) if single else x
        mask = mask.unsqueeze(0) if single and mask is not None else mask
        votes = wide(torch.einsum("jiod,nid->njio", self.weight, only(x, mask)))
        y = self._route(votes).to(x.dtype)
        return y[0] if single else y

    def _route(self, votes: Tensor) -> Tensor:
        """``(N, out_capsules, in_capsules, out_features)`` to output capsules."""
        seen = votes.detach() if self.detach_routing else votes
        logits = torch.zeros_like(votes[..., 0])
        for _ in range(self.num_iterations - 1):
            y = squash(_weighted(logits, seen))
            logits = logits + (seen @ y.unsqueeze(-1)).squeeze(-1)
        return squash(_weighted(logits, votes))

    def extra_repr(self) -> str:
        """Numbers and lengths of capsules, and iterations."""
        return (
            f"{self.in_capsules}, {self.in_features}, {self.out_capsules}, {self.out_features}, "
            f"num_iterations={self.num_iterations}"
        )


def _weighted(logits: Tensor, votes: Tensor) -> Tensor:
    """Sums of votes, each input capsule dividing itself among the output capsules."""
    return (logits.softmax(1).unsqueeze(2) @ votes).squeeze(2)


def squash(s: Tensor) -> Tensor:
    """Vectors on the last axis shortened to ``|s|^2 / (1 + |s|^2)``, their direction kept.

    >>> squash(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.5769, 0.7692],
            [0.0000, 0.0000]])
    """
    largest = s.detach().abs().amax(-1, keepdim=True)
    nothing = largest == 0
    largest = largest.masked_fill(nothing, 1.0)
    # In units of the largest entry the squares neither overflow nor vanish, and their sum is at least 1.
    length = largest * (s / largest).square().sum(-1, keepdim=True).clamp(min=1.0).sqrt()
    return s * (1 / (length + 1 / length)).masked_fill(nothing, 0.0)
