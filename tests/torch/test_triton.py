"""The Triton kernels without a GPU: their tests in Triton's interpreter, and compiled for GPUs that are not here.

``tests/torch/gpu`` holds the tests. The interpreter is chosen when Triton is imported, so they run in processes of
their own. On a machine with a GPU ``pytest -m gpu`` runs all of them there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import poolkit

HERE = Path(__file__).parent
FILES = sorted(path.name for path in (HERE / "gpu").glob("test_*.py"))


def environment(**more: str) -> dict[str, str]:
    paths = (Path(poolkit.__file__).parent.parent, HERE.parent, HERE / "gpu")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "CUDA_VISIBLE_DEVICES": "", **more}


@pytest.mark.parametrize("file", FILES)
def test_in_the_interpreter(file: str) -> None:
    command = [sys.executable, "-m", "pytest", str(HERE / "gpu" / file), "-q", "-p", "no:cacheprovider", "-x"]
    done = subprocess.run(
        command,
        env=environment(TRITON_INTERPRET="1", POOLKIT_TEST_TRITON="1"),
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    print(done.stdout[-12_000:], done.stderr[-4_000:])
    assert done.returncode == 0, f"{file}: see the output above"
    assert " passed" in done.stdout
