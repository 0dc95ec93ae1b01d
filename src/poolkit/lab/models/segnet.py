"""SegNet (Badrinarayanan, Kendall and Cipolla, 2017): what pooling threw away comes back by its indices."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from poolkit.lab.models.pooling import Pool, Unpool, enlarge, max_pool_with_indices, max_unpool, shrink
from poolkit.lab.models.unet import double


class SegNet(nn.Module):
    """An encoder of convolutions and poolings, and a decoder that is its mirror image, with unpoolings.

    Args:
        channels: of the images.
        classes: of pixels.
        width: channels of the first level, doubled by each up to eight times; 64 in the paper.
        depth: how many times the maps are halved; 5 in the paper.
        pool: what shrinks the maps; its indices, if it gives any, go to `unpool`.
        unpool: what enlarges them again.

    Shape:
        ``(N, channels, H, W)``, sides of at least ``2 ** depth``, to scores ``(N, classes, H, W)``.

    >>> import torch
    >>> SegNet(width=4, depth=3)(torch.rand(1, 3, 18, 21)).shape
    torch.Size([1, 2, 18, 21])
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        *,
        width: int = 64,
        depth: int = 5,
        pool: Pool = max_pool_with_indices,
        unpool: Unpool = max_unpool,
    ) -> None:
        super().__init__()
        widths = [width * 2 ** min(level, 3) for level in range(depth)]
        self.encoder = nn.ModuleList(double(before, after) for before, after in pairwise([channels, *widths]))
        self.pools = nn.ModuleList(map(pool, widths))
        self.unpools = nn.ModuleList(map(unpool, reversed(widths)))
        afters = [widths[0], *widths[:-1]]
        self.decoder = nn.ModuleList(map(double, reversed(widths), reversed(afters)))
        self.head = nn.Conv2d(widths[0], classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of pixels."""
        levels: list[tuple[Tensor | None, list[int]]] = []
        for block, pool in zip(self.encoder, self.pools, strict=True):
            x = block(x)
            sizes = list(x.shape[-2:])
            x, indices = shrink(pool, x)
            levels.append((indices, sizes))
        for unpool, block in zip(self.unpools, self.decoder, strict=True):
            indices, sizes = levels.pop()
            x = block(enlarge(unpool, x, indices, sizes))
        return self.head(x)
