"""Windows that are a whole plane, with taps in the lanes: csrc/merge.hpp on a GPU.

Few planes would leave most of a GPU idle: they are cut into pieces, whose states are joined by a last kernel. A core of
several passes cuts each of them: the programs of the next one begin by joining what all pieces of the one before found,
so that a variance has its mean first and a power its largest cell, as in a plane that is not cut.

Where channels come first, tap after tap of a plane fills a row of the tile, and several planes stand below each other;
where they come last, taps are rows and lanes are channels. An axis that windows take whole, while those of the axes
around it are single cells, makes such a plane, too: one of more samples, or of more channels.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton import codes
from poolkit.torch.triton.fold import FIXED, NUMBERS, OWN, PADDED, TAPS, VALUES, own_number, put

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
    state, x, carry, at, begin, end, lane, run, live, n, e, rest, PASS: tl.constexpr, ACCUMULATE: tl.constexpr,
    CARRY: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Taps begin .. end of every plane of the tile taken into the state."""
    for first in range(begin, end, LANES):
        t = first + lane
        # Not t < end: close to 2**31 a lane's number may have passed the largest one.
        valid = live & (lane < end - first)
        to = at + t.to(tl.int64) * run
        v = tl.load(x + to, mask=valid, other=0).to(ACC)
        number = t
        c = v
        if CARRY == NUMBERS:
            number = t * rest + tl.load(carry + to, mask=valid, other=0)
        elif CARRY == VALUES:
            c = tl.load(carry + to, mask=valid, other=0).to(ACC)
        elif CARRY == OWN:
            c = e
        state = ACCUMULATE(PASS, state, v, valid, number, c, n, PARAMS)
    return state


@triton.jit
def joined(
    state, part0, part1, part2, part3, out, pieces, live, stride, PASS: tl.constexpr, JOIN_LANES: tl.constexpr,
    SPAN: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """What all pieces of each plane found in a pass; `state` is that of no tap, and has SPAN lanes."""
    s0, s1, s2, s3 = state
    lane = tl.arange(0, SPAN)[:, None] if AXIS == 0 else tl.arange(0, SPAN)[None, :]
    from_ = PASS * stride + out * pieces + lane
    here = live & (lane < pieces)
    s0 = tl.where(here, tl.load(part0 + from_, mask=here, other=0), s0)
    s1 = tl.where(here, tl.load(part1 + from_, mask=here, other=0), s1)
    s2 = tl.where(here, tl.load(part2 + from_, mask=here, other=0), s2)
    s3 = tl.where(here, tl.load(part3 + from_, mask=here, other=0), s3)
    return JOIN_LANES(PASS, (s0, s1, s2, s3), lane, AXIS)


@triton.jit
def merge(
    x, carry, y, offsets, indices, first, second, extra, part0, part1, part2, part3, planes, run, size, piece, pieces,
    columns, padded, rest,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, FINISH: tl.constexpr,
    JOIN_LANES: tl.constexpr, LOOK: tl.constexpr, DIVIDE: tl.constexpr, CARRY: tl.constexpr, EXTRA: tl.constexpr,
    PARAMS: tl.constexpr, ACC: tl.constexpr, NONE: tl.constexpr, LAST: tl.constexpr, STAGE: tl.constexpr,
    DONE: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """A tile of planes of `size` cells: their outputs, or what one of the `pieces` of each finds in one pass.

    DONE: passes whose states of all pieces lie in the parts, ``[pass, plane, piece]``. `padded`: cells of the window
    inside the padding.
    """
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
    if DIVIDE == TAPS:
        divisor = n
    elif DIVIDE == PADDED:
        divisor = divisor * padded
    elif DIVIDE == FIXED:
        divisor = divisor * PARAMS[3]
    e = own_number(extra, out, live, EXTRA, PARAMS, ACC)
    stride = (pid * 0 + planes).to(tl.int64) * pieces
    if DONE > 0:
        none = IDENTITY((SPAN if LAST else ROWS, COLS if LAST else SPAN), e, PARAMS, ACC)
        state = joined(
            none, part0, part1, part2, part3, out, pieces, live, stride, DONE - 1, JOIN_LANES, SPAN, AXIS,
        )  # fmt: skip
    else:
        state = IDENTITY((ROWS, COLS), e, PARAMS, ACC)
    if STAGE != JOIN:
        begin = cut * piece
        end = begin + tl.minimum(piece, size - begin)
        for PASS in tl.static_range(DONE, DONE + 1 if STAGE == PIECE else PASSES):
            if PASS > 0:
                state = widened(state, (ROWS, COLS))
            state = taps(
                state, x, carry, at, begin, end, lane, run, live, n, e, rest, PASS, ACCUMULATE, CARRY, PARAMS, ACC,
                LANES,
            )  # fmt: skip
            state = JOIN_LANES(PASS, state, lane, AXIS)
    if STAGE == PIECE:
        s0, s1, s2, s3 = state
        to = DONE * stride + out * pieces + cut
        tl.store(part0 + to, s0, mask=live)
        tl.store(part1 + to, s1, mask=live)
        tl.store(part2 + to, s2, mask=live)
        tl.store(part3 + to, s3, mask=live)
    else:
        value, one, two, far = FINISH(False, state, n, divisor, e, PARAMS)
        if LOOK:  # noqa: SIM102  a constant before what only the GPU knows
            if tl.max(tl.max((far & live).to(tl.int32), 1), 0) > 0:
                again = taps(
                    widened(state, (ROWS, COLS)), x, carry, at, size * 0, size, lane, run, live, n, e, rest, PASSES,
                    ACCUMULATE, CARRY, PARAMS, ACC, LANES,
                )  # fmt: skip
                value, one, two, far = FINISH(True, JOIN_LANES(PASSES, again, lane, AXIS), n, divisor, e, PARAMS)
        # A tap's number is its place in the plane.
        cell = tl.maximum(one, 0).to(tl.int64) if indices is not None else out
        put(value, one, two, cell, y, offsets, indices, first, second, out, live, NONE)
