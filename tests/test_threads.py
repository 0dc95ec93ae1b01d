"""The thread pool of the NumPy front end: settings, callers from many threads, forks."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import in_process

import poolkit as pk


def test_set_and_get():
    for n in (1, 2, 7, np.int64(3)):
        pk.set_num_threads(n)
        assert pk.get_num_threads() == n
    for wrong in (0, -1):
        with pytest.raises(pk.PoolError, match="n >= 1"):
            pk.set_num_threads(wrong)
    for wrong in (True, 2.0, "2", None):
        with pytest.raises(pk.PoolTypeError):
            pk.set_num_threads(wrong)


@pytest.mark.parametrize(
    ("env", "threads"),
    [
        ({"POOLKIT_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3"),
        ({"POOLKIT_NUM_THREADS": "", "OMP_NUM_THREADS": "5,2"}, "5"),
        ({"POOLKIT_NUM_THREADS": "many", "OMP_NUM_THREADS": "0"}, None),
        ({"POOLKIT_NUM_THREADS": "99999999999999999999", "OMP_NUM_THREADS": ""}, "256"),
    ],
)
def test_environment(env, threads):
    got = in_process("import poolkit as pk; print(pk.get_num_threads())", env=env).strip()
    cpus = in_process("import os; print(len(os.sched_getaffinity(0)))").strip()
    assert got == (threads or cpus)


def test_instruction_set_from_the_environment():
    code = "from poolkit import _core; print(_core.isa())"
    for isa in pk.functional.pool.__globals__["arrays"]._core.available_isas():
        assert in_process(code, env={"POOLKIT_ISA": isa}).strip() == isa


def test_eight_callers_at_once():
    pk.set_num_threads(2)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((4, 8, 30, 31)).astype(np.float32) for _ in range(8)]
    wanted = [(pk.max_pool2d(x, 3, 2, 1), pk.avg_pool2d(x, 3, 1, 1)) for x in inputs]
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        for _ in range(30):
            np.testing.assert_array_equal(pk.max_pool2d(inputs[i], 3, 2, 1), wanted[i][0])
            np.testing.assert_array_equal(pk.avg_pool2d(inputs[i], 3, 1, 1), wanted[i][1])
            y, back = pk.pool_vjp(inputs[i], pk.Sliding(3, 2, 1), pk.Max())
            back(y)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_the_number_of_threads_may_change_while_others_pool():
    x = np.random.default_rng(0).standard_normal((4, 8, 30, 31)).astype(np.float32)
    wanted = pk.max_pool2d(x, 3)
    stop = threading.Event()
    wrong = []

    def work():
        while not stop.is_set():
            if not np.array_equal(pk.max_pool2d(x, 3), wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in (1, 2, 3, 4, 1, 5, 2) * 10:
        pk.set_num_threads(n)
        pk.max_pool2d(x, 3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


FORK = """
import os, sys, threading, numpy as np, poolkit as pk
pk.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((8, 16, 40, 40)).astype(np.float32)
wanted = pk.max_pool2d(x, 3, 2, 1)       # the pool runs from here on
busy = [threading.Thread(target=lambda: [pk.max_pool2d(x, 3, 2, 1) for _ in range(200)], daemon=True) for _ in range(2)]
if "busy" in sys.argv or BUSY:
    for t in busy: t.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        ok = all(np.array_equal(pk.max_pool2d(x, 3, 2, 1), wanted) for _ in range(3))
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if np.array_equal(pk.max_pool2d(x, 3, 2, 1), wanted) else 1)
        _, status = os.waitpid(grandchild, 0)
        os._exit(0 if ok and status == 0 else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert np.array_equal(pk.max_pool2d(x, 3, 2, 1), wanted)
print("done")
os._exit(0)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_fork_in_the_middle(busy):
    """Children have none of the pool's threads, and locks that no one will open: they must not wait for either."""
    code = f"import warnings; warnings.simplefilter('ignore'); BUSY = {busy}\n{FORK}"
    assert "done" in in_process(code.replace('print("done")', 'print("done", flush=True)'), seconds=60)


def _child(x):
    return float(pk.max_pool2d(x, 2).sum())


def test_multiprocessing_workers():
    x = np.ones((2, 3, 8, 8), np.float32)
    pk.set_num_threads(2)
    pk.max_pool2d(x, 2)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_child, [x, x]) == [96.0, 96.0]


def test_unknown_instruction_set_is_refused() -> None:
    code = "import poolkit"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "POOLKIT_ISA": "mmx"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode != 0
    assert "PoolError" in run.stderr
    assert "POOLKIT_ISA=mmx" in run.stderr
