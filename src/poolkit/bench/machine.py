"""All that a reader needs to know of the machine to judge the numbers."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.bench.clock import alternate
from poolkit.show.about import machine

if TYPE_CHECKING:
    from poolkit.bench.measure import Settings

PACKAGES = ("numpy", "torch", "onnxruntime", "openvino", "jax")
BUSY = 0.5
"""Load beyond the cores that still counts as idle."""
_JOINED = 2048  # float32 cells: three arrays of them lie in any level-1 cache
_L2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
_USUAL_L2 = 2**20


def circumstances(settings: Settings, *, recycled: bool) -> dict[str, Any]:
    """Processor, versions and settings, as plain data."""
    about = machine()
    versions: dict[str, str] = {"poolkit": about.version}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": about.processor,
        "system": f"{platform.system()} {platform.machine()}",
        "python": about.python,
        "versions": versions,
        "isa": about.isa,
        "l2_bytes": l2_bytes(),
        "joins_per_ns": joins_per_ns(),
        "threads": settings.threads,
        "rounds": settings.rounds,
        "dtype": settings.dtype,
        "backward": settings.backward,
        "recycled_memory": recycled,
        "load": load(),
    }


def load() -> float | None:
    """Processes that want to run, averaged over a minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy(threads: int) -> str | None:
    """A warning where others use the machine."""
    now, cores = load(), os.cpu_count() or 1
    if now is None or now + threads <= cores + BUSY:
        return None
    return f"the load is {now:.1f} on {cores} cores; times will be noisy"


def l2_bytes() -> int:
    """Size of one core's level-2 cache, 1 MiB where the system does not tell."""
    if not _L2.exists():
        return _USUAL_L2
    text = _L2.read_text(encoding="ascii").strip()
    units = {"K": 2**10, "M": 2**20}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text)


def joins_per_ns() -> float:
    """Float32 maxima of two cells a nanosecond, by np.maximum on arrays that lie in the level-1 cache.

    The rate against which the page on performance predicts how long the joins of a window take.
    """
    a, b = np.random.default_rng(0).standard_normal((2, _JOINED), dtype=np.float32)
    c = np.empty_like(a)

    def run() -> None:
        for _ in range(64):
            np.maximum(a, b, out=c)

    ms = alternate({"join": run}, rounds=9, seconds=0.2)["join"]
    return 64 * _JOINED / (ms * 1e6)
