"""Maximum and mean mixed by what is learned, a share or a gate; and trees of gated filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch.nn import Parameter

from poolkit.errors import PoolError, flag, integer, number, show
from poolkit.nn._base import SlidingPool, sliding
from poolkit.nn._parameters import FilteringPool, LearnedPool
from poolkit.nn._tokens import choice, wide
from poolkit.reducer import Mixed
from poolkit.reducer.weighted import region_places
from poolkit.torch.functional import pooled_sizes, run
from poolkit.window import per_axis

if TYPE_CHECKING:
    from torch import Tensor

Scope = Literal["layer", "channel", "region"]

_mixed = sliding(Mixed)


class _MixedPool(LearnedPool):
    """Maximum and mean in a learned mixture, ``y = a max x + (1 - a) mean x``.

    Source: Lee, Gallagher and Tu, "Generalizing Pooling Functions in Convolutional Neural Networks: Mixed, Gated, and
    Tree", 2016 (arXiv:1509.08985), section 3.1. Both come from one pass over the window.

    The paper's regions are the places where a pooling window stands, which ties a layer to one input size. Here
    they are a grid laid over whatever output there is: of O outputs along an axis, output i takes the weight
    ``floor((i + 1/2) R / O)`` of R. An output of the grid's size has one weight for each window, as in the paper.

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        stride: distance between windows; None means `kernel_size`.
        padding: cells added on both sides; also ``"same"``, ``"valid"`` or (before, after) pairs. It is neither a
            candidate for the maximum nor counted in the mean.
        dilation: distance between the cells of a window.
        ceil_mode: keep a last window that overhangs the end.
        weight: what has a weight of its own: ``"layer"`` (one for all), ``"channel"`` or ``"region"``.
        channels: channels of the input; needed for ``"channel"``, and with ``"region"`` each has a grid of its own.
        regions: weights along each axis of the grid, an int or one per axis; needed for ``"region"``.
        initial: every weight before training.
        clamp: weights outside of [0, 1] count as the nearer end, and receive no gradient there. The paper and its code
            leave them free.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes. The parameter ``weight`` is
        ``(1,)``, ``(channels,)`` or ``(1 or channels, *regions)``.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> nn.MixedPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]])).detach()
    tensor([[[2.5000, 4.7500]]])
    """

    build = _mixed
    extras: ClassVar = {"channels": None, "regions": None, "clamp": False}

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        weight: Scope = "layer",
        channels: int | None = None,
        regions: Any = None,
        initial: float = 0.5,
        clamp: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels)
        self._check()
        self.scope = choice(weight, "weight", ("layer", "channel", "region"))
        if (self.scope == "channel" and channels is None) or (self.scope == "layer" and channels is not None):
            raise PoolError(
                f"channels={show(channels)} with weight={self.scope!r}",
                "channels is given where each channel has a weight of its own",
                "pass weight='channel' with channels=64, for example, or neither",
            )
        if (self.scope == "region") != (regions is not None):
            raise PoolError(
                f"regions={show(regions)} with weight={self.scope!r}",
                "regions is given where each region has a weight of its own",
                "pass weight='region' with regions=4, for example, or neither",
            )
        self.regions = None if regions is None else per_axis(regions, "regions", 1, self.rank)
        self.clamp = flag(clamp, "clamp")
        start = number(initial, "initial", low=-torch.inf)
        self.weight = Parameter(torch.full((self.channels or 1, *(self.regions or ())), start))

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        weight = self.weight.clamp(0, 1) if self.clamp else self.weight
        weight = self._spread(weight) if self.regions is None else self._laid(weight, input)
        y: Any = run(input, _mixed, self._values(), self.rank, extra=weight)
        return y

    def extra_repr(self) -> str:
        """The window's settings, then what has a weight of its own."""
        return f"{super().extra_repr()}, weight={self.scope!r}"

    def _laid(self, weight: Tensor, input: Tensor) -> Tensor:
        """The grid of weights over the windows of this input."""
        for axis, size in enumerate(pooled_sizes(input, _mixed, self._values(), self.rank), 1):
            cells = weight.shape[axis]
            if size != cells:
                places = torch.tensor(region_places(size, cells), device=weight.device)
                weight = weight.index_select(axis, places)
        return weight


class MixedPool1d(_MixedPool):
    rank = 1


class MixedPool2d(_MixedPool):
    rank = 2


class MixedPool3d(_MixedPool):
    rank = 3


class _GatedPool(FilteringPool):
    """Maximum and mean mixed by a gate that looks into the window, ``y = s max x + (1 - s) mean x``.

    ``s = sigmoid(sum_i w_i x_i)`` with a weight for each cell of the kernel and no bias; cells outside the input count
    as 0. Large values of the sum give the maximum.

    Source: Lee, Gallagher and Tu, 2016 (arXiv:1509.08985), section 3.2. At least one port has the gate on the
    mean: its filter is the negative of this one.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MixedPool2d`.
        channels: channels of the input, each with a filter of its own; None shares one filter.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes. The parameter ``weight`` is
        ``(1 or channels, *kernel)`` and starts at 0, where the gate is 1/2 whatever it sees.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> nn.GatedPool1d(2)(torch.tensor([[[1.0, 3.0, 5.0, 4.0]]])).detach()
    tensor([[[2.5000, 4.7500]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        channels: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels)
        self.weight = Parameter(self._weights())

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        gate = wide(self._filter(input, self.weight)).sigmoid()
        window = self._values()[: len(SlidingPool.fields)]
        y: Any = run(input, _mixed, window, self.rank, extra=gate)
        return y


class GatedPool1d(_GatedPool):
    rank = 1


class GatedPool2d(_GatedPool):
    rank = 2


class GatedPool3d(_GatedPool):
    rank = 3


class _TreePool(FilteringPool):
    """Learned filters at the leaves of a binary tree, and a gate at each fork that mixes what comes from below.

    A leaf gives ``sum_i v_i x_i``; a fork ``s left + (1 - s) right`` with ``s = sigmoid(sum_i w_i x_i)``, no biases;
    cells outside the input count as 0 in all of them.

    Source: Lee, Gallagher and Tu, 2016 (arXiv:1509.08985), section 3.3. Levels are counted in nodes, as there: two
    levels with 3x3 windows are 27 parameters.

    Leaves start as the mean over the kernel, so that the tree starts as average pooling (padding counts, as zeros).
    Gates start at random, uniform within ``1 / sqrt(K)`` for K cells: with leaves and gates all alike, the leaves would
    receive the same gradients for ever, and the gates none.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as for `MixedPool2d`.
        depth: levels of the tree, from 1 (a single filter) to 10; ``2**(depth - 1)`` leaves, and one fork less.
        channels: channels of the input, each with a tree of its own; None shares one.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with pooled sizes. The parameter ``leaves`` is
        ``(leaves, 1 or channels, *kernel)``, ``gates`` ``(forks, 1 or channels, *kernel)`` from the root down, each
        level from left to right.

    Raises:
        PoolError: an argument breaks a rule, or the input does not have `channels` channels.

    >>> import torch, poolkit.nn as nn
    >>> module = nn.TreePool2d(3)
    >>> sum(parameter.numel() for parameter in module.parameters())
    27
    >>> module(torch.ones(1, 1, 3, 3)).detach()
    tensor([[[[1.]]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        depth: int = 2,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        *,
        channels: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels)
        self.depth = integer(depth, "depth", 1)
        if self.depth > 10:
            raise PoolError(f"depth={depth}", f"depth <= 10, here {depth}", "pass depth=2, for example")
        leaves, bound = 2 ** (self.depth - 1), self.cells**-0.5
        self.leaves = Parameter(self._weights(leaves) + 1 / self.cells)
        self.gates = Parameter(self._weights(leaves - 1).uniform_(-bound, bound))

    def forward(self, input: Tensor) -> Tensor:
        """Pools `input`."""
        self._fits(input)
        level = [wide(self._filter(input, leaf)) for leaf in self.leaves]
        while len(level) > 1:
            forks = self.gates[len(level) // 2 - 1 : len(level) - 1]
            shares = [wide(self._filter(input, gate)).sigmoid() for gate in forks]
            pairs = zip(shares, level[::2], level[1::2], strict=True)
            level = [share * left + (1 - share) * right for share, left, right in pairs]
        return level[0].to(input.dtype)

    def extra_repr(self) -> str:
        """The window's settings, then depth."""
        return f"{super().extra_repr()}, depth={self.depth}"


class TreePool1d(_TreePool):
    rank = 1


class TreePool2d(_TreePool):
    rank = 2


class TreePool3d(_TreePool):
    rank = 3
