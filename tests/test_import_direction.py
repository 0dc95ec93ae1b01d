"""Imports go one way: cli, lab -> keras -> nn, jax -> torch -> functional -> reducer, window -> plan -> errors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support import in_process

import poolkit

ROOT = Path(poolkit.__file__).parent

# What stands further down may not import what stands above it. A package's own modules are one layer.
LAYERS = [
    {"errors"},
    {"plan", "_core"},
    {"fractional", "blur", "levels"},
    {"reducer", "window", "threads"},
    {"reference", "arrays", "plan_text"},
    {"pooling"},
    {"unpooling"},
    {"functional"},
    {"named"},
    {"__init__"},
    {"torch", "catalog"},
    {"nn", "jax", "dask"},
    {"keras", "surgery"},
    {"show"},
    {"bench"},
    {"lab", "explorer"},
    {"cli", "__main__"},
]
HEAVY = {"torch", "jax", "dask", "zarr", "keras", "tensorflow", "matplotlib", "PIL", "typer", "rich", "jinja2"}
HEAVY |= {"sklearn", "onnx"}
NUMPY_ONLY = {"errors", "plan", "plan_text", "fractional", "window", "reducer", "reference", "arrays"}
NUMPY_ONLY |= {"blur", "levels", "pooling", "unpooling", "functional", "named"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield parts[0], ".".join(p for p in ("poolkit", *parts) if p != "__init__"), path


def imported(path, *, top_level_only=False):
    """Full names a file imports; those under TYPE_CHECKING count, they too tie files together."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"relative.{alias.name}" for alias in node.names)


def layer(part):
    for level, names in enumerate(LAYERS):
        if part in names:
            return level
    raise AssertionError(f"{part} stands in no layer: give it one here")


@pytest.mark.parametrize(("part", "name", "path"), list(modules()), ids=lambda value: str(value).split("/")[-1])
def test_imports_go_down(part, name, path):
    for target in imported(path):
        assert not target.startswith("relative"), f"{name} imports relatively"
        pieces = target.split(".")
        if pieces[0] != "poolkit":
            continue
        below = pieces[1] if len(pieces) > 1 else "__init__"
        if below != part:
            known = below if any(below in names for names in LAYERS) else "__init__"
            assert layer(known) < layer(part), f"{name} imports {target}, which stands above it"


@pytest.mark.parametrize(("part", "name", "path"), list(modules()), ids=lambda value: str(value).split("/")[-1])
def test_the_core_needs_numpy_alone(part, name, path):
    if part not in NUMPY_ONLY:
        return
    for target in imported(path):
        assert target.split(".")[0] not in HEAVY, f"{name} imports {target}"


def test_a_numpy_caller_loads_no_framework():
    code = (
        "import sys, poolkit as pk, numpy as np\n"
        "pk.max_pool2d(np.zeros((1, 1, 4, 4)), 2)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    assert in_process(code).strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    for name in poolkit.__all__:
        thing = getattr(poolkit, name)
        assert thing.__doc__, name
        assert "{" not in thing.__doc__.split(">>>")[0].replace("{n}", "{"), name
    assert set(poolkit.__all__) <= set(dir(poolkit))
    with pytest.raises(AttributeError, match="no attribute 'max_pool4d'"):
        _ = poolkit.max_pool4d
