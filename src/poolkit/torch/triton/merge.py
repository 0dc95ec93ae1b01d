"""Windows that are a whole plane, with taps in the lanes: csrc/merge.hpp on a GPU.

Few planes would leave most of a GPU idle: they are cut into pieces whose states are joined by a second kernel. Where
channels come first, tap after tap of a plane fills a row of the tile, and several planes stand below each other; where
they come last, taps are rows and lanes are channels.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton import codes
from poolkit.torch.triton.fold import own_number, put

PIECE = tl.constexpr(codes.PIECE)
JOIN = tl.constexpr(codes.JOIN)


@triton.jit
def widened(state, shape: tl.constexpr):
    """The same in every lane."""
    s0, s1, s2, s3 = state
    return (
        tl.broadcast_to(s0, shape),
        tl.broadcast_to(s1, shape),
        tl.broadcast_to(s2, shape),
        tl.broadcast_to(s3, shape),
    )


@triton.jit
def taps(
    state, x, at, begin, end, lane, run, live, n, PASS: tl.constexpr, ACCUMULATE: tl.constexpr, PARAMS: tl.constexpr,
    ACC: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Taps begin .. end of every plane of the tile taken into the state."""
    for first in range(begin, end, LANES):
        t = first + lane
        valid = live & (t < end)
        v = tl.load(x + at + t.to(tl.int64) * run, mask=valid, other=0).to(ACC)
        state = ACCUMULATE(PASS, state, v, valid, t, v, n, PARAMS)
    return state


@triton.jit
def merge(
    x, y, offsets, indices, first, second, extra, part0, part1, part2, part3, planes, run, size, piece, pieces, columns,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, FINISH: tl.constexpr,
    JOIN_LANES: tl.constexpr, LOOK: tl.constexpr, DIVIDED: tl.constexpr, EXTRA: tl.constexpr, PARAMS: tl.constexpr,
    ACC: tl.constexpr, NONE: tl.constexpr, LAST: tl.constexpr, STAGE: tl.constexpr, ROWS: tl.constexpr,
    COLS: tl.constexpr,
):  # fmt: skip
    """A tile of planes of `size` cells: their outputs, or the states of one of the `pieces` of each."""
    pid = tl.program_id(0)
    cut = pid * 0
    if STAGE == PIECE:
        cut = pid % pieces
        pid = pid // pieces
    if LAST:
        AXIS: tl.constexpr = 0
        LANES: tl.constexpr = ROWS
        sample = (pid // columns).to(tl.int64)
        c = pid % columns * COLS + tl.arange(0, COLS)[None, :]
        live = c < run
        out = sample * run + c
        at = sample * size * run + c
        lane = tl.arange(0, ROWS)[:, None]
    else:
        AXIS: tl.constexpr = 1
        LANES: tl.constexpr = COLS
        out = pid.to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
        live = out < planes
        at = out * size
        lane = tl.arange(0, COLS)[None, :]
    n = (out * 0 + size).to(ACC)
    divisor = n * 0 + 1
    if DIVIDED:
        divisor = n if PARAMS[3] == 0 else divisor * PARAMS[3]
    e = own_number(extra, out, live, EXTRA, PARAMS, ACC)
    state = IDENTITY((ROWS, COLS), e, PARAMS, ACC)
    if STAGE == JOIN:
        s0, s1, s2, s3 = state
        from_ = out * pieces + lane
        here = live & (lane < pieces)
        s0 = tl.where(here, tl.load(part0 + from_, mask=here, other=0), s0)
        s1 = tl.where(here, tl.load(part1 + from_, mask=here, other=0), s1)
        s2 = tl.where(here, tl.load(part2 + from_, mask=here, other=0), s2)
        s3 = tl.where(here, tl.load(part3 + from_, mask=here, other=0), s3)
        state = JOIN_LANES(0, (s0, s1, s2, s3), lane, AXIS)
    else:
        begin = cut * piece
        end = tl.minimum(begin + piece, size)
        for PASS in tl.static_range(PASSES):
            if PASS > 0:
                state = widened(state, (ROWS, COLS))
            state = taps(state, x, at, begin, end, lane, run, live, n, PASS, ACCUMULATE, PARAMS, ACC, LANES)
            state = JOIN_LANES(PASS, state, lane, AXIS)
    if STAGE == PIECE:
        s0, s1, s2, s3 = state
        to = out * pieces + cut
        tl.store(part0 + to, s0, mask=live)
        tl.store(part1 + to, s1, mask=live)
        tl.store(part2 + to, s2, mask=live)
        tl.store(part3 + to, s3, mask=live)
    else:
        value, one, two, far = FINISH(False, state, n, divisor, e, PARAMS)
        if LOOK:  # noqa: SIM102  a constant before what only the GPU knows
            if tl.max(tl.max((far & live).to(tl.int32), 1), 0) > 0:
                again = taps(
                    widened(state, (ROWS, COLS)), x, at, size * 0, size, lane, run, live, n, PASSES, ACCUMULATE, PARAMS,
                    ACC, LANES,
                )  # fmt: skip
                value, one, two, far = FINISH(True, JOIN_LANES(PASSES, again, lane, AXIS), n, divisor, e, PARAMS)
        # A tap's number is its place in the plane.
        cell = tl.maximum(one, 0).to(tl.int64) if indices is not None else out
        put(value, one, two, cell, y, offsets, indices, first, second, out, live, NONE)
