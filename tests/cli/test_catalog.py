import inspect
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import poolkit as pk
from poolkit.catalog import CATALOG, FAMILIES, KIN, entry, promise_zh
from poolkit.reducer import REDUCERS
from poolkit.show.facts import example
from poolkit.show.look_up import find, plain
from poolkit.show.mathml import to_mathml

NAMES = [row.name for row in CATALOG]
# What every function or module has, or what speaks of where and not of what.
UNSAID = {"input", "self", "out", "data_format", "device", "dtype", "generator", "_random_samples"}


def test_every_named_pooling_has_an_entry():
    functions = {re.sub(r"[123]d$", "", name) for name in pk.__all__ if re.search(r"pool[123]d$", name)}
    assert {row.name for row in CATALOG if row.reducer} == functions
    assert len(NAMES) == len(set(NAMES))
    assert {row.reducer for row in CATALOG if row.reducer} == set(REDUCERS)


def test_every_module_belongs_to_exactly_one_entry():
    nn = pytest.importorskip("poolkit.nn", exc_type=ImportError)
    for module in nn.__all__:
        owners = [row.name for row in CATALOG if module in row.modules or plain(module) == plain(row.name)]
        assert len(owners) == 1, f"{module}: {owners or 'name it in the `modules` of its entry'}"
    for row in CATALOG:
        assert set(row.modules) <= set(nn.__all__), row.name
        assert row.functions or row.modules, row.name


def test_entries_come_by_family():
    families = [row.family for row in CATALOG]
    assert families == sorted(families, key=FAMILIES.index)
    assert tuple(KIN) == FAMILIES


def said(row):
    """Every text of an entry: English, then Chinese."""
    yield row.en, row.zh
    yield row.when, row.when_zh
    yield from (row.unless, row.phases, row.gradient, row.cost, *row.traps)
    yield from ((en, zh) for _, en, zh in row.parameters)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_complete(name):
    row = entry(name)
    for words in (row.formula, row.source, row.shape):
        assert words
        assert not re.search(r"[\u4e00-\u9fff]", words)
    assert "->" in row.shape
    assert row.traps
    assert all(row.ships)
    for english, chinese in said(row):
        assert english
        assert not re.search(r"[\u4e00-\u9fff]", english)
        assert re.search(r"[\u4e00-\u9fff]", chinese), chinese
        assert not re.search(r"[\u4e00-\u9fff][,;:!?(]|[,;:!?][\u4e00-\u9fff]", chinese), "full-width punctuation"
    for english, chinese in (row.unless, row.cost, row.phases, *row.traps):
        assert english.endswith("."), english
        assert chinese.endswith("。"), chinese
    assert re.search(r"\b(19|20)\d\d\b", row.source)
    ET.fromstring(to_mathml(row.latex))


def passed(row, kind):
    """What callers pass by name to its functions, or to a method of its modules."""
    if kind == "functions":
        makers = [getattr(pk, function) for function in row.functions]
    else:
        nn = pytest.importorskip("poolkit.nn", exc_type=ImportError)
        makers = [getattr(getattr(nn, module), kind) for module in row.modules]
    loose = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    parameters = [one for maker in makers for one in inspect.signature(maker).parameters.values()]
    return {one.name for one in parameters if one.kind not in loose} - UNSAID


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_that_callers_pass(name):
    row = entry(name)
    explained = [parameter for parameter, _, _ in row.parameters]
    assert len(explained) == len(set(explained))
    by_function, by_module = passed(row, "functions"), passed(row, "__init__")
    # A pooling that has functions is told by them; its modules may learn more, and be called with more than an input.
    assert (by_function or by_module) <= set(explained) <= by_function | by_module | passed(row, "forward")


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(name):
    row = entry(name)
    lines = example(row)
    if any("torch" in line for line in lines):
        pytest.importorskip("torch").manual_seed(0)
    space = {}
    exec("\n".join(lines), space)
    values = space["y"].detach().numpy() if hasattr(space["y"], "detach") else space["y"]
    assert values.size
    assert np.isfinite(values).all()
    if row.functions:
        assert values.shape[:2] == (1, 3)


def test_modules_are_found_by_their_names():
    for row in CATALOG:
        for module in row.modules:
            assert find(module) is row, module


@pytest.mark.parametrize("name", [name for name in NAMES if entry(name).torch])
def test_torch_has_what_the_entry_says(name):
    nn = pytest.importorskip("torch").nn
    assert hasattr(nn, f"{entry(name).torch}2d") or hasattr(nn, entry(name).torch)


@pytest.mark.parametrize("reducer", REDUCERS)
def test_promises_are_told_in_chinese(reducer):
    for promise in (reducer.nan, reducer.ties, reducer.empty, reducer.precision):
        assert not re.search(r"\b(the|is|are|of)\b", promise_zh(promise)), promise


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        entry("mux_pool")
