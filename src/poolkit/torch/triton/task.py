"""What all launches of a call share, and what a launch takes from it."""

# The arguments of kernels have no types.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import triton.language as tl

from poolkit.torch.triton import grid as grids
from poolkit.torch.triton.grid import Form, Grid, tile_of

if TYPE_CHECKING:
    from torch import Tensor

    from poolkit.reducer import Params
    from poolkit.torch.triton.cores import Core

# The largest number of each dtype of offsets stands for no cell; two bytes are read without a sign.
NONE = {torch.uint8: 2**8 - 1, torch.int16: 2**16 - 1, torch.int32: 2**31 - 1}


@dataclass(frozen=True)
class Task:
    """What all launches of a call share."""

    grid: Grid
    form: Form
    starts: Tensor | None
    places: tuple[int, int, int, int]
    params: Params
    wide: bool  # float64
    extra: Tensor | None = None
    extra_mode: int = 0

    @property
    def acc(self) -> Any:
        """What kernels add up in."""
        return tl.float64 if self.wide else tl.float32

    @property
    def dtype(self) -> torch.dtype:
        """The same as a dtype of tensors."""
        return torch.float64 if self.wide else torch.float32

    def on(self, grid: Grid, **changes: Any) -> Task:
        """The same of another grid."""
        return replace(self, grid=grid, **changes)

    def room(self, like: Tensor, dtype: torch.dtype | None = None, *, inputs: bool = False) -> Tensor:
        """A number for each output, or for each input cell."""
        sizes = self.grid.sizes if inputs else self.grid.outs
        return grids.workspace(like, self.form, sizes, dtype or self.dtype)


def none_of(offsets: Tensor | None) -> int:
    """The number that stands for no cell."""
    return -1 if offsets is None else NONE[offsets.dtype]


def common(task: Task, like: Tensor, *, inputs: bool) -> tuple[int, int, int, int, bool, bool, int]:
    """Tile rows and columns, rows, tiles beside each other, whether numbers are wide, and rows near, programs."""
    grid, form = task.grid, task.form
    sizes = grid.sizes if inputs else grid.outs
    rows, cols, total, columns = tile_of(form, sizes, like.element_size())
    cells = form.samples * form.run * max(math.prod(grid.sizes), math.prod(grid.outs))
    near = rows <= sizes[2 if form.last else 1]
    return rows, cols, total, columns, cells > grids.NARROW, near, -(-total // rows) * columns


def functions(core: Core) -> dict[str, Any]:
    """One by one: Triton's cache on disk knows the source of a function that is a constant, not of one in a tuple."""
    return {
        "PASSES": core.passes,
        "IDENTITY": core.identity,
        "ACCUMULATE": core.accumulate,
        "FINISH": core.finish,
    }
