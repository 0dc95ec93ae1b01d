"""S3Pool: max pooling whose down-sampling keeps rows and columns that are drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from poolkit.errors import PoolError, show
from poolkit.nn.random import source_of
from poolkit.reducer import Max, Mean
from poolkit.torch.functional import Result, pool
from poolkit.torch.samples import Seed, uniforms
from poolkit.window import Sliding, per_axis


class _S3Pool(nn.Module):
    """Max pooling with stochastic spatial sampling.

    Step one is max pooling with stride 1, which keeps the sizes; the window of cell i is ``i .. i + kernel_size - 1``
    for even kernels, odd ones are centred. Step two shrinks: each axis is cut into strips of `grid_size` cells, and of
    each strip ``grid_size / stride`` cells stay. Training draws which, without repetition, in their old order, the same
    for all samples and channels. Evaluation takes the mean of each `stride` cells in a row, which is the mean over all
    draws where ``grid_size = stride``. An axis of L cells becomes ``ceil(L / stride)``; a last strip of r cells keeps
    ``ceil(r / stride)``.

    Source: Zhai et al., "S3Pool: Pooling with Stochastic Spatial Sampling", 2017 (arXiv:1611.05138). The paper's kernel
    and stride are one number.

    Args:
        kernel_size: cells of the window of step one; an int, or one per axis.
        grid_size: cells of a strip, a multiple of `stride`; None: `stride`. Large strips distort more.
        stride: how many times smaller the output is; None: `kernel_size`.

    The call takes ``generator``, as that of `StochasticPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)``, floating, to the same with ``ceil(size / stride)``.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> pool, x = nn.S3Pool1d(2, grid_size=4), torch.tensor([[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]])
    >>> pool.eval()(x)
    tensor([[[1.5000, 3.5000, 5.5000, 7.0000]]])
    >>> pool.train()(x, generator=0).shape
    torch.Size([1, 1, 4])
    """

    rank: int

    def __init__(self, kernel_size: Any, grid_size: Any = None, stride: Any = None) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, "kernel_size", 1, self.rank)
        self.stride = self.kernel_size if stride is None else per_axis(stride, "stride", 1, self.rank)
        self.grid_size = self.stride if grid_size is None else per_axis(grid_size, "grid_size", 1, self.rank)
        for grid, step in zip(self.grid_size, self.stride, strict=True):
            if grid % step:
                raise PoolError(
                    f"grid_size={show(grid_size)} with stride={self.stride}",
                    f"grid_size is a multiple of the stride, here {grid} of {step}",
                    f"pass grid_size={grid + step - grid % step}, for example",
                )

    def forward(self, input: Tensor, *, generator: Seed = None) -> Tensor:
        """Pools `input`: training draws the rows and columns that stay, evaluation takes means."""
        sides = (self.kernel_size, self.grid_size, self.stride)
        return _pooled(input, sides, self.training, source_of(generator))

    def extra_repr(self) -> str:
        """kernel_size, grid_size, stride."""
        return f"kernel_size={self.kernel_size}, grid_size={self.grid_size}, stride={self.stride}"


def _pooled(input: Tensor, sides: tuple[tuple[int, ...], ...], training: bool, generator: Seed) -> Tensor:
    """Both steps; `sides` are kernel, grid and stride."""
    if has_torch_function((input,)):  # a stand-in, such as a torch.fx proxy, has no shape yet
        return handle_torch_function(_pooled, (input,), input, sides, training, generator)
    kernel, grids, stride = sides
    rank = len(kernel)
    y = _one(pool(input, Sliding(kernel, (1,) * rank, "same"), Max(), rank=rank))
    if not training:
        return _one(pool(y, Sliding(stride, stride, ceil_mode=True), Mean(count_include_pad=False), rank=rank))
    if isinstance(generator, int):  # one stream for all axes
        generator = torch.Generator(input.device).manual_seed(generator)
    for axis, (grid, step) in enumerate(zip(grids, stride, strict=True), start=y.dim() - rank):
        y = y.index_select(axis, _kept(y.shape[axis], grid, step, y, generator))
    return y


def _one(result: Result) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]


def _kept(size: int, grid: int, step: int, like: Tensor, generator: Seed) -> Tensor:
    """Positions of the cells that stay along one axis, in rising order."""
    strips, rest = size // grid, size % grid
    parts: list[Tensor] = []
    for count, cells, begin in ((strips, grid, 0), (1, rest, strips * grid)):
        if count and cells:
            lots = uniforms(like, (count, cells), torch.float32, generator)
            inside = lots.argsort(1)[:, : -(-cells // step)].sort(1).values
            first = begin + grid * torch.arange(count, device=like.device)
            parts.append((first.unsqueeze(1) + inside).flatten())
    return torch.cat(parts)


class S3Pool1d(_S3Pool):
    rank = 1


class S3Pool2d(_S3Pool):
    rank = 2


class S3Pool3d(_S3Pool):
    rank = 3
