"""Pooling of sets by multihead attention of learned seeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poolkit.errors import flag, integer, number
from poolkit.nn._tokens import attend, check_heads, only, tokens


class PMA(nn.Module):
    """Pooling by multihead attention: learned seeds attend to the elements of a set (Set Transformer).

    ``PMA(Z) = MAB(S, rFF(Z))`` with ``MAB(S, Y) = LN(H + rFF(H))`` and ``H = LN(S + MultiHead(S, Y, Y))``, where S are
    the seeds, rFF is a linear layer with ReLU on each row, and LN a layer norm, or nothing without `layer_norm`.

    Source: Lee et al., "Set Transformer", 2019 (arXiv:1810.00825), equations 6, 7 and 11. As there, the softmax has
    the scale ``1 / sqrt(embed_dim)``, the width of all heads together; `scale` sets another, such as the usual
    ``(embed_dim / num_heads) ** -0.5``. The code published with the paper leaves out the first rFF and the output
    projection, and adds the projected seeds instead of the seeds; this is the paper's formula.

    Args:
        embed_dim: features of an element.
        num_heads: attention heads; divides `embed_dim`.
        num_seeds: number of outputs.
        layer_norm: with the two layer norms.
        scale: factor of the scores, above 0; None means ``embed_dim ** -0.5``.

    Shape:
        ``(N, L, embed_dim)`` or ``(L, embed_dim)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real element) or
        none, to ``(N, num_seeds, embed_dim)`` or without N. In a set without a real element the seeds attend to
        nothing: their weighted sum is zero, and the layers after it see that zero.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.PMA(64, num_heads=4, num_seeds=2)(torch.rand(3, 10, 64)).shape
    torch.Size([3, 2, 64])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_seeds: int,
        layer_norm: bool = False,
        *,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = integer(embed_dim, "embed_dim", 1)
        self.num_heads = integer(num_heads, "num_heads", 1)
        check_heads("embed_dim", self.embed_dim, self.num_heads)
        self.num_seeds = integer(num_seeds, "num_seeds", 1)
        self.scale = self.embed_dim**-0.5 if scale is None else number(scale, "scale", low=0.0)
        self.layer_norm = flag(layer_norm, "layer_norm")
        self.seeds = nn.Parameter(torch.empty(1, self.num_seeds, self.embed_dim))
        nn.init.xavier_uniform_(self.seeds)
        self.rff = nn.Linear(self.embed_dim, self.embed_dim)
        self.q_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.k_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.v_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.out_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.rff_out = nn.Linear(self.embed_dim, self.embed_dim)
        self.norm_attention = nn.LayerNorm(self.embed_dim) if self.layer_norm else nn.Identity()
        self.norm_out = nn.LayerNorm(self.embed_dim) if self.layer_norm else nn.Identity()

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pools sets, the elements that the mask calls real."""
        x, mask, single = tokens(input, mask, ("embed_dim", self.embed_dim))
        x = self.rff(only(x, mask)).relu()
        seeds = self.seeds.expand(x.shape[0], -1, -1)
        found = attend(self.q_proj(seeds), self.k_proj(x), self.v_proj(x), self.num_heads, mask, self.scale)
        h = self.norm_attention(seeds + self.out_proj(found))
        y = self.norm_out(h + self.rff_out(h).relu())
        return y[0] if single else y

    def extra_repr(self) -> str:
        """embed_dim, num_heads, num_seeds, layer_norm."""
        return f"{self.embed_dim}, num_heads={self.num_heads}, num_seeds={self.num_seeds}, layer_norm={self.layer_norm}"
