"""The operators without kernels: compositions of torch's own operations, for every device and for export.

They serve all devices but the CPU, whose kernels they agree with in values, indices, offsets and gradients. Geometry
is static, so ``torch.export`` can trace them; `decompositions` is the table for ``run_decompositions``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils._python_dispatch import TorchDispatchMode

from poolkit.torch.composite import operators

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATORS: dict[str, Callable[..., Any]] = {
    "pool": operators.pool,
    "pool_with_offsets": operators.pool_with_offsets,
    "pool_with_indices": operators.pool_with_indices,
    "pool_with_offsets_and_indices": operators.pool_with_offsets_and_indices,
    "pool_with_lse": operators.pool_with_lse,
    "pool_backward": operators.pool_backward,
    "pool_backward_extra": operators.pool_backward_extra,
    "unpool": operators.unpool,
    "unpool_backward": operators.unpool_backward,
}


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What each registered operator decomposes into: ``exported.run_decompositions(decompositions())``.

    >>> import torch, poolkit.nn as nn
    >>> from poolkit.torch import composite
    >>> exported = torch.export.export(nn.MaxPool2d(2), (torch.zeros(1, 1, 4, 4),))
    >>> plain = exported.run_decompositions(composite.decompositions())
    >>> "poolkit" in str(exported.graph), "poolkit" in str(plain.graph)
    (True, False)
    """
    from poolkit.torch import ops

    return {getattr(ops, name): function for name, function in OPERATORS.items()}


class Forced(TorchDispatchMode):
    """Within it CPU tensors, too, go through the compositions.

    >>> import torch, poolkit as pk
    >>> with Forced():
    ...     pk.pool(torch.tensor([[1.0, 5.0, 2.0, 4.0]]), pk.Sliding(2), pk.Max())
    tensor([[5., 4.]])
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        function = OPERATORS.get(func._opname) if func.namespace == "poolkit" else None
        return (function or func)(*args, **(kwargs or {}))
