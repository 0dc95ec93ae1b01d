"""Modules become one graph: no value of a tensor decides what Python does."""

import pytest
import torch
from cases import Case, all_cases
from test_modules import keywords, make, outputs, tensors

from poolkit.catalog import entry

FAMILIES = {"order", "random", "moments", "attention", "sequence"}
# A seed makes a generator, which torch.compile cannot hold.
CASES = [case for case in all_cases() if entry(case.entry).family in FAMILIES and "generator" not in case.keywords]


# Dynamo itself makes an instance of every autograd function it meets, and torch warns of that.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_graph_without_breaks(case: Case) -> None:
    torch.compiler.reset()
    module = make(case)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for inputs in (case.inputs, *case.others):
        given = tensors(inputs)
        pairs = zip(outputs(compiled(*given, **keywords(case))), outputs(module(*given, **keywords(case))), strict=True)
        for got, want in pairs:
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shapes_are_known_without_values(case: Case) -> None:
    module = make(case)
    given, more = tensors(case.inputs), keywords(case)
    want = [part.shape for part in outputs(module(*given, **more))]
    elsewhere = {name: value.to("meta") if isinstance(value, torch.Tensor) else value for name, value in more.items()}
    got = module.to("meta")(*(part.to("meta") for part in given), **elsewhere)
    assert [part.shape for part in outputs(got)] == want
    assert all(part.is_meta for part in outputs(got))
