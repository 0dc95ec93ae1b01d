"""What a call asks of its tensor, and of torch: dtypes, transforms under way, what an operator's refusal means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poolkit.errors import PoolError, PoolTypeError
from poolkit.torch import autograd, ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.reducer import Reducer
    from poolkit.window import Window

# functorch transforms need another Function class. torch asks itself the same way; without it, ask nobody.
_transforms_active: Callable[[], bool] = getattr(
    torch._C,  # pyright: ignore[reportPrivateUsage]  there is no public way to ask
    "_are_functorch_transforms_active",
    lambda: False,
)
compiling: Callable[[], bool] = torch.compiler.is_compiling


def is_plain() -> bool:
    """No functorch transform and no forward-mode differentiation is under way."""
    return not _transforms_active() and not autograd.forward_mode()


def check_rank(window: Window, rank: int) -> None:
    """Reports a window whose arguments per axis are not one for each of `rank` axes."""
    if window.rank not in (None, rank):
        raise PoolError(
            f"{window}",
            f"arguments given per axis have one value for each pooled axis: expected {rank}, here {window.rank}",
            f"give {rank} values, or a single one for all axes",
        )


def check_dtype(dtype: torch.dtype, reducer: Reducer | None = None) -> None:
    """Tensors of this dtype can be pooled, by this reducer."""
    if dtype not in ops.DTYPES:
        names = ", ".join(str(known).removeprefix("torch.") for known in ops.DTYPES)
        raise PoolTypeError(
            f"input x of dtype {dtype}", f"the dtype is one of {names}, here {dtype}", "convert it first: x.float()"
        )
    if reducer is not None and not reducer.integers and not dtype.is_floating_point:
        raise PoolTypeError(
            f"{reducer} on an input x of dtype {dtype}",
            f"{reducer.name} takes floating-point tensors, here {dtype}",
            "convert the input first: x.float()",
        )


def explain(error: Exception, x: Tensor) -> Exception:
    """The `PoolError` that says what an operator's refusal means, or the error itself if it is none of ours."""
    if x.layout != torch.strided:
        return PoolError(f"input x of layout {x.layout}", "x is a dense tensor", "make it dense first: x.to_dense()")
    text = str(error)
    if text.startswith("poolkit: "):
        return PoolError(f"input x of shape {tuple(x.shape)}", text.removeprefix("poolkit: "), "check the arguments")
    return error
