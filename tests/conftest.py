"""Fixtures for every test: memory that was never written is poison, and settings do not leak."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

from poolkit import _core

# Where a test or an example imports Keras, without a process of its own for each back end.
os.environ.setdefault("KERAS_BACKEND", "torch")

_empty = np.empty


@functools.wraps(_empty)
def _poisoned(*args, **kwargs):
    """numpy.empty filled with what no result holds by chance: NaN, or a striking integer."""
    array = _empty(*args, **kwargs)
    if array.dtype.kind == "f":
        array.fill(np.nan)
    elif array.dtype.kind in "iu":
        array.view(np.uint8).fill(0x55) if array.flags.c_contiguous else array.fill(85)
    return array


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Outputs are allocated with numpy.empty: an element that a kernel forgets makes its test fail."""
    monkeypatch.setattr(np, "empty", _poisoned)


@pytest.fixture(autouse=True)
def same_settings():
    """The number of threads and the instruction set after a test are those before it."""
    threads, isa = _core.get_num_threads(), _core.isa()
    yield
    _core.set_num_threads(threads)
    _core.set_isa(isa)


def pytest_configure(config):
    config.addinivalue_line("markers", "heavy: needs many GiB of memory; runs only with -m heavy")
    config.addinivalue_line("markers", "gpu: of Triton's kernels; with -m gpu on a GPU, else in Triton's interpreter")


def pytest_collection_modifyitems(config, items):
    if "heavy" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="needs many GiB: run with -m heavy")
    for item in items:
        if "heavy" in item.keywords:
            item.add_marker(skip)
