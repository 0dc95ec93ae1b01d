"""Compiles what a run needs in processes beside each other; the run finds it in Triton's and Inductor's caches.

``python -m bench.gpu.ahead SHARE OF`` is one of the processes.
"""

import os
import subprocess
import sys
from time import monotonic

import torch

from bench.gpu.works import Work, compiled, made, step, works

SECONDS = 120.0
MOST_PROCESSES = 12  # each has a context on the GPU and some GiB
ALONE = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # no further processes of Inductor's own


def compile_all(seconds: float = SECONDS) -> str:
    """All works; says in a few words how that went. What is not done by then, the run compiles itself."""
    count = max(1, min(MOST_PROCESSES, (os.cpu_count() or 2) - 2))
    begin = monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.gpu.ahead", str(share), str(count)],
            env={**os.environ, **ALONE},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for share in range(count)
    ]
    done = 0
    for process in processes:
        try:
            done += process.wait(max(0.0, begin + seconds - monotonic())) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return f"{round(monotonic() - begin)} s, {done} of {count} processes without a failure"


def compile_share(mine: list[Work], device: torch.device) -> int:
    """Run each work once; how many failed. The run itself will say how and why."""
    failed = 0
    for work in mine:
        try:
            x = made(work, device, 0)
            step(work.mine, x, train=work.train)()
            if work.compiled and work.peer is not None:
                step(compiled(work.peer), x, train=work.train)()
        except Exception:  # noqa: BLE001  a compiler's errors have no class in common
            failed += 1
        if device.type != "cpu":
            torch.cuda.empty_cache()
    return failed


if __name__ == "__main__":
    share, of = int(sys.argv[1]), int(sys.argv[2])
    gpu = torch.device("cuda")
    list_, _ = works(gpu, dry=False)
    sys.exit(1 if compile_share(list_[share::of], gpu) else 0)
