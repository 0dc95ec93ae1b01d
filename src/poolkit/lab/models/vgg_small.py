"""A small network in the manner of VGG (Simonyan and Zisserman, 2015): pairs of convolutions, then a pooling."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from poolkit.lab.poolings import Pooling

WIDTHS = (16, 32, 64)


def vgg_small(channels: int, classes: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    """Three stages of 16, 32 and 64 channels with batch normalisation, a pooling after each, and a mean over the map.

    The mean over the whole map at the end keeps the head from learning places, so that answers to shifted images tell
    about the poolings.
    """
    del size
    layers: list[nn.Module] = []
    for before, width in pairwise((channels, *WIDTHS)):
        for inputs in (before, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(pool(width))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes))
