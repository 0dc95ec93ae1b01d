"""What poolings of sequences, bags and sets share: checks of inputs and masks, and sums that respect a mask.

A mask is bool, True for a real element. What it leaves out is replaced by zero before any arithmetic, so that not even
a NaN in the padding reaches the output or a gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from poolkit.errors import PoolError, PoolTypeError, show

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_input(
    x: object, layouts: dict[int, str], sizes: dict[int, tuple[str, int]] | None = None, *, filled: Sequence[int] = ()
) -> Tensor:
    """`x` as a floating tensor with one of these numbers of axes.

    Args:
        x: the input.
        layouts: the shape wanted, in words, for each number of axes that is taken.
        sizes: for an axis, counted from the end, the constructor's argument that fixes its size, and the size.
        filled: axes, counted from the end, that hold at least one element.
    """
    words = " or ".join(layouts.values())
    if not isinstance(x, Tensor):
        raise PoolTypeError(f"input={show(x)}", f"input is a torch tensor {words}", "pass a tensor")
    if not x.dtype.is_floating_point:
        raise PoolTypeError(f"input of dtype {x.dtype}", "input is floating", "convert it first: input.float()")
    gave = f"input of shape {tuple(x.shape)}"
    if x.dim() not in layouts:
        raise PoolError(gave, f"input is {words}, here with {x.dim()} axes", f"pass an input {words}")
    for axis, (name, size) in (sizes or {}).items():
        if x.shape[axis] != size:
            raise PoolError(
                gave,
                f"axis {axis} of {layouts[x.dim()]} has {name}={size} entries, here {x.shape[axis]}",
                f"pass an input that fits, or make the module with {name}={x.shape[axis]}",
            )
    for axis in filled:
        if x.shape[axis] == 0:
            raise PoolError(gave, f"axis {axis} of {layouts[x.dim()]} is not empty", "pass at least one element")
    return x


def check_mask(mask: object, shape: Sequence[int], words: str) -> Tensor | None:
    """`mask` as a bool tensor of this shape, None where there is none."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise PoolTypeError(
            f"mask={show(mask)}", f"mask is a bool tensor {words}, True for real elements", "pass a tensor, or None"
        )
    if mask.dtype != torch.bool:
        raise PoolTypeError(
            f"mask of dtype {mask.dtype}", "mask is bool, True for real elements", "pass mask.bool(), or mask > 0"
        )
    if mask.shape != torch.Size(shape):
        raise PoolError(
            f"mask of shape {tuple(mask.shape)}",
            f"mask is {words}, here {tuple(shape)}",
            "pass one entry for each element of the input",
        )
    return mask


def tokens(x: object, mask: object, features: tuple[str, int] | None = None) -> tuple[Tensor, Tensor | None, bool]:
    """Checks ``(N, L, D)`` or ``(L, D)`` and its mask; gives both with a batch axis, and whether it was added."""
    sizes = None if features is None else {-1: features}
    x = check_input(x, {3: "(N, L, D)", 2: "(L, D)"}, sizes, filled=(-2,))
    mask = check_mask(mask, x.shape[:-1], "(N, L)" if x.dim() == 3 else "(L,)")
    if x.dim() == 3:
        return x, mask, False
    return x.unsqueeze(0), None if mask is None else mask.unsqueeze(0), True


def signals(
    x: object, mask: object, lengths: object, features: tuple[str, int] | None = None
) -> tuple[Tensor, Tensor | None, bool]:
    """Checks ``(N, C, L)`` or ``(C, L)`` with a mask or lengths; gives it with a batch axis, and whether it was added.

    Lengths become a mask.
    """
    sizes = None if features is None else {-2: features}
    x = check_input(x, {3: "(N, C, L)", 2: "(C, L)"}, sizes, filled=(-1,))
    batched = x.dim() == 3
    lead = (x.shape[0],) if batched else ()
    if lengths is not None:
        if mask is not None:
            raise PoolError("mask and lengths", "at most one of mask and lengths is given", "drop one of them")
        mask = _mask_of_lengths(lengths, lead, x.shape[-1])
    mask = check_mask(mask, (*lead, x.shape[-1]), "(N, L)" if batched else "(L,)")
    if batched:
        return x, mask, False
    return x.unsqueeze(0), None if mask is None else mask.unsqueeze(0), True


def _mask_of_lengths(lengths: object, lead: tuple[int, ...], size: int) -> Tensor:
    rule = f"lengths are integers from 0 to L={size}, one for each sequence"
    if not isinstance(lengths, Tensor) or lengths.dtype not in (torch.int32, torch.int64):
        gave = f"lengths of dtype {lengths.dtype}" if isinstance(lengths, Tensor) else f"lengths={show(lengths)}"
        raise PoolTypeError(gave, rule, "pass an int64 tensor")
    if lengths.shape != torch.Size(lead):
        raise PoolError(f"lengths of shape {tuple(lengths.shape)}", rule, f"pass a tensor of shape {tuple(lead)}")
    if readable(lengths) and bool(((lengths < 0) | (lengths > size)).any()):
        raise PoolError(f"lengths={show(lengths)}", rule, "count real elements only")
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(-1)


def readable(x: Tensor) -> bool:
    """Whether x's values may decide something: not while a graph is made of the code, and not without values."""
    return not torch.compiler.is_compiling() and not x.is_meta


def wide(x: Tensor) -> Tensor:
    """`x` in the precision that sums and exponentials take: float32 for half precision, else its own."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def only(x: Tensor, mask: Tensor | None) -> Tensor:
    """``(N, L, ...)`` with zeros where the mask ``(N, L)`` leaves elements out."""
    if mask is None:
        return x
    return x.masked_fill(~_like(mask, x), 0.0)


def masked_softmax(scores: Tensor, mask: Tensor | None, dim: int) -> Tensor:
    """Softmax over the real elements, in `wide` precision; zeros for the others, and where there is none at all."""
    scores = wide(scores)
    if mask is None:
        return scores.softmax(dim)
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim).masked_fill(~mask, 0.0)


def count(x: Tensor, mask: Tensor | None) -> Tensor | int:
    """How many real elements each row of ``(N, L, ...)`` has, at least 1: ``(N, 1)``, or L without a mask."""
    return x.shape[1] if mask is None else mask.sum(1, keepdim=True).clamp(min=1)


def positive_sqrt(x: Tensor) -> Tensor:
    """sqrt(x), with 0 and a gradient of 0 where x is not positive; NaN stays."""
    flat = x <= 0
    return x.masked_fill(flat, 1.0).sqrt().masked_fill(flat, 0.0)


def unless_empty(result: Tensor, mask: Tensor | None) -> Tensor:
    """``(N, ...)`` with zeros for rows whose mask ``(N, L)`` has no real element."""
    if mask is None:
        return result
    return result.masked_fill(~_like(mask.any(1), result), 0.0)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))


def attend(
    query: Tensor, key: Tensor, value: Tensor, num_heads: int, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Scaled dot-product attention of ``(N, S, D)`` over the real ones of keys and values ``(N, L, D)``.

    A row without a real element attends to nothing, and gets zeros.
    """
    query, key, value = heads(query, num_heads), heads(key, num_heads), heads(value, num_heads)
    if mask is None:
        return scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2).flatten(2)
    nothing = ~mask.any(1, keepdim=True)
    seen = (mask | nothing)[:, None, None, :]
    found = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)
    return found.masked_fill(nothing[:, :, None, None], 0.0).transpose(1, 2).flatten(2)


def heads(x: Tensor, number: int) -> Tensor:
    """``(N, L, heads * D)`` as ``(N, heads, L, D)``."""
    return x.reshape(x.shape[0], x.shape[1], number, x.shape[2] // number).transpose(1, 2)


def check_heads(name: str, size: int, num_heads: int) -> None:
    """Reports features that heads cannot share equally."""
    if size % num_heads:
        raise PoolError(
            f"num_heads={num_heads}",
            f"num_heads divides {name}={size}, here a remainder of {size % num_heads}",
            f"pass a num_heads that divides {size}",
        )


def choice(value: object, name: str, known: Sequence[str]) -> str:
    """`value` as one of a few words."""
    words = ", ".join(map(repr, known))
    gave, rule, do = f"{name}={show(value)}", f"{name} is one of {words}", f"pass one of these, such as {known[0]!r}"
    if not isinstance(value, str):
        raise PoolTypeError(gave, rule, do)
    if value not in known:
        raise PoolError(gave, rule, do)
    return value
