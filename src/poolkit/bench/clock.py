"""How anything is timed: alternating rounds, medians, and memory that is recycled."""

from __future__ import annotations

import ctypes
import gc
import sys
from importlib.util import find_spec
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

import poolkit as pk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolkit.bench.task import Run

SHORTEST_SAMPLE_NS = 2_000_000
"""A sample is long enough for the clock and for one call's overhead not to matter."""
FEWEST_ROUNDS = 3


def recycle_memory() -> bool:
    """Let the C allocator keep what it has freed, as a running network's allocator does; say whether that worked.

    Otherwise every output above 32 MiB is fresh memory from the kernel, and the page faults, equal for every
    contestant, would be most of what is measured.
    """
    if not sys.platform.startswith("linux"):
        return False
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    return bool(libc.mallopt(m_mmap_max, 0)) and bool(libc.mallopt(m_trim_threshold, 2**31 - 1))


def set_threads(threads: int) -> None:
    """Set what is set per process; ONNX Runtime, OpenVINO and JAX take it when they are made."""
    pk.set_num_threads(threads)
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads)


def sample_ns(run: Run, repeats: int) -> float:
    """Nanoseconds of one call, over ``repeats`` calls in a row."""
    begin = perf_counter_ns()
    for _ in range(repeats):
        run()
    return (perf_counter_ns() - begin) / repeats


def alternate(
    runs: Mapping[str, Run], *, rounds: int, seconds: float, before: Mapping[str, Callable[[], object]] | None = None
) -> dict[str, float]:
    """Median milliseconds of each function, one sample of each per round.

    A function of which three calls would take the whole time is called twice only: nothing that slow needs more
    samples to be told from the others. ``before`` holds what is to be called ahead of each sample, untimed.
    """
    prepare = before or {}

    def taken(name: str, repeats: int) -> float:
        if name in prepare:
            prepare[name]()
        return sample_ns(runs[name], repeats)

    first = {name: taken(name, 1) for name in runs}
    if any(ns < SHORTEST_SAMPLE_NS for ns in first.values()):
        # The first call of all may have built what the later ones find: a plan, a table, a compiled function.
        first |= {name: taken(name, 1) for name, ns in first.items() if ns < SHORTEST_SAMPLE_NS}
    repeats = {name: max(1, int(SHORTEST_SAMPLE_NS / max(ns, 1))) for name, ns in first.items()}
    samples = {name: [ns] if repeats[name] == 1 else [] for name, ns in first.items()}
    budget = seconds * 1e9
    deadline = perf_counter_ns() + budget
    gc.disable()
    try:
        for done in range(rounds):
            if done >= FEWEST_ROUNDS and perf_counter_ns() > deadline:
                break
            for name in runs:
                if done == 0 or first[name] * FEWEST_ROUNDS < budget:
                    samples[name].append(taken(name, repeats[name]))
    finally:
        gc.enable()
    return {name: median(found) / 1e6 for name, found in samples.items()}


def geometric_mean(numbers: Iterable[float | None]) -> float | None:
    """The geometric mean of the numbers that exist.

    >>> geometric_mean([1.0, None, 4.0])
    2.0
    """
    known = [number for number in numbers if number is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None
