"""The registered operators ``torch.ops.poolkit.*``: schemas, rules for shapes, vmap and autocast, and their kernels.

The kernels come from the compiled extension ``poolkit._torch``. Where it was not built, or when the environment
variable ``POOLKIT_TORCH_BINDING`` is ``python``, the same schemas are registered here over the NumPy binding, with the
same results at a higher cost per call. On GPUs the kernels are those of `poolkit.torch.triton`, where Triton is
installed; every other device, and with ``composite`` the CPU too, is served by the compositions of
`poolkit.torch.composite`.

A window over inputs of one size, together with a reducer, crosses the operator boundary as one string, made by
`encode`. That costs a third of a call less than lists of numbers, is a plain constant to `torch.compile` and
`torch.export`, and the compiled side parses and checks each string once.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils import flop_counter

from poolkit.plan_text import encode
from poolkit.torch import autocast, composite, fallback, flops, shapes, triton, vmap
from poolkit.torch.shapes import DTYPES, decode, is_channels_last

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DTYPES",
    "binding",
    "decode",
    "encode",
    "is_channels_last",
    "pool",
    "pool_backward",
    "pool_backward_extra",
    "pool_with_indices",
    "pool_with_lse",
    "pool_with_offsets",
    "pool_with_offsets_and_indices",
    "unpool",
    "unpool_backward",
]

SCHEMAS = (
    "pool(Tensor x, str plan, Tensor? starts=None, Tensor? extra=None) -> Tensor",
    "pool_with_offsets(Tensor x, str plan, Tensor? starts, int offset_bytes, Tensor? extra=None) -> (Tensor, Tensor)",
    "pool_with_indices(Tensor x, str plan, Tensor? starts=None, Tensor? extra=None) -> (Tensor, Tensor)",
    (
        "pool_with_offsets_and_indices(Tensor x, str plan, Tensor? starts, int offset_bytes, Tensor? extra=None) -> "
        "(Tensor, Tensor, Tensor)"
    ),
    "pool_with_lse(Tensor x, str plan, Tensor? starts=None) -> (Tensor, Tensor)",
    (
        "pool_backward(Tensor dy, str plan, Tensor? starts, Tensor? x, Tensor? y, Tensor? lse, Tensor? offsets, "
        "bool channels_last, Tensor? extra=None) -> Tensor"
    ),
    (
        "pool_backward_extra(Tensor dy, str plan, Tensor? starts, Tensor? x, Tensor? y, Tensor? lse, Tensor? offsets, "
        "bool channels_last, Tensor extra) -> (Tensor, Tensor)"
    ),
    "unpool(Tensor x, Tensor indices, int[] output_size) -> Tensor",
    "unpool_backward(Tensor dout, Tensor indices, int rank, bool channels_last) -> Tensor",
)

_KERNELS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "pool": (fallback.pool, shapes.fake_pool),
    "pool_with_offsets": (fallback.offsets, shapes.fake_offsets),
    "pool_with_indices": (fallback.indices, shapes.fake_indices),
    "pool_with_offsets_and_indices": (fallback.offsets_and_indices, shapes.fake_offsets_and_indices),
    "pool_with_lse": (fallback.lse, shapes.fake_lse),
    "pool_backward": (fallback.backward, shapes.fake_backward),
    "pool_backward_extra": (fallback.backward_extra, shapes.fake_backward_extra),
    "unpool": (fallback.unpool, shapes.fake_unpool),
    "unpool_backward": (fallback.unpool_backward, shapes.fake_unpool_backward),
}


def _register() -> tuple[str, tuple[Any, ...]]:
    """Registers the operators; answers which binding serves them."""
    library: Any = torch.library  # its own annotations are partial
    found = importlib.util.find_spec("poolkit._torch")
    wanted = os.environ.get("POOLKIT_TORCH_BINDING", "")
    if wanted not in ("", "python", "compiled", "composite"):
        raise ImportError(f"POOLKIT_TORCH_BINDING={wanted!r}: expected 'compiled', 'python' or 'composite'")
    defined = None
    if found is not None and found.origin is not None and wanted in ("", "compiled"):
        cast(Any, torch.ops).load_library(found.origin)
    elif wanted == "compiled":
        raise ImportError("POOLKIT_TORCH_BINDING=compiled, but poolkit was built without its torch extension")
    else:
        defined = library.Library("poolkit", "DEF")
        for schema in SCHEMAS:
            defined.define(schema)
        for name, (kernel, _) in _KERNELS.items() if wanted != "composite" else ():
            defined.impl(name, kernel, "CPU")
    everywhere = library.Library("poolkit", "FRAGMENT")
    for name, (_, fake) in _KERNELS.items():
        everywhere.impl(name, composite.OPERATORS[name], "CompositeExplicitAutograd")
        library.register_fake(f"poolkit::{name}", fake)
        cast(Any, flop_counter).register_flop_formula(getattr(torch.ops.poolkit, name))(flops.FORMULAS[name])
    for key in triton.KEYS:
        for name, kernel in triton.OPERATORS.items():
            everywhere.impl(name, kernel, key)
    ops = torch.ops.poolkit
    for name, several in (
        ("pool", 0),
        ("pool_with_offsets", 2),
        ("pool_with_indices", 2),
        ("pool_with_offsets_and_indices", 3),
        ("pool_with_lse", 2),
    ):
        op = getattr(ops, name).default
        library.register_vmap(f"poolkit::{name}", vmap.forward(op, several))
        for key in autocast.KEYS:
            everywhere.impl(name, autocast.rule(op), key, with_keyset=True)
    library.register_vmap("poolkit::pool_backward", vmap.backward)
    library.register_vmap("poolkit::pool_backward_extra", vmap.backward_extra)
    library.register_vmap("poolkit::unpool", vmap.unpool)
    library.register_vmap("poolkit::unpool_backward", vmap.unpool_backward)
    return ((wanted or "python") if defined else "compiled"), (defined, everywhere)


binding, _libraries = _register()

# Bound once: resolving torch.ops.poolkit.<name>.default costs 0.5 us a call.
pool: Callable[..., Tensor] = torch.ops.poolkit.pool.default
pool_with_offsets: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_with_offsets.default
pool_with_indices: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_with_indices.default
pool_with_offsets_and_indices: Callable[..., tuple[Tensor, Tensor, Tensor]] = (
    torch.ops.poolkit.pool_with_offsets_and_indices.default
)
pool_with_lse: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_with_lse.default
pool_backward: Callable[..., Tensor] = torch.ops.poolkit.pool_backward.default
pool_backward_extra: Callable[..., tuple[Tensor, Tensor]] = torch.ops.poolkit.pool_backward_extra.default
unpool: Callable[..., Tensor] = torch.ops.poolkit.unpool.default
unpool_backward: Callable[..., Tensor] = torch.ops.poolkit.unpool_backward.default
