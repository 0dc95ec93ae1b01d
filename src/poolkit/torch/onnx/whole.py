"""What sees each window whole: its cells come first, ``[lead..., o1, k1, o2, k2, ...]`` for windows of k cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from functools import reduce as fold
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from poolkit.torch.onnx.folds import below, divisor, part, reduce
from poolkit.torch.onnx.ranks import ordinal_shares, rank_weights
from poolkit.torch.onnx.taps import lead_shape_of, spread
from poolkit.torch.onnx.values import INT64, Value, constant, has_nan, op, repair_nan

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.reducer import Params, Reducer
    from poolkit.torch.onnx.folds import Field, Pick
    from poolkit.torch.onnx.ranks import Floats

_BEYOND = 2**63 - 1


@dataclass(frozen=True)
class Windows:
    """All cells of all windows of a field; results have the shape of the output, or with `keep` axes of one cell."""

    field: Field

    @property
    def kind(self) -> int:
        """The type that the pooling is worked out in."""
        return self.field.kind

    @cached_property
    def axes(self) -> list[int]:
        """Those of the windows' cells."""
        return [-2 * (self.field.rank - i) + 1 for i in range(self.field.rank)]

    @cached_property
    def ragged(self) -> bool:
        """Whether a window lacks a cell."""
        return any(taps.ragged for taps in self.field.taps)

    def gather(self, fill: Any, x: Value | None = None) -> Value:
        """The windows of x, with `fill` for missing cells."""
        field = self.field
        found = field.x if x is None else x
        before: list[int] = []
        for i, taps in enumerate(field.taps):
            found = spread(found, field.lead, before, taps, field.sizes[i + 1 :], fill, self.kind)
            before += [taps.out, taps.longest]
        return found

    def sum(self, cells: Value, *, keep: bool = False) -> Value:
        """The sum of the cells of each window."""
        return op.ReduceSum(cells, constant(self.axes), keepdims=int(keep))

    def top(self, cells: Value, pick: Pick = "Max", *, keep: bool = False) -> Value:
        """The largest cell of each window; whether a NaN is, is left open."""
        return reduce(pick, cells, self.axes, keepdims=keep)

    def with_nan(self, y: Value, cells: Value, *, keep: bool = False) -> Value:
        """`y` with a NaN where a window has one."""
        return repair_nan(y, has_nan(cells, self.axes, keepdims=keep), self.kind) if self.field.floating else y

    def per_window(self, y: Value) -> Value:
        """What has the shape of the output, so that it broadcasts to the windows."""
        return op.Unsqueeze(y, constant(self.axes))

    def count(self, *, keep: bool = False) -> Value:
        """The number of each window's cells."""
        number = self.field.counted
        return number if not keep or isinstance(self.field.count, int) else self.per_window(number)

    def real(self, cells: Value, fill: Any = 0) -> Value:
        """The cells that are there, and `fill` for those that are not."""
        return op.Where(self._there, cells, constant(fill, self.kind)) if self.ragged else cells

    @cached_property
    def _there(self) -> Value:
        marks = [
            op.Less(self._numbers(i), constant(taps.size)) for i, taps in enumerate(self.field.taps) if taps.ragged
        ]
        return fold(op.And, marks)

    def _numbers(self, axis: int) -> Value:
        """The cells' numbers along one axis; broadcasts to the windows."""
        taps, rank = self.field.taps[axis], self.field.rank
        tail = [taps.out, taps.longest] + [1, 1] * (rank - axis - 1)
        if taps.table is not None:
            return constant(taps.table.reshape(tail))
        if not taps.each:
            return op.Reshape(taps.moving, constant(tail))
        return op.Reshape(taps.moving, lead_shape_of(self.field.x, self.field.lead, [1, 1] * axis + tail))

    def place_of(self, cells: Value, y: Value) -> Value:
        """The flat place, in its plane, of each window's first cell that equals y, or that is NaN where y is."""
        sizes = self.field.sizes
        places = fold(
            op.Add,
            [op.Mul(self._numbers(i), constant(math.prod(sizes[i + 1 :]))) for i in range(len(sizes))],
        )
        here = op.Equal(cells, self.per_window(y))
        if self.field.floating:
            here = op.Or(here, op.IsNaN(cells))
        if self.ragged:
            here = op.And(here, self._there)
        return op.ReduceMin(op.Where(here, places, constant(_BEYOND)), constant(self.axes), keepdims=0)

    def in_line(self, cells: Value) -> Value:
        """The cells of a window along one last axis."""
        field = self.field
        lead, rank = field.lead, field.rank
        order = [*range(lead), *(lead + 2 * i for i in range(rank)), *(lead + 2 * i + 1 for i in range(rank))]
        turned = op.Transpose(cells, perm=order)
        # 0 keeps an axis as it is.
        return op.Reshape(turned, constant([0] * (lead + rank) + [math.prod(taps.longest for taps in field.taps)]))


def extreme(windows: Windows, cells: Value, pick: Pick) -> Value:
    """The largest or smallest cell of each window; a NaN in it is the result."""
    return windows.with_nan(windows.top(cells, pick), cells)


def by_rank(windows: Windows, cells: Value, weights: Callable[[int], Floats]) -> Value:
    """A sum of the cells with a weight for each rank, the largest first; missing cells are at the end of the line."""
    line, number, kind = windows.in_line(cells), windows.field.count, windows.kind
    if isinstance(number, int):
        row = weights(number)
        ranks = np.flatnonzero(row)
        found, _ = op.TopK(line, constant([int(ranks[-1]) + 1]), axis=-1)
        if len(ranks) <= ranks[-1]:
            found = op.Gather(found, constant(ranks), axis=-1)
        y = op.Squeeze(found, constant([-1])) if len(ranks) == 1 else None
        if y is not None and row[ranks[0]] == 1:
            return windows.with_nan(y, cells)
        share = constant(row[ranks], kind)
    else:
        most = math.prod(taps.longest for taps in windows.field.taps)
        rows = np.zeros((most + 1, most))
        for n in _numbers_in(number, most):
            rows[n, :n] = weights(n)
        found, _ = op.TopK(line, constant([most]), axis=-1)
        share = op.Gather(constant(rows, kind), _as_index(windows, number))
        found = op.Where(op.Equal(share, constant(0, kind)), constant(0, kind), found)
    y = op.ReduceSum(op.Mul(found, share), constant([-1]), keepdims=0)
    return windows.with_nan(y, cells)


def _numbers_in(number: Any, most: int) -> list[int]:
    """The numbers of cells that windows have, or might have."""
    return np.unique(cast(Any, number)).tolist() if isinstance(number, np.ndarray) else list(range(1, most + 1))


def _as_index(windows: Windows, number: Any) -> Value:
    return constant(number) if isinstance(number, np.ndarray) else op.Cast(windows.field.counted, to=INT64)


def ranked(windows: Windows, cells: Value, kind: type[Reducer], params: Params) -> Value:
    """Quantiles, and means weighted by rank."""
    return by_rank(windows, cells, lambda n: rank_weights(kind, params, n))


def ordinal(windows: Windows, cells: Value, weights: Value, steps: int) -> Value:
    """A sum of the cells by rank with `steps` weights of the graph's own, ``[1 or channels, steps]``."""
    line, number, kind = windows.in_line(cells), windows.field.count, windows.kind
    rank = windows.field.rank
    if isinstance(number, int):
        found, _ = op.TopK(line, constant([number]), axis=-1)
        share = weights if number == steps else op.MatMul(weights, constant(ordinal_shares(number, steps).T, kind))
        share = op.Unsqueeze(share, constant(list(range(1, rank + 1))))
    else:
        most = math.prod(taps.longest for taps in windows.field.taps)
        rows = np.zeros((most + 1, most, steps))
        for n in range(1, most + 1):
            rows[n, :n] = ordinal_shares(n, steps)
        found, _ = op.TopK(line, constant([most]), axis=-1)
        share = op.MatMul(weights, constant(rows.reshape(-1, steps).T, kind))
        share = op.Reshape(share, constant([0, most + 1, most]))
        share = op.Gather(share, _as_index(windows, number), axis=1)
    y = op.ReduceSum(part(share, found, kind), constant([-1]), keepdims=0)
    return windows.with_nan(y, cells)


def mean(windows: Windows, cells: Value, *, keep: bool = False) -> Value:
    """The mean of the cells of each window, which have 0 for missing ones."""
    return op.Div(windows.sum(cells, keep=keep), windows.count(keep=keep))


def variance(windows: Windows, *, unbiased: bool) -> Value:
    """From the differences to the mean."""
    cells = windows.gather(0)
    away = windows.real(op.Sub(cells, mean(windows, cells, keep=True)))
    number = windows.count()
    if unbiased:  # of one cell alone the variance is 0
        number = op.Max(op.Sub(number, constant(1, windows.kind)), constant(1, windows.kind))
    return op.Div(windows.sum(op.Mul(away, away)), number)


def _weighted(windows: Windows, cells: Value, weights: Value) -> Value:
    total = windows.sum(weights, keep=True)
    return windows.sum(part(op.Div(weights, total), cells, windows.kind))


def soft(windows: Windows, cells: Value, beta: Value | None = None) -> Value:
    """The mean of the cells by the softmax of beta times each; beta of the output's shape, or 1."""
    kind, logits = windows.kind, cells
    if beta is not None:
        beta = windows.per_window(beta)
        flat = op.Equal(beta, constant(0, kind))
        logits = op.Where(flat, constant(0, kind), op.Mul(cells, beta))
    logits = windows.real(logits, -math.inf)
    shares = windows.real(op.Exp(below(logits, windows.top(logits, keep=True), kind)))
    return windows.with_nan(_weighted(windows, cells, shares), cells)


def gem(windows: Windows, p: Value, eps: float) -> Value:
    """The generalized mean with a power of the output's shape."""
    kind, cells = windows.kind, windows.gather(0)
    cells = op.Max(cells, constant(eps, kind))
    top = windows.top(windows.real(cells), keep=True)
    powers = op.Pow(op.Div(cells, divisor(top, kind)), windows.per_window(p))
    share = op.Div(windows.sum(windows.real(powers)), windows.count())
    y = op.Mul(op.Squeeze(top, constant(windows.axes)), op.Pow(share, op.Reciprocal(p)))
    return windows.with_nan(y, cells)


def ada(windows: Windows, beta: Value, eps: float, *, inverse_distance: bool) -> Value:
    """``beta`` times the mean by likeness to the window's mean, and the rest by the softmax."""
    kind, cells = windows.kind, windows.gather(0)
    middle = mean(windows, cells, keep=True)
    if inverse_distance:
        like = op.Reciprocal(op.Add(op.Abs(op.Sub(cells, middle)), constant(eps, kind)))
    else:
        one, two = op.Abs(cells), op.Abs(middle)
        low, high = op.Min(one, two), op.Max(one, two)
        ratio = op.Div(low, op.Where(op.Equal(high, constant(0, kind)), constant(1, kind), high))
        like = op.Exp(op.Div(op.Add(ratio, ratio), op.Add(op.Mul(ratio, ratio), constant(1, kind))))
    first = _weighted(windows, cells, windows.real(like))
    rest = op.Mul(op.Sub(constant(1, kind), beta), soft(windows, cells))
    return windows.with_nan(op.Add(op.Mul(beta, first), rest), cells)


def likely(windows: Windows) -> Value:
    """The mean of the cells by their positive parts; 0 where none is positive."""
    kind, cells = windows.kind, windows.gather(0)
    positive = op.Where(op.Greater(cells, constant(0, kind)), cells, constant(0, kind))
    total = windows.sum(positive)
    # Relative to the total from the start, so that no square overflows; 0 / 0 is no weight.
    share = op.Div(positive, windows.per_window(total))
    share = op.Where(op.Greater(share, constant(0, kind)), share, constant(0, kind))
    y = windows.sum(part(share, cells, kind))
    y = op.Where(op.Equal(total, constant(math.inf, kind)), total, y)
    return windows.with_nan(y, cells)


def filtered(windows: Windows, weights: Value) -> Value:
    """The sum of the cells with a weight for each cell of the kernel, ``[1 or channels, cells]``."""
    sides = [side for taps in windows.field.taps for side in (1, taps.longest)]
    return windows.sum(op.Mul(windows.gather(0), op.Reshape(weights, constant([-1, *sides]))))
