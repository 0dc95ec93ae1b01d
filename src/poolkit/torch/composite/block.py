"""What reducers that see a window whole work on: the windows of a call, unfolded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from poolkit.reducer import REDUCERS

if TYPE_CHECKING:
    from poolkit.reducer import Params, Reducer
    from poolkit.torch.composite.windows import Windows
    from poolkit.torch.shapes import Decoded


@dataclass(frozen=True)
class Block:
    """All windows of a call, with their taps on the last axis."""

    windows: Windows
    cells: Tensor  # [*lead, *outs, taps]; at taps that do not exist some cell or other
    what: Decoded
    extra: Tensor | None  # [*lead, *outs], or [1 or channels, weights]

    @property
    def params(self) -> Params:
        """The reducer's parameters."""
        return self.what.params

    @property
    def kind(self) -> type[Reducer]:
        """The reducer."""
        return REDUCERS[self.what.reducer]

    @cached_property
    def exist(self) -> Tensor | None:
        """Which taps exist; None where all do."""
        return self.windows.exist()

    @cached_property
    def n(self) -> Tensor | int:
        """Taps of each window."""
        return self.windows.counts()

    def kept(self, t: Tensor, other: float) -> Tensor:
        """`t` with `other` at taps that do not exist."""
        return t if self.exist is None else torch.where(self.exist, t, other)

    @cached_property
    def mean(self) -> Tensor:
        """Of the cells."""
        return self.kept(self.cells, 0).sum(-1) / self.n

    @cached_property
    def nan(self) -> Tensor:
        """Which taps are NaN."""
        return self.kept(self.cells, 0).isnan()

    def with_nan(self, y: Tensor) -> Tensor:
        """NaN where a cell is."""
        return torch.where(self.nan.any(-1), math.nan, y)

    def first(self, hit: Tensor) -> Tensor:
        """The number of the first tap of those hit, of NaN in the first place; 0 where there is none."""
        if self.cells.is_floating_point():
            hit = torch.where(self.nan.any(-1, keepdim=True), self.nan, hit)
        if self.exist is not None:
            hit = hit & self.exist
        return hit.to(torch.uint8).argmax(-1)

    def at(self, taps: Tensor) -> Tensor:
        """The cells with these numbers."""
        return self.cells.gather(-1, taps.unsqueeze(-1)).squeeze(-1)

    def per_output(self, default: float | None = None) -> Tensor:
        """The array beside x, or `default` where it may be missing."""
        if self.extra is not None:
            return self.extra
        if default is None:
            raise RuntimeError("poolkit: extra: this reducer needs it")
        return self.cells.new_full((), default)


class Choice(NamedTuple):
    """A chosen cell: its value, its tap, and where there is none."""

    y: Tensor
    tap: Tensor
    none: Tensor | None = None


class Slopes(NamedTuple):
    """Derivatives by each tap, and by the array beside x: per output, or already summed up per plane and weight."""

    cells: Tensor
    extra: Tensor | None = None


def beside(t: Tensor | float) -> Tensor | float:
    """A number for each output, beside its taps."""
    return t.unsqueeze(-1) if isinstance(t, Tensor) else t
