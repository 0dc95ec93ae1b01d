"""Many poolings in one exported file: an export costs most of a second, whatever is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from poolkit.torch.export import export_onnx
from poolkit.torch.onnx.check import run_onnx


class Many(torch.nn.Module):
    """Calls each part with all of its inputs' tensors, and gives everything that comes out in one tuple."""

    def __init__(self, parts: Sequence[tuple[Callable[..., Any], tuple[int, ...]]]) -> None:
        super().__init__()
        self.parts = list(parts)
        self.modules_of_parts = torch.nn.ModuleList(p for p, _ in parts if isinstance(p, torch.nn.Module))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: list[torch.Tensor] = []
        for part, places in self.parts:
            found += tensors(part(*(inputs[place] for place in places)))
        return tuple(found)


def tensors(result: Any) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else [part for part in result if part is not None]


def exported(
    parts: Sequence[tuple[Callable[..., Any], tuple[int, ...]]],
    inputs: Sequence[torch.Tensor],
    folder: Path,
    **options: Any,
) -> Callable[..., list[list[torch.Tensor]]]:
    """Exports the parts as one file; gives a function from inputs to what ONNX Runtime makes of them, part by part."""
    model = Many(parts).eval()
    file = export_onnx(model, tuple(inputs), folder / "many.onnx", **{"verify": False, "optimize": False, **options})
    counts = [len(tensors(part(*(inputs[place] for place in places)))) for part, places in parts]

    def run(*others: torch.Tensor) -> list[list[torch.Tensor]]:
        _, found = run_onnx(file, others or inputs)
        rest = iter(found)
        return [[next(rest) for _ in range(count)] for count in counts]

    return run
