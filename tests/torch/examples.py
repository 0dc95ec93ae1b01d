"""One example of every module of `poolkit.nn`: its case in the catalogue's tests, else one made from its signature."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poolkit import nn

sys.path.append(str(Path(__file__).parents[1] / "catalogue"))
from cases import all_cases

# What constructors without a case require; a module that asks for more needs a case.
_ARGUMENTS = {"kernel_size": 2, "output_size": 2, "norm_type": 3.0, "q": 0.3, "k": 2}
_SIZES = (6, 5, 4)


@dataclass(frozen=True)
class Example:
    """A module and what it is called with: float64 tensors, and masks or numbers beside them."""

    name: str
    make: Callable[[], torch.nn.Module]
    inputs: tuple[torch.Tensor, ...]
    keywords: dict[str, Any] = field(default_factory=dict)
    training: bool = False
    smooth: bool = True

    def __str__(self) -> str:
        return self.name

    def module(self, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
        """The same module every time."""
        torch.manual_seed(0)
        return self.make().to(dtype).train(self.training)

    def given(self, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
        """The inputs in this precision."""
        return tuple(t.to(dtype) if t.is_floating_point() else t.clone() for t in self.inputs)

    def more(self, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        """The keywords in this precision."""
        return {
            name: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in self.keywords.items()
        }


def outputs(result: Any) -> tuple[torch.Tensor, ...]:
    """Every tensor of a module's result."""
    return (result,) if isinstance(result, torch.Tensor) else tuple(part for part in result if part is not None)


def seeded(call: Callable[..., Any], *inputs: Any, **keywords: Any) -> tuple[torch.Tensor, ...]:
    """What a call gives under one seed, for modules that draw."""
    torch.manual_seed(1)
    return outputs(call(*inputs, **keywords))


def _tensor(value: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def _examples() -> list[Example]:
    classes = {name: getattr(nn, name) for name in nn.__all__}
    found: dict[str, Example] = {}
    for case in all_cases():
        name = type(case.module()).__name__
        if name not in found and name in classes:
            inputs = tuple(_tensor(array) for array in case.inputs)
            keywords = {key: _tensor(value) for key, value in case.keywords.items()}
            found[name] = Example(name, case.module, inputs, keywords, case.training, case.smooth)
    for name, kind in classes.items():
        if name not in found:
            found[name] = _by_signature(name, kind)
    return [found[name] for name in classes]


def _by_signature(name: str, kind: type[torch.nn.Module]) -> Example:
    rank = int(name[-2])
    parameters = inspect.signature(kind).parameters
    needed = [key for key, value in parameters.items() if value.default is inspect.Parameter.empty]
    given = {key: _ARGUMENTS[key] for key in needed}
    if name.startswith("Fractional"):
        given["output_ratio"] = 0.6
    generator = torch.Generator().manual_seed(len(name))
    x = torch.randn(2, 3, *_SIZES[:rank], dtype=torch.float64, generator=generator)
    if name.startswith("MaxUnpool"):
        cells = 2 ** len(_SIZES[:rank]) * int(np.prod(_SIZES[:rank]))
        places = torch.rand(2, 3, cells, generator=generator).argsort(-1)[..., : x[0, 0].numel()]
        return Example(name, lambda: kind(**given), (x, places.reshape(x.shape)))
    return Example(name, lambda: kind(**given), (x,))


EXAMPLES = _examples()
