"""What commands that take a model are given: ``module:factory``, and sizes such as ``1x3x224x224``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from poolkit.errors import PoolError, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.nn import Module

_FORM = "module:factory, where calling the factory without arguments makes the model"
_EXAMPLE = "name for example my_package.models:resnet18"


def load_model(text: str) -> Module:
    """The model that ``module:factory`` makes.

    The module is imported as Python would, the working directory first. The factory is a function or class that is
    called without arguments, or a finished model; dots go into it, as in ``models:Zoo.small``.

    Args:
        text: what was typed.

    Raises:
        PoolError: there is no such module or factory, it fails, or what it makes is no torch.nn.Module.
    """
    name, colon, path = text.partition(":")
    if not (name and colon and path):
        raise PoolError(show(text), _FORM, _EXAMPLE)
    found = _attribute(text, _module(text, name), path)
    from torch.nn import Module

    if isinstance(found, Module):
        return found
    if not callable(found):
        raise PoolError(show(text), f"{_FORM}, here {path} is of type {type(found).__name__}", _EXAMPLE)
    model = _made(text, found)
    if not isinstance(model, Module):
        raise PoolError(
            show(text),
            f"the factory makes a torch.nn.Module, here it made one of type {type(model).__name__}",
            _EXAMPLE,
        )
    return model


def parse_shape(text: str) -> tuple[int, ...]:
    """The sizes in ``1x3x224x224``; a comma or ``×`` does as well as the letter x.

    Raises:
        PoolError: something else than whole numbers of at least 1 stands there.

    >>> parse_shape("1x3x224x224")
    (1, 3, 224, 224)
    """
    parts = text.lower().replace("×", "x").replace(",", "x").split("x")
    sizes = [int(part) if part.strip().isascii() and part.strip().isdigit() else 0 for part in parts]
    if min(sizes) < 1:
        raise PoolError(
            show(text), "a shape is whole numbers of at least 1 with an x between them", "write for example 1x3x224x224"
        )
    return tuple(sizes)


def _module(text: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise PoolError(
            show(text),
            f"the module can be imported, here {name}: {type(error).__name__}: {error}",
            "start in the folder that holds it, install what it needs, or put its folder into PYTHONPATH",
        ) from error


def _attribute(text: str, module: Any, path: str) -> Any:
    found = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            inside = cast("dict[str, Any]", vars(module))
            known = sorted(key for key, value in inside.items() if callable(value) and not key.startswith("_"))
            raise PoolError(
                show(text),
                f"{module.__name__} has what stands behind the colon, here no {path}",
                f"name one of {', '.join(known)}" if known else "define a function that makes the model",
            ) from None
    return found


def _made(text: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except Exception as error:
        raise PoolError(
            show(text),
            f"the factory can be called without arguments, here it raised {type(error).__name__}: {error}",
            "write a function without arguments that calls it with those it needs",
        ) from error
