"""Fetching a set through torchvision, on the user's word alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from poolkit.errors import PoolError
from poolkit.lab.data.cifar import FLAVOURS
from poolkit.lab.data.mnist import ADDRESSES

_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "mnist": "MNIST", "fashion": "FashionMNIST"}


def fetch(kind: str, path: Path) -> None:
    """Let torchvision download `kind` into the folder `path`.

    Raises:
        PoolError: torchvision is missing, does not work beside this torch, or could not download.
    """
    gave = f"--data {kind}:{path} --download"
    address = FLAVOURS[kind].address if kind in FLAVOURS else ADDRESSES[kind]
    by_hand = f"get it from {address} and name its path"
    try:
        library: Any = importlib.import_module("torchvision.datasets")
    except (ImportError, RuntimeError, OSError) as error:
        # PyPI's torchvision is made for a CUDA build: beside a CPU build its import is a RuntimeError.
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        raise PoolError(gave, f"torchvision downloads it, here torchvision {reason}", by_hand) from None
    try:
        getattr(library, _CLASSES[kind])(root=str(path), download=True)
    except (OSError, RuntimeError) as error:
        raise PoolError(gave, f"the download works, here it does not: {error}", by_hand) from None
