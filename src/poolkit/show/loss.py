"""What a pooling lost: the pooled picture is laid back over the original and subtracted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Loss:
    """`heat` is |x - up(y)| averaged over the colours, float32 [height, width], in 0..1 of the picture's range."""

    heat: NDArray[np.float32]
    rms: float
    unseen: float
    """Share of the pixels that no window reads."""

    @property
    def psnr(self) -> float:
        """Decibels against the full range; infinite when nothing was lost."""
        return -20 * math.log10(self.rms) if self.rms > 0 else math.inf


def nearest_window(start: NDArray[np.int64], stop: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """For each of `size` positions the window [start, stop) whose centre is nearest; the earlier one wins a tie.

    Where windows do not overlap this is the window that holds the position; where they overlap it is the one that
    holds it most centrally; where none holds it, it is the nearest.
    """
    twice_centre = start + stop - 1
    # A position goes to the next window once it is past the midpoint of two neighbouring centres.
    return np.searchsorted(twice_centre[:-1] + twice_centre[1:], 4 * np.arange(size), side="left")


def seen(start: NDArray[np.int64], stop: NDArray[np.int64], step: int, size: int) -> NDArray[np.bool_]:
    """For each of `size` positions whether some window reads it."""
    mask = np.zeros(size, dtype=np.bool_)
    for first, last in zip(start.tolist(), stop.tolist(), strict=True):
        mask[first:last:step] = True
    return mask


def measure(
    x: NDArray[np.float32],
    shown: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    seen_rows: NDArray[np.bool_],
    seen_columns: NDArray[np.bool_],
) -> Loss:
    """Compare `x` [3, height, width] with `shown` [3, out height, out width] laid back by `rows` and `columns`."""
    laid_back = shown[:, rows][:, :, columns].astype(np.float64)
    difference = np.abs(x - laid_back)
    return Loss(
        heat=difference.mean(axis=0).astype(np.float32),
        rms=float(np.sqrt(np.mean(difference**2))),
        unseen=1.0 - float(seen_rows.mean()) * float(seen_columns.mean()),
    )
