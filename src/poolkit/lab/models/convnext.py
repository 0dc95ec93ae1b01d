"""A network in the manner of ConvNeXt (Liu and others, 2022), as narrow as its atto variant, for small images."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.lab.poolings import Pooling

WIDTHS, DEPTHS = (40, 80, 160), (1, 1, 2)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of maps [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """A depthwise convolution 7 x 7, then two pointwise ones with four times the channels between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels), ChannelNorm(channels),
            nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1),
        )  # fmt: skip
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + self.scale * self.body(x)


def convnext_atto(channels: int, classes: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    """Three stages of 40, 80 and 160 channels.

    Where the original has convolutions of stride 2 between its stages, here are a pooling and a pointwise convolution;
    images are small, so the stem is a convolution 3 x 3 with a pooling in place of patches of 4 x 4.
    """
    del size
    layers: list[nn.Module] = [nn.Conv2d(channels, WIDTHS[0], 3, padding=1), ChannelNorm(WIDTHS[0]), pool(WIDTHS[0])]
    layers += [Block(WIDTHS[0]) for _ in range(DEPTHS[0])]
    for (before, width), depth in zip(pairwise(WIDTHS), DEPTHS[1:], strict=True):
        layers += [ChannelNorm(before), pool(before), nn.Conv2d(before, width, 1)]
        layers += [Block(width) for _ in range(depth)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(WIDTHS[-1]), nn.Linear(WIDTHS[-1], classes)]
    return nn.Sequential(*layers, *head)
