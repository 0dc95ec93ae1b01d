"""An Inception network (Szegedy and others, 2015 and 2016): poolings inside of blocks, and as calls of functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from poolkit.lab.models.pooling import Pool, max_pool


class Convolution(nn.Sequential):
    """A convolution, normalised and cut off at zero.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: side of its window; the padding keeps the size.
        stride: of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Mixed(nn.Module):
    """Four branches side by side: 1x1, 3x3, 5x5 and a mean of 3x3, which is a call of a function.

    Args:
        inputs: channels that come in.
        width: channels of each branch.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.one = Convolution(inputs, width)
        self.three = nn.Sequential(Convolution(inputs, width), Convolution(width, width, 3))
        self.five = nn.Sequential(Convolution(inputs, width // 2), Convolution(width // 2, width, 5))
        self.pooled = Convolution(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same size with four times `width` channels."""
        mean = functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(mean)], 1)


class Reduction(nn.Module):
    """Two ways to half the size side by side: a strided convolution and a maximum, which is a call of a function.

    Args:
        inputs: channels that come in.
        width: channels of the convolution.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.strided = Convolution(inputs, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of half the size, rounded up."""
        return torch.cat([self.strided(x), functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)], 1)


class Inception(nn.Module):
    """A stem that pools twice, and stages of mixed blocks with a reduction between them.

    Args:
        channels: of the images.
        classes: to tell apart.
        width: channels of a branch in the first stage; doubled by the second.
        blocks: mixed blocks in each of the two stages.
        pool: what follows the convolutions of the stem, with a window of 3 and a stride of 2.

    Shape:
        ``(N, channels, H, W)`` to scores ``(N, classes)``.

    >>> import torch
    >>> Inception(classes=10, width=8, blocks=1)(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self, channels: int = 3, classes: int = 1000, *, width: int = 64, blocks: int = 2, pool: Pool = max_pool
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Convolution(channels, width, 7, 2), pool(width, 3, 2, 1), Convolution(width, 3 * width, 3),
            pool(3 * width, 3, 2, 1),
        )  # fmt: skip
        self.first = nn.Sequential(*(Mixed(3 * width if block == 0 else 4 * width, width) for block in range(blocks)))
        self.reduction = Reduction(4 * width, 4 * width)
        self.second = nn.Sequential(*(Mixed(8 * width, 2 * width) for _ in range(blocks)))
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of images."""
        x = self.second(self.reduction(self.first(self.stem(x))))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
