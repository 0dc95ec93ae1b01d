"""The compiled kernels behind a Keras back end, where they can read its tensors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import keras

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.keras.cells import Layout, Tensor
    from poolkit.reducer import Reducer
    from poolkit.window import Window


def of(x: Tensor) -> Callable[..., Any] | None:
    """The function that pools `x` by kernels, or None where keras.ops has to."""
    if keras.backend.backend() == "torch":
        import torch

        # What is exported has to run without poolkit; Keras's ONNX files come from TorchScript's tracing.
        exported = torch.compiler.is_exporting() or cast(Any, torch.jit).is_tracing()
        return _torch if x.device.type == "cpu" and not exported else None
    if keras.backend.backend() == "jax":
        from jax.core import Tracer

        return None if isinstance(x, Tracer) and exporting() else _jax
    return None


def exporting() -> bool:
    """Whether Keras is exporting a model: it does not say so, but its functions are among the callers."""
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]  traceback.walk_stack is the same, made of lists
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("keras.src.") and ".export" in name:
            return True
        frame = frame.f_back
    return False


def _torch(x: Any, window: Window, reducer: Reducer, layout: Layout, extra: Any, return_indices: bool) -> Any:
    from poolkit.torch.functional import pool

    data_format = "channels_last" if layout.last else "channels_first"
    y: Any = pool(
        x, window, reducer, return_indices=return_indices, rank=layout.rank, data_format=data_format, extra=extra
    )
    return (y[0], y[1].int()) if return_indices else y


def _jax(x: Any, window: Window, reducer: Reducer, layout: Layout, extra: Any, return_indices: bool) -> Any:
    from poolkit.jax.functional import pool

    data_format = "channels_last" if layout.last else "channels_first"
    y: Any = pool(
        x, window, reducer, return_indices=return_indices, rank=layout.rank, data_format=data_format, extra=extra
    )
    return (y[0], y[1].astype("int32")) if return_indices else y
