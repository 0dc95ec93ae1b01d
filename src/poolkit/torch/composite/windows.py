"""Plans as index tensors: where the taps of every window lie, to gather them and to spread gradients back.

The geometry is that of `poolkit.plan`; here its integers become tensors, by arange and arithmetic alone: what
`torch.export` decomposes may hold no tensor constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from poolkit.plan import AxisPlan
from poolkit.torch.shapes import axes_of, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt


@dataclass(frozen=True)
class Line:
    """The windows along one axis. Tensors have the shape ``[out]``, or ``[*planes, out]`` where planes differ."""

    size: int
    out: int
    taps: int  # of the longest window: the side of the box that offsets count in
    step: int
    start: Tensor  # first existing tap of each window
    count: Tensor | int  # taps of each window that exist
    lengths: tuple[int, ...]  # what counts there are
    numbered: int  # the kernel's side, in which a filter counts its weights
    skipped: Tensor | int  # taps of each window before the first existing one
    padded: Tensor | int  # taps of each window inside the input and its padding

    def exists(self) -> Tensor | None:
        """``[..., out, taps]``: which taps exist; None where all do."""
        if isinstance(self.count, int):
            return None
        return torch.arange(self.taps, device=self.start.device) < self.count.unsqueeze(-1)

    def cells(self) -> Tensor:
        """``[..., out, taps]``: the cell of each tap, the last one for those that do not exist."""
        taps = torch.arange(self.taps, device=self.start.device) * self.step
        return (self.start.unsqueeze(-1) + taps).clamp(max=self.size - 1)


@dataclass(frozen=True)
class Windows:
    """The windows of one call: one `Line` for each pooled axis of tensors with `lead` axes before them."""

    lines: tuple[Line, ...]
    lead: int
    device: torch.device

    @property
    def rank(self) -> int:
        """Number of pooled axes."""
        return len(self.lines)

    @property
    def box(self) -> tuple[int, ...]:
        """Sides of the box that offsets count in."""
        return tuple(line.taps for line in self.lines)

    def gather(self, t: Tensor, axis: int, dim: int) -> Tensor:
        """``[..., size, ...]`` to ``[..., out, taps, ...]`` at `dim`; a tap that does not exist repeats a cell."""
        line = self.lines[axis]
        if line.out == 1 and line.taps == line.size:
            return t.unsqueeze(dim)
        cells = line.cells()
        if cells.dim() == 2:
            return split(t.index_select(dim, cells.flatten()), dim, (line.out, line.taps))
        return split(t.gather(dim, self._along(cells.flatten(-2), t, dim)), dim, (line.out, line.taps))

    def spread(self, t: Tensor, axis: int, dim: int) -> Tensor:
        """The adjoint of `gather`: ``[..., out, taps, ...]`` summed up to ``[..., size, ...]``.

        What stands at taps that do not exist is left out.
        """
        line = self.lines[axis]
        exists = line.exists()
        if exists is not None:
            t = torch.where(self.at(exists, t, dim), t, 0)
        if line.out == 1 and line.taps == line.size:
            return t.squeeze(dim)
        cells, flat = line.cells(), t.flatten(dim, dim + 1)
        shape = list(flat.shape)
        shape[dim] = line.size
        zeros = t.new_zeros(shape)
        if cells.dim() == 2:
            return zeros.index_add(dim, cells.flatten(), flat)
        return zeros.scatter_add(dim, self._along(cells.flatten(-2), flat, dim), flat)

    def unfold(self, x: Tensor) -> Tensor:
        """``[*lead, *sizes]`` to ``[*lead, *outs, taps]``: every window whole, its taps in row-major order."""
        for axis in range(self.rank - 1, -1, -1):
            x = self.gather(x, axis, self.lead + axis)
        return x.permute(self._apart()).flatten(self.lead + self.rank)

    def fold(self, t: Tensor) -> Tensor:
        """The adjoint of `unfold`."""
        apart = self._apart()
        back = sorted(range(len(apart)), key=apart.__getitem__)
        t = split(t, -1, self.box).permute(back)
        for axis in range(self.rank):
            t = self.spread(t, axis, self.lead + axis)
        return t

    def _apart(self) -> list[int]:
        """The order that brings [*lead, out, taps, out, taps, ...] to [*lead, *outs, *taps]."""
        first = self.lead
        outs, taps = range(first, first + 2 * self.rank, 2), range(first + 1, first + 2 * self.rank, 2)
        return [*range(first), *outs, *taps]

    def exist(self) -> Tensor | None:
        """Which taps of `unfold` exist, to broadcast against it; None where all do."""
        masks = [line.exists() for line in self.lines]
        whole: Tensor | None = None
        for axis, mask in enumerate(masks):
            if mask is None:
                continue
            planes = list(mask.shape[:-2]) if mask.dim() > 2 else []
            outs, taps = [1] * self.rank, [1] * self.rank
            outs[axis], taps[axis] = mask.shape[-2], mask.shape[-1]
            part = mask.reshape(*planes, *outs, *taps)
            whole = part if whole is None else whole & part
        if whole is None:
            return None
        return whole.expand(*whole.shape[: -self.rank], *self.box).flatten(-self.rank)

    def counts(self, padded: bool = False) -> Tensor | int:
        """Taps of each window that exist, or lie in the padded input, to broadcast against the output."""
        total: Tensor | int = 1
        for axis, line in enumerate(self.lines):
            total = total * self.beside(line.padded if padded else line.count, axis)
        return total

    def lengths(self) -> tuple[int, ...]:
        """Every number of taps that a window may have."""
        found = {1}
        for line in self.lines:
            found = {a * b for a in found for b in line.lengths}
        return tuple(sorted(found))

    def beside(self, t: Tensor | int, axis: int) -> Tensor | int:
        """``[..., out]`` of one axis, to broadcast against the output."""
        if isinstance(t, int):
            return t
        outs = [1] * self.rank
        outs[axis] = self.lines[axis].out
        return t.reshape(*t.shape[:-1], *outs)

    def place(self, taps: Sequence[Tensor]) -> Tensor:
        """Flat positions in the plane of one tap for each output, given by its numbers along the axes."""
        total: Tensor | None = None
        for axis, (tap, line) in enumerate(zip(taps, self.lines, strict=True)):
            cell = self.beside(line.start, axis) + tap * line.step
            total = cell if total is None else total * line.size + cell
        assert total is not None
        return total

    def numbers(self) -> Tensor:
        """``[*planes or nothing, *outs, taps]``: each tap's number in the kernel before clipping."""
        total: Tensor | None = None
        for axis, line in enumerate(self.lines):
            taps = torch.arange(line.taps, device=self.device) + torch.as_tensor(line.skipped).unsqueeze(-1)
            number = taps.clamp(max=line.numbered - 1)
            planes = list(number.shape[:-2]) if number.dim() > 2 else []
            outs, sides = [1] * self.rank, [1] * self.rank
            outs[axis], sides[axis] = number.shape[-2] if number.dim() > 1 else 1, line.taps
            number = number.reshape(*planes, *outs, *sides)
            total = number if total is None else total * line.numbered + number
        assert total is not None
        return total.expand(*total.shape[: -self.rank], *self.box).flatten(-self.rank)

    @staticmethod
    def at(t: Tensor, like: Tensor, dim: int) -> Tensor:
        """``[..., out, taps]`` of one axis, to broadcast against `like`, which has that axis at `dim`."""
        planes = list(t.shape[:-2])
        between, after = dim - len(planes), like.dim() - dim - 2
        if not planes:
            return t.reshape(*t.shape, *[1] * after)
        return t.reshape(*planes, *[1] * between, *t.shape[-2:], *[1] * after)

    def _along(self, cells: Tensor, like: Tensor, dim: int) -> Tensor:
        """``[*planes, n]`` as an index for `like` along `dim`."""
        planes, n = list(cells.shape[:-1]), cells.shape[-1]
        shape = list(like.shape)
        shape[dim] = n
        return cells.reshape(*planes, *[1] * (dim - len(planes)), n, *[1] * (like.dim() - dim - 1)).expand(shape)


def windows_of(plan: str, starts: Tensor | None, lead: Sequence[int], device: torch.device) -> Windows:
    """The windows that a plan string and starts mean for tensors with these leading sizes."""
    lines: list[Line] = []
    column = 0
    for axis in axes_of(plan):
        if axis.kind != "starts":
            lines.append(_static(axis, device))
            continue
        if starts is None:
            raise RuntimeError("poolkit: starts: this plan needs them")
        begin = starts[:, column : column + axis.out]
        begin = begin.squeeze(0) if starts.shape[0] == 1 else begin.reshape(*lead, axis.out)
        column += axis.out
        lines.append(_started(axis, begin))
    require(column > 0 or starts is None, "starts: this plan takes none")
    return Windows(tuple(lines), len(lead), device)


def checked(axis: AxisPlan) -> AxisPlan:
    """An axis without starts, after a check that all of its windows lie inside the input."""
    require(min(axis.size, axis.out, axis.kernel, axis.stride, axis.dilation) >= 1, "plan: sizes are at least 1")
    legal = axis.count.min() >= 1 and axis.start.min() >= 0 and axis.stop.max() <= axis.size
    require(bool(legal), "plan: a window leaves the input")
    return axis


def _static(axis: AxisPlan, device: torch.device) -> Line:
    most = int(checked(axis).count.max())
    skipped: Tensor | int = 0
    if axis.kind == "sliding" and axis.before > 0:
        begin = np.arange(axis.out, dtype=np.int64) * axis.stride - axis.before
        skipped = integers((axis.start - begin) // axis.dilation, device)
    lengths = tuple(sorted(set(axis.count.tolist())))
    start, count, padded = (numbers(v, device) for v in (axis.start, axis.count, axis.count_padded))
    start = start if isinstance(start, Tensor) else integers(axis.start, device)
    return Line(axis.size, axis.out, most, axis.step, start, count, lengths, axis.kernel, skipped, padded)


def _started(axis: AxisPlan, begin: Tensor) -> Line:
    """`AxisPlan.start`, `stop` and `count` of kind "starts", for starts that are a tensor."""
    count: Tensor | int = axis.kernel
    lengths: tuple[int, ...] = (axis.kernel,)
    if axis.reaches:
        last = torch.full_like(begin[..., :1], axis.size)
        ends = torch.cat([(begin[..., 1:] + (axis.after - 1)).clamp(max=axis.size), last], -1)
        count, lengths = ends - begin, tuple(range(1, axis.kernel + 1))
    return Line(axis.size, axis.out, axis.kernel, 1, begin, count, lengths, axis.kernel, 0, count)


def numbers(values: npt.NDArray[np.int64], device: torch.device) -> Tensor | int:
    """A constant vector, or the one number that it holds."""
    low = int(values.min())
    return low if low == int(values.max()) else integers(values, device)


def integers(values: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    """A constant vector, as the aranges and fills of which it consists."""
    parts = [_run(first, n, step, device) for first, n, step in _runs(tuple(values.tolist()))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def reals(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A constant vector of floats, as the fills of which it consists."""
    parts = [torch.full((len(list(run)),), value, dtype=dtype, device=device) for value, run in groupby(values)]
    return torch.cat(parts)


def _run(first: int, n: int, step: int, device: torch.device) -> Tensor:
    if step == 0 or n == 1:
        return torch.full((n,), first, dtype=torch.int64, device=device)
    return torch.arange(first, first + n * step, step, dtype=torch.int64, device=device)


@lru_cache(maxsize=1024)
def _runs(values: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """(first, length, step) of maximal stretches with one difference."""
    runs: list[tuple[int, int, int]] = []
    at = 0
    while at < len(values):
        step = values[at + 1] - values[at] if at + 1 < len(values) else 0
        end = at + 1
        while end < len(values) and values[end] - values[end - 1] == step:
            end += 1
        runs.append((values[at], end - at, step))
        at = end
    return tuple(runs)


def by_count(windows: Windows, value: Callable[[int], float], dtype: torch.dtype) -> Tensor | float:
    """``value(n)`` for the number of taps n of each window, to broadcast against the output; a number where it is one.

    `value` is worked out in Python's floats, whatever the tensors hold.
    """
    lengths = windows.lengths()
    results = {n: value(n) for n in lengths}
    if len(set(results.values())) == 1:
        return results[lengths[0]]
    counts = windows.counts()
    assert isinstance(counts, Tensor)
    table = reals([results.get(n, 0.0) for n in range(lengths[-1] + 1)], dtype, windows.device)
    return table.index_select(0, counts.flatten()).reshape(counts.shape)


def split(t: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One axis as several."""
    return cast(Any, t).unflatten(dim, tuple(sizes))


def ravel(taps: Sequence[Tensor], box: Sequence[int]) -> Tensor:
    """Offsets in the box, from the taps' numbers along the axes."""
    total = taps[0]
    for tap, side in zip(taps[1:], box[1:], strict=True):
        total = total * side + tap
    return total


def unravel(offsets: Tensor, box: Sequence[int]) -> list[Tensor]:
    """The inverse of `ravel`."""
    taps: list[Tensor] = []
    for side in reversed(box[1:]):
        taps.append(offsets % side)
        offsets = offsets // side
    return [offsets, *reversed(taps)]
