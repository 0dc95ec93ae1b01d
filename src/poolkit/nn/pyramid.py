"""Poolings at several scales at once: pyramids, strips, regions, and the strongest and weakest cells of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from poolkit import functional as pools
from poolkit.errors import PoolError, flag, integer, number, show
from poolkit.levels import pyramid_levels
from poolkit.nn._maps import check_maps, one_of, wide

if TYPE_CHECKING:
    from collections.abc import Callable


class SpatialPyramidPool2d(nn.Module):
    """Adaptive pooling at several output sizes, side by side: a vector of one length from a map of any size.

    Level ``n`` shares the map out into ``n x n`` windows, as `AdaptiveMaxPool2d`; the levels stand one after the other,
    each channel by channel in row-major order. He, Zhang, Ren and Sun, 2014 (arXiv:1406.4729, section 2.2).

    Args:
        levels: windows per side of each level, an int or (rows, columns); 1 is global pooling.
        mode: ``"max"`` or ``"avg"``.
        flatten: one vector per sample; False keeps the channels apart, ``(N, C, cells)``.

    Shape:
        ``(N, C, H, W)`` or ``(C, H, W)`` to ``(N, C * cells)`` or ``(N, C, cells)``, without ``N`` where there was
        none; ``cells`` is the sum of the levels' windows, 21 for ``(1, 2, 4)``. H and W may be below a level.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> spp = nn.SpatialPyramidPool2d((1, 2))
    >>> spp(torch.arange(9.0).view(1, 1, 3, 3))
    tensor([[8., 4., 5., 7., 8.]])
    >>> [tuple(spp(torch.rand(2, 3, size, 7)).shape) for size in (1, 13, 224)]
    [(2, 15), (2, 15), (2, 15)]
    """

    def __init__(self, levels: Any = (1, 2, 4), mode: str = "max", flatten: bool = True) -> None:
        super().__init__()
        self.levels = pyramid_levels(levels, "levels")
        self.mode = one_of(mode, "mode", ("max", "avg"))
        self.flatten = flag(flatten, "flatten")

    @property
    def cells(self) -> int:
        """Windows of all levels together: numbers per channel."""
        return sum(rows * columns for rows, columns in self.levels)

    def forward(self, input: Tensor) -> Tensor:
        """The pyramid of `input`."""
        x = check_maps(input, 2)
        pool = pools.adaptive_max_pool2d if self.mode == "max" else pools.adaptive_avg_pool2d
        parts = [cast(Tensor, pool(x, level)).flatten(-2) for level in self.levels]
        if self.flatten:
            return torch.cat([part.flatten(-2) for part in parts], -1)
        return torch.cat(parts, -1)

    def extra_repr(self) -> str:
        """levels, mode, flatten."""
        return f"levels={self.levels}, mode={self.mode!r}, flatten={self.flatten}"


class ChainedMaxPool2d(nn.Module):
    """The input and its stride-1 maxima over ever larger windows, as further channels.

    ``y = [x, m(x), m(m(x)), ...]`` with m the maximum over ``kernel_size`` cells of the same size as the input: after
    ``r`` passes a window has ``r (kernel_size - 1) + 1`` cells, so that 5 and 3 passes give the windows 5, 9 and 13 of
    the spatial pyramid in YOLOv3-SPP (Huang et al., 2019, arXiv:1903.08589) at the cost of three small ones.

    Args:
        kernel_size: odd; cells of each pass.
        repeats: passes.

    Shape:
        ``(N, C, H, W)`` or ``(C, H, W)`` to the same with ``C * (repeats + 1)`` channels.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.ChainedMaxPool2d(3, repeats=2)(torch.tensor([[[0.0, 1.0, 2.0, 0.0, 0.0, 0.0]]]))
    tensor([[[0., 1., 2., 0., 0., 0.]],
    <BLANKLINE>
            [[1., 2., 2., 2., 0., 0.]],
    <BLANKLINE>
            [[2., 2., 2., 2., 2., 0.]]])
    """

    def __init__(self, kernel_size: int = 5, repeats: int = 3) -> None:
        super().__init__()
        self.kernel_size = _odd(kernel_size, "kernel_size")
        self.repeats = integer(repeats, "repeats", 1)

    def forward(self, input: Tensor) -> Tensor:
        """`input` and its maxima."""
        parts = [check_maps(input, 2)]
        for _ in range(self.repeats):
            parts.append(cast(Tensor, pools.max_pool2d(parts[-1], self.kernel_size, 1, self.kernel_size // 2)))
        return torch.cat(parts, -3)

    def extra_repr(self) -> str:
        """kernel_size, repeats."""
        return f"kernel_size={self.kernel_size}, repeats={self.repeats}"


class SPPF(nn.Module):
    """The spatial pyramid of the YOLO networks: 1x1 convolution, `ChainedMaxPool2d` with three passes, 1x1 convolution.

    ``y = b([a(x), m(a(x)), m(m(a(x))), m(m(m(a(x))))])``, each convolution with normalisation and SiLU. The same
    numbers as pooling with 5, 9 and 13 cells (Ultralytics YOLOv5, 2021; the block of YOLOv3-SPP, arXiv:1903.08589).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: odd; cells of each pass.
        hidden_channels: channels between the convolutions; None is half of `in_channels`, at least 1.
        norm: makes the layer after each convolution from its number of channels; None for none, with a bias instead.

    Shape:
        ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.SPPF(8, 16)(torch.rand(2, 8, 13, 9)).shape
    torch.Size([2, 16, 13, 9])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 5,
        hidden_channels: int | None = None,
        *,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.in_channels = integer(in_channels, "in_channels", 1)
        out_channels = integer(out_channels, "out_channels", 1)
        hidden = max(in_channels // 2, 1) if hidden_channels is None else integer(hidden_channels, "hidden_channels", 1)
        self.reduce = _convolution(in_channels, hidden, 1, norm, nn.SiLU())
        self.pool = ChainedMaxPool2d(kernel_size)
        self.merge = _convolution(4 * hidden, out_channels, 1, norm, nn.SiLU())

    def forward(self, input: Tensor) -> Tensor:
        """The merged pyramid of `input`."""
        x = check_maps(input, 2, self.in_channels, batched=True)
        return self.merge(self.pool(self.reduce(x)))


class PyramidPoolingModule(nn.Module):
    """The map beside coarse pictures of itself: means over ``n x n`` windows, convolved, resized and concatenated.

    For every bin: adaptive average pooling to ``n x n``, a 1x1 convolution to ``in_channels // len(bins)`` channels
    with normalisation and ReLU, bilinear interpolation back; the input comes first (PSPNet: Zhao et al., 2017,
    arXiv:1612.01105, section 3.2).

    Args:
        in_channels: channels of the input, at least one for each bin.
        bins: windows per side of each picture.
        out_channels: None gives the concatenation, ``in_channels + len(bins) * (in_channels // len(bins))`` channels;
            a number adds a 3x3 convolution with normalisation and ReLU to so many, as PSPNet's own head has.
        norm: makes the layer after each convolution from its number of channels; None for none, with a bias instead.
        align_corners: of the interpolation; the paper's own code has True.

    Shape:
        ``(N, in_channels, H, W)`` to ``(N, channels, H, W)``.

    Raises:
        PoolError: an argument or the input breaks a rule; among them a bin of 1 in training on a batch of one, from
            which batch normalisation has no variance to take.

    >>> import torch, poolkit.nn as nn
    >>> nn.PyramidPoolingModule(8)(torch.rand(2, 8, 13, 9)).shape
    torch.Size([2, 16, 13, 9])
    """

    def __init__(
        self,
        in_channels: int,
        bins: Any = (1, 2, 3, 6),
        out_channels: int | None = None,
        *,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = integer(in_channels, "in_channels", 1)
        self.bins = pyramid_levels(bins, "bins")
        each = in_channels // len(self.bins)
        if each < 1:
            raise PoolError(
                f"in_channels={in_channels} with {len(self.bins)} bins",
                "in_channels // len(bins) >= 1, so that every bin has a channel",
                "use fewer bins or more channels",
            )
        self.align_corners = flag(align_corners, "align_corners")
        self.branches = nn.ModuleList([_convolution(in_channels, each, 1, norm, nn.ReLU()) for _ in self.bins])
        together = in_channels + each * len(self.bins)
        self.merge = None
        if out_channels is not None:
            self.merge = _convolution(together, integer(out_channels, "out_channels", 1), 3, norm, nn.ReLU())

    def forward(self, input: Tensor) -> Tensor:
        """`input` and its pictures."""
        x = check_maps(input, 2, self.in_channels, batched=True)
        parts = [x]
        for level, branch in zip(self.bins, self.branches, strict=True):
            if len(x) == 1 and level == (1, 1) and any(_learns_a_batch(layer) for layer in branch.modules()):
                raise PoolError(
                    f"input x of shape {tuple(x.shape)} in training",
                    "batch normalisation after a bin of 1 needs a batch of at least 2: one number has no variance",
                    "train with larger batches, or pass norm=None or another norm such as "
                    "lambda n: torch.nn.GroupNorm(1, n)",
                )
            picture = branch(cast(Tensor, pools.adaptive_avg_pool2d(x, level)))
            parts.append(
                functional.interpolate(picture, x.shape[-2:], mode="bilinear", align_corners=self.align_corners)
            )
        y = torch.cat(parts, 1)
        return y if self.merge is None else self.merge(y)

    def extra_repr(self) -> str:
        """bins, align_corners."""
        return f"bins={self.bins}, align_corners={self.align_corners}"


class StripPool2d(nn.Module):
    """A gate from whole rows and columns: each cell sees its row's and its column's mean.

    ``y = x * sigmoid(f(h + v))`` with h the row means and v the column means, each convolved along its strip, and f a
    1x1 convolution (Hou et al., 2020, arXiv:2003.13328, section 3.1).

    Args:
        channels: channels of the input and of the result.
        kernel_size: odd; cells of the convolutions along the strips.

    Shape:
        ``(N, channels, H, W)`` to the same.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.StripPool2d(3)(torch.rand(2, 3, 13, 9)).shape
    torch.Size([2, 3, 13, 9])
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.channels = integer(channels, "channels", 1)
        kernel = _odd(kernel_size, "kernel_size")
        self.rows = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.columns = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.fuse = nn.Conv2d(channels, channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """`input` behind its gate."""
        x = check_maps(input, 2, self.channels, batched=True)
        down = self.rows(cast(Tensor, pools.adaptive_avg_pool2d(x, (None, 1))).squeeze(-1))
        across = self.columns(cast(Tensor, pools.adaptive_avg_pool2d(x, (1, None))).squeeze(-2))
        return x * torch.sigmoid(self.fuse(down.unsqueeze(-1) + across.unsqueeze(-2)))


class RMACPool(nn.Module):
    """Regional maxima: the sum of the L2-normalised channel maxima of square regions at several scales.

    At scale l the regions are ``floor(2 min(H, W) / (l + 1))`` cells wide, l along the short side and l + m - 1 along
    the long one, spread evenly; m is the number of regions of width min(H, W) that overlap as close to 40 % as can be
    (Tolias, Sicre and Jegou, 2016, arXiv:1511.05879, section 3). No learned parameters; normalise the result.

    Args:
        levels: scales, from 1.
        eps: norms below it count as it.
        whole: also add the normalised maximum over the whole map, as widespread code does and the paper does not.

    Shape:
        ``(N, C, H, W)`` or ``(C, H, W)`` to ``(N, C)`` or ``(C,)``.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.RMACPool(levels=1)(torch.tensor([[[3.0, 1.0], [0.0, 2.0]], [[4.0, 0.0], [1.0, 1.0]]]))
    tensor([0.6000, 0.8000])
    """

    def __init__(self, levels: int = 3, eps: float = 1e-6, whole: bool = False) -> None:
        super().__init__()
        self.levels = integer(levels, "levels", 1)
        self.eps = number(eps, "eps", low=0.0)
        self.whole = flag(whole, "whole")

    def forward(self, input: Tensor) -> Tensor:
        """The regional maxima of `input`."""
        x = check_maps(input, 2)
        total = self._unit(x) if self.whole else None
        for top, left, side in rmac_regions(x.shape[-2], x.shape[-1], self.levels):
            unit = self._unit(x[..., top : top + side, left : left + side])
            total = unit if total is None else total + unit
        return cast(Tensor, total).to(x.dtype)

    def _unit(self, region: Tensor) -> Tensor:
        peaks = wide(cast(Tensor, pools.adaptive_max_pool2d(region, 1)).flatten(-3))
        return functional.normalize(peaks, dim=-1, eps=self.eps)

    def extra_repr(self) -> str:
        """levels, eps, whole."""
        return f"levels={self.levels}, eps={self.eps}, whole={self.whole}"


def rmac_regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """(top, left, side) of every region of `RMACPool`.

    >>> rmac_regions(4, 4, 2)
    [(0, 0, 4), (0, 0, 2), (0, 2, 2), (2, 0, 2), (2, 2, 2)]
    """
    short, long = min(height, width), max(height, width)
    more = 0
    if long > short:
        # Neighbours among c + 1 regions are (long - short) / c apart and overlap by 1 less that over short: the c
        # that brings this nearest to 0.4 is one of the two integers around 5 (long - short) / (3 short).
        wanted = 5 * (long - short)
        more = wanted // (3 * short)
        below, above = wanted - 3 * short * more, 3 * short * (more + 1) - wanted
        if more == 0 or above * more < below * (more + 1):
            more += 1
    found: list[tuple[int, int, int]] = []
    for level in range(1, levels + 1):
        side = max(2 * short // (level + 1), 1)
        rows = _spread(height, side, level + (more if height > width else 0))
        columns = _spread(width, side, level + (more if width > height else 0))
        found += [(top, left, side) for top in rows for left in columns]
    return found


def _spread(size: int, side: int, count: int) -> list[int]:
    return [0] if count == 1 else [i * (size - side) // (count - 1) for i in range(count)]


class WildcatPool2d(nn.Module):
    """Half the sum of the mean of the strongest and the weighted mean of the weakest cells of each channel.

    ``y = (mean of the kmax largest + alpha * mean of the kmin smallest) / 2``, and without the halving where kmin is 0
    (Durand et al., 2017, WILDCAT, CVPR; the half as in the authors' code). Of equal cells the first ones
    are chosen.

    Args:
        kmax: cells taken from the top: an int, or a fraction in (0, 1) of the map, rounded, at least 1.
        kmin: cells taken from the bottom; None is `kmax`, 0 takes none.
        alpha: weight of the bottom.

    Shape:
        ``(N, C, H, W)`` or ``(C, H, W)`` to ``(N, C)`` or ``(C,)``.

    Raises:
        PoolError: an argument breaks a rule, or the map has fewer cells than are to be taken.

    >>> import torch, poolkit.nn as nn
    >>> nn.WildcatPool2d(kmax=2, kmin=1, alpha=0.5)(torch.tensor([[[1.0, -4.0], [5.0, 3.0]]]))
    tensor([1.])
    """

    def __init__(self, kmax: float = 1, kmin: float | None = None, alpha: float = 1.0) -> None:
        super().__init__()
        self.kmax = _share(kmax, "kmax", 1)
        self.kmin = None if kmin is None else _share(kmin, "kmin", 0)
        self.alpha = number(alpha, "alpha", low=-float("inf"))

    def forward(self, input: Tensor) -> Tensor:
        """The score of every channel of `input`."""
        cells = check_maps(input, 2).flatten(-2)
        n = cells.shape[-1]
        top = self._count(self.kmax, n, "kmax")
        bottom = top if self.kmin is None else self._count(self.kmin, n, "kmin")
        y = _mean_of_first(cells, top, descending=True)
        if bottom:
            y = (y + self.alpha * _mean_of_first(cells, bottom, descending=False)) / 2
        return y.to(input.dtype)

    @staticmethod
    def _count(share: float, cells: int, name: str) -> int:
        count = share if isinstance(share, int) else max(round(share * cells), 1)
        if count > cells:
            raise PoolError(
                f"{name}={share} for a map of {cells} cells",
                f"{name} is at most the number of cells, here {count} > {cells}",
                f"pass a fraction such as {name}=0.2, or larger maps",
            )
        return count

    def extra_repr(self) -> str:
        """kmax, kmin, alpha."""
        return f"kmax={self.kmax}, kmin={self.kmin}, alpha={self.alpha}"


def _mean_of_first(cells: Tensor, count: int, *, descending: bool) -> Tensor:
    # topk leaves open which of equal cells it takes; a stable sort takes the first.
    return wide(cells.sort(dim=-1, descending=descending, stable=True).values[..., :count]).mean(-1)


def _share(value: object, name: str, minimum: int) -> float:
    if not isinstance(value, float):
        return integer(value, name, minimum)
    if 0 < value < 1:
        return value
    raise PoolError(
        f"{name}={show(value)}",
        f"{name} is an int of at least {minimum}, or a fraction in (0, 1)",
        f"write {name}=1 for one cell, or {name}=0.5 for half of the map",
    )


def _odd(value: object, name: str) -> int:
    size = integer(value, name, 1)
    if size % 2 == 0:
        raise PoolError(f"{name}={size}", f"{name} is odd, so that windows are centred", f"use {name}={size + 1}")
    return size


def _convolution(
    before: int, after: int, kernel_size: int, norm: Callable[[int], nn.Module] | None, activation: nn.Module
) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2, bias=norm is None)
    return nn.Sequential(convolution, *([] if norm is None else [norm(after)]), activation)


def _learns_a_batch(layer: nn.Module) -> bool:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return isinstance(layer, kinds) and layer.training
