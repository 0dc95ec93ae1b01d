"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) with ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from poolkit.lab.models.head import flattened

if TYPE_CHECKING:
    from poolkit.lab.poolings import Pooling


def lenet(channels: int, classes: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    """Two convolutions 5 x 5, padded so that small images keep their size, each with a pooling; three linear layers.

    It has twice the channels of the original, whose six and sixteen hold even the smallest images back.
    """
    features = nn.Sequential(
        nn.Conv2d(channels, 12, 5, padding=2), nn.ReLU(), pool(12),
        nn.Conv2d(12, 32, 5, padding=2), nn.ReLU(), pool(32), nn.Flatten(),
    )  # fmt: skip
    width = flattened(features, (channels, *size))
    head = nn.Sequential(
        nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)
    )  # fmt: skip
    return nn.Sequential(features, head)
