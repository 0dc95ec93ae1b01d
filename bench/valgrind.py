"""Runs a Python file under one of valgrind's tools, on poolkit's AVX2 kernels and one thread.

valgrind 3.19 knows no AVX-512, and what it emulates is the same on every machine: its counts can be kept and compared.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import poolkit


class MissingError(Exception):
    """valgrind is not installed, or cannot run here."""


def run(tool: str, options: list[str], program: Path, *arguments: str) -> None:
    """Run ``program`` to its end.

    Raises:
        MissingError: valgrind is not installed, cannot run poolkit's AVX2 kernels, or the program failed under it.
    """
    if shutil.which("valgrind") is None:
        raise MissingError("valgrind is not installed; on Debian: apt install valgrind")
    paths = [str(Path(poolkit.__file__).parents[1]), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    # The same hash seed, so that dictionaries do not change what is counted; and no threads that NumPy might start.
    fixed = {"PYTHONHASHSEED": "0", "POOLKIT_ISA": "avx2", "POOLKIT_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | fixed | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = ["valgrind", "-q", f"--tool={tool}", *options, sys.executable, str(program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise MissingError(f"valgrind could not run {program.name}: {' / '.join(lines)}")
