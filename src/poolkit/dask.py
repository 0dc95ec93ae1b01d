"""Pooling of dask arrays, chunk by chunk: images larger than memory.

Every chunk is pooled with the cells of its neighbours that its windows reach, by the plan of the whole image, so that
nothing shows where chunks meet. Nothing is computed before the result is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask import array
from dask.array import overlap as overlapping

from poolkit import arrays
from poolkit.errors import PoolError, PoolTypeError, show
from poolkit.plan import AxisPlan, Plan
from poolkit.pooling import check_parts, finish, pooled_rank, run, to_channels_first
from poolkit.reducer import RMS, LogSumExp, Lp, Max, Mean, Min, Reducer, Sum
from poolkit.window import Fractional, Global, Window, plan_for

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = Any

# dask leaves its interface without annotations.
da: Any = array
overlap: Any = overlapping


@dataclass(frozen=True)
class Chunk:
    """One chunk of an axis: its cells, and the windows that begin in it."""

    begin: int
    end: int
    first: int
    last: int


def pool(
    x: Array,
    window: Window,
    reducer: Reducer,
    *,
    data_format: str = "channels_first",
    seed: int | None = None,
) -> Array:
    """Pools a dask array: `poolkit.pool`, one chunk after the other.

    Sliding and fractional windows take chunks of any size. Adaptive windows are worked out between the cells where
    windows and chunks can be parted, and need an axis in one chunk where there is no such cell. `Global` windows over
    several chunks, and ``Adaptive(1)``, are joined from the chunks' results for Max, Min, Sum, Mean, Lp, RMS and
    LogSumExp.

    Args:
        x: a dask array ``(N, C, *sizes)`` or ``(C, *sizes)``, or with the channels last.
        window: which cells each output sees.
        reducer: what becomes of them; not one that draws, since what it draws would depend on the chunks.
        data_format: ``"channels_first"`` or ``"channels_last"``.
        seed: for `Fractional`, of the window places, as for a NumPy array.

    Returns:
        A dask array of x's dtype (Sum of integers: int64), in x's layout.

    Raises:
        PoolTypeError: `x` is no dask array, or an argument has a wrong type.
        PoolError: the window does not fit, or takes an axis in one chunk that has several.

    >>> import dask.array as da, poolkit as pk
    >>> x = da.arange(16.0, chunks=5).reshape(1, 1, 16)
    >>> pk.dask.pool(x, pk.Sliding(3, stride=2, padding=1), pk.Max()).compute()
    array([[[ 1.,  3.,  5.,  7.,  9., 11., 13., 15.]]])
    """
    check_parts(window, reducer, return_indices=False)
    if not isinstance(x, da.Array):
        raise PoolTypeError(
            f"input x={show(x)}", f"x is a dask array, here {type(x).__name__}", "pass dask.array.from_array(x)"
        )
    if any(math.isnan(size) for size in x.shape):
        raise PoolError(
            f"input x of shape {x.shape}", "the sizes of all chunks are known", "call x.compute_chunk_sizes() first"
        )
    rank = pooled_rank(window, x.ndim)
    logical = to_channels_first(x, data_format, rank)
    reducer = reducer.on(window)
    dtype = np.dtype(x.dtype)
    arrays.dtype_code(np.empty(0, dtype))
    arrays.check_reducer(reducer, dtype)
    if reducer.draws:
        raise PoolError(
            f"{reducer} on a dask array",
            "a reducer that draws takes its uniforms for the whole output, and chunks have none in common",
            f"use {reducer.name}(sample=False), or pool the chunks yourself with map_blocks",
        )
    plan = _plan(window, logical.shape, rank, seed, dtype)
    reducer.check(plan)
    if all(axis.out == 1 and axis.kind == "adaptive" for axis in plan.axes) and max(logical.numblocks[-rank:]) > 1:
        y = _joined(logical, reducer, rank)
    else:
        y = _chunked(logical, plan, reducer, window)
    return finish(y, window, data_format, rank)


def _plan(window: Window, shape: tuple[int, ...], rank: int, seed: int | None, dtype: np.dtype[Any]) -> Plan:
    samples = None
    if isinstance(window, Fractional) and window.random_samples is None:
        samples = window.draw(max(math.prod(shape[:-rank]), 1), shape[-rank:], seed, dtype)
    return plan_for(window, shape, rank, samples=samples, itemsize=8)


def _chunked(x: Array, plan: Plan, reducer: Reducer, window: Window) -> Array:
    """Pools each chunk together with the cells that its windows reach in the next ones."""
    lead = x.ndim - plan.rank
    parted = [_parts(axis, x.chunks[lead + i], i, window) for i, axis in enumerate(plan.axes)]
    cells = {lead + i: tuple(chunk.end - chunk.begin for chunk in chunks) for i, (chunks, _) in enumerate(parted)}
    depth = {lead + i: (0, reach) for i, (_, reach) in enumerate(parted)}
    laid = overlap.overlap(x.rechunk(cells), depth=depth, boundary="none", allow_rechunk=False)
    outs = tuple(tuple(chunk.last - chunk.first for chunk in chunks) for chunks, _ in parted)
    bounds = [np.cumsum((0, *sizes)) for sizes in x.chunks[:lead]]
    channels = x.shape[lead - 1]

    def one(block: Any, block_id: tuple[int, ...]) -> Any:
        where = block_id[lead:]
        rows = _rows_of(plan, [bound[i : i + 2] for bound, i in zip(bounds, block_id[:lead], strict=True)], channels)
        axes: list[AxisPlan] = []
        places: list[slice] = [slice(None)] * lead
        for axis, (chunks, reach), i, have in zip(plan.axes, parted, where, block.shape[lead:], strict=True):
            piece, skip = _axis_of(axis, chunks[i], min(chunks[i].end + reach, axis.size), rows)
            axes.append(piece)
            places.append(slice(skip, skip + piece.size))
            assert skip + piece.size <= have
        piece_of_x = block[tuple(places)]
        batched = lead == 2
        y, _, _ = arrays.forward(
            arrays.check_array(piece_of_x if batched else piece_of_x[None]), Plan(tuple(axes)), reducer
        )
        return y if batched else y[0]

    dtype = arrays.y_dtype(reducer, np.dtype(x.dtype))
    return laid.map_blocks(one, chunks=(*x.chunks[:lead], *outs), dtype=dtype, meta=np.empty((0,) * x.ndim, dtype))


def _parts(axis: AxisPlan, chunks: Sequence[int], number: int, window: Window) -> tuple[list[Chunk], int]:
    """How an axis is cut: each part has a window and is as long as what the windows before it reach of it."""
    if axis.kind == "adaptive":
        return _parts_between(axis, chunks, number, window), 0
    if axis.kind == "sliding":
        begins = np.clip(np.arange(axis.out) * axis.stride - axis.before, 0, axis.size - 1)
    else:
        begins = np.atleast_2d(axis.start).min(0)
    reach = int((np.atleast_2d(axis.stop).max(0) - begins).max()) - 1
    ends: list[int] = []
    for end in np.cumsum(chunks):
        begin = ends[-1] if ends else 0
        long_enough = end - begin >= max(reach, 1) and axis.size - end >= reach
        if (long_enough and _first_from(begins, begin) < _first_from(begins, int(end)) < axis.out) or end == axis.size:
            ends.append(int(end))
    return _cut(ends, begins, axis.out), reach


def _first_from(begins: Any, cell: int) -> int:
    """The first window that begins at a cell or behind it."""
    return int(np.searchsorted(begins, cell))


def _cut(ends: Sequence[int], begins: Any, out: int) -> list[Chunk]:
    firsts = [0, *(_first_from(begins, end) for end in ends[:-1]), out]
    cells = [0, *ends]
    return [Chunk(cells[i], cells[i + 1], firsts[i], firsts[i + 1]) for i in range(len(ends))]


def _parts_between(axis: AxisPlan, chunks: Sequence[int], number: int, window: Window) -> list[Chunk]:
    """Adaptive windows can be parted wherever one ends and the next begins with the same remainder: every period."""
    periods = math.gcd(axis.size, axis.out)
    if periods == 1 and len(chunks) > 1:
        raise PoolError(
            f"{window} on an axis of size {axis.size} in {len(chunks)} chunks (pooled axis {number})",
            "adaptive windows of several chunks can be parted: the input's and the output's size have a common divisor",
            f"give pooled axis {number} one chunk: x.rechunk({{axis: -1}})",
        )
    cells, windows = axis.size // periods, axis.out // periods
    found: list[Chunk] = []
    begin = 0
    for end in np.cumsum(chunks):
        aligned = int(end) // cells * cells
        if aligned > begin:
            found.append(Chunk(begin, aligned, begin // cells * windows, aligned // cells * windows))
            begin = aligned
    return found


def _axis_of(axis: AxisPlan, chunk: Chunk, end: int, rows: Any) -> tuple[AxisPlan, int]:
    """The plan of a chunk's windows, and how many of its first cells none of them sees."""
    out = chunk.last - chunk.first
    if axis.kind == "adaptive":
        return AxisPlan("adaptive", chunk.end - chunk.begin, out), 0
    if axis.kind == "starts":
        assert axis.starts is not None
        own = axis.starts if rows is None or len(axis.starts) == 1 else axis.starts[rows]
        begin = int(own[:, chunk.first : chunk.last].min())
        if axis.reaches and chunk.last < axis.out:
            end = min(end, int(own[0, chunk.last]) + axis.after - 1)
        starts = np.ascontiguousarray(own[:, chunk.first : chunk.last] - begin)
        kernel = min(axis.kernel, end - begin)
        return replace(axis, size=end - begin, out=out, kernel=kernel, starts=starts), begin - chunk.begin
    origin = chunk.first * axis.stride - axis.before
    begin = max(origin, chunk.begin)
    after = axis.after if end == axis.size else 0
    return replace(axis, size=end - begin, out=out, before=begin - origin, after=after), begin - chunk.begin


def _rows_of(plan: Plan, bounds: Sequence[Any], channels: int) -> Any:
    """Which planes a block holds, if each plane has window places of its own."""
    if plan.starts is None or len(plan.starts) == 1:
        return None
    spans: list[Any] = [np.arange(*bound) for bound in bounds]
    return spans[0] if len(spans) == 1 else (spans[0][:, None] * channels + spans[1]).reshape(-1)


def _joined(x: Array, reducer: Reducer, rank: int) -> Array:
    """One window over several chunks: the chunks' own results, pooled again."""
    count = math.prod(x.shape[-rank:])
    wide = np.dtype(np.float64) if np.dtype(x.dtype).kind not in "iu" else np.dtype(np.int64)
    part, divisor, shift = reducer, 1.0, 0.0
    if isinstance(reducer, Mean):
        part, divisor = Sum(), reducer.divisor or count
    elif isinstance(reducer, RMS):
        part, divisor = Lp(2.0), math.sqrt(count)
    elif isinstance(reducer, LogSumExp):
        part = LogSumExp(reducer.beta, mean=False)
        shift = math.log(count) / reducer.beta if reducer.mean else 0.0
    elif not isinstance(reducer, Max | Min | Sum | Lp):
        raise PoolError(
            f"{reducer} over an input x in {x.numblocks[-rank:]} chunks",
            f"{reducer.name} of a whole plane cannot be joined from its chunks: only Max, Min, Sum, Mean, Lp, RMS and "
            "LogSumExp can",
            "give each plane one chunk: x.rechunk({axis: -1}) for the pooled axes",
        )
    exact = isinstance(part, Max | Min)

    def one(block: Any) -> Any:
        given = arrays.check_array(block if exact else block.astype(wide, copy=False))
        return run(given, Global(), part, rank)[0]

    lead = x.ndim - rank
    ones = tuple((1,) * blocks for blocks in x.numblocks[lead:])
    dtype = x.dtype if exact else wide
    meta = np.empty((0,) * x.ndim, dtype)
    parts = x.map_blocks(one, chunks=(*x.chunks[:lead], *ones), dtype=dtype, meta=meta)
    whole = parts.rechunk(dict.fromkeys(range(lead, x.ndim), -1))
    total = whole.map_blocks(one, chunks=(*x.chunks[:lead], *((1,),) * rank), dtype=dtype, meta=meta)
    result = arrays.y_dtype(reducer, np.dtype(x.dtype))
    if divisor != 1 or shift != 0:
        total = total / divisor - shift
        total = da.rint(total) if result.kind in "iu" else total
    return total.astype(result)
