"""Where these tests run: on a GPU with ``pytest -m gpu``, else on the CPU in Triton's interpreter.

The interpreter is chosen when Triton is imported, so a run without a GPU is a process of its own, which
``tests/torch/test_triton.py`` starts; elsewhere this folder is not collected. With ``-m gpu`` the whole of it runs on a
GPU, and without one it stops with an error.
"""

from __future__ import annotations

import contextlib
import os
import types

import numpy as np
import pytest
import torch
from triton_support import INTERPRETED

collect_ignore_glob: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == "gpu":
        if not torch.cuda.is_available():
            raise pytest.UsageError("-m gpu: torch finds no GPU here")
    elif not INTERPRETED:
        collect_ignore_glob.append("test_*.py")
    else:
        _patch_once_a_launch()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The interpreter takes a fifth of the values' cases, `POOLKIT_TEST_TRITON=all` takes every one."""
    if INTERPRETED and os.environ.get("POOLKIT_TEST_TRITON") != "all":
        values = [item for item in items if item.path.name == "test_triton_values.py"]
        left_out = {id(item) for number, item in enumerate(values) if number % 5}
        items[:] = [item for item in items if id(item) not in left_out]


def _patch_once_a_launch() -> None:
    """The interpreter patches Triton's language anew for every call of a function; once for a launch is the same."""
    import triton.language as tl
    from triton.runtime import interpreter

    patch, active = interpreter._patch_lang, []
    everything = types.SimpleNamespace(__globals__={"tl": tl, "core": tl.core})

    def patch_once(_: object) -> object:
        if active:
            return types.SimpleNamespace(restore=lambda: None)
        active.append(patch(everything))

        def restore() -> None:
            active.pop().restore()

        return types.SimpleNamespace(restore=restore)

    interpreter._patch_lang = patch_once


@pytest.fixture(autouse=True)
def kernels():
    """CPU tensors go through the kernels, too, and nothing goes anywhere else without the test's knowing."""
    from poolkit.torch import triton

    forced = triton.Forced() if INTERPRETED else contextlib.nullcontext()
    with forced, np.errstate(all="ignore"):  # the interpreter computes in NumPy
        yield
