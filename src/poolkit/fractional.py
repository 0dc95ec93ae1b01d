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


def fractional_starts(axis: AxisPlan, uniforms: Any, xp: Any = np, integer: Any = np.int64) -> Any:
    """Window starts ``[len(uniforms), out]``, worked out in the uniforms' own precision, as torch does.

    `xp` is numpy, or another module with its functions, and `integer` its dtype for places.
    """
    kind = uniforms.dtype.type
    room = axis.size - axis.kernel
    last = xp.full((len(uniforms), 1), room, integer)
    if axis.out == 1:
        return last
    alpha = kind(room) / kind(axis.out - 1)
    u = uniforms[:, None]
    windows = np.arange(axis.out - 1).astype(uniforms.dtype)
    places = ((windows + u) * alpha).astype(integer) - (u * alpha).astype(integer)
    # Rounding must never carry a window past the end.
    return xp.concatenate([xp.clip(places, 0, room), last], axis=1)


def tiled_lots(outs: Sequence[int], tiles: Tiles) -> int:
    """How many uniforms TensorFlow's windows take."""
    return sum(outs) if tiles == "random" else len(outs)


def tiled_starts(size: int, out: int, lots: Any, tiles: Tiles, xp: Any = np, integer: Any = np.int64) -> Any:
    """Starts ``[1, out]`` of windows with ``k = size // out`` or ``k + 1`` cells that tile the input.

    `xp` is numpy, or another module with its functions, and `integer` its dtype for places.
    """
    k, rest = divmod(size, out)
    if tiles == "random":
        places = xp.argsort(xp.argsort(lots, stable=True), stable=True)
        widths = k + (places < rest).astype(integer)
        return (xp.cumsum(widths) - widths)[None]
    # u = 0 would begin a window a cell early; the least uniform above it is as good.
    u = xp.maximum(lots[0], 2.0**-24) * tiled_scale(size, out)
    starts = xp.ceil(size / out * (np.arange(out) + u)).astype(integer) - 1
    return xp.clip(starts, *tiled_bounds(size, out, integer))[None]


def tiled_scale(size: int, out: int) -> float:
    """The largest u for which the first and the last width are k or k + 1, too."""
    k, alpha = size // out, size / out
    return min((k + 2) / alpha - 1, (size + 1 - k) / alpha - (out - 1))


def tiled_bounds(size: int, out: int, integer: Any = np.int64) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Where windows of k or k + 1 cells may start at all: rounding must carry none further."""
    k, windows = size // out, np.arange(out, dtype=np.int64)
    low = np.maximum(windows * k, size - (out - windows) * (k + 1))
    high = np.minimum(windows * (k + 1), size - (out - windows) * k)
    return low.astype(integer), high.astype(integer)


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
