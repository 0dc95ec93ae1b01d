"""U-Net (Ronneberger, Fischer and Brox, 2015), with padded convolutions: maps keep their size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poolkit.lab.models.pooling import Pool, Unpool, enlarge, max_pool, shrink


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each normalised and cut off at zero."""
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """An encoder that pools and a decoder that comes back, joined level by level.

    Args:
        channels: of the images.
        classes: of pixels.
        width: channels of the first level, doubled by each; 64 in the paper.
        depth: how many times the maps are halved; 4 in the paper.
        pool: what shrinks the maps; its indices, if it gives any, go to `unpool`.
        unpool: what enlarges them again; None is a transposed convolution with stride 2, as in the paper.

    Shape:
        ``(N, channels, H, W)``, sides of at least ``2 ** depth``, to scores ``(N, classes, H, W)``.

    >>> import torch
    >>> UNet(width=4, depth=2)(torch.rand(1, 1, 18, 21)).shape
    torch.Size([1, 2, 18, 21])
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        *,
        width: int = 64,
        depth: int = 4,
        pool: Pool = max_pool,
        unpool: Unpool | None = None,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        befores = [channels, *widths]
        self.encoder = nn.ModuleList(double(befores[level], widths[level]) for level in range(depth))
        self.pools = nn.ModuleList(pool(widths[level]) for level in range(depth))
        self.bottom = double(widths[-2], widths[-1])
        self.narrow = nn.ModuleList()
        self.unpools = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level in reversed(range(depth)):
            after = widths[level]
            self.narrow.append(nn.Conv2d(2 * after, after, 1) if unpool else nn.Identity())
            self.unpools.append(unpool(after) if unpool else nn.ConvTranspose2d(2 * after, after, 2, 2))
            self.decoder.append(double(2 * after, after))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of pixels."""
        levels: list[tuple[Tensor, Tensor | None]] = []
        for block, pool in zip(self.encoder, self.pools, strict=True):
            skip = block(x)
            x, indices = shrink(pool, skip)
            levels.append((skip, indices))
        x = self.bottom(x)
        for narrow, unpool, block in zip(self.narrow, self.unpools, self.decoder, strict=True):
            skip, indices = levels.pop()
            x = narrow(x)
            if isinstance(unpool, nn.ConvTranspose2d):
                x = unpool(x)
                rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
                x = nn.functional.pad(x, (0, columns, 0, rows))
            else:
                x = enlarge(unpool, x, indices, skip.shape[-2:])
            x = block(torch.cat([skip, x], 1))
        return self.head(x)
