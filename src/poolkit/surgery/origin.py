"""The memory of `swap`: a module that took another's place knows which it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch.nn import Module

_KEY = "poolkit_replaced"


def put(model: Module, old: Module, new: Module) -> None:
    """Puts `new` under every name that `old` has in a model, and remembers `old`."""
    new.__dict__[_KEY] = old  # not as a part of it: no state_dict grows
    _rename(model, old, new)


def put_back(model: Module) -> None:
    """Gives every name of a model the module that first had it."""
    for parent in list(model.modules()):
        for child in list(parent.children()):
            first = child
            while _KEY in first.__dict__:
                first = cast("Module", first.__dict__.pop(_KEY))
            if first is not child:
                _rename(model, child, first)


def _rename(model: Module, old: Module, new: Module) -> None:
    for parent in list(model.modules()):
        # Not by setattr, which is the user's and may do more, nor by children(), which gives a shared module once.
        parts = parent._modules  # pyright: ignore[reportPrivateUsage]
        for name, child in list(parts.items()):
            if child is old:
                parts[name] = new
