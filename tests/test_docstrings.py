"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import poolkit

NEEDS = {
    "poolkit.torch": "torch",
    "poolkit.torch.triton.": "triton",
    "poolkit.nn": "torch",
    "poolkit.surgery": "torch",
    "poolkit.lab": "torch",
    "poolkit.jax": "jax",
    "poolkit.dask": "dask",
    "poolkit.keras": "keras",
}
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(poolkit.__path__, "poolkit.", onerror=lambda _: None)
    if name not in {"poolkit._core", "poolkit._torch", "poolkit._jax", "poolkit.libpoolkit_core"}
)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export, of itself
@pytest.mark.parametrize("name", ["poolkit", *MODULES])
def test_examples_in_docstrings(name: str) -> None:
    for package, needed in NEEDS.items():
        if name.startswith(package):
            pytest.importorskip(needed)
    outcome = doctest.testmod(importlib.import_module(name), report=True)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples in {name}; see the output above"
