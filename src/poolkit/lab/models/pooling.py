"""How the networks are told what to pool by: torch's own maximum, unless somebody says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

Pool: TypeAlias = Callable[..., nn.Module]
"""Makes a pooling from ``(channels, kernel_size=2, stride=None, padding=0)``."""

Unpool: TypeAlias = Callable[[int], nn.Module]
"""Makes, from the number of channels, an unpooling that is called with values, indices if there are any, and sizes."""


def max_pool(channels: int, kernel_size: int = 2, stride: int | None = None, padding: int = 0) -> nn.Module:
    """torch's maximum, which is the same for any number of channels."""
    del channels
    return nn.MaxPool2d(kernel_size, stride, padding)


def max_pool_with_indices(
    channels: int, kernel_size: int = 2, stride: int | None = None, padding: int = 0
) -> nn.Module:
    """The same with the positions of the maxima."""
    del channels
    return nn.MaxPool2d(kernel_size, stride, padding, return_indices=True)


def max_unpool(channels: int) -> nn.Module:
    """torch's way back from a maximum over 2 x 2 cells."""
    del channels
    return nn.MaxUnpool2d(2)


def shrink(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The pooled maps, and the indices of a pooling that gives some."""
    y = pool(x)
    return cast("tuple[Tensor, Tensor]", y) if isinstance(y, tuple) else (cast(Tensor, y), None)


def enlarge(unpool: nn.Module, y: Tensor, indices: Tensor | None, sizes: Sequence[int]) -> Tensor:
    """Maps of these sizes again."""
    values: tuple[Any, ...] = (y,) if indices is None else (y, indices)
    return unpool(*values, list(sizes))
