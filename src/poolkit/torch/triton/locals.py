"""Atoms over whole windows that do not sort: csrc/locals.hpp on a GPU."""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.whole import choose_first, with_nan


@triton.jit
def activation(x, top, PARAMS: tl.constexpr):
    """What a cell's probability is in proportion to: its positive part, or an exponential relative to the largest."""
    if PARAMS[7] == 1:
        return tl.exp(tl.where(x == top, 0, (x - top) * PARAMS[2]))
    else:
        return tl.where(x > 0, x, 0)


@triton.jit
def stochastic(
    cells, exist, n, e, table, PARAMS: tl.constexpr, PAIRS: tl.constexpr, COUNT: tl.constexpr, RANK: tl.constexpr,
    TAPS: tl.constexpr,
):  # fmt: skip
    """The cell that the uniform e draws. Sums run in the taps' order, as on the CPU: the same e, the same cell."""
    top = cells[0]
    for t in tl.static_range(1, TAPS):
        top = tl.where(exist[t] & (cells[t] > top), cells[t], top)
    total = tl.where(exist[0], activation(cells[0], top, PARAMS), 0)
    for t in tl.static_range(1, TAPS):
        total += tl.where(exist[t], activation(cells[t], top, PARAMS), 0)
    wanted = e * total
    sum_ = tl.zeros_like(total)
    y = sum_
    last = sum_
    number = tl.zeros(y.shape, tl.int32) - 1
    number_last = number
    open_ = total > 0
    for t in tl.static_range(TAPS):
        w = tl.where(exist[t], activation(cells[t], top, PARAMS), 0)
        sum_ += w
        able = w > 0
        last = tl.where(able, cells[t], last)
        number_last = tl.where(able, t, number_last)
        # An infinite cell has all the probability there is.
        here = open_ & able & ((sum_ > wanted) | (w == float("inf")))
        y = tl.where(here, cells[t], y)
        number = tl.where(here, t, number)
        open_ = open_ & ~here
    # Rounding may keep the sum from passing the last cell.
    y = with_nan(cells, exist, tl.where(open_, last, y), TAPS)
    number = tl.where(open_, number_last, number)
    return y, tl.where(y == y, number, choose_first(cells, exist, y, TAPS))
