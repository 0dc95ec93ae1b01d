"""Two processes over gloo: DistributedDataParallel, fully_shard, and DTensors with sharded batches and channels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import distributed_steps
import pytest

import poolkit as pk

SECONDS = 240


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What both processes printed, on either stream; they are ended when their time is over."""
    store = tmp_path_factory.mktemp("store") / "file"
    paths = os.pathsep.join([str(Path(pk.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            [sys.executable, distributed_steps.__file__, str(rank), str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )
        for rank in range(distributed_steps.WORLD)
    ]
    try:
        return [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("step", [step.__name__ for step in distributed_steps.STEPS])
def test_step(step: str, answers: list[tuple[str, str]]) -> None:
    for printed, errors in answers:
        assert f"done {step}\n" in printed, errors[-3000:]
