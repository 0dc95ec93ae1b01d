"""Runs the contestants of one task: equality first, then alternating rounds against the copy floor."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from poolkit.bench import with_torch
from poolkit.bench.clock import alternate
from poolkit.bench.contestants import PEERS, installed
from poolkit.bench.task import LOOSE, TOLERANCES, Task, Unavailable, to_float32

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from poolkit.bench.rows import Row
    from poolkit.bench.task import Run


SLOW = 2
"""A contestant whose call takes this many times the whole row's seconds is called once: its time is that one sample."""
SHORTEST_BUDGET = 0.2


class DiffersError(Exception):
    """poolkit's values are not torch's: no time is reported for a wrong answer."""


@dataclass(frozen=True)
class Settings:
    """How long, on what and with how many threads to measure."""

    threads: int = 1
    rounds: int = 9
    seconds: float = 2.0  # of measuring, per row
    peers: tuple[str, ...] = ()
    dtype: str = "float32"
    backward: bool = False

    @property
    def direction(self) -> str:
        """For titles."""
        return "forward and backward" if self.backward else "forward"


@dataclass
class Result:
    """What one row gave: milliseconds per contestant, the copy floor, and why others are absent."""

    row: Row
    floor_ms: float
    ms: dict[str, float]
    absent: dict[str, str] = field(default_factory=dict[str, str])

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


def measure(row: Row, settings: Settings) -> Result:
    """Check and time one row.

    Raises:
        DiffersError: poolkit's values are not torch's.
        Unavailable: the input cannot be made in this dtype.
    """
    task = Task(row, settings.dtype, settings.backward)
    with _without_autograd(task):
        runs, slow, absent = _contestants(task, settings)
        x = task.x
        # Written once before: a first copy that faults its pages in would pass for a slow contestant.
        target = x.copy()
        copy: dict[str, Run] = {"copy": lambda: np.copyto(target, x)}
        times = alternate(copy | runs, rounds=settings.rounds, seconds=settings.seconds) | slow
    bytes_per_ms = 2 * x.nbytes / times.pop("copy")
    # In the order in which they were asked for, whoever was slow.
    times = {name: times[name] for name in settings.peers if name in times}
    return Result(row, _floor_bytes(task) / bytes_per_ms, times, absent)


def agree(got: Any, want: Any, dtype: str, *, exactly: bool) -> bool:
    """Whether both gave the same values, and indices where both gave some.

    Exactly, or as near as two orders of summing in this dtype come.
    """
    pairs = list(zip(_parts(got), _parts(want), strict=False))
    if any(mine.shape != theirs.shape for mine, theirs in pairs):
        return False
    if exactly:
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)
    rtol, atol = TOLERANCES[dtype]
    return all(np.allclose(mine, theirs, rtol=rtol, atol=atol) for mine, theirs in pairs)


def resembles(got: Any, want: Any) -> bool:
    """Whether two gradients differ by no more than sums in half precision do: the same operation, rounded elsewhere."""
    mine, theirs = _parts(got)[0], _parts(want)[0]
    if mine.shape != theirs.shape:
        return False
    error, size = (float(np.sqrt(np.mean(np.square(array)))) for array in (mine - theirs, theirs))
    return error <= LOOSE * size


def _parts(result: Any) -> Sequence[NDArray[Any]]:
    """The arrays of a contestant: its values, and indices if it gave some."""
    if isinstance(result, tuple | list):
        return [array for part in result for array in _parts(part)]  # pyright: ignore[reportUnknownVariableType]
    return [to_float32(result)]


def _answer(name: str, result: Any) -> Any:
    """What a contestant gave, channels first."""
    if not PEERS[name].numpy_last:
        return result
    if isinstance(result, tuple):  # with indices
        return tuple(np.moveaxis(part, -1, 1) for part in cast("tuple[Any, ...]", result))
    return np.moveaxis(result, -1, 1)


def _contestants(task: Task, settings: Settings) -> tuple[dict[str, Run], dict[str, float], dict[str, str]]:
    """The functions that gave the right values, milliseconds of those too slow for rounds, why others are absent."""
    # Gradients of overlapping maxima are sums too.
    exactly = "max" in task.row.kind and not task.backward
    source, want = _expected(task, settings)
    runs: dict[str, Run] = {}
    slow: dict[str, float] = {}
    absent: dict[str, str] = {}
    for name in settings.peers:
        try:
            run = PEERS[name].make(task, settings.threads)
        except Unavailable as reason:
            absent[name] = str(reason)
            continue
        begin = perf_counter()
        got = run()
        taken = perf_counter() - begin
        got = _answer(name, got)
        right = agree(got, want, task.dtype, exactly=exactly)
        if not right and task.sums_halves and not name.startswith("poolkit"):
            right = resembles(got, want)
        if right:
            if taken > SLOW * max(settings.seconds, SHORTEST_BUDGET):
                slow[name] = taken * 1e3
            else:
                runs[name] = run
        elif name.startswith("poolkit"):
            raise DiffersError(f"{task.row.name}: {name} and {source} disagree; no time is reported before they agree")
        else:
            absent[name] = f"its values differ from {source}'s"
    return runs, slow, absent


def _expected(task: Task, settings: Settings) -> tuple[str, Any]:
    """The values to agree with: torch's, or poolkit's own where torch is not installed or has no such layer."""
    if installed("torch"):
        try:
            if task.sums_halves:
                return "torch in float32", with_torch.gradient_in_float32(task)
            return "torch", PEERS["torch"].make(task, settings.threads)()
        except Unavailable:
            pass
    return "poolkit", PEERS["poolkit"].make(task, settings.threads)()


def _floor_bytes(task: Task) -> int:
    """The bytes of the task's floor, from the sizes of its output."""
    y = _parts(PEERS["poolkit"].make(Task(task.row, task.dtype), 1)())
    outputs = y[0].size
    # Indices, where they are asked for, are written as int64.
    bytes_out = outputs * task.x.itemsize + sum(8 * part.size for part in y[1:])
    return task.floor_bytes(outputs, bytes_out)


@contextmanager
def _without_autograd(task: Task) -> Generator[None]:
    """torch in inference mode for forward passes, so that it keeps nothing for a backward pass."""
    if task.backward or find_spec("torch") is None:
        yield
        return
    import torch

    with torch.inference_mode():
        yield
