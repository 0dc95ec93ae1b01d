"""Plans: what a window means for one input size. The only place where geometry is worked out.

A plan is integers only. Forward, backward, shape inference and every front end read the same one, and a plan exists
only if its geometry is legal, so nothing behind it has to check again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from poolkit.errors import INT64_MAX, PoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

Int64Array = npt.NDArray[np.int64]
Kind = Literal["sliding", "adaptive", "starts"]
KIND_CODES: dict[Kind, int] = {"sliding": 0, "adaptive": 1, "starts": 2}

# No address space holds more: x86-64 and arm64 give a process 2**47 bytes.
MAX_CELLS = 2**47


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int, ceil_mode: bool) -> int:
    """Number of windows along one axis; below 1 where not even one fits.

    Rounds down, or up with `ceil_mode`, where a last window that would start at or beyond `size + before` is dropped.

    >>> output_size(7, 3, 2, 0, 0, 1, False)
    3
    >>> output_size(6, 1, 2, 0, 0, 1, True)
    3
    """
    room = size + before + after - ((kernel - 1) * dilation + 1)
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1
    return count


@dataclass(frozen=True)
class AxisPlan:
    """The windows along one axis, as intervals of cells that exist.

    Window ``j`` takes ``start[j], start[j] + step, ...`` below ``stop[j]``: always at least one cell. Those of kind
    "starts" hold `kernel` cells each. With ``after > 0`` they may differ: each ends ``after - 1`` cells past the start
    of the next one, the last with the input, and none is longer than `kernel`.
    """

    kind: Kind
    size: int
    out: int
    kernel: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    starts: Int64Array | None = field(default=None, compare=False, repr=False)  # kind "starts": [planes or 1, out]

    @property
    def spec(self) -> tuple[int, int, int, int, int, int, int, int]:
        """The eight integers the compiled core takes for an axis."""
        code = KIND_CODES[self.kind]
        return code, self.size, self.out, self.kernel, self.stride, self.before, self.after, self.dilation

    @property
    def step(self) -> int:
        """Distance between the taps of a window."""
        return self.dilation

    @property
    def reaches(self) -> bool:
        """Whether each window reaches to the next one, and so may have a length of its own."""
        return self.kind == "starts" and self.after > 0

    @property
    def effective(self) -> int:
        """Cells that a window spans, dilation included."""
        return (self.kernel - 1) * self.dilation + 1

    @cached_property
    def _begin(self) -> Int64Array:
        if self.starts is not None:
            return self.starts
        windows = np.arange(self.out, dtype=np.int64)
        if self.kind == "adaptive":
            return self._shared_out(windows)
        return windows * self.stride - self.before

    def _shared_out(self, windows: Int64Array, extra: int = 0) -> Int64Array:
        """floor((windows * size + extra) / out), without the product of two large sizes."""
        whole, rest = divmod(self.size, self.out)
        return windows * whole + (windows * rest + extra) // self.out

    @cached_property
    def start(self) -> Int64Array:
        """First existing tap of each window."""
        begin = self._begin
        return _frozen(np.where(begin < 0, begin % self.dilation, begin))

    @cached_property
    def stop(self) -> Int64Array:
        """One past the last existing tap of each window."""
        if self.kind == "adaptive":
            # ceil(a / b) = floor((a + b - 1) / b), with b - 1 taken into the remainder
            return _frozen(self._shared_out(np.arange(1, self.out + 1, dtype=np.int64), self.out - 1))
        if self.reaches:
            begin = self._begin
            ends = np.full_like(begin, self.size)
            ends[:, :-1] = np.minimum(begin[:, 1:] + self.after - 1, self.size)
            return _frozen(ends)
        return _frozen(self.start + (self.count - 1) * self.dilation + 1)

    @cached_property
    def count(self) -> Int64Array:
        """Taps of each window that exist."""
        if self.kind == "adaptive" or self.reaches:
            return _frozen(self.stop - self.start)
        begin = self._begin
        before = (self.start - begin) // self.dilation
        upto = np.minimum(self.kernel - 1, (self.size - 1 - begin) // self.dilation)
        return _frozen(upto - before + 1)

    @cached_property
    def taps(self) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
        """Each window's cells, and whether they exist: ``[out, taps]``, of kind "starts" ``[planes or 1, out, taps]``.

        Column k is tap k of the kernel. A tap that does not exist stands for the nearest of its window that does, so
        that all of these cells are inside the input and a maximum over them is one over the window.

        >>> AxisPlan("sliding", 4, 2, kernel=3, stride=2, before=1).taps[0]
        array([[0, 0, 1],
               [1, 2, 3]])
        """
        first = (self.start - self._begin)[..., None] // self.dilation
        last = first + self.count[..., None] - 1
        number = np.arange(self.kernel if self.kind == "sliding" else int(self.count.max()))
        cells = self.start[..., None] + (np.clip(number, first, last) - first) * self.dilation
        return _frozen(cells), (first <= number) & (number <= last)

    @cached_property
    def count_padded(self) -> Int64Array:
        """Taps of each window inside the input and its padding: what ``count_include_pad`` divides by."""
        if self.kind != "sliding":
            return self.count
        last = (self.size + self.after - 1 - self._begin) // self.dilation
        return _frozen(np.minimum(self.kernel - 1, last) + 1)


@dataclass(frozen=True)
class Plan:
    """One `AxisPlan` for each pooled axis, and what the compiled core takes of it."""

    axes: tuple[AxisPlan, ...]

    @property
    def rank(self) -> int:
        """Number of pooled axes."""
        return len(self.axes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes of the pooled axes."""
        return tuple(axis.size for axis in self.axes)

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """Number of windows along each pooled axis."""
        return tuple(axis.out for axis in self.axes)

    @cached_property
    def spec(self) -> tuple[int, ...]:
        """Eight integers an axis: kind, size, out, kernel, stride, before, after, dilation."""
        return tuple(value for axis in self.axes for value in axis.spec)

    @cached_property
    def starts(self) -> Int64Array | None:
        """Explicit window starts, ``[planes or 1, sum of outs]``, or None where the spec says it all."""
        parts = [axis.starts for axis in self.axes if axis.starts is not None]
        if not parts:
            return None
        return _frozen(np.ascontiguousarray(np.concatenate(parts, axis=1)))


def _frozen(array: Int64Array) -> Int64Array:
    array.flags.writeable = False
    return array


def sliding_axis(
    size: int, kernel: int, stride: int, padding: tuple[int, int] | str, dilation: int, ceil_mode: bool, axis: int
) -> AxisPlan:
    """The plan of one axis under sliding windows, or a `PoolError` that says which argument does not fit `size`."""
    effective = (kernel - 1) * dilation + 1
    spelled = f"kernel_size={kernel}" + (f" and dilation={dilation}" if dilation > 1 else "")
    gave = f"{spelled} on an axis of size {size} (pooled axis {axis})"
    if effective > INT64_MAX:
        raise PoolError(
            gave,
            f"the effective kernel, dilation * (kernel_size - 1) + 1, fits int64, here {dilation} * ({kernel} - 1) + 1",
            f"use a kernel_size and dilation that span at most the {size} cells of the axis",
        )
    before, after = _same(padding, size, effective, stride) if isinstance(padding, str) else padding
    _check_padding(before, after, effective, gave)
    if size + before + after + stride + effective + dilation > INT64_MAX:
        raise PoolError(
            f"{spelled}, stride={stride}, padding={(before, after)} on an axis of size {size} (pooled axis {axis})",
            "size + padding + stride + effective kernel fits int64, "
            f"here {size} + {before + after} + {stride} + {effective}",
            "use a kernel_size, stride and padding near the size of the axis",
        )
    out = output_size(size, kernel, stride, before, after, dilation, ceil_mode)
    if out < 1:
        raise PoolError(
            gave,
            "a window fits the padded input: dilation * (kernel_size - 1) + 1 <= size + padding, "
            f"here {effective} <= {size + before + after}",
            f"use a kernel_size of at most {max((size + before + after - 1) // dilation + 1, 1)}, more padding, "
            "or Adaptive(1) to take whatever is there",
        )
    plan = AxisPlan("sliding", size, out, kernel, stride, before, after, dilation)
    if dilation > size:
        _check_reaches_input(plan, axis)
    return plan


def _same(padding: str, size: int, effective: int, stride: int) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + effective - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if padding == "same" else (more, less)


def _check_padding(before: int, after: int, effective: int, gave: str) -> None:
    """One rule for both sides; for equal sides it is the familiar "at most half the kernel"."""
    if before + after <= effective and max(before, after) < effective:
        return
    if before == after:
        given, rule, limit = f"padding={before}", "padding is at most half the effective kernel", f"{effective // 2}"
        numbers = f"{before} <= {effective} // 2"
    else:
        given, limit = f"padding=({before}, {after})", f"{effective} for both sides together"
        rule = "padding before and after together is at most the effective kernel, and each side is smaller than it"
        numbers = f"{before} + {after} <= {effective} and {max(before, after)} < {effective}"
    raise PoolError(
        f"{given} with {gave}",
        f"{rule} (a window must see the input), here {numbers}",
        f"use a padding of at most {limit}, or a larger kernel_size",
    )


def _check_reaches_input(plan: AxisPlan, axis: int) -> None:
    """Taps further apart than the input is long can step over it altogether."""
    in_padding = min(plan.out, -(-plan.before // plan.stride))
    for low in range(0, in_padding, 1 << 16):
        windows = np.arange(low, min(low + (1 << 16), in_padding), dtype=np.int64)
        missed = np.flatnonzero((windows * plan.stride - plan.before) % plan.dilation >= plan.size)
        if missed.size:
            begin = (low + int(missed[0])) * plan.stride - plan.before
            raise PoolError(
                f"dilation={plan.dilation} with padding={(plan.before, plan.after)} on an axis of size {plan.size} "
                f"(pooled axis {axis})",
                f"every window has a tap inside the input, here the window from {begin} on in steps of {plan.dilation} "
                f"jumps over cells 0..{plan.size - 1}",
                f"use a dilation of at most {plan.size}, or less padding",
            )


def check_sizes(sizes: Sequence[int]) -> None:
    """Every pooled axis holds at least one cell."""
    for axis, size in enumerate(sizes):
        if size < 1:
            raise PoolError(
                f"input x with pooled sizes {tuple(sizes)}",
                f"every axis except the batch has at least one cell, here pooled axis {axis} has {size}",
                "drop the empty input before pooling",
            )


def check_cells(outs: Sequence[int], planes: int, itemsize: int, blame: str) -> None:
    """The output fits an address space; raised before anything is allocated."""
    cells = math.prod(outs) * planes
    if cells * itemsize > MAX_CELLS:
        raise PoolError(
            f"{blame} for an output of shape {planes} x {tuple(outs)}",
            f"the output fits in memory: at most 2**47 bytes, here {cells} cells of {itemsize} bytes",
            "ask for fewer windows",
        )
