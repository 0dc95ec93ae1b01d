"""The Triton kernels without a GPU: their tests in Triton's interpreter, and compiled for GPUs that are not here.

``tests/torch/gpu`` holds the tests. The interpreter is chosen when Triton is imported, so they run in processes of
their own. On a machine with a GPU ``pytest -m gpu`` runs all of them there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import poolkit

HERE = Path(__file__).parent
FILES = sorted(path.name for path in (HERE / "gpu").glob("test_*.py"))


def environment(**more: str) -> dict[str, str]:
    paths = (Path(poolkit.__file__).parent.parent, HERE.parent, HERE / "gpu", HERE.parent.parent)
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


@pytest.mark.parametrize(("target", "every"), [("sm_90", 30), ("gfx942", 120)])
def test_compiled_for_a_gpu_that_is_not_here(target: str, every: int, tmp_path) -> None:
    """To machine code, without atomic additions; with 1 in place of `every` it takes some minutes."""
    done = subprocess.run(
        [sys.executable, str(HERE / "gpu" / "compiling.py"), target, str(every)],
        env=environment(TRITON_CACHE_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f" kernels for {target}\n")
    assert int(done.stdout.split()[-4]) >= 2


def test_triton_is_imported_by_nobody_on_a_cpu() -> None:
    """A CPU user neither needs nor loads it, and learns why where the interpreter is asked for without being on."""
    code = """
import sys, torch, poolkit as pk
x = torch.rand(1, 1, 4, 4).requires_grad_()
pk.max_pool2d(x, 2).sum().backward()
from poolkit.torch import triton
print([name for name in sys.modules if name.startswith("poolkit.torch.triton.")])
try:
    triton.Forced()
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(TRITON_INTERPRET="0"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "[]",
        "poolkit: Triton's interpreter cannot run: TRITON_INTERPRET=1 was not set when Python started",
    ], done.stderr


def test_the_keys_of_gpus_have_the_kernels() -> None:
    import torch

    from poolkit.torch import ops, triton

    assert ops.binding
    for name in triton.OPERATORS:
        for key in ("CUDA", "XPU"):
            assert torch._C._dispatch_has_kernel_for_dispatch_key(f"poolkit::{name}", key), (name, key)


def test_every_reducer_has_a_kernel_or_is_known_to_have_none() -> None:
    import torch
    from support import DRAWN, REDUCERS

    import poolkit as pk
    from poolkit.torch import ops, triton

    without = set()
    for reducer in [*REDUCERS, *DRAWN, pk.Filter((1.0,) * 9)]:
        text = ops.encode(reducer.code, reducer.params, pk.Sliding(3).plan((9, 9)).spec)
        for operator in ("pool", "pool_backward"):
            served = triton.path(operator, text, torch.float32)
            assert served.why
            if served.way != "triton":
                without.add(type(reducer))
    assert without == {pk.Ada}
    assert {*triton.FOLDED, *triton.SORTED, *without} == set(pk.reducer.REDUCERS)


def test_marked_tests_need_a_gpu() -> None:
    """They stop with an error where there is none; nothing is skipped."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(HERE / "gpu"), "-m", "gpu", "-q", "-p", "no:cacheprovider"],
        env=environment(TRITON_INTERPRET="0"),
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4
    assert "torch finds no GPU here" in done.stderr


def test_the_examples_of_the_page_run() -> None:
    page = (HERE.parent.parent / "docs" / "gpu.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert found
    for block in found:
        exec(block, {})


# A machine with a GPU may have nothing else.
BLOCKED = """
import runpy, sys
others = "rich typer jinja2 matplotlib PIL sklearn scipy pydantic jax keras onnx onnxruntime openvino ml_dtypes"
sys.modules.update(dict.fromkeys(others.split()))
runpy.run_module("bench.gpu", run_name="__main__", alter_sys=True)
"""


def test_the_bench_runs_dry_and_asks_for_a_gpu(tmp_path) -> None:
    def bench(*command: str) -> subprocess.CompletedProcess[str]:
        root = HERE.parent.parent
        return subprocess.run(
            [sys.executable, *command, "--out", str(tmp_path)],
            env=environment(),
            cwd=root,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    dry = bench("-m", "bench.gpu", "--dry", "--seed", "1")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    document = json.loads((tmp_path / "gpu.json").read_text())
    rows = document["rows"]
    assert {row["kind"] for row in rows} == {"host", "fold", "unfold", "stride", "other", "network"}
    assert sum(row["kind"] == "network" for row in rows) >= 4
    assert not document["wrong"]
    assert not document["left"]
    assert not document["beyond"]
    assert all(row["error"] <= 2e-5 for row in rows if row["kind"] != "host")
    (kept,) = [row["kept"] for row in rows if row["train"] and row["work"].startswith("max 3x3/2")]
    assert kept == {"mine": 1, "aten": 8}
    assert (tmp_path / "gpu.md").read_text().startswith("| call |")
    without = bench("-c", BLOCKED)
    assert without.returncode == 2
    assert "torch finds a GPU" in without.stderr
