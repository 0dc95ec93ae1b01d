"""A network of the user's own, with its poolings replaced by those of a study."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

import poolkit.nn as pn
from poolkit.errors import PoolError
from poolkit.lab.poolings import Pooling
from poolkit.show.factory import load_model
from poolkit.surgery import swap

_REPLACED = (nn.MaxPool2d, nn.AvgPool2d, pn.MaxPool2d, pn.AvgPool2d)


def own(text: str, channels: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    """The model of ``module:factory`` with `pool` in the place of every MaxPool2d and AvgPool2d that it runs.

    Kernel, stride and padding stay those of the model.

    Raises:
        PoolError: the factory cannot be called, or there is no such pooling in the model.
    """
    model = load_model(text)
    seen: dict[nn.Module, int] = {}

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(given[0], Tensor) and given[0].ndim == 4:
            seen[module] = int(given[0].shape[1])

    handles = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, _REPLACED)]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model.eval()(torch.zeros(2, channels, *size))
    for handle in handles:
        handle.remove()
    if not seen:
        raise PoolError(
            f"--model {text}", "the model runs a MaxPool2d or AvgPool2d that can be replaced, here none",
            "make its poolings modules instead of function calls",
        )  # fmt: skip

    def rule(name: str, module: nn.Module) -> nn.Module | None:
        del name
        if module not in seen:
            return None
        kernel, stride, padding = (_one(getattr(module, key)) for key in ("kernel_size", "stride", "padding"))
        return pool(seen[module], kernel, stride, padding)

    return swap(model, rule, quiet=True).train()


def _one(value: Any) -> int:
    """A setting that is the same along both axes."""
    values: set[Any] = set(cast("list[Any]", value)) if isinstance(value, tuple | list) else {value}
    if len(values) != 1 or not isinstance(first := next(iter(values)), int):
        raise PoolError(f"a pooling with {value}", "a study replaces square poolings", "make both sides equal")
    return first
