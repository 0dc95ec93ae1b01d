import importlib
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import poolkit as pk
from poolkit.catalog import CATALOG, entry, promise_zh
from poolkit.reducer import REDUCERS
from poolkit.show.mathml import to_mathml

NAMES = [row.name for row in CATALOG]
WINDOWS = [row.name for row in CATALOG if row.reducer]
MODULES = [row.name for row in CATALOG if not row.reducer]


def test_every_named_pooling_has_an_entry():
    functions = {re.sub(r"[123]d$", "", name) for name in pk.__all__ if re.search(r"pool[123]d$", name)}
    assert set(WINDOWS) == functions
    assert len(NAMES) == len(set(NAMES))
    assert {row.reducer for row in CATALOG if row.reducer} == set(REDUCERS)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_complete(name):
    row = entry(name)
    for words in (row.en, row.formula, row.source, row.when):
        assert words
        assert not re.search(r"[\u4e00-\u9fff]", words)
    for words in (row.zh, row.when_zh, *(zh for _, _, zh in row.parameters)):
        assert re.search(r"[\u4e00-\u9fff]|^p", words)
        assert not re.search(r"[\u4e00-\u9fff][,;:!?(]", words), "Chinese takes full-width punctuation"
    assert re.search(r"\b(19|20)\d\d\b", row.source)
    ET.fromstring(to_mathml(row.latex))


@pytest.mark.parametrize("name", MODULES)
def test_an_entry_of_modules_is_complete(name):
    row = entry(name)
    assert row.modules
    for english, chinese in (row.unless, row.phases, row.gradient, row.cost, *row.traps):
        assert english
        assert not re.search(r"[\u4e00-\u9fff]", english)
        assert re.search(r"[\u4e00-\u9fff]", chinese)
        assert not re.search(r"[\u4e00-\u9fff][,;:!?(]", chinese), "Chinese takes full-width punctuation"
    assert row.traps
    assert row.shape
    assert row.ships


@pytest.mark.parametrize("name", MODULES)
def test_modules_take_the_parameters_of_their_entry(name):
    import inspect

    nn = pytest.importorskip("poolkit.nn", exc_type=ImportError)
    known = set()
    for module in entry(name).modules:
        kind = getattr(nn, module)
        known |= {*inspect.signature(kind).parameters, *inspect.signature(kind.forward).parameters}
    assert {parameter for parameter, _, _ in entry(name).parameters} <= known


@pytest.mark.parametrize("name", WINDOWS)
def test_parameters_are_those_of_the_functions(name):
    import inspect

    known = set()
    for rank in (1, 2, 3):
        known |= set(inspect.signature(getattr(pk, f"{name}{rank}d")).parameters)
    assert {parameter for parameter, _, _ in entry(name).parameters} <= known


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(name):
    space = {"np": np, "pk": pk, "x": np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)}
    if entry(name).modules:
        torch = pytest.importorskip("torch")
        space |= {"torch": torch, "nn": importlib.import_module("poolkit.nn"), "t": torch.from_numpy(space["x"])}
    exec(entry(name).call, space)
    y = np.asarray(space["y"])
    assert y.ndim == 4 or entry(name).modules
    assert y.shape[0] == 1
    assert np.isfinite(y).all()


@pytest.mark.parametrize("name", [name for name in NAMES if entry(name).torch])
def test_torch_has_what_the_entry_says(name):
    nn = pytest.importorskip("torch").nn
    assert hasattr(nn, f"{entry(name).torch}2d")


@pytest.mark.parametrize("reducer", REDUCERS)
def test_promises_are_told_in_chinese(reducer):
    for promise in (reducer.nan, reducer.ties, reducer.empty, reducer.precision):
        assert not re.search(r"\b(the|is|are|of)\b", promise_zh(promise)), promise


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        entry("mux_pool")
