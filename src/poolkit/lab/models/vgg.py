"""VGG-16 (Simonyan and Zisserman, 2015, configuration D)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from poolkit.lab.models.pooling import Pool, max_pool


class VGG16(nn.Module):
    """Thirteen convolutions in five stages with a pooling after each, then three linear layers.

    Args:
        channels: of the images.
        classes: to tell apart.
        width: channels of the first stage; 64 in the paper. The linear layers have 64 times as many numbers.
        size: side of the map before the linear layers; 7 in the paper.
        pool: what halves the maps.

    Shape:
        ``(N, channels, H, W)``, sides of at least 32, to scores ``(N, classes)``.

    >>> import torch
    >>> VGG16(classes=10, width=4)(torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self, channels: int = 3, classes: int = 1000, *, width: int = 64, size: int = 7, pool: Pool = max_pool
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = []
        for (before, after), depth in zip(pairwise([channels, *widths]), (2, 2, 3, 3, 3), strict=True):
            for place in range(depth):
                layers += [nn.Conv2d(before if place == 0 else after, after, 3, padding=1), nn.ReLU()]
            layers.append(pool(after))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(size)
        hidden = 64 * width
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * size * size, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Scores of images."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
