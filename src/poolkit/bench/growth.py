"""How the time grows with the kernel's side at stride 1: it should hardly do so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import poolkit as pk
from poolkit.bench.clock import alternate
from poolkit.bench.measure import DiffersError, Settings

if TYPE_CHECKING:
    from poolkit.bench.task import Run

KERNELS = (3, 5, 7, 9, 15, 31, 63)
SHAPE = (2, 16, 256, 256)
RTOL, ATOL = 2e-5, 2e-5
"""torch's two passes round between them, and an exponential differs in its last place."""

REDUCERS: dict[str, pk.Reducer] = {
    "max": pk.Max(),
    "avg": pk.Mean(),
    "sum": pk.Sum(),
    "soft": pk.Soft(),
    "logsumexp": pk.LogSumExp(),
}


def growth(settings: Settings, kinds: tuple[str, ...] = tuple(REDUCERS)) -> dict[str, dict[int, float]]:
    """Milliseconds of poolkit for each kernel side, by reducer.

    Raises:
        DiffersError: poolkit's values are not those of torch's two passes.
    """
    x = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    tables: dict[str, dict[int, float]] = {}
    for kind in kinds:
        runs: dict[str, Run] = {}
        for side in KERNELS:
            run = partial(pk.pool, x, pk.Sliding(side, stride=1, padding=side // 2), REDUCERS[kind])
            _check(kind, side, x, run())
            runs[str(side)] = run
        times = alternate(runs, rounds=settings.rounds, seconds=settings.seconds)
        tables[kind] = {int(side): ms for side, ms in times.items()}
    return tables


def _check(kind: str, side: int, x: Any, got: Any) -> None:
    try:
        import torch
    except ModuleNotFoundError:
        return
    with torch.inference_mode():
        want = _by_axes(torch.from_numpy(x), side, kind).numpy()
    rtol, atol = (0.0, 0.0) if kind == "max" else (RTOL, ATOL * (side if kind == "sum" else 1))
    if not np.allclose(got, want, rtol=rtol, atol=atol):
        raise DiffersError(f"{kind} {side}x{side}/1: poolkit and torch disagree")


def _by_axes(x: Any, side: int, kind: str) -> Any:
    """torch's pooling over a square window as one pass for each axis: the same values in less time."""
    import torch.nn.functional as F

    half = side // 2
    windows = ((side, 1), 1, (half, 0)), ((1, side), 1, (0, half))
    if kind == "max":
        return F.max_pool2d(F.max_pool2d(x, *windows[0]), *windows[1])

    def mean(t: Any) -> Any:
        return F.avg_pool2d(F.avg_pool2d(t, *windows[0], count_include_pad=False), *windows[1], count_include_pad=False)

    match kind:
        case "avg":
            return F.avg_pool2d(F.avg_pool2d(x, *windows[0]), *windows[1])
        case "sum":
            return F.avg_pool2d(F.avg_pool2d(x, *windows[0]), *windows[1]) * side**2
        case "soft":
            return mean(x * x.exp()) / mean(x.exp())
        case _:
            return mean(x.exp()).log()
