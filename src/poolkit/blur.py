"""Blurred pooling's rules, which every front end shares: filters, what is padded by whose convention, what fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from poolkit.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Size of the filter and padding where the caller names none.
CONVENTIONS = {"timm": (3, "reflect"), "adobe": (4, "reflect"), "kornia": (3, "zeros")}


def blur_row(kernel: int) -> list[float]:
    """The row of Pascal's triangle of `kernel` numbers, over its sum.

    >>> blur_row(3)
    [0.25, 0.5, 0.25]
    """
    return [math.comb(kernel - 1, i) / 2 ** (kernel - 1) for i in range(kernel)]


def blur_sides(kernels: Sequence[int], strides: Sequence[int], convention: str) -> list[tuple[int, int]]:
    """Cells added before and after each axis.

    >>> blur_sides((4,), (2,), "adobe")
    [(1, 2)]
    """
    sides: list[tuple[int, int]] = []
    for kernel, stride in zip(kernels, strides, strict=True):
        if convention == "adobe":
            sides.append(((kernel - 1) // 2, kernel // 2))
        else:
            side = (kernel - 1) // 2 if convention == "kornia" else (stride - 1 + kernel - 1) // 2
            sides.append((side, side))
    return sides


def check_blur(
    shape: Sequence[int | None],
    sizes: Sequence[int],
    kernels: Sequence[int],
    pads: Sequence[tuple[int, int]],
    padding: str,
) -> None:
    """Every pooled axis of an input of this shape can be padded so, and the filter fits it then."""
    shape = tuple(shape)
    for axis, (size, kernel, sides) in enumerate(zip(sizes, kernels, pads, strict=True)):
        gave = f"padding={padding!r} with input x of shape {shape} (pooled axis {axis})"
        least = {"reflect": max(sides) + 1, "circular": max(sides)}.get(padding, 1)
        if size < least:
            raise PoolError(
                gave,
                f"{padding} padding takes its {max(sides)} cells from an axis of at least {least}, here {size}",
                "use padding='replicate', which any size has, or larger maps",
            )
        if size + sum(sides) < kernel:
            raise PoolError(
                f"kernel_size={kernel} with input x of shape {shape} (pooled axis {axis})",
                f"the filter fits the padded axis: kernel_size <= size + padding, here {kernel} <= {size + sum(sides)}",
                "use a smaller filter, convention='adobe', or larger maps",
            )
