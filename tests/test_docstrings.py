"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import poolkit

NEED_TORCH = ("poolkit.torch", "poolkit.nn", "poolkit.surgery", "poolkit.lab")
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(poolkit.__path__, "poolkit.", onerror=lambda _: None)
    if name not in {"poolkit._core", "poolkit._torch", "poolkit.libpoolkit_core"}
)


@pytest.mark.parametrize("name", ["poolkit", *MODULES])
def test_examples_in_docstrings(name: str) -> None:
    if name.startswith(NEED_TORCH) and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    outcome = doctest.testmod(importlib.import_module(name), report=True)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples in {name}; see the output above"
