"""ResNet-20 for images of CIFAR's size (He, Zhang, Ren and Sun, 2016, section 4.2), shrunk by poolings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.lab.poolings import Pooling


class Block(nn.Module):
    """Two convolutions 3 x 3 beside a shortcut; where the original strides by 2, both paths are pooled.

    As in Zhang (2019): the convolution keeps stride 1 and a pooling follows its activation.
    """

    def __init__(self, inputs: int, outputs: int, pool: Pooling | None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            pool(outputs) if pool else nn.Identity(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if inputs != outputs:
            join = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
            self.shortcut = nn.Sequential(pool(inputs) if pool else nn.Identity(), *join)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to maps of the same or half the size."""
        return (self.body(x) + self.shortcut(x)).relu()


def resnet20(channels: int, classes: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    """Three stages of three blocks with 16, 32 and 64 channels; the second and the third begin with a pooling."""
    del size
    blocks = [Block(16, 16, None) for _ in range(3)]
    for inputs, outputs in ((16, 32), (32, 64)):
        blocks += [Block(inputs, outputs, pool), Block(outputs, outputs, None), Block(outputs, outputs, None)]
    stem = [nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
