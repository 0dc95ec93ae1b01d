"""The compiled extension ``poolkit._jax``: the core as custom calls of XLA on the CPU, on XLA's own threads.

Where it was not built, or when the environment variable ``POOLKIT_JAX_BINDING`` is ``pure``, `poolkit.jax.pure` does
its work.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from poolkit.jax.calls import GIVEN, WANTED, Call, accumulator, bits, wide_integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = jax.Array


def _load() -> bool:
    """Registers the two custom calls, if the extension is there and wanted."""
    wanted = os.environ.get("POOLKIT_JAX_BINDING", "")
    if wanted not in ("", "pure", "compiled"):
        raise ImportError(f"POOLKIT_JAX_BINDING={wanted!r}: expected 'compiled' or 'pure'")
    found = None if wanted == "pure" else importlib.util.find_spec("poolkit._jax")
    if found is None or found.origin is None:
        if wanted == "compiled":
            raise ImportError("POOLKIT_JAX_BINDING=compiled, but poolkit was built without its JAX extension")
        return False
    library = ctypes.CDLL(found.origin)
    for name in ("poolkit_forward", "poolkit_backward"):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return True


built = _load()


def results(
    call: Call, shape: Sequence[int], dtype: np.dtype[Any], wanted: Sequence[str]
) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of y and of what is wanted beside it."""
    dtypes = {"indices": wide_integer(), "offsets": call.offsets, "lse": accumulator(dtype)}
    out = call.out_shape(shape)
    return [jax.ShapeDtypeStruct(out, kind) for kind in (call.y_dtype(dtype), *(dtypes[name] for name in wanted))]


def forward(call: Call, x: Array, given: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
    """As `pure.forward`."""
    kinds = results(call, x.shape, np.dtype(x.dtype), wanted)
    operands = [given[name] for name in GIVEN if name in given]
    run = jax.ffi.ffi_call("poolkit_forward", kinds)
    return list(run(x, *operands, **_attributes(call, given, bits(wanted, WANTED))))


def gradient(call: Call, dy: Array, given: Mapping[str, Array], moved: Sequence[str]) -> list[Array]:
    """As `pure.gradient`."""
    kinds = [jax.ShapeDtypeStruct(call.in_shape(dy.shape), dy.dtype)]
    if "extra" in moved:
        shape = dy.shape
        if call.kernel_extra:  # one for each plane
            lead = shape[: -call.rank - 1]
            shape = (*lead, call.channels(dy.shape), given["extra"].shape[-1])
        kinds.append(jax.ShapeDtypeStruct(shape, given["extra"].dtype))
    operands = [given[name] for name in GIVEN if name in given]
    run = jax.ffi.ffi_call("poolkit_backward", kinds)
    dx, *rest = run(dy, *operands, **_attributes(call, given, len(kinds) - 1))
    found = {"x": dx}
    if rest:
        found["extra"] = _per_row(rest[0], given["extra"].shape) if call.kernel_extra else rest[0]
    return [found[name] for name in moved]


def _per_row(planes: Array, shape: Sequence[int]) -> Array:
    """The gradient ``(L..., C, K)`` of a kernel's weights added up to ``(M..., 1 or C, K)``."""
    several = len(shape) - 2
    added = planes.sum(tuple(range(several, planes.ndim - 2)))
    return added if shape[-2] == added.shape[-2] else added.sum(-2, keepdims=True)


def _attributes(call: Call, given: Mapping[str, Array], wanted: int) -> dict[str, Any]:
    return {
        "plan": call.text,
        "channels_last": call.channels_last,
        "given": np.int64(bits(list(given), GIVEN)),
        "wanted": np.int64(wanted),
    }
