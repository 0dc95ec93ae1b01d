"""Two threads against one: where a copy gains by them, and on inputs too small for it."""

import os
from functools import partial

import torch

import poolkit as pk
from bench.goals.effort import Effort
from bench.goals.forward import worst
from bench.goals.goal import Goal, at_least, none_of
from poolkit.bench.clock import alternate, geometric_mean, set_threads
from poolkit.bench.rows import HEADLINE, QUICK, TINY, Row
from poolkit.bench.selection import layers
from poolkit.bench.task import Task

BAR = 1.7
SLACK = 1.05
"""Medians of one and the same function differ by this much between two runs on an idle machine."""
SMALL = ((1, 16, 14, 14), (1, 64, 14, 14), (1, 64, 28, 28), (1, 8, 56, 56))


def small_rows() -> list[Row]:
    """Inputs of a few bytes to 200 KiB."""
    extra = [
        Row("small", "x".join(map(str, shape)), shape, kind, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for shape in SMALL
        for kind in ("max", "avg")
    ]
    return [row for row in layers() if row.group == TINY] + extra


def gains(row: Row, seconds: float) -> tuple[float, float]:
    """One thread's time over two threads', of poolkit and of torch's copy of the input."""
    x = Task(row).x
    source = torch.from_numpy(x)
    target = torch.empty_like(source)
    pool, copy = partial(pk.pool, x, row.window, row.reducer), partial(target.copy_, source)
    runs = {"pool 1": pool, "pool 2": pool, "copy 1": copy, "copy 2": copy}
    before = {name: partial(set_threads, int(name[-1])) for name in runs}
    ms = alternate(runs, rounds=9, seconds=seconds, before=before)
    return ms["pool 1"] / ms["pool 2"], ms["copy 1"] / ms["copy 2"]


def measured(effort: Effort) -> list[Goal]:
    """Needs two cores; on one the goals are not measured."""
    work = "max and mean, float32, NCHW: one thread / two threads"
    if (os.cpu_count() or 1) < 2:
        return [Goal(work, f"geometric mean >= {BAR:g}", None, None, {"cores": 1})]
    rows = [row for row in layers(cap=24) if (row.network, row.layer) in QUICK and row.group in HEADLINE]
    large: dict[str, float] = {}
    copies: dict[str, float] = {}
    slow: dict[str, float] = {}
    tiny = small_rows()
    try:
        for row in rows[:3] if effort.quick else rows:
            mine, copy = gains(row, effort.seconds)
            copies[row.name] = round(copy, 3)
            if copy >= BAR:
                large[row.name] = mine
        for row in tiny:
            mine, _ = gains(row, effort.seconds / 2)
            if mine < 1 / SLACK:
                slow[row.name] = round(mine, 3)
    finally:
        set_threads(1)
    scaling = f"{work}, where the copy gains {BAR:g}"
    detail = worst(large, largest=False) or {f"copy of {name}": gain for name, gain in copies.items()}
    return [
        at_least(scaling, "geometric mean", geometric_mean(large.values()), BAR, detail),
        none_of(f"{work}, inputs up to 200 KiB (within {SLACK:g})", "slower on none", slow, of=len(tiny)),
    ]
