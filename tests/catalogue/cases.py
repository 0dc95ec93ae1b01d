"""What a case of the catalogue is; each family's cases stand in a file cases_FAMILY.py, which is found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn


@dataclass(frozen=True)
class Case:
    """A module, inputs for it, and the NumPy formula that says what it gives.

    `oracle` takes the module's state (name: float64 array) and the inputs, and gives the output in float64. Inputs are
    float64 (masks: bool, ids: int64); gradients are checked for the floating ones. `others` are inputs of other sizes
    that the very same module has to take.
    """

    entry: str  # the name of the catalogue's entry
    module: Callable[[], nn.Module]
    inputs: tuple[np.ndarray, ...]
    oracle: Callable[..., Any]
    others: tuple[tuple[np.ndarray, ...], ...] = ()
    training: bool = False
    label: str = ""
    smooth: bool = True  # finite differences are taken; False only where the output jumps
    keywords: dict[str, Any] = field(default_factory=dict)  # further arguments of forward and oracle
    half: bool = True  # also tried in float16 and bfloat16
    channels_last: bool = True  # 4-D inputs are also tried in channels-last memory

    def __str__(self) -> str:
        return f"{self.entry}-{self.label}" if self.label else self.entry


def all_cases() -> list[Case]:
    """Every case of every family."""
    here = Path(__file__).parent
    found: list[Case] = []
    for module in sorted(pkgutil.iter_modules([str(here)]), key=lambda info: info.name):
        if module.name.startswith("cases_"):
            found += importlib.import_module(module.name).CASES
    return found
