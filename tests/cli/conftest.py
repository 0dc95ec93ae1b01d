import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import poolkit


@pytest.fixture(scope="session")
def poolkit_process():
    """Runs the real command in a process of its own and gives the finished process."""
    source = str(Path(poolkit.__file__).parents[1])

    def run(*arguments, cwd=None, code="from poolkit.cli import main; main()", **environment):
        paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        env = os.environ | {"PYTHONPATH": paths, "COLUMNS": "120", "NO_COLOR": "1"} | environment
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", timeout=120, cwd=cwd, env=env, check=False
        )

    return run


@pytest.fixture(scope="session")
def scene():
    """A small picture with edges, a gradient and noise: uint8 [45, 64, 3]."""
    rows, columns = np.mgrid[0:45, 0:64]
    noise = np.random.default_rng(0).integers(0, 40, (45, 64))
    red = np.where((columns - 30) ** 2 + (rows - 20) ** 2 < 150, 210, 30) + noise
    return np.stack([red, rows * 5 + noise // 2, columns * 3], axis=2).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def scene_file(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    Image.fromarray(scene).save(path)
    return path
