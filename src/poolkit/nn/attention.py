"""Poolings of feature maps and tokens by attention: CLIP's, with learned probes, and SimPool."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from poolkit.errors import PoolError, flag, integer, integers, number, show
from poolkit.nn._tokens import (
    attend,
    check_heads,
    check_input,
    check_mask,
    choice,
    heads,
    masked_softmax,
    only,
    tokens,
    unless_empty,
    wide,
)
from poolkit.window import spread


class AttentionPool2d(nn.Module):
    """Attention of a map's mean over the map, the head of CLIP's ResNets.

    With tokens ``t_0 = mean(x) + p_0`` and ``t_i = x_i + p_i``, ``p`` a learned position embedding:
    ``y = W_c MultiHead(W_q t_0, W_k t, W_v t) + b_c``, scaled by ``1 / sqrt(embed_dim / num_heads)``.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021
    (arXiv:2103.00020), section 2.4. Parameters have the names of the published weights, which load as they are.

    Takes maps of every size: the embedding of the grid is resized to the map's, that of the mean stays.

    Args:
        embed_dim: channels of the input.
        num_heads: attention heads; divides `embed_dim`.
        feat_size: sizes of the grid that the position embedding is learned on; an int, or (height, width).
        output_dim: channels of the output; None means `embed_dim`.
        interpolation: how the embedding is resized, ``"bicubic"`` or ``"bilinear"``.

    Shape:
        ``(N, embed_dim, H, W)`` or ``(embed_dim, H, W)`` to ``(N, output_dim)`` or ``(output_dim,)``.

    Raises:
        PoolError: an argument breaks a rule, or the input has another number of channels.

    >>> import torch, poolkit.nn as nn
    >>> pool = nn.AttentionPool2d(64, num_heads=4, output_dim=10)
    >>> pool(torch.rand(2, 64, 7, 7)).shape, pool(torch.rand(2, 64, 9, 5)).shape
    (torch.Size([2, 10]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 8,
        feat_size: Any = 7,
        output_dim: int | None = None,
        *,
        interpolation: str = "bicubic",
    ) -> None:
        super().__init__()
        self.embed_dim = integer(embed_dim, "embed_dim", 1)
        self.num_heads = integer(num_heads, "num_heads", 1)
        check_heads("embed_dim", self.embed_dim, self.num_heads)
        sizes = spread(integers(feat_size, "feat_size", 1), 2)
        if len(sizes) != 2:
            raise PoolError(f"feat_size={show(feat_size)}", "feat_size is one int, or (height, width)", "pass two ints")
        self.feat_size = (sizes[0], sizes[1])
        self.output_dim = self.embed_dim if output_dim is None else integer(output_dim, "output_dim", 1)
        self.interpolation = choice(interpolation, "interpolation", ("bicubic", "bilinear"))
        embedding = torch.randn(1 + sizes[0] * sizes[1], self.embed_dim) * self.embed_dim**-0.5
        self.positional_embedding = nn.Parameter(embedding)
        self.q_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.k_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.v_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.c_proj = nn.Linear(self.embed_dim, self.output_dim)

    def _positions(self, height: int, width: int) -> Tensor:
        """The position embedding of the mean, then of a grid of this size."""
        embedding = self.positional_embedding
        if (height, width) == self.feat_size:
            return embedding
        grid = wide(embedding[1:]).reshape(*self.feat_size, self.embed_dim).permute(2, 0, 1).unsqueeze(0)
        grid = functional.interpolate(grid, (height, width), mode=self.interpolation, align_corners=False)
        return torch.cat([embedding[:1], grid[0].flatten(1).T.to(embedding.dtype)])

    def forward(self, input: Tensor) -> Tensor:
        """Pools a map of any size to one vector."""
        fixed = {-3: ("embed_dim", self.embed_dim)}
        x = check_input(input, {4: "(N, C, H, W)", 3: "(C, H, W)"}, fixed, filled=(-2, -1))
        single = x.dim() == 3
        x = x.unsqueeze(0) if single else x
        height, width = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([wide(x).mean(1, keepdim=True).to(x.dtype), x], dim=1) + self._positions(height, width)
        found = attend(self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x), self.num_heads)
        y = self.c_proj(found[:, 0])
        return y[0] if single else y

    def extra_repr(self) -> str:
        """embed_dim, num_heads, feat_size, output_dim."""
        return f"{self.embed_dim}, num_heads={self.num_heads}, feat_size={self.feat_size}, output_dim={self.output_dim}"


class AttentionPoolLatent(nn.Module):
    """Attention of learned probes over tokens, then a residual MLP: the MAP head of ViT and SigLIP.

    ``z = W_o MultiHead(W_q l, W_k x, W_v x) + b_o`` for each latent ``l``, then ``y = z + MLP(LayerNorm(z))`` with one
    hidden GELU layer.

    Source: Zhai et al., "Scaling Vision Transformers", 2022 (arXiv:2106.04560), section 3.2; after the multihead
    attention pooling of Lee et al., 2019 (arXiv:1810.00825).

    Args:
        in_features: features of a token.
        out_features: features of the output; None means `in_features`.
        embed_dim: width of the attention and of the latents; None means `in_features`.
        num_heads: attention heads; divides `embed_dim`.
        mlp_ratio: hidden width of the MLP in units of `out_features`.
        qkv_bias: the projections of queries, keys and values have a bias.
        latent_len: number of latents.
        pool_type: what becomes of several latents: ``"token"`` gives the first, ``"avg"`` their mean, ``"none"`` all.
        eps: of the layer norm.

    Shape:
        ``(N, L, in_features)`` with a bool mask ``(N, L)`` (True: a real token) or none, to ``(N, out_features)``;
        with ``pool_type="none"`` to ``(N, latent_len, out_features)``. All without N, too. A row without a real token
        attends to nothing: its attention is zero, and the layers after it see that zero.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> pool = nn.AttentionPoolLatent(64, num_heads=4)
    >>> pool(torch.rand(2, 50, 64), torch.arange(50) < torch.tensor([[50], [17]])).shape
    torch.Size([2, 64])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        embed_dim: int | None = None,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        latent_len: int = 1,
        pool_type: str = "token",
        *,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.in_features = integer(in_features, "in_features", 1)
        self.out_features = self.in_features if out_features is None else integer(out_features, "out_features", 1)
        self.embed_dim = self.in_features if embed_dim is None else integer(embed_dim, "embed_dim", 1)
        self.num_heads = integer(num_heads, "num_heads", 1)
        check_heads("embed_dim", self.embed_dim, self.num_heads)
        hidden = max(int(self.out_features * number(mlp_ratio, "mlp_ratio", low=0.0)), 1)
        bias = flag(qkv_bias, "qkv_bias")
        self.latent_len = integer(latent_len, "latent_len", 1)
        self.pool_type = choice(pool_type, "pool_type", ("token", "avg", "none"))
        self.latent = nn.Parameter(torch.randn(1, self.latent_len, self.embed_dim) * self.embed_dim**-0.5)
        self.q = nn.Linear(self.embed_dim, self.embed_dim, bias=bias)
        self.kv = nn.Linear(self.in_features, 2 * self.embed_dim, bias=bias)
        self.proj = nn.Linear(self.embed_dim, self.out_features)
        self.norm = nn.LayerNorm(self.out_features, eps=number(eps, "eps", low=0.0))
        self.mlp = nn.Sequential(nn.Linear(self.out_features, hidden), nn.GELU(), nn.Linear(hidden, self.out_features))

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pools tokens, those that the mask calls real."""
        x, mask, single = tokens(input, mask, ("in_features", self.in_features))
        key, value = self.kv(only(x, mask)).chunk(2, dim=-1)
        query = self.q(self.latent).expand(x.shape[0], -1, -1)
        z = self.proj(attend(query, key, value, self.num_heads, mask))
        y = z + self.mlp(self.norm(z))
        if self.pool_type == "token":
            y = y[:, 0]
        elif self.pool_type == "avg":
            y = wide(y).mean(1).to(y.dtype)
        return y[0] if single else y

    def extra_repr(self) -> str:
        """Sizes, and how several latents become one."""
        return (
            f"{self.in_features}, out_features={self.out_features}, embed_dim={self.embed_dim}, "
            f"num_heads={self.num_heads}, latent_len={self.latent_len}, pool_type={self.pool_type!r}"
        )


class SimPool(nn.Module):
    """Attention of the mean token over layer-normed tokens, with the tokens themselves as values.

    ``q = W_q mean(x)``, ``k = W_k LN(x)``, ``v = LN(x)``, ``a = softmax(q k / sqrt(embed_dim / num_heads))``, and
    ``y = sum_i a_i v_i``; with `gamma` the power mean ``y = (sum_i a_i (v_i - min v + eps)^gamma)^(1 / gamma)``, whose
    minimum is taken over the real tokens and the features of each sample alone.

    Source: Psomas et al., "Keep It SimPool: Who Said Supervised Transformers Suffer from Attention Deficit?", 2023
    (arXiv:2309.06891), section 3. The code published with it takes the minimum over the whole batch, which makes an
    output depend on its neighbours.

    Args:
        embed_dim: features of a token, or channels of a map.
        num_heads: attention heads; divides `embed_dim`.
        gamma: exponent of the power mean, above 0; None gives the plain weighted mean. The paper: 1.25.
        qkv_bias: the projections of query and keys have a bias.
        eps: of the layer norm, and what the smallest value counts under the power.

    Shape:
        Tokens ``(N, L, embed_dim)`` with a bool mask ``(N, L)`` (True: a real token) or none, or a map
        ``(N, embed_dim, H, W)``, to ``(N, embed_dim)``; tokens ``(L, embed_dim)`` to ``(embed_dim,)``. With
        ``return_attention`` also the weights, ``(N, num_heads, L)`` or ``(N, num_heads, H, W)``. A row without a real
        token gives zeros.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> y, attention = nn.SimPool(64, gamma=1.25)(torch.rand(2, 64, 7, 5), return_attention=True)
    >>> y.shape, attention.shape
    (torch.Size([2, 64]), torch.Size([2, 1, 7, 5]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 1,
        gamma: float | None = None,
        *,
        qkv_bias: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.embed_dim = integer(embed_dim, "embed_dim", 1)
        self.num_heads = integer(num_heads, "num_heads", 1)
        check_heads("embed_dim", self.embed_dim, self.num_heads)
        self.gamma = None if gamma is None else number(gamma, "gamma", low=0.0)
        self.eps = number(eps, "eps", low=0.0)
        bias = flag(qkv_bias, "qkv_bias")
        self.norm = nn.LayerNorm(self.embed_dim, eps=self.eps)
        self.wq = nn.Linear(self.embed_dim, self.embed_dim, bias=bias)
        self.wk = nn.Linear(self.embed_dim, self.embed_dim, bias=bias)

    def forward(self, input: Tensor, mask: Tensor | None = None, *, return_attention: bool = False) -> Any:
        """Pools tokens or a map; with ``return_attention`` gives (y, weights)."""
        if isinstance(cast(object, input), Tensor) and input.dim() == 4:
            fixed = {-3: ("embed_dim", self.embed_dim)}
            check_input(input, {4: "(N, C, H, W)"}, fixed, filled=(-2, -1))
            check_mask(mask, (input.shape[0], *input.shape[2:]), "(N, H, W)")
            y, weights = self._pool(input.flatten(2).transpose(1, 2), None if mask is None else mask.flatten(1))
            return (y, weights.unflatten(-1, input.shape[2:])) if return_attention else y
        x, mask, single = tokens(input, mask, ("embed_dim", self.embed_dim))
        y, weights = self._pool(x, mask)
        if single:
            y, weights = y[0], weights[0]
        return (y, weights) if return_attention else y

    def _pool(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        x = only(x, mask)
        real = x.shape[1] if mask is None else mask.sum(1, keepdim=True).clamp(min=1)
        mean = (wide(x).sum(1) / real).to(x.dtype)
        value = self.norm(x)
        query = heads(self.wq(mean).unsqueeze(1), self.num_heads)
        key = heads(self.wk(value), self.num_heads)
        scores = (wide(query) * wide(key)).sum(-1) * (self.embed_dim // self.num_heads) ** -0.5
        weights = masked_softmax(scores, None if mask is None else mask[:, None], -1)
        value = wide(value)
        if self.gamma is not None:
            # Elements that are not real must not be the smallest; their weight is 0 whatever their value.
            known = value if mask is None else value.masked_fill(~mask[:, :, None], torch.inf)
            lowest = known.amin((1, 2), keepdim=True)
            value = (only(value - lowest, mask) + self.eps) ** self.gamma
        y = (weights.unsqueeze(2) @ heads(value, self.num_heads))[:, :, 0].flatten(1)
        if self.gamma is not None:
            y = unless_empty(y.clamp(min=torch.finfo(y.dtype).tiny) ** (1 / self.gamma), mask)
        return y.to(x.dtype), weights.to(x.dtype)

    def extra_repr(self) -> str:
        """embed_dim, num_heads, gamma."""
        return f"{self.embed_dim}, num_heads={self.num_heads}, gamma={self.gamma}"
