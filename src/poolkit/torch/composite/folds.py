"""The reducers that fold, axis by axis: what two parts of a window hold is joined, so no window is unfolded whole.

Derivatives that need a window's cells one by one stand at the end; they take windows as `Windows.unfold` gives them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from poolkit.torch.composite.windows import Windows


def total(windows: Windows, x: Tensor) -> Tensor:
    """Sums of the cells."""
    for axis in range(windows.rank - 1, -1, -1):
        x = _kept(windows, x, axis, 0).sum(windows.lead + axis + 1)
    return x


def spread_total(windows: Windows, dy: Tensor) -> Tensor:
    """The adjoint of `total`."""
    for axis, line in enumerate(windows.lines):
        dim = windows.lead + axis
        shape = list(dy.shape)
        shape.insert(dim + 1, line.taps)
        dy = windows.spread(dy.unsqueeze(dim + 1).expand(shape), axis, dim)
    return dy


def extreme(windows: Windows, x: Tensor, *, largest: bool) -> tuple[Tensor, list[Tensor]]:
    """The first largest or smallest cell, or the first NaN, and its tap numbers along the axes."""
    if x.is_floating_point():
        never: float = -math.inf if largest else math.inf
    else:
        info = torch.iinfo(x.dtype)
        never = info.min if largest else info.max
    taps: list[Tensor] = []
    for axis in range(windows.rank - 1, -1, -1):
        dim = windows.lead + axis
        cells = windows.gather(x, axis, dim)
        exists = windows.lines[axis].exists()
        able = cells if exists is None else torch.where(windows.at(exists, cells, dim), cells, never)
        # The first of equal ones; those that do not exist come after all that do.
        tap = able.argmax(dim + 1, keepdim=True) if largest else able.argmin(dim + 1, keepdim=True)
        x = cells.gather(dim + 1, tap).squeeze(dim + 1)
        taps = [windows.gather(t, axis, dim).gather(dim + 1, tap).squeeze(dim + 1) for t in taps]
        taps.insert(0, tap.squeeze(dim + 1))
    return x, taps


def norm(windows: Windows, x: Tensor, p: float, *, mean: bool) -> Tensor:
    """``(sum or mean of x**p) ** (1 / p)`` of cells that are not negative, relative to the largest on the way."""
    for axis in range(windows.rank - 1, -1, -1):
        dim = windows.lead + axis
        cells = _kept(windows, x, axis, 0)
        top = cells.detach().amax(dim + 1, keepdim=True)
        scale = torch.where((top > 0) & (top < math.inf), top, 1)
        powers = power(cells / scale, p).sum(dim + 1)
        if mean:
            count = windows.lines[axis].count
            if isinstance(count, Tensor):
                count = windows.at(count.unsqueeze(-1), cells, dim).squeeze(dim - cells.dim() + 1)
            powers = powers / count
        # A root has no slope at 0; the norm's is 0 by agreement.
        none = powers == 0
        x = torch.where(none, 0, torch.where(none, 1, powers) ** (1 / p) * scale.squeeze(dim + 1))
    return x


def power(x: Tensor, p: float) -> Tensor:
    """``x**p`` with slopes of 0 at 0 where they would be infinite."""
    if p == 1 or p >= 2:
        return x**p
    none = x == 0
    return torch.where(none, 0, torch.where(none, 1, x) ** p)


def log_sum_exp(windows: Windows, logits: Tensor) -> tuple[Tensor, Tensor]:
    """``log sum exp`` of the cells, as a shift and the sum of exponentials relative to it."""
    tops, total = logits, None
    for axis in range(windows.rank - 1, -1, -1):
        tops, parts = _joined(windows, axis, tops, total)
        total = parts.sum(windows.lead + axis + 1)
    assert total is not None
    return _finite(tops), total


def soft(windows: Windows, x: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """``sum x exp(beta x) / sum exp(beta x)``, and ``log sum exp(beta x)``."""
    y, tops, total = x, x * beta, None
    for axis in range(windows.rank - 1, -1, -1):
        dim = windows.lead + axis + 1
        tops, parts = _joined(windows, axis, tops, total)
        total = parts.sum(dim)
        # A cell without weight has no part in the sum, even if it is infinite.
        weights = parts / total.unsqueeze(dim)
        cells = torch.where(weights == 0, 0, windows.gather(y, axis, dim - 1))
        y = torch.where(tops.isinf(), tops / beta, (weights * cells).sum(dim))
    assert total is not None
    return y, _finite(tops) + total.log()


def _joined(windows: Windows, axis: int, tops: Tensor, totals: Tensor | None) -> tuple[Tensor, Tensor]:
    """The largest logit of each window, and what its parts contribute to the sum of exponentials relative to it.

    Parts are logits, or sums `totals` of exponentials relative to `tops`.
    """
    dim = windows.lead + axis + 1
    cells = _kept(windows, tops, axis, -math.inf)
    top = cells.detach().amax(dim)
    parts = (cells - _finite(top).unsqueeze(dim)).exp()
    if totals is not None:
        parts = parts * _kept(windows, totals, axis, 0)
    return top, parts


def _finite(top: Tensor) -> Tensor:
    """What logits are relative to: an infinite one would take the others with it."""
    return torch.where(top.isinf(), 0, top)


def _kept(windows: Windows, x: Tensor, axis: int, other: float) -> Tensor:
    """`Windows.gather` with `other` at taps that do not exist."""
    dim = windows.lead + axis
    cells, exists = windows.gather(x, axis, dim), windows.lines[axis].exists()
    return cells if exists is None else torch.where(windows.at(exists, cells, dim), cells, other)


def norm_slopes(x: Tensor, y: Tensor, p: float, n: Tensor | int) -> Tensor:
    """Of `norm` for each cell x that is not negative; n is 1 where it is a sum's."""
    y = y.unsqueeze(-1)
    none = y == 0
    slope = (x / torch.where(none, 1, y)) ** (p - 1)
    slope = slope / (n.unsqueeze(-1) if isinstance(n, Tensor) else n)
    return torch.where(none, 0, slope)


def soft_slopes(x: Tensor, y: Tensor | None, lse: Tensor, beta: float) -> Tensor:
    """Of `soft` for each cell, or of ``log sum exp / beta`` where y is None."""
    weights = (x * beta - lse.unsqueeze(-1)).exp()
    if y is None:
        return weights
    return torch.where(weights == 0, 0, weights * (1 + beta * (x - y.unsqueeze(-1))))
