"""The gradient of a filter's weights: for each of them, the sum over all outputs of dy times the cell it is laid on.

In two stages, so that nothing is added as it comes: a program sums up a piece of a plane's outputs for every weight,
and all pieces are summed up afterwards, always in the same order.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.fold import address, inside
from poolkit.torch.triton.plan import interval, skipped


@triton.jit
def products(
    x, dy, sums, starts, planes, run, cells, places, pieces, columns, taps, sizes, outs, row_starts,
    AXES: tl.constexpr, ACC: tl.constexpr, LAST: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One piece of a tile of planes: ``[pieces, taps, planes]``. `cells` and `places` are a plane's inputs and outputs.

    As in `poolkit.torch.triton.merge`, outputs lie along the tile where channels come first, else below each other.
    """
    pid = tl.program_id(0)
    cut = pid % pieces
    pid = pid // pieces
    if LAST:
        AXIS: tl.constexpr = 0
        sample = (pid // columns).to(tl.int64)
        c = pid % columns * COLS + tl.arange(0, COLS)[None, :]
        here = c < run
        plane = sample * run + c
        place = cut * ROWS + tl.arange(0, ROWS)[:, None]
        base = sample * cells * run + c
        out = (sample * places + place) * run + c
    else:
        AXIS: tl.constexpr = 1
        plane = pid.to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
        here = plane < planes
        place = cut * COLS + tl.arange(0, COLS)[None, :]
        base = plane * cells
        out = plane * places + place
    live = here & (place < places)
    row = plane * row_starts[3]
    od = place // (outs[1] * outs[2])
    oh = place // outs[2] % outs[1]
    ow = place % outs[2]
    d0, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
    h0, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
    w0, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)
    fd = skipped(od, AXES, 0)
    fh = skipped(oh, AXES, 1)
    fw = skipped(ow, AXES, 2)
    # An axis that is not pooled has no kernel.
    HIGH: tl.constexpr = AXES[1][1] if AXES[1][1] > 0 else 1
    WIDTH: tl.constexpr = AXES[2][1] if AXES[2][1] > 0 else 1
    g = tl.load(dy + out, mask=live, other=0).to(ACC)
    to = cut.to(tl.int64) * taps * planes + plane
    for k in range(taps):
        kd = k // (HIGH * WIDTH) - fd
        kh = k // WIDTH % HIGH - fh
        kw = k % WIDTH - fw
        valid = live & (kd >= 0) & inside(d0, sizes[0], nd, kd, AXES[0][5], AXES[0][0])
        valid = valid & (kh >= 0) & inside(h0, sizes[1], nh, kh, AXES[1][5], AXES[1][0])
        valid = valid & (kw >= 0) & inside(w0, sizes[2], nw, kw, AXES[2][5], AXES[2][0])
        at = address(kd, kh, kw, d0, h0, w0, sizes, run, AXES)
        v = tl.load(x + base + at, mask=valid, other=0).to(ACC)
        part = tl.sum(tl.where(valid, g * v, 0), AXIS, keep_dims=True)
        tl.store(sums + to, part, mask=here)
        to += planes
