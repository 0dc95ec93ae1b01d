"""What modules share whose reducer takes learned values beside the input: for the layer, or for each channel."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter

from poolkit.errors import PoolError, integer
from poolkit.nn._base import SlidingPool
from poolkit.reducer import Filter
from poolkit.torch.functional import Parts, run
from poolkit.window import Sliding, per_axis


class LearnedPool(SlidingPool):
    """Values that are learned, one for the layer or one for each of its `channels`.

    They are no part of the settings: a graph or a plan does not change when an optimizer changes them.
    """

    extras: ClassVar[dict[str, Any]] = {"channels": None}

    def __init__(
        self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, channels: int | None
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.channels = None if channels is None else integer(channels, "channels", 1)

    def _values_of(self, start: float) -> Parameter:
        return Parameter(torch.full((self.channels or 1,), start))

    def _spread(self, values: Tensor) -> Tensor:
        """``(1,)`` or ``(channels,)`` as what broadcasts to the output."""
        return values.view(-1, *[1] * self.rank)

    def _fits(self, x: object) -> None:
        """Reports an input with other channels than there are values for; pooling checks the rest."""
        axis = -self.rank - 1
        if self.channels is None or not isinstance(x, Tensor) or x.dim() <= self.rank:
            return
        if x.shape[axis] != self.channels:
            raise PoolError(
                f"input of shape {tuple(x.shape)}",
                f"axis {axis} of the input has channels={self.channels} entries, here {x.shape[axis]}",
                f"pass an input that fits, or make the module with channels={x.shape[axis]}",
            )


def filtering(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, cells: int) -> Parts:
    """The ``build`` of filters: the weights of the record only say how many there are."""
    return Sliding(kernel_size, stride, padding, dilation, ceil_mode), Filter((1.0,) * cells)


class FilteringPool(LearnedPool):
    """Learned weights for the cells of a kernel, the same for all channels or some for each of them."""

    fields = (*SlidingPool.fields, "cells")
    build = staticmethod(filtering)

    def __init__(
        self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, channels: int | None
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, channels)
        self._kernel = per_axis(kernel_size, "kernel_size", 1, self.rank)
        self.cells = math.prod(self._kernel)
        self._check()

    def _weights(self, *lead: int) -> Tensor:
        """Zeros of shape ``(*lead, 1 or channels, *kernel)``."""
        return torch.zeros(*lead, self.channels or 1, *self._kernel)

    def _filter(self, input: Tensor, weight: Tensor) -> Tensor:
        """`input` weighed by ``(1 or channels, *kernel)`` and added up; what lies outside of it counts as 0."""
        y: Any = run(input, filtering, self._values(), self.rank, extra=weight.flatten(1))
        return y
