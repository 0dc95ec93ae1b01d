"""Kernel calls small enough to run under valgrind: name, input, and what is called. Needs NumPy and poolkit alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import poolkit as pk
from poolkit.window import Window


@dataclass(frozen=True)
class Case:
    """One kernel call."""

    shape: tuple[int, ...]
    window: Window
    reducer: pk.Reducer
    data_format: str = "channels_first"
    backward: bool = False

    def call(self) -> Callable[[], object]:
        """A function that makes the call once; nothing else of it is a kernel."""
        x = np.random.default_rng(0).random(self.shape, dtype=np.float32) + np.float32(0.1)
        if not self.backward:
            return lambda: pk.pool(x, self.window, self.reducer, data_format=self.data_format)
        y, back = pk.pool_vjp(x, self.window, self.reducer, data_format=self.data_format)
        grad = np.random.default_rng(1).random(y.shape, dtype=np.float32)
        return lambda: back(grad)

    def moved(self) -> int:
        """Bytes of the input and of the output; backward, of the gradient as well, and of both once more."""
        x = np.zeros(self.shape, np.float32)
        y = np.asarray(pk.pool(x, self.window, self.reducer, data_format=self.data_format))
        return (x.nbytes + y.nbytes) * (2 if self.backward else 1)


STEM, HALF, SMALL = pk.Sliding(3, 2, 1), pk.Sliding(2), pk.Sliding(3, 1, 1)
CASES = {
    "max 3x3/2 stem": Case((1, 8, 112, 112), STEM, pk.Max()),
    "max 3x3/2 stem, channels last": Case((1, 56, 56, 64), STEM, pk.Max(), "channels_last"),
    "max 2x2/2": Case((1, 16, 112, 112), HALF, pk.Max()),
    "max 3x3/1 small planes": Case((2, 256, 14, 14), SMALL, pk.Max()),
    "max 13x13/1 small planes": Case((1, 128, 20, 20), pk.Sliding(13, 1, 6), pk.Max()),
    "max 31x31/1": Case((1, 2, 128, 128), pk.Sliding(31, 1, 15), pk.Max()),
    "max 3/2 audio": Case((2, 32, 4096), pk.Sliding((3,), 2), pk.Max()),
    "max 2x2x2/2 volume": Case((1, 4, 32, 32, 32), pk.Sliding((2, 2, 2)), pk.Max()),
    "mean 3x3/1": Case((1, 64, 35, 35), SMALL, pk.Mean()),
    "mean global": Case((4, 512, 7, 7), pk.Global(), pk.Mean()),
    "mean adaptive 6x6": Case((1, 32, 60, 60), pk.Adaptive(6), pk.Mean()),
    "lp 3x3/2": Case((1, 16, 56, 56), STEM, pk.Lp(3.0)),
    "soft 2x2/2": Case((1, 16, 56, 56), HALF, pk.Soft()),
    "median 3x3/1": Case((1, 16, 56, 56), SMALL, pk.Median()),
    "max 3x3/2 backward": Case((1, 8, 112, 112), STEM, pk.Max(), backward=True),
    "mean 3x3/1 backward": Case((1, 64, 35, 35), SMALL, pk.Mean(), backward=True),
    "soft 2x2/2 backward": Case((1, 16, 56, 56), HALF, pk.Soft(), backward=True),
}
