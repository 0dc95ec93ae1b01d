"""Windows along the last axis of planar tensors, whose outputs share what they see with those beside them.

Every element of a tile makes the `BROAD` outputs that follow each other in a line. Loads take four neighbours at once,
and what they bring is taken apart in registers; so are outputs put together. Else it is `poolkit.torch.triton.rows`,
turned by a right angle.
"""

# Triton's compiler checks the types of kernels; pyright would take their tiles for numbers.
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportArgumentType=false, reportOperatorIssue=false
from __future__ import annotations

import triton
import triton.language as tl

from poolkit.torch.triton.fold import put
from poolkit.torch.triton.plan import skipped
from poolkit.torch.triton.rows import base_two, count, remade, shared


@triton.jit
def lines(
    x, y, offsets, indices, first, second, columns, size, out_size, fours, out_fours, groups, total, deep, sides,
    PREPARE: tl.constexpr, TAKE: tl.constexpr, JOIN: tl.constexpr, ROUND: tl.constexpr, FAR: tl.constexpr,
    FINISH: tl.constexpr, ABSENT: tl.constexpr, TOPS: tl.constexpr, LOOK: tl.constexpr,
    PASSES: tl.constexpr, IDENTITY: tl.constexpr, ACCUMULATE: tl.constexpr, AGAIN: tl.constexpr,
    AXES: tl.constexpr, KERNEL: tl.constexpr, USERS: tl.constexpr, COMMON: tl.constexpr, EDGES: tl.constexpr,
    FULL: tl.constexpr, NUMBERS: tl.constexpr, DIVIDE: tl.constexpr, PARAMS: tl.constexpr, ACC: tl.constexpr,
    NONE: tl.constexpr, WIDE: tl.constexpr, BROAD: tl.constexpr, REACH: tl.constexpr, SHIFT: tl.constexpr,
    FOURS: tl.constexpr, ALIGNED: tl.constexpr, OUT_ALIGNED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """One tile of groups of BROAD outputs, and what is asked for beside them.

    A group has FOURS loads, the first of them SHIFT places before its first tap; EDGES say of each whether it may lie
    before the input (1), behind it (2) or both (3). ALIGNED: `size` is four times `fours`, OUT_ALIGNED:
    `out_size` four times `out_fours`. `deep`: lines in a plane.
    """
    pid = tl.program_id(0)
    if WIDE:
        pid = pid.to(tl.int64)
    row = (pid // columns) * ROWS + tl.arange(0, ROWS)[:, None]
    g = (pid % columns) * COLS + tl.arange(0, COLS)[None, :]
    live = (row < total) & (g < groups)
    # Elements without outputs read what others read: no mask for them.
    row = tl.minimum(row, total - 1).to(tl.int64)
    g = tl.minimum(g, groups - 1)
    length = fours * 4 if ALIGNED else size
    begin = g * (BROAD * AXES[2][2]) - (AXES[2][3] + SHIFT)
    at = (row * length + begin)[:, :, None] + tl.arange(0, 4)[None, None, :]
    place = begin[:, :, None] + (tl.arange(0, 4) * 0 if ALIGNED else tl.arange(0, 4))[None, None, :]
    zero = tl.zeros((ROWS, COLS), ACC)
    held = ()
    for q in tl.static_range(FOURS):
        if EDGES[q] > 0:
            # Of aligned fours all are there or none.
            valid = (place + 4 * q >= 0) & (place + 4 * q < length)
            v = PREPARE(tl.load(x + at + 4 * q, mask=valid).to(ACC), PARAMS)
            v = tl.where(valid, v, ABSENT)
        else:
            v = PREPARE(tl.load(x + at + 4 * q).to(ACC), PARAMS)
        even, odd = tl.split(tl.reshape(v, (ROWS, COLS, 2, 2)))
        v0, v2 = tl.split(even)
        v1, v3 = tl.split(odd)
        held = held + (v0, v1, v2, v3)
    top = held[SHIFT]
    values = ()
    others = ()
    for _ in tl.static_range(BROAD):
        values = values + (zero,)
        others = others + (zero,)
    if TOPS:
        for r in tl.static_range(REACH):
            if USERS[r][0] > 0:
                top = tl.maximum(top, held[SHIFT + r])
        top = top * base_two(PARAMS)
    common = (zero, zero)
    for r in tl.static_range(REACH):
        if USERS[r][0] > 0:
            a, b = TAKE(
                zero, zero, held[SHIFT + r], held[SHIFT + r] != ABSENT, 0, top, True, NUMBERS,
                EDGES[(SHIFT + r) // 4] > 0, PARAMS,
            )  # fmt: skip
            if r >= COMMON[0] and r <= COMMON[1]:
                common = JOIN(
                    common[0], common[1], a, b, (r - COMMON[0]) // AXES[2][5], r == COMMON[0], NUMBERS
                )  # fmt: skip
            if r < COMMON[0] or r > COMMON[1]:
                values, others = shared(values, others, a, b, 0, r, USERS, JOIN, KERNEL, NUMBERS)
            elif r == COMMON[1]:
                values, others = shared(
                    values, others, common[0], common[1], 0, COMMON[0], USERS, JOIN, KERNEL, NUMBERS
                )  # fmt: skip
    again = live & (zero != 0)
    ys = ()
    ones = ()
    twos = ()
    places = ()
    for j in tl.static_range(BROAD):
        ow = g * BROAD + j
        divisor = count(
            ow * 0, ow * 0, ow, zero, (1, 1, length), (1, 1, out_size), live, DIVIDE, AXES, KERNEL, FULL, PARAMS, ACC
        )
        if LOOK:
            again = again | (live & (ow < out_size) & FAR(values[j], others[j]))
        value, one, two = ROUND(values[j], others[j], top, divisor, PARAMS)
        start = ow * AXES[2][2] - AXES[2][3]
        if NUMBERS:
            if not FULL:
                skip = skipped(ow, AXES, 2)
                # Of cells that are all -inf the first one there is counts.
                one = tl.where(two == ABSENT, 0, one - skip)
                start = start + skip * AXES[2][5]
            start = start + one * AXES[2][5]
        ys = ys + (value,)
        ones = ones + (one,)
        twos = twos + (two,)
        places = places + ((row % deep) * length + start,)
    for f in tl.static_range(tl.constexpr(BROAD // 4)):
        ow = (g * BROAD)[:, :, None] + 4 * f + tl.arange(0, 4)[None, None, :]
        if OUT_ALIGNED:
            out = (row * (out_fours * 4))[:, :, None] + ow
            here = live[:, :, None] & (g * (BROAD // 4) + f < out_fours)[:, :, None] & (ow >= 0)
        else:
            out = (row * out_size)[:, :, None] + ow
            here = live[:, :, None] & (ow < out_size)
        cell = four(places, f) if indices is not None else out
        put(
            four(ys, f), four(ones, f), four(twos, f), cell, y, offsets, indices, first, second, out, here, NONE
        )  # fmt: skip
    if LOOK:  # noqa: SIM102  a constant before what only the GPU knows
        if tl.max(tl.max(again.to(tl.int32), 1), 0) > 0:
            remade(
                x, y, first, second, row * length, row * out_size + g * BROAD, 1, zero, g * 0, g * 0, g * BROAD, 0, 1,
                live, (1, 1, length), (1, 1, out_size), 1, sides, PASSES, IDENTITY, ACCUMULATE, FINISH, AGAIN, AXES,
                DIVIDE, PARAMS, ACC, NONE, BROAD, ROWS, COLS,
            )  # fmt: skip


@triton.jit
def four(parts, f: tl.constexpr):
    """Four tiles as one, beside each other."""
    pairs = tl.join(
        tl.join(parts[4 * f], parts[4 * f + 2]), tl.join(parts[4 * f + 1], parts[4 * f + 3])
    )  # fmt: skip
    return tl.reshape(pairs, (parts[0].shape[0], parts[0].shape[1], 4))
