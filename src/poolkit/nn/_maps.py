"""What the composite modules ask of their inputs, and the precision they work in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poolkit.errors import PoolError, PoolTypeError, show

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_maps(
    x: object, rank: int, channels: int | None = None, name: str = "input x", *, batched: bool = False
) -> Tensor:
    """`x` as floating maps ``(N, C, *sizes)``, or ``(C, *sizes)`` unless they have to be `batched`."""
    if not isinstance(x, Tensor):
        raise PoolTypeError(
            f"{name}={show(x)}", f"{name} is a torch.Tensor, here {type(x).__name__}", "convert it with torch.as_tensor"
        )
    if not x.dtype.is_floating_point:
        raise PoolTypeError(
            f"{name} of dtype {x.dtype}", f"{name} is floating, here {x.dtype}", "convert it first: x.float()"
        )
    shape = tuple(x.shape)
    if x.dim() != rank + 2 and (batched or x.dim() != rank + 1):
        forms = f"(N, C, {rank} sizes)" + ("" if batched else f" or (C, {rank} sizes)")
        raise PoolError(
            f"{name} of shape {shape}", f"{name} has the axes {forms}, here {x.dim()} axes", "add or drop axes"
        )
    if 0 in shape[-rank - 1 :]:
        raise PoolError(
            f"{name} of shape {shape}", "every axis except the batch has at least one cell", "drop the empty input"
        )
    if channels is not None and shape[-rank - 1] != channels:
        raise PoolError(
            f"{name} of shape {shape}",
            f"{name} has the {channels} channels the module was made for, here {shape[-rank - 1]}",
            f"make the module with {shape[-rank - 1]} channels, or pass {channels}",
        )
    return x


def check_cells(x: object, channels: int | None = None) -> Tensor:
    """`x` as floating maps of any rank, ``(N, C, one to three sizes)``, with all cells along one axis."""
    rank = min(max(x.dim() - 2, 1), 3) if isinstance(x, Tensor) else 1
    return check_maps(x, rank, channels, batched=True).flatten(2)


def wide(x: Tensor) -> Tensor:
    """`x` in the precision sums and exponentials are taken in: at least float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def one_of(value: object, name: str, allowed: Sequence[str]) -> str:
    """`value`, if it is one of these words."""
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(map(repr, allowed))
        kind = PoolError if isinstance(value, str) else PoolTypeError
        raise kind(f"{name}={show(value)}", f"{name} is one of {words}", "use one of these words")
    return value
