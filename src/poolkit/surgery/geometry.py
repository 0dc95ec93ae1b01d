"""What a pooling module is, and how its windows lie: read from modules, never from a model's inputs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from torch.nn import Module

from poolkit import nn
from poolkit.surgery.classes import bare
from poolkit.surgery.twins import POOLINGS, torch_class

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS: tuple[type[Any], ...] = tuple(getattr(nn, name) for name in nn.__all__)
"""poolkit.nn's classes."""

_ARGUMENTS = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "ceil_mode",
    "return_indices",
    "count_include_pad",
    "divisor_override",
    "output_size",
    "output_ratio",
    "norm_type",
)


def is_pooling(module: Module) -> bool:
    """Whether a module pools: torch.nn's, poolkit's, or one of somebody else's whose class is called so.

    A class that only has "pool" in its name counts if it has no modules inside: those are looked at themselves.
    """
    if isinstance(module, (*POOLINGS, *OURS)):
        return True
    return "pool" in type(module).__name__.lower() and not any(True for _ in module.children())


def poolings(model: Module) -> Iterator[tuple[str, Module]]:
    """Name and module of every outermost pooling, once each however many names it has."""
    seen: set[Module] = set()

    def walk(name: str, module: Module) -> Iterator[tuple[str, Module]]:
        if module in seen:
            return
        seen.add(module)
        if is_pooling(module):
            yield name, module
            return
        for child_name, child in module.named_children():
            yield from walk(f"{name}.{child_name}" if name else child_name, child)

    yield from walk("", model)


def named_modules(model: Module) -> list[tuple[str, Module]]:
    """Every module of a model with each of its names, the model first."""
    return list(cast(Any, model).named_modules(remove_duplicate=False))


def geometry_of(module: Module) -> dict[str, Any]:
    """The arguments that place a module's windows, as far as it has them, under torch's names."""
    found = {name: getattr(module, name) for name in _ARGUMENTS if hasattr(module, name)}
    # What blurs after the maximum has the stride; `padding` there is a word about the blur.
    blur = getattr(module, "blur", None)
    if "stride" not in found and isinstance(blur, Module) and hasattr(blur, "stride"):
        found["stride"] = blur.stride
    if "padding" not in found and hasattr(module, "max_padding"):
        found["padding"] = module.max_padding
    return {name: value for name, value in found.items() if value is not None or name == "output_size"}


def parameters_of(kind: type[Any]) -> dict[str, inspect.Parameter]:
    """What a class's constructor takes, by name."""
    return {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }


def settings_of(module: Module) -> str:
    """A pooling's settings as short as its constructor takes them: ``3, stride=2, padding=1``."""
    kind = torch_class(module) or bare(module)
    if not issubclass(kind, (*POOLINGS, *OURS)):
        return module.extra_repr()
    parts: list[str] = []
    for name, parameter in parameters_of(kind).items():
        value = getattr(module, name, parameter.default)
        if isinstance(value, Module | Tensor):  # what is learned has no short form
            continue
        if parameter.default is inspect.Parameter.empty:
            parts.append(f"{value}" if not any("=" in part for part in parts) else f"{name}={value}")
        elif value != parameter.default and not (name == "stride" and value == getattr(module, "kernel_size", None)):
            parts.append(f"{name}={value}")
    return ", ".join(parts)


def type_name(module: Module) -> str:
    """A module's class as people write it: torch.nn.MaxPool2d, poolkit.nn.SoftPool2d, models.MyPool."""
    kind = torch_class(module) or bare(module)
    home = kind.__module__
    for short in ("torch.nn", "poolkit.nn"):
        if home == short or home.startswith(f"{short}."):
            return f"{short}.{kind.__name__}"
    return f"{home}.{kind.__name__}"
