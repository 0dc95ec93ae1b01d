"""What the passes of Var and Std over single axes do not know: how many cells a whole window has.

The axes carry the mean and the variance of what they have seen so far. Lines of one window have equally many cells, so
its variance is the mean of theirs and the variance of their means; that it is divided by one cell less is made up for
at the end. The means are float64: their differences are what counts, and cells may lie far from zero.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.back import degrees
from poolkit.torch.triton.plan import interval, tile


@triton.jit(do_not_specialize=["unit"])
def moments(
    mean, variance, y, dy, factor, shift, starts, columns, unit, sizes, outs, rows, run, channels, row_starts,
    ROOT: tl.constexpr, AXES: tl.constexpr, PARAMS: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr,
    NEAR: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of outputs, from each window's mean and its squares' mean: y; or, of dy, what a cell's gradient takes.

    That is ``factor x - shift``, of one window; of several, the sums of both.
    """
    out, lane, live, sample, plane, od, oh, ow = tile(
        columns, rows, run if LAST else outs[2], outs[0], outs[1], outs[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS
    )
    row = plane.to(tl.int64) * row_starts[3]
    _, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
    _, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
    _, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)
    n = tl.where(live, nd * nh * nw, 1).to(tl.float64)
    by = degrees(n, PARAMS)
    value = tl.load(variance + out, mask=live, other=0).to(tl.float64) * (n / by)
    if ROOT:
        value = tl.sqrt(value)
    if y is not None:
        tl.store(y + out, value.to(y.dtype.element_ty), mask=live)
    if dy is not None:
        g = tl.load(dy + out, mask=live, other=0).to(tl.float64)
        # A root's is 0 for a window of equal cells, by agreement.
        g = tl.where(value == 0, 0, g / (by * tl.where(value == 0, 1, value))) if ROOT else 2 * g / by
        tl.store(factor + out, g, mask=live)
        tl.store(shift + out, g * tl.load(mean + out, mask=live, other=0), mask=live)
