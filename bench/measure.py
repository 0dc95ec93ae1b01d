"""Runs the contestants of one row: equality first, then alternating rounds against the copy floor."""

import ctypes
import gc
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch

import poolkit as pk

from .peers import PEERS, Run, Unavailable, outputs, torch_first
from .rows import Row

# A sample is long enough for the clock and for one call's overhead not to matter.
SHORTEST_SAMPLE_NS = 2_000_000
FEWEST_ROUNDS = 3
# float32 sums in another order: relative to the value, and absolute where a mean is near zero.
RTOL, ATOL = 1e-5, 2e-6


class DiffersError(Exception):
    """poolkit's values are not torch's: no time is reported for a wrong answer."""


@dataclass(frozen=True)
class Settings:
    """How long and with how many threads to measure."""

    threads: int = 1
    rounds: int = 9
    seconds: float = 2.0  # of measuring, per row
    peers: tuple[str, ...] = ()


@dataclass
class Result:
    """What one row gave: milliseconds per contestant, the copy floor, and why others are absent."""

    row: Row
    floor_ms: float
    ms: dict[str, float]
    absent: dict[str, str] = field(default_factory=dict)

    def over_floor(self, name: str = "poolkit") -> float | None:
        """A contestant's time in units of the copy floor."""
        return self.ms[name] / self.floor_ms if name in self.ms else None

    def ratio(self, peer: str, mine: str = "poolkit") -> float | None:
        """How many times longer ``peer`` takes than ``mine``."""
        return self.ms[peer] / self.ms[mine] if peer in self.ms and mine in self.ms else None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON."""
        row = asdict(self.row) | {"group": self.row.group, "window": self.row.describe()}
        return {"row": row, "floor_ms": self.floor_ms, "ms": self.ms, "absent": self.absent}


def recycle_memory() -> bool:
    """Let the C allocator keep what it has freed, as a running network's allocator does; say whether that worked.

    Otherwise every output above 32 MiB is fresh memory from the kernel, and the page faults, equal for every
    contestant, would be most of what is measured.
    """
    if not sys.platform.startswith("linux"):
        return False
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(m_mmap_max, 0)) and bool(libc.mallopt(m_trim_threshold, 2**31 - 1))


def set_threads(threads: int) -> None:
    """Set what is set per process; ONNX Runtime and OpenVINO take it per model."""
    torch.set_num_threads(threads)
    pk.set_num_threads(threads)


def sample_ns(run: Run, repeats: int) -> float:
    """Nanoseconds of one call, over ``repeats`` calls in a row."""
    begin = perf_counter_ns()
    for _ in range(repeats):
        run()
    return (perf_counter_ns() - begin) / repeats


def alternate(runs: dict[str, Run], settings: Settings) -> dict[str, float]:
    """Median milliseconds of each function, one sample of each per round.

    A function of which three calls would take the row's whole time is called twice only: nothing that slow needs
    more samples to be told from the others.
    """
    first = {name: sample_ns(run, 1) for name, run in runs.items()}
    repeats = {name: max(1, int(SHORTEST_SAMPLE_NS / max(ns, 1))) for name, ns in first.items()}
    samples = {name: [ns] if repeats[name] == 1 else [] for name, ns in first.items()}
    budget = settings.seconds * 1e9
    deadline = perf_counter_ns() + budget
    gc.disable()
    try:
        for done in range(settings.rounds):
            if done >= FEWEST_ROUNDS and perf_counter_ns() > deadline:
                break
            for name, run in runs.items():
                if done == 0 or first[name] * FEWEST_ROUNDS < budget:
                    samples[name].append(sample_ns(run, repeats[name]))
    finally:
        gc.enable()
    return {name: median(taken) / 1e6 for name, taken in samples.items()}


def _agree(got: list[np.ndarray], want: list[np.ndarray], *, exactly: bool) -> bool:
    """Whether all outputs that both sides have are equal, or as near as two orders of summing come."""
    pairs = list(zip(got, want, strict=False))
    if any(mine.shape != theirs.shape for mine, theirs in pairs):
        return False
    if exactly:
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)
    return all(np.allclose(mine, theirs, rtol=RTOL, atol=ATOL) for mine, theirs in pairs)


def _contestants(row: Row, x: np.ndarray, settings: Settings) -> tuple[dict[str, Run], dict[str, str], int]:
    """The functions that gave torch's values, why the others are absent, and the bytes of the output."""
    want = outputs(torch_first(row, x, settings.threads)(), channels_last=False)
    runs: dict[str, Run] = {}
    absent: dict[str, str] = {}
    for name in settings.peers:
        peer = PEERS[name]
        try:
            run = peer.make(row, x, settings.threads)
        except Unavailable as reason:
            absent[name] = str(reason)
            continue
        if _agree(outputs(run(), channels_last=peer.numpy_last), want, exactly="max" in row.kind):
            runs[name] = run
        elif name.startswith("poolkit"):
            raise DiffersError(f"{row.name}: {name} and torch disagree; no time is reported before they agree")
        else:
            absent[name] = "its values differ from torch's"
    return runs, absent, sum(array.nbytes for array in want)


def measure(row: Row, settings: Settings) -> Result:
    """Check and time one row.

    Raises:
        DiffersError: poolkit's values are not torch's.
    """
    x = np.random.default_rng(0).standard_normal(row.shape, dtype=np.float32)
    with torch.inference_mode():
        runs, absent, bytes_out = _contestants(row, x, settings)
        target = np.empty_like(x)
        times = alternate({"copy": lambda: np.copyto(target, x), **runs}, settings)
    bytes_per_ms = 2 * x.nbytes / times.pop("copy")
    return Result(row, (x.nbytes + bytes_out) / bytes_per_ms, times, absent)


GROWTH_KERNELS = (3, 5, 7, 9, 15, 31, 63)
GROWTH_SHAPE = (2, 16, 256, 256)


def _by_axes(x: torch.Tensor, side: int, kind: str) -> torch.Tensor:
    """torch's max or average over a square window as two passes: the same values in less time."""
    pool = getattr(torch.nn.functional, f"{kind}_pool2d")
    return pool(pool(x, (side, 1), 1, (side // 2, 0)), (1, side), 1, (0, side // 2))


def growth(settings: Settings) -> dict[str, dict[int, float]]:
    """Milliseconds of poolkit at stride 1 for each kernel side, by reducer: it should hardly grow.

    Raises:
        DiffersError: poolkit's values are not torch's.
    """
    x = np.random.default_rng(0).standard_normal(GROWTH_SHAPE, dtype=np.float32)
    tables: dict[str, dict[int, float]] = {}
    for kind, reducer in (("max", pk.Max()), ("avg", pk.Mean())):
        runs: dict[str, Run] = {}
        for side in GROWTH_KERNELS:
            run = partial(pk.pool, x, pk.Sliding(side, stride=1, padding=side // 2), reducer)
            if not _agree([run()], [_by_axes(torch.from_numpy(x), side, kind).numpy()], exactly=kind == "max"):
                raise DiffersError(f"{kind} {side}x{side}/1: poolkit and torch disagree")
            runs[str(side)] = run
        tables[kind] = {int(side): ms for side, ms in alternate(runs, settings).items()}
    return tables


def geometric_mean(numbers: Iterable[float | None]) -> float | None:
    """The geometric mean of the numbers that exist."""
    known = [number for number in numbers if number is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None
