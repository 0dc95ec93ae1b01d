"""These tests need jax, and are left out where it is not installed."""

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("jax") else ["test_*.py"]


@pytest.fixture
def x64():
    """64-bit types, which JAX has only when asked for."""
    import jax

    with jax.enable_x64(True):
        yield
