"""docs/frontends.md says of this back end, and of the framework behind it, what they do."""

import importlib.util
from pathlib import Path

import pytest
from back_end import NAME

TOOL = Path(__file__).parents[3] / "tools" / "make_frontends.py"
FRONT_ENDS = {
    "tensorflow": ["Keras on TensorFlow", "NumPy"],
    "jax": ["Keras on JAX", "JAX"],
    "torch": ["Keras on torch", "torch"],
}[NAME]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_the_page_says_what_is(front_end):
    spec = importlib.util.spec_from_file_location("make_frontends", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.column(front_end)
    assert sum(kind != "-" for window in found.values() for kind in window.values()) > 80
    assert tool.of_page(front_end) == found, "run python tools/make_frontends.py"
