"""A detector's backbone with spatial pyramid pooling, as in YOLOv3-SPP (Huang and others, 2020) and YOLOv5's SPPF."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from poolkit.lab.models.inception import Convolution
from poolkit.lab.models.pooling import Pool, max_pool


class SPP(nn.Module):
    """Maxima over 5x5, 9x9 and 13x13 cells at stride 1, beside the map itself.

    Args:
        width: channels that come in and go out.
        kernels: sides of the windows, odd.
        pool: what pools.
    """

    def __init__(self, width: int, kernels: tuple[int, ...] = (5, 9, 13), *, pool: Pool = max_pool) -> None:
        super().__init__()
        hidden = width // 2
        self.narrow = Convolution(width, hidden)
        self.pools = nn.ModuleList(pool(hidden, kernel, 1, kernel // 2) for kernel in kernels)
        self.join = Convolution(hidden * (len(kernels) + 1), width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        x = self.narrow(x)
        return self.join(torch.cat([x, *(pool(x) for pool in self.pools)], 1))


class SPPF(nn.Module):
    """The same three maxima as a chain: one pooling module of 5x5, called three times.

    Args:
        width: channels that come in and go out.
        kernel: side of the window, odd.
        pool: what pools.
    """

    def __init__(self, width: int, kernel: int = 5, *, pool: Pool = max_pool) -> None:
        super().__init__()
        hidden = width // 2
        self.narrow = Convolution(width, hidden)
        self.pool = pool(hidden, kernel, 1, kernel // 2)
        self.join = Convolution(hidden * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same shape."""
        maps = [self.narrow(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.join(torch.cat(maps, 1))


class YoloSPP(nn.Module):
    """Strided convolutions to a 32nd of the size, spatial pyramid pooling, and a prediction for every cell.

    Args:
        channels: of the images.
        classes: of objects.
        width: channels after the first convolution, doubled by each further one up to 16 times; 32 in YOLOv5s.
        fast: pool in a chain (`SPPF`) in place of side by side (`SPP`).
        pool: what pools.

    Shape:
        ``(N, channels, H, W)`` to ``(N, 3 * (5 + classes), H / 32, W / 32)``: three boxes a cell.

    >>> import torch
    >>> YoloSPP(classes=2, width=4)(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 21, 2, 2])
    """

    def __init__(
        self, channels: int = 3, classes: int = 80, *, width: int = 32, fast: bool = False, pool: Pool = max_pool
    ) -> None:
        super().__init__()
        widths = [channels, *(width * 2**level for level in range(5))]
        self.backbone = nn.Sequential(*(Convolution(before, after, 3, 2) for before, after in pairwise(widths)))
        self.spp = SPPF(widths[-1], pool=pool) if fast else SPP(widths[-1], pool=pool)
        self.head = nn.Conv2d(widths[-1], 3 * (5 + classes), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Raw predictions."""
        return self.head(self.spp(self.backbone(x)))
