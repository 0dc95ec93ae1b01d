"""The tests in `each`, once for every back end of Keras: it is chosen when Keras is imported, so once a process."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import poolkit

HERE = Path(__file__).parent
MODULES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


@pytest.mark.parametrize("back_end", MODULES)
def test_back_end(back_end):
    if importlib.util.find_spec(MODULES[back_end]) is None:
        pytest.skip(f"{back_end} is not installed")
    environment = {
        **os.environ,
        "KERAS_BACKEND": back_end,
        "POOLKIT_EACH_BACK_END": back_end,
        "PYTHONPATH": str(Path(poolkit.__file__).parent.parent),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "pytest", str(HERE / "each"), "-q", "-p", "no:cacheprovider", "--durations=5"]
    done = subprocess.run(
        command, env=environment, cwd=HERE.parent.parent, capture_output=True, text=True, timeout=900, check=False
    )
    print(done.stdout[-12_000:], done.stderr[-4_000:])
    assert done.returncode == 0, f"{back_end}: see the output above"
