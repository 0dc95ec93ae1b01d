"""Pooling of ragged data: rows that belong to numbered segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from poolkit.errors import PoolError, PoolTypeError, integer, number, show
from poolkit.nn._tokens import check_input, choice, positive_sqrt, readable, wide

if TYPE_CHECKING:
    from collections.abc import Callable


class _Segments:
    """The rows of x, already in the precision of sums, and the segment of each."""

    def __init__(self, x: Tensor, ids: Tensor, number: int) -> None:
        self.x, self.ids, self.number = x, ids, number
        ones = torch.ones_like(ids)
        counts = torch.zeros(number, dtype=ids.dtype, device=ids.device).index_add(0, ids, ones)
        self.counts = counts.reshape(number, *[1] * (x.dim() - 1))

    def sum(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.number, *x.shape[1:]).index_add(0, self.ids, x)

    def mean(self, x: Tensor) -> Tensor:
        return self.sum(x) / self.counts.clamp(min=1)

    def extreme(self, x: Tensor, which: str) -> Tensor:
        index = self.ids.reshape(-1, *[1] * (x.dim() - 1)).expand_as(x)
        empty = x.new_zeros(self.number, *x.shape[1:])
        return empty.scatter_reduce(0, index, x, which, include_self=False)

    def spread(self, per_segment: Tensor) -> Tensor:
        """To each row what its segment has."""
        return per_segment.index_select(0, self.ids)

    def var(self) -> Tensor:
        return self.mean((self.x - self.spread(self.mean(self.x))).square())

    def softmax(self, beta: float) -> Tensor:
        scores = beta * self.x
        weights = (scores - self.spread(self.extreme(scores.detach(), "amax"))).exp()
        total = self.sum(weights)
        return self.sum(self.x * weights) / total.masked_fill(self.counts == 0, 1.0)


class SegmentPool(nn.Module):
    """One result for each segment of ragged data, such as the nodes of each graph or the tokens of each text.

    Modes, for the rows x of a segment: ``"sum"``; ``"mean"``; ``"max"``; ``"min"``; ``"var"``,
    ``mean (x - mean x)^2``; ``"std"``, its root; ``"softmax"``, ``sum x exp(beta x) / sum exp(beta x)``.

    Source: segment reductions of vector machines: Blelloch, "Vector Models for Data-Parallel Computing", 1990; as the
    readout of graph networks: Gilmer et al., 2017 (arXiv:1704.01212), equation 2; softmax: Li et al., "DeeperGCN", 2020
    (arXiv:2006.07739).

    Args:
        mode: one of the words above.
        beta: for ``"softmax"``: sharpness, not 0; negative values lean to the minimum.

    Shape:
        ``(T, *features)`` to ``(num_segments, *features)``. Which segment a row belongs to is said either by ``ids``,
        int64 ``(T,)`` from 0 to ``num_segments - 1`` in any order, with ``num_segments``; or by ``offsets``, int64
        ``(num_segments + 1,)``, ascending from 0 to T: segment s has the rows ``offsets[s]`` to ``offsets[s + 1]``.
        An empty segment gives 0 in every mode. Equal maxima (or minima) share the gradient equally; a standard
        deviation of 0 has a gradient of 0.

    Raises:
        PoolError: an argument breaks a rule: no rows, ids outside of the range, offsets that do not ascend. Values of
            ids and offsets are not looked at while torch.compile traces.

    >>> import torch, poolkit.nn as nn
    >>> x, ids = torch.tensor([1.0, 5.0, 2.0, 4.0]), torch.tensor([2, 0, 2, 0])
    >>> nn.SegmentPool("sum")(x, ids, num_segments=3)
    tensor([9., 0., 3.])
    >>> nn.SegmentPool("max")(x, offsets=torch.tensor([0, 3, 4]))
    tensor([5., 4.])
    """

    modes: ClassVar[dict[str, Callable[[_Segments], Tensor]]] = {
        "sum": lambda rows: rows.sum(rows.x),
        "mean": lambda rows: rows.mean(rows.x),
        "max": lambda rows: rows.extreme(rows.x, "amax"),
        "min": lambda rows: rows.extreme(rows.x, "amin"),
        "var": _Segments.var,
        "std": lambda rows: positive_sqrt(rows.var()),
    }

    def __init__(self, mode: str = "sum", *, beta: float = 1.0) -> None:
        super().__init__()
        self.mode = choice(mode, "mode", (*self.modes, "softmax"))
        self.beta = number(beta, "beta", low=-float("inf"))
        if self.beta == 0:
            raise PoolError(f"beta={beta}", "beta is not 0", 'pass another beta, or mode="mean"')

    def forward(
        self,
        input: Tensor,
        ids: Tensor | None = None,
        *,
        offsets: Tensor | None = None,
        num_segments: int | None = None,
    ) -> Tensor:
        """Pools the rows of each segment."""
        x = _rows(input)
        if (ids is None) == (offsets is None):
            raise PoolError(
                f"ids={show(ids)}, offsets={show(offsets)}",
                "either ids or offsets say which segment a row belongs to",
                "pass one of them",
            )
        if ids is not None:
            number = _check_ids(ids, num_segments, x.shape[0])
        else:
            ids, number = _ids_of(offsets, num_segments, x.shape[0])
        rows = _Segments(wide(x), ids, number)
        y = rows.softmax(self.beta) if self.mode == "softmax" else self.modes[self.mode](rows)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """mode, and beta where it is used."""
        return f"{self.mode!r}, beta={self.beta}" if self.mode == "softmax" else f"{self.mode!r}"


def _rows(input: object) -> Tensor:
    dims = input.dim() if isinstance(input, Tensor) else 1
    x = check_input(input, {max(dims, 1): "(T, *features)"})
    if x.shape[0] == 0:
        raise PoolError(
            f"input of shape {tuple(x.shape)}, ids empty", "there is at least one row", "leave empty data out"
        )
    return x


def _check_integers(value: object, name: str, shape: str) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != torch.int64:
        gave = f"{name} of dtype {value.dtype}" if isinstance(value, Tensor) else f"{name}={show(value)}"
        raise PoolTypeError(gave, f"{name} is an int64 tensor {shape}", "pass a tensor of integers, such as ids.long()")
    return value


def _check_ids(ids: object, num_segments: int | None, rows: int) -> int:
    ids = _check_integers(ids, "ids", "(T,)")
    if ids.shape != torch.Size((rows,)):
        raise PoolError(f"ids of shape {tuple(ids.shape)}", f"ids are (T,), here ({rows},)", "pass one id for each row")
    if num_segments is None:
        raise PoolError(
            "ids without num_segments",
            "the number of segments is given, since the last ones may be empty",
            "pass num_segments, such as int(ids.max()) + 1",
        )
    number = integer(num_segments, "num_segments", 1)
    if readable(ids) and bool(((ids < 0) | (ids >= number)).any()):
        raise PoolError(
            f"ids from {int(ids.min())} to {int(ids.max())}",
            f"ids lie from 0 to num_segments - 1, here {number - 1}",
            "number the segments from 0, or pass a larger num_segments",
        )
    return number


def _ids_of(offsets: object, num_segments: int | None, rows: int) -> tuple[Tensor, int]:
    offsets = _check_integers(offsets, "offsets", "(num_segments + 1,)")
    rule = f"offsets are (num_segments + 1,), ascending from 0 to T={rows}"
    if offsets.dim() != 1 or offsets.shape[0] < 2:
        raise PoolError(f"offsets of shape {tuple(offsets.shape)}", rule, "pass where each segment begins, then T")
    number = offsets.shape[0] - 1
    if num_segments is not None and integer(num_segments, "num_segments", 1) != number:
        raise PoolError(
            f"num_segments={num_segments}, offsets of shape ({number + 1},)",
            f"num_segments is that of the offsets, here {number}",
            "leave num_segments out",
        )
    if readable(offsets):
        ends = bool((offsets[0] != 0) | (offsets[-1] != rows))
        if ends or bool((offsets.diff() < 0).any()):
            raise PoolError(f"offsets={show(offsets)}", rule, "pass where each segment begins, then T")
    return torch.searchsorted(offsets[1:], torch.arange(rows, device=offsets.device), right=True), number
