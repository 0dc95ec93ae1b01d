"""Every module of the catalogue in ONNX Runtime gives what it gives in torch; a new case joins by itself."""

from __future__ import annotations

import pytest
import torch
from cases import Case, all_cases
from onnx_support import exported
from test_modules import keywords, make, outputs, tensors

from poolkit import PoolError
from poolkit.catalog import CATALOG
from poolkit.torch.export import export_onnx

# What the export refuses, by the case's name, and why: nothing, in evaluation mode.
REFUSED: dict[str, str] = {}
CASES = [case for case in all_cases() if str(case) not in REFUSED]
TOLERANCE = 4e-6  # of an output's largest magnitude: some 30 ulp of float32, after several layers
BATCH = 24


def parts_of(cases: list[Case], dtype: torch.dtype):
    """Each case as a part of one file: its module with its inputs, and its keywords that are tensors."""
    parts, inputs = [], []
    for case in cases:
        module = make(case, dtype).eval()
        positional, named = tensors(case.inputs, dtype), keywords(case, dtype)
        moving = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
        fixed = {name: value for name, value in named.items() if name not in moving}
        part = Part(module, len(positional), tuple(moving), fixed)
        parts.append((part, tuple(range(len(inputs), len(inputs) + len(positional) + len(moving)))))
        inputs += [*positional, *moving.values()]
    return parts, inputs


class Part(torch.nn.Module):
    def __init__(self, module, positional, names, fixed):
        super().__init__()
        self.module, self.positional, self.names, self.fixed = module, positional, names, fixed

    def forward(self, *given):
        named = dict(zip(self.names, given[self.positional :], strict=True))
        result = self.module(*given[: self.positional], **named, **self.fixed)
        return tuple(part for part in outputs(result) if isinstance(part, torch.Tensor))


@pytest.mark.parametrize("start", range(0, len(CASES), BATCH))
def test_modules_in_onnx_runtime(start: int, tmp_path) -> None:
    cases = CASES[start : start + BATCH]
    parts, inputs = parts_of(cases, torch.float32)
    found = exported(parts, inputs, tmp_path)()
    for case, (part, places), mine in zip(cases, parts, found, strict=True):
        with torch.no_grad():
            wanted = part(*(inputs[place] for place in places))
        assert len(mine) == len(wanted), str(case)
        for one, other in zip(mine, wanted, strict=True):
            assert one.dtype == other.dtype, str(case)
            assert one.shape == other.shape, str(case)
            if not other.is_floating_point():
                assert torch.equal(one, other), str(case)
                continue
            allowed = TOLERANCE * float(other.abs().max()) if other.numel() else 0.0
            away = float((one - other).abs().max()) if other.numel() else 0.0
            assert away <= allowed, (str(case), away, allowed)


def test_what_is_refused_is_a_case():
    assert set(REFUSED) <= {str(case) for case in all_cases()}


def test_every_module_is_tried():
    wanted = {entry.name for entry in CATALOG if entry.modules and entry.reducer is None}
    assert wanted <= {case.entry for case in CASES} | {name.split("-")[0] for name in REFUSED}


DRAWING = [
    case for case in all_cases() if case.training and case.entry in ("gaussian_pool", "random_mixed_pool", "s3_pool")
]


@pytest.mark.parametrize("case", DRAWING[::3], ids=str)
@pytest.mark.filterwarnings("ignore:exporting a model in training mode")
def test_drawing_in_training_is_refused(case: Case, tmp_path) -> None:
    named = {name: value for name, value in keywords(case, torch.float32).items() if name not in ("generator", "noise")}
    with pytest.raises(PoolError, match=r"draws at random"):
        export_onnx(
            make(case, torch.float32), tuple(tensors(case.inputs[:1], torch.float32)), tmp_path / "m.onnx", kwargs=named
        )
    assert not list(tmp_path.iterdir())
