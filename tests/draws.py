"""Uniforms that fall on the borders between the cells they draw: where a last bit decides."""

from __future__ import annotations

import torch

from poolkit.reducer import Stochastic
from poolkit.torch.composite import ranks, whole
from poolkit.torch.composite.block import Block
from poolkit.torch.composite.windows import windows_of
from poolkit.torch.shapes import decode, reducer_of


def at_borders(x: torch.Tensor, plan: str, starts: torch.Tensor | None, seed: int) -> torch.Tensor:
    """For every other window the share of a tap's running sum, or its neighbour; for the others any number."""
    wide = x.cpu().double() if x.dtype == torch.float64 else x.cpu().float()
    what = decode(plan)
    windows = windows_of(plan, None if starts is None else starts.cpu(), x.shape[: -what.rank], torch.device("cpu"))
    block = Block(windows, windows.unfold(wide), what, None)
    if reducer_of(what) is Stochastic:
        sums = whole._running(whole._activation(block))
        sums = sums / sums[..., -1:]
    else:
        sums = ranks._bounds(block).expand(block.cells.shape)
    generator = torch.Generator().manual_seed(seed)
    tap = torch.randint(0, sums.shape[-1], (*sums.shape[:-1], 1), generator=generator)
    border = sums.gather(-1, tap).squeeze(-1)
    step = torch.randint(-1, 2, border.shape, generator=generator) * torch.finfo(wide.dtype).eps / 2
    border = (border + step.to(border.dtype) * border).nan_to_num(0.5).clamp(0, 1 - torch.finfo(wide.dtype).eps)
    anything = torch.rand(border.shape, dtype=wide.dtype, generator=generator)
    return torch.where(torch.rand(border.shape, generator=generator) < 0.5, border, anything)
