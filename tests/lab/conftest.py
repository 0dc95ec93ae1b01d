"""These tests need what the extra ``lab`` brings, and are left out where it is not installed."""

import importlib.util
import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import poolkit

_NEEDS = ("torch", "pydantic", "scipy", "joblib", "pyarrow", "jinja2", "matplotlib", "PIL", "tensorboard", "sklearn")
collect_ignore_glob = [] if all(importlib.util.find_spec(name) for name in _NEEDS) else ["test_*.py"]

ROOT = Path(__file__).parents[2]


def tiny_cifar(folder):
    """A CIFAR-10 of 20 + 10 images in the official python format, as Python 2 would have pickled it."""
    rng = np.random.default_rng(0)
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:

        def add(name, thing):
            data = pickle.dumps(thing, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for number in range(1, 7):
            count = 10 if number == 6 else 4
            pixels = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
            labels = [int(label) for label in (np.arange(count) + number) % 10]
            add("test_batch" if number == 6 else f"data_batch_{number}", {b"data": pixels, b"labels": labels})
        names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
        add("batches.meta", {b"label_names": [name.encode() for name in names]})
    return path


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on several threads, and tests run side by side."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory):
    return tiny_cifar(tmp_path_factory.mktemp("cifar"))


@pytest.fixture(scope="session")
def cifar_archive(tiny_archive):
    """Real images where POOLKIT_CIFAR10 names them, or where they lie beside the checkout; the tiny set otherwise."""
    named = os.environ.get("POOLKIT_CIFAR10")
    beside = ROOT.parent / "shared" / "data" / "cifar-10-python-subset.tar.gz"
    return Path(named) if named else beside if beside.is_file() else tiny_archive


@pytest.fixture(scope="session")
def python():
    """Runs code, or the command line, in a process of its own."""
    source = str(Path(poolkit.__file__).parents[1])

    def start(*arguments, cwd=None, code="from poolkit.cli import main; main()", **environment):
        paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        settings = {"PYTHONPATH": paths, "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", cwd=cwd,
            env=os.environ | settings | environment,
        )  # fmt: skip

    def run(*arguments, seconds=240, **settings):
        process = start(*arguments, **settings)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    run.start = start
    return run
