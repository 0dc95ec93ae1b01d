"""The operators under `torch.autocast`: what takes powers or exponentials works in float32, the others as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from poolkit.reducer import REDUCERS
from poolkit.torch.shapes import decode

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = ("AutocastCPU", "AutocastCUDA", "AutocastXPU", "AutocastMPS")
_DEVICES = tuple(key.removeprefix("Autocast").lower() for key in KEYS)  # asking of another one is an error
HALVES = (torch.float16, torch.bfloat16)
_C: Any = cast(Any, torch)._C  # torch.library's own autocast rules use the same guard
_every: Any = _C.DispatchKeySet(_C.DispatchKey.AutocastCPU)
for _key in KEYS[1:]:
    _every = _every | _C.DispatchKeySet(getattr(_C.DispatchKey, _key))


def widens(x: Tensor) -> bool:
    """Whether autocast wants a delicate reducer to take `x` in float32."""
    return x.dtype in HALVES and x.device.type in _DEVICES and torch.is_autocast_enabled(x.device.type)


def rule(op: Callable[..., Any]) -> Callable[..., Any]:
    """Of one operator that pools."""

    def under_autocast(_: Any, x: Tensor, plan: str, *rest: Any, **options: Any) -> Any:
        with _C._ExcludeDispatchKeyGuard(_every):
            wide = x.dtype in HALVES and REDUCERS[decode(plan).reducer].delicate
            return op(x.float() if wide else x, plan, *rest, **options)

    return under_autocast
