"""The cells of windows in keras.ops: an axis becomes two, the windows and the taps of each.

Where the windows stand is asked of `poolkit.plan`; here it becomes constants, or, where places are drawn, tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import backend

if TYPE_CHECKING:
    from poolkit.plan import AxisPlan

Tensor = Any

# By Keras's annotations every operation might give None.
ops: Any = keras.ops


class Layout(NamedTuple):
    """Where batch, channels and pooled axes lie."""

    rank: int
    last: bool

    @property
    def spatial(self) -> int:
        """The first pooled axis."""
        return 1 if self.last else 2

    @property
    def channels(self) -> int:
        """The axis of the channels."""
        return self.rank + 1 if self.last else 1

    def sizes(self, shape: Any) -> tuple[Any, ...]:
        """The pooled sizes of a shape."""
        return tuple(shape[self.spatial : self.spatial + self.rank])

    def logical(self, shape: Any) -> tuple[Any, ...]:
        """The shape with the channels first."""
        return shape[0], shape[self.channels], *self.sizes(shape)

    def own(self, shape: Any) -> tuple[Any, ...]:
        """A shape with the channels first as this layout has it."""
        return (shape[0], *shape[2:], shape[1]) if self.last else tuple(shape)

    def moved(self, x: Tensor) -> Tensor:
        """A tensor with the channels first in this layout."""
        return ops.moveaxis(x, 1, -1) if self.last else x


class Pick(NamedTuple):
    """The cells that the windows along one axis take.

    Tensors of the layout's own: `cells` is ``[out, taps]``, or ``[N, C, out, taps]`` where each plane has its own, or
    None for one window over everything. `exists` is ``[out, taps]``, None where all taps exist. The counts, ``[out]``,
    are those of taps that exist, and of taps inside the input and its padding.
    """

    cells: Any
    exists: Any
    count: Any
    count_padded: Any

    @property
    def fixed(self) -> bool:
        """Whether all of it is known before any input."""
        return known(self.cells)


def known(values: Any) -> bool:
    """Whether these are constants: an array and no tensor."""
    return isinstance(values, np.ndarray)


def pick_of(axis: AxisPlan) -> Pick:
    """The cells of an axis whose windows are the same for all planes."""
    cells, exists = axis.taps
    count, padded = axis.count, axis.count_padded
    if axis.starts is not None:
        cells, exists, count, padded = cells[0], exists[0], count[0], padded[0]
    if axis.out == 1 and cells.shape[-1] == axis.size and bool((cells == np.arange(axis.size)).all()):
        return Pick(None, None, count, padded)
    return Pick(cells.astype(np.int32), None if exists.all() else exists, count, padded)


def everything(size: Any) -> Pick:
    """One window over an axis of this size, which may be a tensor."""
    count = np.array([size]) if isinstance(size, int) else ops.reshape(size, (1,))
    return Pick(None, None, count, count)


def spread(x: Tensor, axis: int, pick: Pick) -> Tensor:
    """`x` with this axis as two: windows, and taps of each."""
    if pick.cells is None:
        return ops.expand_dims(x, axis)
    if not pick.fixed and len(pick.cells.shape) == 4:
        return _spread_planes(x, axis, pick.cells)
    if not pick.fixed:
        return ops.take(x, pick.cells, axis=axis)
    out, taps = int(pick.cells.shape[0]), int(pick.cells.shape[1])
    if np.array_equal(pick.cells.reshape(-1), np.arange(out * taps, dtype=np.int64)):  # side by side: no cell is copied
        shape = tuple(ops.shape(x))
        kept = x if shape[axis] == out * taps else x[(*[slice(None)] * axis, slice(0, out * taps))]
        return ops.reshape(kept, (*shape[:axis], out, taps, *shape[axis + 1 :]))
    if taps == 1 and out > 1 and (step := _step(pick.cells[:, 0])):
        begin = int(pick.cells[0, 0])
        return ops.expand_dims(x[(*[slice(None)] * axis, slice(begin, begin + (out - 1) * step + 1, step))], axis + 1)
    return _taken(x, pick.cells, axis)


def _taken(x: Tensor, cells: Any, axis: int) -> Tensor:
    """ops.take; on torch without its ravel, which ONNX has no operator for."""
    if backend.backend() != "torch":
        return ops.take(x, cells, axis=axis)
    import torch

    index = torch.from_numpy(cells.reshape(-1).astype(np.int64)).to(x.device)
    shape = tuple(x.shape)
    return torch.index_select(x, axis, index).reshape(*shape[:axis], *cells.shape, *shape[axis + 1 :])


def _step(cells: Any) -> int:
    """The distance between cells that stand at even distances, else 0."""
    distances = np.diff(cells)
    return int(distances[0]) if (distances == distances[0]).all() and distances[0] > 0 else 0


def _spread_planes(x: Tensor, axis: int, cells: Tensor) -> Tensor:
    """As `spread` for channels-first `x`, where each plane has cells of its own."""
    shape, ndim = tuple(ops.shape(cells)), len(x.shape)
    out, taps = shape[2:]
    flat = ops.reshape(cells, (*shape[:2], *[1] * (axis - 2), out * taps, *[1] * (ndim - axis - 1)))
    own = tuple(ops.shape(x))
    # Not every back end broadcasts here.
    flat = ops.broadcast_to(flat, (*own[:axis], out * taps, *own[axis + 1 :]))
    return ops.reshape(ops.take_along_axis(x, flat, axis=axis), (*own[:axis], out, taps, *own[axis + 1 :]))


def along(values: Any, axis: int, ndim: int) -> Any:
    """``[out, taps]`` or ``[out]`` as what broadcasts over `ndim` axes, beginning at this one.

    What a mask says of each sample has all of its axes already, or, as a count, those of the output.
    """
    if len(values.shape) > 2:
        return ops.reshape(values, (-1, *[1] * (ndim - 1))) if len(values.shape) < ndim else values
    fixed = known(values)
    shape: list[Any] = [1] * ndim
    shape[axis : axis + len(values.shape)] = values.shape if fixed else ops.shape(values)
    return values.reshape(shape) if fixed else ops.reshape(values, shape)


def outer(counts: list[Any], first: int, ndim: int) -> Any:
    """The products of counts along each axis, as what broadcasts over `ndim` axes."""
    total: Any = 1
    for i, count in enumerate(counts):
        total = total * along(count, first + i, ndim)
    return total


def constant(values: Any, like: Tensor) -> Tensor:
    """`values`, an array or a tensor, in the dtype of `like`."""
    if known(values):
        return ops.convert_to_tensor(values, dtype=like.dtype)
    return ops.cast(values, like.dtype)


def dtype_of(x: Tensor) -> str:
    """The dtype's name, whatever the back end calls it."""
    return backend.standardize_dtype(x.dtype)


def floating(x: Tensor) -> bool:
    """Whether `x` holds floats."""
    return "float" in dtype_of(x)


def wide(x: Tensor) -> Tensor:
    """`x` in the precision that sums and exponentials take: at least float32."""
    return ops.cast(x, "float32") if dtype_of(x) in ("float16", "bfloat16") else x
