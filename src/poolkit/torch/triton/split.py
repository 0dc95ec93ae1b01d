"""Large windows that are few: the taps of each are cut into pieces, where `poolkit.torch.triton.fold` would loop.

As in `poolkit.torch.triton.merge`, but for windows of any plan: outputs are tiles of `fold`, a piece is some of the
taps' numbers, and every pass is two launches, one that folds the pieces and one that joins them.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.fold import EACH, OWN, cell_of, divisor_of, own_number, put, step
from poolkit.torch.triton.merge import PIECE, joined
from poolkit.torch.triton.plan import interval, skipped, tile


@triton.jit
def loaded(part0, part1, part2, part3, at, state, live):
    """A state that was kept, in place of this one."""
    s0, s1, s2, s3 = state
    s0 = tl.where(live, tl.load(part0 + at, mask=live, other=0), s0)
    s1 = tl.where(live, tl.load(part1 + at, mask=live, other=0), s1)
    s2 = tl.where(live, tl.load(part2 + at, mask=live, other=0), s2)
    s3 = tl.where(live, tl.load(part3 + at, mask=live, other=0), s3)
    return s0, s1, s2, s3


@triton.jit
def stored(part0, part1, part2, part3, to, state, live):
    """Keeps a state."""
    s0, s1, s2, s3 = state
    tl.store(part0 + to, s0, mask=live)
    tl.store(part1 + to, s1, mask=live)
    tl.store(part2 + to, s2, mask=live)
    tl.store(part3 + to, s3, mask=live)


@triton.jit(do_not_specialize=["unit"])
def split(
    x, carry, y, offsets, indices, first, second, extra, starts, part0, part1, part2, part3, columns, unit, sizes, outs,
    rows, run, channels, xplane, row_starts, sides, rest, weights, outputs, piece, pieces,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, FINISH: tl.constexpr,
    JOIN_LANES: tl.constexpr, LOOK: tl.constexpr, AXES: tl.constexpr, DIVIDE: tl.constexpr, CARRY: tl.constexpr,
    EXTRA: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, NEAR: tl.constexpr, STAGE: tl.constexpr, PASS: tl.constexpr, SPAN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of outputs in one pass: what a piece of their taps finds, or, of one column, the join of all pieces.

    The parts are ``[output, piece]``, and after them ``[output]`` of what was joined.
    """
    pid = tl.program_id(0)
    cut = pid * 0
    if STAGE == PIECE:
        cut = pid % pieces
        pid = pid // pieces
    lanes = run if LAST else outs[2]
    out, lane, live, sample, plane, od, oh, ow = tile(
        columns, rows, lanes, outs[0], outs[1], outs[2], channels, unit, LAST, WIDE, NEAR, ROWS, COLS, pid
    )
    row = plane.to(tl.int64) * row_starts[3]
    d0, nd = interval(od, sizes[0], outs[0], starts, row + row_starts[0], live, AXES, 0)
    h0, nh = interval(oh, sizes[1], outs[1], starts, row + row_starts[1], live, AXES, 1)
    w0, nw = interval(ow, sizes[2], outs[2], starts, row + row_starts[2], live, AXES, 2)
    base = sample.to(tl.int64) * xplane
    if LAST:
        base = base + lane
    n = (nd * nh * nw).to(ACC)
    beside = plane % channels * weights
    if CARRY == OWN:
        beside = out if EXTRA == EACH else out * 0
    first_tap = (skipped(od, AXES, 0), skipped(oh, AXES, 1), skipped(ow, AXES, 2))
    e = own_number(extra, out, live, EXTRA, PARAMS, ACC)
    taps = sides[0] * sides[1] * sides[2]
    after = (pid * 0 + pieces).to(tl.int64) * outputs + out
    if STAGE == PIECE:
        state = IDENTITY((ROWS, COLS), e, PARAMS, ACC)
        if PASS > 0:
            state = loaded(part0, part1, part2, part3, after, state, live)
        begin = cut * piece
        for t in range(begin, begin + tl.minimum(piece, taps - begin)):
            state = step(
                state, x, carry, extra, base, beside, t, sides, d0, nd, h0, nh, w0, nw, first_tap, sizes, run,
                rest, live, n, PASS, ACCUMULATE, AXES, CARRY, PARAMS, ACC,
            )  # fmt: skip
        stored(part0, part1, part2, part3, out * pieces + cut, state, live)
    else:
        none = IDENTITY((ROWS, SPAN), e, PARAMS, ACC)
        state = joined(none, part0, part1, part2, part3, out, pieces, live, 0, PASS, JOIN_LANES, SPAN, 1)
        if PASS + 1 < PASSES:
            stored(part0, part1, part2, part3, after, state, live)
        else:
            divisor = divisor_of(
                n, od, oh, ow, sizes, outs, starts, row, row_starts, live, DIVIDE, AXES, PARAMS, ACC
            )  # fmt: skip
            value, one, two, far = FINISH(False, state, n, divisor, e, PARAMS)
            if LOOK:  # noqa: SIM102  a constant before what only the GPU knows
                if tl.max(tl.max((far & live).to(tl.int32), 1), 0) > 0:
                    for again in range(taps):
                        state = step(
                            state, x, carry, extra, base, beside, again, sides, d0, nd, h0, nh, w0, nw, first_tap,
                            sizes, run, rest, live, n, PASSES, ACCUMULATE, AXES, CARRY, PARAMS, ACC,
                        )  # fmt: skip
                    value, one, two, far = FINISH(True, state, n, divisor, e, PARAMS)
            cell = out
            if indices is not None:
                cell = cell_of(one, d0, h0, w0, sizes, sides, AXES)
            put(value, one, two, cell, y, offsets, indices, first, second, out, live, NONE)
