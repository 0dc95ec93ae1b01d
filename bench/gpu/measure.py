"""One work after the other: checked, timed beside its peers, made into a row."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

import poolkit as pk
from bench.gpu.check import check
from bench.gpu.clock import Clock
from bench.gpu.judge import Row
from bench.gpu.works import Run, Work, compiled, made, step, tensors
from bench.unfold import kept_bytes
from poolkit.torch.functional import pool

ROUNDS = {"network": 9}
MOST_ROUNDS = 15
SECONDS = 0.3  # of a call's samples
TINY = (1, 1, 4, 4)


def measure(work: Work, clock: Clock, device: torch.device, seed: int, *, compile_too: bool) -> tuple[Row, list[str]]:
    """One row, and why a peer is not in it.

    Raises:
        WrongError: its values are wrong.
    """
    row = Row(work.name, work.kind, work.train, work.last)
    x = made(work, device, seed)
    row.error, results = check(work, x)
    moved = work.moved(x, results)
    del results
    x = made(work, device, seed + 1)
    others: dict[str, Run] = {}
    if work.peer is not None:
        others["aten"] = work.peer
    if work.unfold is not None:
        others["unfold"] = work.unfold
    calls = {"mine": step(work.mine, x, train=work.train)}  # whose kernels the check has compiled
    without: list[str] = []
    if compile_too and work.compiled and work.peer is not None:
        others["inductor"] = work.peer
    for name, run in others.items():
        try:
            call = step(compiled(run) if name == "inductor" else run, x, train=work.train)
            call()
        except Exception as error:  # noqa: BLE001  a compiler's errors have no class in common
            without.append(f"{row.name}, {name}: {brief(error)}")
        else:
            calls[name] = call
    if work.kind == "unfold":
        peaks = {name: clock.peak(call) for name, call in calls.items()}
        row.memory = {name: size for name, size in peaks.items() if size is not None}
    if work.train:
        row.kept = {
            name: kept_bytes(run, x.detach().requires_grad_())[0]
            for name, run in {"mine": work.mine, "aten": work.peer}.items()
            if run is not None
        }
    ms, rate = clock.medians(calls, ROUNDS.get(work.kind, MOST_ROUNDS), SECONDS)
    row.late = sorted(clock.late)
    row.ms = ms.pop("mine")
    row.share = moved / row.ms / rate
    row.peers = {name: other / row.ms for name, other in ms.items()}
    return row, without


def host_rows(clock: Clock, device: torch.device) -> list[Row]:
    """What a call costs the host, on a tensor so small that nothing else does."""
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        "mine": lambda x: tensors(pool(x, pk.Sliding(2), pk.Max()))[0],
        "aten": lambda x: functional.max_pool2d(x, 2),
    }
    rows: list[Row] = []
    for train in (False, True):
        x = torch.randn(TINY, device=device)
        ms = {name: clock.host_ms(step(run, x, train=train)) for name, run in runs.items()}
        rows.append(Row("host's time of max 2x2/2", "host", train, ms=ms["mine"]))
        rows[-1].peers["aten"] = ms["aten"] / ms["mine"]
    return rows


def brief(error: BaseException) -> str:
    """An error in one line: its first, and where there are more the last, which is where compilers say it."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' ... '.join(line[:200] for line in dict.fromkeys((lines[0], lines[-1])))}"
