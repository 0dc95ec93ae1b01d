"""Every module of the catalogue against its formula: values, gradients, precisions, layouts, sizes, copies."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from cases import Case, all_cases

from poolkit.catalog import CATALOG

CASES = all_cases()


def make(case: Case, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    return case.module().to(dtype).train(case.training)


def tensors(inputs, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    found = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
    return [t.to(dtype) if t.is_floating_point() else t for t in found]


def keywords(case: Case, dtype: torch.dtype = torch.float64) -> dict:
    given = {}
    for name, value in case.keywords.items():
        given[name] = tensors([value], dtype)[0] if isinstance(value, np.ndarray) else value
    return given


def outputs(result) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else [part for part in result if part is not None]


def expected(case: Case, module: torch.nn.Module, inputs) -> list[np.ndarray]:
    state = {name: value.detach().to(torch.float64).numpy() for name, value in module.state_dict().items()}
    result = case.oracle(state, *inputs, **case.keywords)
    return [result] if isinstance(result, np.ndarray) else [part for part in result if part is not None]


def compare(case: Case, module: torch.nn.Module, inputs, dtype: torch.dtype, rtol: float, atol: float) -> None:
    got = outputs(module(*tensors(inputs, dtype), **keywords(case, dtype)))
    want = expected(case, module, inputs)
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        assert tuple(mine.shape) == theirs.shape
        assert mine.dtype == (dtype if theirs.dtype.kind == "f" else torch.from_numpy(theirs).dtype)
        np.testing.assert_allclose(mine.detach().to(torch.float64).numpy(), theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case) -> None:
    module = make(case)
    compare(case, module, case.inputs, torch.float64, 1e-10, 1e-12)
    with torch.no_grad():
        compare(case, module, case.inputs, torch.float64, 1e-10, 1e-12)
    compare(case, make(case, torch.float32), case.inputs, torch.float32, 2e-4, 2e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.others], ids=str)
def test_the_same_module_takes_other_sizes(case: Case) -> None:
    module = make(case)
    for inputs in (case.inputs, *case.others, case.inputs):
        compare(case, module, inputs, torch.float64, 1e-10, 1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case.smooth], ids=str)
def test_gradients_of_inputs_and_parameters(case: Case) -> None:
    module = make(case)
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    parameters = [module.get_parameter(name).detach().clone().requires_grad_() for name in names]
    inputs = tensors(case.inputs)
    places = [i for i, t in enumerate(inputs) if t.is_floating_point()]
    assert places

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = list(inputs)
        for place, value in zip(places, values, strict=False):
            given[place] = value
        state = dict(zip(names, values[len(places) :], strict=True))
        result = torch.func.functional_call(module, state, tuple(given), keywords(case))
        return tuple(part for part in outputs(result) if part.is_floating_point())

    leaves = [inputs[place].clone().requires_grad_() for place in places]
    assert torch.autograd.gradcheck(run, (*leaves, *parameters), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", [case for case in CASES if case.half], ids=str)
def test_half_precision(case: Case, dtype: torch.dtype) -> None:
    module = make(case).to(dtype)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    wide = make(case)
    wide.load_state_dict({name: value.to(torch.float64) for name, value in state.items()})
    rounded = [
        t.to(dtype).to(torch.float64).numpy() if t.is_floating_point() else t.numpy() for t in tensors(case.inputs)
    ]
    got = outputs(module(*tensors(rounded, dtype), **keywords(case, dtype)))
    want = outputs(wide(*tensors(rounded), **keywords(case)))
    step = torch.finfo(dtype).eps
    for mine, theirs in zip(got, want, strict=True):
        scale = float(theirs.detach().abs().max()) + 1
        torch.testing.assert_close(
            mine.to(torch.float64), theirs, rtol=8 * step, atol=8 * step * scale, check_dtype=False
        )


@pytest.mark.parametrize("case", [case for case in CASES if case.channels_last and case.inputs[0].ndim == 4], ids=str)
def test_channels_last_memory_changes_nothing(case: Case) -> None:
    module = make(case)
    plain = tensors(case.inputs)
    turned = [plain[0].to(memory_format=torch.channels_last), *plain[1:]]
    for mine, theirs in zip(
        outputs(module(*turned, **keywords(case))), outputs(module(*plain, **keywords(case))), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_copies_and_checkpoints(case: Case) -> None:
    module = make(case)
    twin = copy.deepcopy(module)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = make(case)
    again.load_state_dict(torch.load(file))
    given = tensors(case.inputs)
    for mine in (twin, again):
        for got, want in zip(
            outputs(mine(*given, **keywords(case))), outputs(module(*given, **keywords(case))), strict=True
        ):
            assert torch.equal(got, want)
    assert repr(module) == repr(twin)


def test_every_module_of_the_catalogue_has_a_case() -> None:
    wanted = {entry.name for entry in CATALOG if entry.modules and entry.reducer is None}
    assert wanted <= {case.entry for case in CASES}
    assert {case.entry for case in CASES} <= {entry.name for entry in CATALOG}
