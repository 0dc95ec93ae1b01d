"""NumPy arrays into the compiled core: dtypes, layouts, allocation. Every NumPy entry goes through here."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from poolkit import _core
from poolkit.errors import PoolError, PoolTypeError, integer, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.plan import Plan
    from poolkit.reducer import Reducer

Array = npt.NDArray[Any]

_wanted = os.environ.get("POOLKIT_ISA")
if _wanted and _core.isa() != _wanted:
    raise PoolError(
        f"POOLKIT_ISA={_wanted}",
        f"POOLKIT_ISA names an instruction set that was compiled in and that this CPU has: "
        f"{', '.join(_core.available_isas())}",
        "name one of these, or unset the variable",
    )

DTYPE_CODES: dict[str, int] = {
    "float32": 0,
    "float64": 1,
    "float16": 2,
    "bfloat16": 3,
    "int8": 4,
    "uint8": 5,
    "int16": 6,
    "int32": 7,
    "int64": 8,
}
BF16 = DTYPE_CODES["bfloat16"]


@dataclass(frozen=True)
class Saved:
    """What a backward pass needs of its forward pass."""

    plan: Plan
    reducer: Reducer
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    channels_last: bool
    x: Array | None = None
    y: Array | None = None
    lse: Array | None = None
    offsets: Array | None = None
    extra: Array | None = None


def dtype_code(array: Array, name: str = "input x") -> int:
    """The core's number for the array's dtype, or a `PoolTypeError`."""
    code = _code(array.dtype)
    if code is None:
        raise PoolTypeError(
            f"{name} of dtype {array.dtype}",
            f"the dtype is one of {', '.join(DTYPE_CODES)}, here {array.dtype}",
            f"convert it first, for example {name.rsplit(maxsplit=1)[-1]}.astype('float32')",
        )
    return code


@lru_cache(maxsize=64)
def _code(dtype: np.dtype[Any]) -> int | None:
    return DTYPE_CODES.get(dtype.name)  # a dtype works its name out anew every time


def check_array(value: object, name: str = "input x") -> Array:
    """`value` as an array the core can read: numeric, native byte order, aligned; a copy only where it is not.

    Besides NumPy arrays everything with the buffer protocol or `__dlpack__` is one.
    """
    kind = type(value)
    if hasattr(value, "mask"):  # a masked array's mask must not be ignored
        raise _no_array(value, name)
    array: Array = np.asarray(value) if issubclass(kind, np.ndarray) else _borrowed(value, name)
    dtype_code(array, name)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    elif not array.flags.aligned:
        array = array.copy()
    return array


def _borrowed(value: Any, name: str) -> Array:
    """A view of an object that is no NumPy array."""
    try:
        array = np.asarray(memoryview(value))
        # ctypes spells the native byte order out, which the core's formats do not.
        return array.view(array.dtype.newbyteorder("=")) if array.dtype.isnative else array
    except (TypeError, ValueError, BufferError):
        pass
    if not hasattr(value, "__dlpack__"):
        raise _no_array(value, name)
    try:
        return np.from_dlpack(value)
    except Exception as error:
        raise PoolTypeError(
            f"{name}={show(value)}",
            f"{name} is in the memory of the CPU, of a dtype that NumPy knows, here {type(value).__name__}: {error}",
            "move or convert it first",
        ) from error


def _no_array(value: object, name: str) -> PoolTypeError:
    return PoolTypeError(
        f"{name}={show(value)}",
        f"{name} is a NumPy array, an object with the buffer protocol or __dlpack__, a torch tensor or a JAX array, "
        f"here {type(value).__name__}",
        "convert it first, for example with numpy.asarray(x)",
    )


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any], x: Array, name: str = "out") -> Array:
    """`out` itself, if results of this shape and dtype can be written into it while `x` is read."""
    if not issubclass(type(out), np.ndarray) or hasattr(out, "mask"):
        raise PoolTypeError(
            f"{name}={show(out)}", f"{name} is a NumPy array, here {type(out).__name__}", "pass numpy.empty(...)"
        )
    array = cast("Array", out)
    if array.dtype != dtype or not array.dtype.isnative:
        raise PoolTypeError(
            f"{name} of dtype {array.dtype}", f"{name} has the dtype of the result, here {dtype}", f"pass {dtype}"
        )
    if array.shape != shape:
        raise PoolError(
            f"{name} of shape {array.shape}", f"{name} has the shape of the result, here {shape}", f"pass {shape}"
        )
    broken = [axis for axis, size in enumerate(shape) if size > 1 and array.strides[axis] == 0]
    if not array.flags.writeable or not array.flags.aligned or broken:
        raise PoolError(
            f"{name} of shape {array.shape} and strides {array.strides}",
            f"{name} can be written to, is aligned, and has a cell of its own for each result",
            "pass numpy.empty(...)",
        )
    if np.may_share_memory(array, x):
        raise PoolError(
            f"{name} in the memory of the input x",
            f"{name} and the input x lie apart: results are written while the input is read",
            "pass an array of its own, or none",
        )
    return array


def check_reducer(reducer: Reducer, dtype: np.dtype[Any]) -> None:
    """Powers, exponentials and norms are for floats."""
    if dtype.kind in "iu" and not reducer.integers:
        raise PoolTypeError(
            f"{reducer} on an input x of dtype {dtype}",
            f"{reducer.name} takes floating-point arrays, here {dtype}",
            "convert the input first: x.astype('float32')",
        )


@lru_cache(maxsize=4096)
def offset_dtype(plan: Plan) -> np.dtype[Any]:
    """The narrowest unsigned integer (or int32) that counts the cells of the plan's longest window."""
    cells = math.prod(_core.offset_box(plan.spec, plan.starts))
    return np.dtype(np.uint8 if cells <= 255 else np.uint16 if cells <= 65535 else np.int32)


def empty(shape: Sequence[int], dtype: npt.DTypeLike, channels_last: bool, blame: str = "input x") -> Array:
    """An uninitialised array of logical shape (N, C, spatial...); channels-last in memory if asked."""
    try:
        if not channels_last:
            return np.empty(shape, dtype)
        last = np.empty((shape[0], *shape[2:], shape[1]), dtype)
        return last.transpose(0, last.ndim - 1, *range(1, last.ndim - 1))
    except (MemoryError, ValueError):
        raise PoolError(
            f"{blame} for an output of shape {tuple(shape)} and dtype {np.dtype(dtype)}",
            "the output fits in memory, and this machine could not provide it",
            "ask for fewer windows, or pool in parts",
        ) from None


def is_channels_last(x: Array) -> bool:
    """Whether the channels of an (N, C, spatial...) array are the innermost in memory."""
    if x.shape[1] == 1 or x.flags.c_contiguous:
        return False
    spatial = [abs(stride) for stride, size in zip(x.strides[2:], x.shape[2:], strict=True) if size > 1]
    return bool(spatial) and 0 < abs(x.strides[1]) < min(spatial)


def raw(array: Array) -> Array:
    """bfloat16 has no buffer format: the core reads its bits."""
    return array.view(np.uint16) if _code(array.dtype) == BF16 else array


def extra_of(reducer: Reducer, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int | None) -> Array | None:
    """The array that the reducer takes beside x, for an output of this shape: uniforms, or what the record says."""
    wide = np.float64 if dtype == np.float64 else np.float32
    if reducer.draws:
        # Not the stream that the places of fractional windows come from.
        stream = None if seed is None else (integer(seed, "seed", 0), 1)
        return np.random.default_rng(stream).random(shape, wide)
    if reducer.values is None:
        return None
    values = np.array(reducer.values, wide)
    return np.broadcast_to(values, shape) if reducer.extra == "outputs" else values[np.newaxis, np.newaxis]


def y_dtype(reducer: Reducer, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The output's dtype for an input's."""
    return np.dtype(np.int64) if reducer.widens and dtype.kind in "iu" else dtype


def forward(
    x: Array,
    plan: Plan,
    reducer: Reducer,
    *,
    return_indices: bool = False,
    save: bool = False,
    seed: int | None = None,
    out: Sequence[Array] = (),
) -> tuple[Array, Array | None, Saved | None]:
    """Pools ``x`` of logical shape (N, C, spatial...); gives y, the indices and what `backward` needs.

    `out` holds y and, if they are wanted, the indices, when there is memory for them already.
    """
    check_reducer(reducer, x.dtype)
    reducer.check(plan)
    code = dtype_code(x)
    shape, last = (*x.shape[:2], *plan.out_shape), is_channels_last(x)
    y = out[0] if out else empty(shape, y_dtype(reducer, x.dtype), last)
    indices = (out[1] if out else empty(shape, np.int64, last)) if return_indices else None
    keeps = reducer.keeps if save else ()
    offsets = empty(shape, offset_dtype(plan), last) if "offsets" in keeps else None
    lse = empty(shape, np.float64 if x.dtype == np.float64 else np.float32, last) if "lse" in keeps else None
    extra = None if reducer.extra == "none" else extra_of(reducer, shape, x.dtype, seed)
    if x.shape[0]:
        arrays = (raw(x), raw(y), offsets, indices, lse, extra)
        _checked(_core.forward(reducer.code, reducer.params, plan.spec, plan.starts, *arrays, code))
    if not save:
        return y, indices, None
    kept = Saved(
        plan,
        reducer,
        x.dtype,
        x.shape,
        last,
        x=x if "x" in keeps else None,
        y=y if "y" in keeps else None,
        lse=lse,
        offsets=offsets,
        extra=None if reducer.draws else extra,
    )
    return y, indices, kept


def backward(grad: Array, saved: Saved) -> Array:
    """The gradient of the input, of its shape and dtype."""
    plan, reducer = saved.plan, saved.reducer
    expected = (*saved.shape[:2], *plan.out_shape)
    if grad.shape != expected:
        raise PoolError(
            f"grad of shape {grad.shape}",
            f"grad has the shape of the pooled output, here {expected}",
            "pass the gradient of that output",
        )
    if grad.dtype != saved.dtype or saved.dtype.kind in "iu":
        raise PoolTypeError(
            f"grad of dtype {grad.dtype}",
            f"grad has the floating-point dtype of the input x, here {saved.dtype}",
            "convert grad to the input's dtype; integer inputs have no gradient",
        )
    dx = empty(saved.shape, saved.dtype, saved.channels_last)
    if saved.shape[0]:
        _checked(
            _core.backward(
                reducer.code,
                reducer.params,
                plan.spec,
                plan.starts,
                raw(grad),
                raw(dx),
                None if saved.x is None else raw(saved.x),
                None if saved.y is None else raw(saved.y),
                saved.lse,
                saved.offsets,
                saved.extra,
                None,
                dtype_code(grad),
            )
        )
    return dx


def unpool(x: Array, indices: Array, sizes: Sequence[int], out: Array | None = None) -> Array:
    """Scatters x (N, C, spatial...) to the flat plane positions `indices` of zeros of spatial shape `sizes`."""
    if out is None:
        out = empty((*x.shape[:2], *sizes), x.dtype, is_channels_last(x), f"output_size={tuple(sizes)}")
    if x.shape[0] == 0:
        return out
    status = _core.unpool(raw(x), indices, raw(out), len(sizes), dtype_code(x))
    if status:
        raise index_error(indices, math.prod(sizes), status)
    return out


def index_error(indices: Array, cells: int, status: str) -> PoolError:
    """The error for indices outside a plane of `cells` cells."""
    low, high = int(indices.min()), int(indices.max())
    if low >= 0 and high < cells:
        return PoolError("indices", status, "pass the indices that max pooling returned")
    return PoolError(
        f"indices with the value {low if low < 0 else high}",
        f"indices are flat positions in the output plane, in [0, {cells}), here {low} to {high}",
        "pass the indices that max pooling returned, and the output_size of its input",
    )


def _checked(status: str | None) -> None:
    if status:
        raise PoolError("arguments for the compiled core", status, "pass what a plan and a forward pass gave")
