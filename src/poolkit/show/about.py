"""What this installation is: version, instruction set, threads, front ends."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import poolkit

FRONT_ENDS = ("numpy", "torch", "jax", "keras", "onnxruntime")


@dataclass(frozen=True)
class Machine:
    """Found without importing any framework."""

    version: str
    isa: str
    isas: tuple[str, ...]
    threads: int
    processor: str
    cores: int
    python: str
    present: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """For `poolkit info --json`."""
        return asdict(self) | {"present": dict(self.present)}


def machine() -> Machine:
    """Look at this machine and installation."""
    from poolkit import _core

    found = {name: _version(name) for name in FRONT_ENDS}
    return Machine(
        version=poolkit.__version__,
        isa=_core.isa(),
        isas=tuple(_core.available_isas()),
        threads=poolkit.get_num_threads(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        python=platform.python_version(),
        present=tuple((name, version) for name, version in found.items() if version),
        absent=tuple(name for name, version in found.items() if not version),
    )


def _version(package: str) -> str | None:
    if util.find_spec(package) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
