"""What is timed: a row, in one dtype, forward alone or forward and backward; and its data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolkit.bench.rows import Row

    Run = Callable[[], Any]

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
"""The dtypes the bench knows, with the bytes of a cell."""
TOLERANCES = {"float32": (1e-5, 2e-6), "bfloat16": (2**-7, 2e-6), "float16": (2**-10, 2e-6), "int8": (0.0, 0.0)}
"""Relative and absolute: float32 sums in another order (absolute where a mean is near zero); then one unit in the last
place, since a sum just beside the middle between two neighbours rounds to either."""
LOOSE = 0.05
"""Largest error, root mean square over that of the values, of a peer that sums gradients in half precision."""
OFFSET_LIMIT = 255
"""A window of more taps keeps two bytes an output for its choice, not one."""


class Unavailable(Exception):  # noqa: N818 - not an error: a contestant's answer
    """This contestant has no such operator; the message says which."""


@dataclass(frozen=True)
class Task:
    """A row in one dtype. With ``backward`` a run gives the input's gradient, from a fresh forward pass."""

    row: Row
    dtype: str = "float32"
    backward: bool = False

    @property
    def sums_halves(self) -> bool:
        """Whether a contestant may round after each term of a sum, and its result be far from the rounded sum."""
        return self.backward and self.dtype in {"bfloat16", "float16"}

    @cached_property
    def x(self) -> NDArray[Any]:
        """The input, channels first: standard normal, times 40 as int8.

        Raises:
            Unavailable: NumPy has this dtype only with a package that is not installed.
        """
        drawn = np.random.default_rng(0).standard_normal(self.row.shape, dtype=np.float32)
        if self.dtype == "int8":
            return np.clip(drawn * 40, -128, 127).astype(np.int8)
        if self.dtype == "bfloat16":
            if find_spec("ml_dtypes") is None:
                raise Unavailable("bfloat16 arrays need the package ml_dtypes")
            import ml_dtypes

            return drawn.astype(ml_dtypes.bfloat16)
        return drawn.astype(self.dtype)

    @property
    def last(self) -> NDArray[Any]:
        """The input, channels last in memory."""
        return np.ascontiguousarray(np.moveaxis(self.x, 1, -1))

    @property
    def tensor(self) -> Any:
        """The input as a tensor of torch, on the same memory."""
        return to_tensor(self.x)

    def grad(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """A gradient for an output of this shape."""
        return np.random.default_rng(1).standard_normal(shape, dtype=np.float32).astype(self.x.dtype)

    @cached_property
    def uniforms(self) -> NDArray[np.float32]:
        """The random samples of a fractional row: the same for everybody."""
        return np.random.default_rng(0).random((*self.row.shape[:2], self.row.rank), dtype=np.float32)

    def floor_bytes(self, outputs: int, bytes_out: int) -> int:
        """The bytes that have to be read or written once: x and y; for the backward pass dy, dx and the choices too."""
        forward = self.x.nbytes + bytes_out
        if not self.backward:
            return forward
        kept = (1 if self.row.taps <= OFFSET_LIMIT else 2) if "max" in self.row.kind else 0
        return 2 * forward + kept * outputs


def to_tensor(x: NDArray[Any]) -> Any:
    """A tensor of torch on the array's memory; torch does not know NumPy's bfloat16."""
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def to_float32(given: Any) -> NDArray[Any]:
    """What any contestant gave, as a NumPy array: integers as they are, floats as float32."""
    value = given
    if isinstance(given, np.ndarray):
        pass  # not even asked what else it has: NumPy cannot give the buffer of a bfloat16 array
    elif hasattr(value, "detach"):
        value = value.detach()
        value = (value.float() if value.dtype.is_floating_point else value).numpy()
    elif hasattr(value, "numpy"):
        value = value.numpy()  # an OrtValue
    elif hasattr(value, "data") and not hasattr(value, "__array__"):
        value = value.data  # a tensor of OpenVINO
    array: NDArray[Any] = np.asarray(value)
    return array if array.dtype.kind in "iu" else array.astype(np.float32)
