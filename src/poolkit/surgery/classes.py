"""Changing the class of a module, also where torch.nn.utils.parametrize has given it one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module


def bare(module: Module) -> type[Any]:
    """The class of a module without its parametrizations."""
    kind = type(module)
    return kind.__bases__[0] if _parametrized(kind) else kind


def change(module: Module, new: type[Any]) -> None:
    """Gives a module another class; one that is parametrized stays so."""
    kind = type(module)
    if _parametrized(kind):
        body = {key: value for key, value in vars(kind).items() if key not in {"__dict__", "__weakref__"}}
        new = type(f"Parametrized{new.__name__}", (new,), body)
    module.__class__ = new


def _parametrized(kind: type[Any]) -> bool:
    return kind.__name__.startswith("Parametrized") and kind.__module__ == "torch.nn.utils.parametrize"
