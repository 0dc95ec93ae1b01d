"""The same pooling in torch, where torch has it, and a fair race between the two."""

from __future__ import annotations

import math
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import poolkit
from poolkit.reducer import Lp, Max, Mean, Sum
from poolkit.window import Adaptive, Fractional, Global, Sliding

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from poolkit.reducer import Reducer
    from poolkit.window import Window

ROUNDS = 7
_SLICE_S = 0.002


@dataclass(frozen=True)
class Race:
    """Median milliseconds of one call on one thread, poolkit and torch timed in turns."""

    poolkit_ms: float
    torch_ms: float | None
    torch_name: str | None

    @property
    def ratio(self) -> float | None:
        """How many times longer torch takes; None where it has no such pooling."""
        return self.torch_ms / self.poolkit_ms if self.torch_ms is not None else None


class PeerMismatchError(RuntimeError):
    """poolkit and torch disagree: there is nothing to time."""


def load_torch() -> Any | None:
    """torch, imported now; None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    return torch


def torch_call(torch: Any, window: Window, reducer: Reducer) -> tuple[str, Callable[[Any], Any]] | None:
    """torch's own function for this 2-D pooling, with its name; None where torch has none."""
    functional = torch.nn.functional
    match window, reducer:
        case Sliding(), Max():
            sides = {"stride": window.stride, "dilation": window.dilation}
            return "max_pool2d", partial(functional.max_pool2d, kernel_size=window.kernel_size, **sides)
        case Sliding(dilation=1), Mean(divisor=None):
            return "avg_pool2d", partial(functional.avg_pool2d, kernel_size=window.kernel_size, stride=window.stride)
        case Sliding(dilation=1), Sum():
            sides = {"kernel_size": window.kernel_size, "stride": window.stride, "divisor_override": 1}
            return "avg_pool2d(divisor_override=1)", partial(functional.avg_pool2d, **sides)
        case Sliding(dilation=1), Lp():
            sides = {"norm_type": float(reducer.p), "kernel_size": window.kernel_size, "stride": window.stride}
            return "lp_pool2d", partial(functional.lp_pool2d, **sides)
        case (Adaptive(), Max()) | (Global(), Max()):
            size = 1 if isinstance(window, Global) else window.output_size
            return "adaptive_max_pool2d", partial(functional.adaptive_max_pool2d, output_size=size)
        case (Adaptive(), Mean(divisor=None)) | (Global(), Mean(divisor=None)):
            size = 1 if isinstance(window, Global) else window.output_size
            return "adaptive_avg_pool2d", partial(functional.adaptive_avg_pool2d, output_size=size)
        case Fractional(), Max():
            given = {
                "kernel_size": window.kernel_size,
                "output_ratio": (window.output_ratio,) * 2,
                "_random_samples": torch.from_numpy(np.array(window.random_samples, dtype=np.float32)),
            }
            return "fractional_max_pool2d", partial(functional.fractional_max_pool2d, **given)
        case _:
            return None


@contextmanager
def one_thread(torch: Any | None) -> Generator[None]:
    """Both libraries on one thread, their own setting afterwards."""
    mine, theirs = poolkit.get_num_threads(), torch.get_num_threads() if torch is not None else 0
    poolkit.set_num_threads(1)
    if torch is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        poolkit.set_num_threads(mine)
        if torch is not None:
            torch.set_num_threads(theirs)


def race(torch: Any | None, x: NDArray[np.float32], window: Window, reducer: Reducer) -> Race:
    """Check that both give the same values on `x` [1, channels, height, width], then time them in turns.

    Raises `PeerMismatchError` when the values differ by more than float32 rounding.
    """
    mine = partial(poolkit.pool, x, window, reducer)
    peer = torch_call(torch, window, reducer) if torch is not None else None
    if torch is None or peer is None:
        (ms,) = _medians(mine)
        return Race(ms, None, None)
    name, call = peer
    tensor = torch.from_numpy(x)
    theirs = partial(call, tensor)
    # Selections may not differ at all. torch adds a window's values one after another in float32, so that its error
    # may grow by half a unit in the last place for each of them.
    taps = math.prod(int(axis.count.max()) for axis in window.plan(x.shape[2:]).axes)
    tolerance = 0.0 if isinstance(reducer, Max) else 1e-5 + taps * float(np.finfo(np.float32).eps) / 2
    try:
        np.testing.assert_allclose(mine(), theirs().numpy(), rtol=tolerance, atol=tolerance)
    except AssertionError as error:
        raise PeerMismatchError(f"poolkit and torch.{name} differ for {window} {reducer}: {error}") from None
    mine_ms, theirs_ms = _medians(mine, theirs)
    return Race(mine_ms, theirs_ms, name)


def _medians(*calls: Callable[[], object]) -> tuple[float, ...]:
    """Median milliseconds a call over `ROUNDS` rounds in which the calls take turns."""
    repeats = [max(1, min(200, int(_SLICE_S / max(_seconds(call, 1), 1e-7)))) for call in calls]
    rounds = [[_seconds(call, n) / n for call, n in zip(calls, repeats, strict=True)] for _ in range(ROUNDS)]
    return tuple(statistics.median(column) * 1e3 for column in zip(*rounds, strict=True))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - begin
