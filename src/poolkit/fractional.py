"""Where fractional windows start, and the uniforms that say so; `window.Fractional` has the rules in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from poolkit.errors import PoolError, PoolTypeError
from poolkit.plan import AxisPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

Tiles = Literal["random", "pseudo"]


def fractional_starts_shape(size: int, out: int, kernel: int) -> npt.NDArray[np.int64]:
    """The starts for ``u = 0``."""
    return fractional_starts(AxisPlan("starts", size, out, kernel), np.zeros(1, np.float64))


def fractional_starts(axis: AxisPlan, uniforms: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Window starts ``[len(uniforms), out]``, worked out in the uniforms' own precision, as torch does."""
    kind = uniforms.dtype.type
    room = axis.size - axis.kernel
    starts = np.full((len(uniforms), axis.out), room, dtype=np.int64)
    if axis.out > 1:
        alpha = kind(room) / kind(axis.out - 1)
        u = uniforms[:, None]
        windows = np.arange(axis.out - 1).astype(uniforms.dtype)
        places = ((windows + u) * alpha).astype(np.int64) - (u * alpha).astype(np.int64)
        starts[:, :-1] = np.clip(places, 0, room)  # rounding must never carry a window past the end
    return starts


def tiled_lots(outs: Sequence[int], tiles: Tiles) -> int:
    """How many uniforms TensorFlow's windows take."""
    return sum(outs) if tiles == "random" else len(outs)


def tiled_starts(size: int, out: int, lots: npt.NDArray[Any], tiles: Tiles) -> npt.NDArray[np.int64]:
    """Starts ``[1, out]`` of windows with ``k = size // out`` or ``k + 1`` cells that tile the input."""
    k, rest = divmod(size, out)
    windows = np.arange(out)
    if tiles == "random":
        widths = np.full(out, k, np.int64)
        widths[np.argsort(lots, kind="stable")[:rest]] += 1
        return (np.cumsum(widths) - widths)[None]
    # u = 0 would begin a window a cell early; the least uniform above it is as good.
    u = max(float(lots[0]), 2.0**-24) * tiled_scale(size, out)
    starts = np.ceil(size / out * (windows + u)).astype(np.int64) - 1
    return np.clip(starts, *tiled_bounds(size, out))[None]


def tiled_scale(size: int, out: int) -> float:
    """The largest u for which the first and the last width are k or k + 1, too."""
    k, alpha = size // out, size / out
    return min((k + 2) / alpha - 1, (size + 1 - k) / alpha - (out - 1))


def tiled_bounds(size: int, out: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where windows of k or k + 1 cells may start at all: rounding must carry none further."""
    k, windows = size // out, np.arange(out, dtype=np.int64)
    low = np.maximum(windows * k, size - (out - windows) * (k + 1))
    return low, np.minimum(windows * (k + 1), size - (out - windows) * k)


def check_lots(samples: Any, count: int, name: str) -> npt.NDArray[Any]:
    """The uniforms of TensorFlow's style, or an error that names them."""
    array = np.asarray(samples)
    if array.dtype.kind != "f":
        raise PoolTypeError(
            f"{name} of dtype {array.dtype}", f"{name} holds floats in [0, 1)", f"pass {name} as a float array"
        )
    if array.shape != (count,):
        raise PoolError(
            f"{name} of shape {array.shape}",
            f"{name} of TensorFlow's style has one uniform for each window, or with pseudo_random for each axis: "
            f"({count},)",
            f"pass {count} uniforms",
        )
    _check_uniform(array, name)
    return array.astype(np.float64)


def check_samples(samples: Any, rank: int, name: str) -> npt.NDArray[Any]:
    """The uniforms as a float array ``[planes, rank]``, or an error that names them."""
    array = np.asarray(samples)
    if array.dtype.kind != "f":
        raise PoolTypeError(
            f"{name} of dtype {array.dtype}", f"{name} holds floats in [0, 1)", f"pass {name} as a float32 array"
        )
    if array.ndim not in (2, 3) or array.shape[-1] != rank:
        raise PoolError(
            f"{name} of shape {array.shape}",
            f"{name} has one uniform for each sample, channel and pooled axis: (N, C, {rank})",
            f"pass {name} of shape (N, C, {rank})",
        )
    _check_uniform(array, name)
    flat = array.reshape(-1, rank)
    return flat.astype(np.float32) if flat.dtype.itemsize < 4 else flat


def _check_uniform(array: npt.NDArray[Any], name: str) -> None:
    inside = (array >= 0) & (array < 1)
    if not inside.all():
        bad = array[~inside].flat[0]
        raise PoolError(
            f"{name} with the value {bad}", f"values of {name} lie in [0, 1), here {bad}", "draw them uniformly there"
        )
