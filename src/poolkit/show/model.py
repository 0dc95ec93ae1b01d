"""A torch model from where somebody's code says it is, and inputs for it."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from poolkit.errors import PoolError


def load_model(text: str) -> Module:
    """The model that ``module:factory`` names; the module is looked for in the working directory first.

    Args:
        text: a dotted module name, a colon, and a name in it: a torch module, or a class or function that gives one
            when it is called without arguments.

    Raises:
        PoolError: it cannot be imported, is not there, or gives no torch module.

    >>> type(load_model("torch.nn:Identity")).__name__
    'Identity'
    """
    home, colon, name = text.partition(":")
    if not (colon and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", home) and name):
        raise PoolError(
            f"model {text}", "a model is named module:factory", "write for example nets:ResNet, for ResNet in nets.py"
        )
    found = _import(home, text)
    for part in name.split("."):
        if not hasattr(found, part):
            have = [word for word, value in vars(found).items() if callable(value) and not word.startswith("_")]
            raise PoolError(
                f"model {text}", f"{home} has a {name}, here it has {', '.join(have[:12]) or 'none'}", "name one"
            )
        found = getattr(found, part)
    if isinstance(found, Module):
        return found
    if not callable(found):
        raise PoolError(
            f"model {text}",
            f"{name} is a torch module, or gives one when called, here {type(found).__name__}",
            "name a class, a function or a module",
        )
    try:
        model = found()
    except Exception as error:
        raise PoolError(
            f"model {text}",
            f"{name} can be called without arguments, here {type(error).__name__}: {error}",
            "write a function without arguments that makes the model, and name it",
        ) from error
    if not isinstance(model, Module):
        raise PoolError(
            f"model {text}", f"{name}() gives a torch.nn.Module, here {type(model).__name__}", "return the model"
        )
    return model


def _import(home: str, text: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(home)
    except Exception as error:
        raise PoolError(
            f"model {text}",
            f"{home} can be imported from {here}, here {type(error).__name__}: {error}",
            "check the name, or change to the folder of the module",
        ) from error


def make_input(text: str) -> Tensor:
    """A tensor of the shape that ``1x3x224x224`` or ``1x16:int64`` says: normal deviates, or zeros of integers.

    Raises:
        PoolError: it is no shape, or the dtype is unknown.

    >>> make_input("2x3x8x8").shape, make_input("1x16:int64").dtype
    (torch.Size([2, 3, 8, 8]), torch.int64)
    """
    sizes, _, name = text.partition(":")
    dtype = getattr(torch, name or "float32", None)
    if not re.fullmatch(r"[1-9]\d{0,9}(x[1-9]\d{0,9})*", sizes) or not isinstance(dtype, torch.dtype):
        raise PoolError(
            f"--input {text}",
            "an input is sizes with x between them, and a dtype after a colon if it is not float32",
            "write for example 1x3x224x224, or 1x128:int64",
        )
    shape = tuple(map(int, sizes.split("x")))
    try:
        return torch.randn(shape, dtype=dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
    except (RuntimeError, MemoryError) as error:
        raise PoolError(
            f"--input {text}", f"the input fits in memory, here {error}", "choose a smaller shape"
        ) from error
