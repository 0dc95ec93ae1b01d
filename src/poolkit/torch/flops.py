"""Floating-point operations of the operators, for `torch.utils.flop_counter`.

Additions, multiplications, comparisons, powers, exponentials and logarithms count one each, for every cell that every
window sees; what is done once for each output does not count.
"""

# ruff: noqa: ARG001, D103  one formula for each operator, of its signature
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from poolkit import reducer as r
from poolkit.torch.shapes import axes_of, chooses, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.reducer import Reducer

Shape = tuple[int, ...]

# For each cell of a window.
PER_CELL: dict[type[Reducer], int] = {
    r.Max: 1,
    r.Min: 1,
    r.Sum: 1,
    r.Mean: 1,
    r.Lp: 2,
    r.PowerMean: 3,
    r.RMS: 2,
    r.LogSumExp: 3,
    r.Soft: 5,
    r.Stochastic: 4,
    r.Mixed: 2,
    r.Var: 4,
    r.Std: 4,
    r.Ada: 14,
    r.Boltzmann: 5,
    r.GeM: 4,
    r.Filter: 2,
}
# These sort: as many comparisons for each cell as the logarithm of their number, and an addition with its weight.
SORTING: frozenset[type[Reducer]] = frozenset(
    {r.Median, r.Quantile, r.TopKMean, r.RankMean, r.Ordinal, r.RankStochastic, r.MaxDrop}
)


def cells(plan: str) -> tuple[int, int]:
    """Cells that all windows of a plane see together, and windows.

    >>> cells("0(2.0,0.0,1.0,0,1,1,0.5,0,0) 0(6,3,2,2,0,0,1)")
    (6, 3)
    """
    seen = windows = 1
    for axis in axes_of(plan):
        # Windows that reach to the next one have at most as many.
        seen *= axis.out * axis.kernel if axis.kind == "starts" else int(axis.count.sum())
        windows *= axis.out
    return seen, windows


def forward(x: Shape, plan: str, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    what = decode(plan)
    kind = r.REDUCERS[what.reducer]
    seen, windows = cells(plan)
    each = 1 + math.ceil(math.log2(max(seen / windows, 2))) if kind in SORTING else PER_CELL[kind]
    return each * seen * math.prod(x[: -what.rank])


def backward(dy: Shape, plan: str, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    what = decode(plan)
    kind = r.REDUCERS[what.reducer]
    if chooses(kind, what.params):  # one addition for each output
        return math.prod(dy)
    return forward(dy, plan)


def unpool(x: Shape, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Values are moved, and nothing is worked out."""
    return 0


FORMULAS: dict[str, Callable[..., int]] = {
    "pool": forward,
    "pool_with_offsets": forward,
    "pool_with_indices": forward,
    "pool_with_offsets_and_indices": forward,
    "pool_with_lse": forward,
    "pool_backward": backward,
    "pool_backward_extra": backward,
    "unpool": unpool,
    "unpool_backward": unpool,
}
