"""ResNet-18 (He, Zhang, Ren and Sun, 2016)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from poolkit.lab.models.pooling import Pool, max_pool


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut; the first one strides.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride > 1 or inputs != outputs:
            join = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(join, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps of the size divided by the stride."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """A stem that pools, four stages of two blocks, and a mean over the map.

    Args:
        channels: of the images.
        classes: to tell apart.
        width: channels of the first stage; 64 in the paper.
        pool: what follows the first convolution, with a window of 3 and a stride of 2.

    Shape:
        ``(N, channels, H, W)`` to scores ``(N, classes)``.

    >>> import torch
    >>> ResNet18(classes=10, width=8)(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 10])
    """

    def __init__(self, channels: int = 3, classes: int = 1000, *, width: int = 64, pool: Pool = max_pool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = pool(width, 3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(BasicBlock(before, after, 1 if stage == 0 else 2), BasicBlock(after, after))
                for stage, (before, after) in enumerate(pairwise(widths))
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of images."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(self.layers(x)).flatten(1))
