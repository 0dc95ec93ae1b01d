"""What a pooling call is apart from its arrays, and how its arrays stand in a list."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from poolkit.arrays import offset_dtype
from poolkit.plan_text import encode
from poolkit.reducer import Lp, Mean, Reducer, Sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.plan import AxisPlan, Plan

# The arrays that may follow the first one, and the results that may follow y, in the order of their bits in
# csrc/bind_jax.cpp.
GIVEN = ("starts", "extra", "x", "y", "lse", "offsets")
WANTED = ("indices", "offsets", "lse")


@dataclass(frozen=True)
class Call:
    """One pooling of planes of one size: constants only, so that a traced program can hold it.

    Arrays are ``(L..., C, *sizes)``, or with the channels last, with any number of leading axes L. Starts are
    ``(M..., 1 or planes, windows)`` and weights of a kernel ``(M..., 1 or C, K)``, where M are the first few of L.
    """

    reducer: Reducer
    axes: tuple[AxisPlan, ...]  # those of kind "starts" without them
    text: str
    channels_last: bool
    offsets: np.dtype[Any]

    @staticmethod
    def of(plan: Plan, reducer: Reducer, *, channels_last: bool) -> Call:
        """The call for a plan."""
        axes = tuple(axis if axis.starts is None else replace(axis, starts=None) for axis in plan.axes)
        text = encode(reducer.code, reducer.params, plan.spec)
        return Call(reducer, axes, text, channels_last, offset_dtype(plan))

    @property
    def rank(self) -> int:
        """Number of pooled axes."""
        return len(self.axes)

    @property
    def linear(self) -> bool:
        """The pooling is its own derivative."""
        return isinstance(self.reducer, Sum | Mean)

    @property
    def chooses(self) -> bool:
        """Each output comes from one cell, which offsets tell."""
        return "offsets" in self.reducer.keeps

    @property
    def magnitude(self) -> bool:
        """The chosen cell's magnitude is taken."""
        return isinstance(self.reducer, Lp) and math.isinf(self.reducer.p)

    @property
    def kernel_extra(self) -> bool:
        """The array beside x holds weights of a kernel."""
        return self.reducer.extra == "kernel"

    def at(self) -> slice:
        """Where the pooled axes stand, counted from the end."""
        return slice(-self.rank - 1, -1) if self.channels_last else slice(-self.rank, None)

    def resized(self, shape: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
        """`shape` with other pooled sizes."""
        lead = len(shape) - self.rank - 1
        if self.channels_last:
            return (*shape[:lead], *sizes, shape[-1])
        return (*shape[: lead + 1], *sizes)

    def out_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The output's shape for an input's."""
        return self.resized(shape, [axis.out for axis in self.axes])

    def in_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape for an output's."""
        return self.resized(shape, [axis.size for axis in self.axes])

    def channels(self, shape: Sequence[int]) -> int:
        """Number of channels of an array of this call."""
        return shape[-1] if self.channels_last else shape[-self.rank - 1]

    def y_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The output's dtype for an input's."""
        return wide_integer() if self.reducer.widens and dtype.kind in "iu" else dtype


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What floats of a dtype are reduced in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def wide_integer() -> np.dtype[Any]:
    """int64, or int32 where JAX has no 64-bit types."""
    return jax.dtypes.canonicalize_dtype(np.int64)


def bits(names: Sequence[str], among: Sequence[str]) -> int:
    """A bit for each name.

    >>> bits(["extra", "offsets"], GIVEN)
    34
    """
    return sum(1 << among.index(name) for name in names)


def names(mask: int, among: Sequence[str]) -> list[str]:
    """The names of set bits, in order.

    >>> names(34, GIVEN)
    ['extra', 'offsets']
    """
    return [name for i, name in enumerate(among) if mask >> i & 1]
