"""Half precision and int8: against float32 on the same layer, and against torch in the same dtype."""

from functools import partial

import torch

import poolkit as pk
from bench.goals.effort import Effort
from bench.goals.forward import worst
from bench.goals.goal import Goal, at_least
from poolkit.bench.clock import alternate, geometric_mean
from poolkit.bench.measure import Settings, measure
from poolkit.bench.rows import HEADLINE, QUICK, Row
from poolkit.bench.selection import layers
from poolkit.bench.task import Task

CAP = 24
NARROW = ("bfloat16", "float16", "int8")


def chosen(effort: Effort) -> list[Row]:
    """The cross-section's maxima and means; of 2-D ones alone if quick."""
    rows = [row for row in layers(cap=4 if effort.quick else CAP) if row.group in HEADLINE]
    rows = [row for row in rows if (row.network, row.layer) in QUICK]
    return [row for row in rows if row.rank == 2][:4] if effort.quick else rows


def measured(effort: Effort) -> list[Goal]:
    """Both comparisons for each narrow dtype; where torch has no such layer in a dtype, its row is left out."""
    wide: dict[str, dict[str, float]] = {dtype: {} for dtype in NARROW}
    ratios: dict[str, dict[str, float]] = {dtype: {} for dtype in NARROW}
    for row in chosen(effort):
        with torch.inference_mode():
            runs = {
                dtype: partial(pk.pool, Task(row, dtype).x, row.window, row.reducer) for dtype in ("float32", *NARROW)
            }
            ms = alternate(runs, rounds=9, seconds=effort.seconds)
        for dtype in NARROW:
            wide[dtype][row.name] = ms["float32"] / ms[dtype]
            # Where torch has no such layer, poolkit's values are checked against nothing: the tests do that.
            result = measure(row, Settings(seconds=effort.seconds / 2, peers=("poolkit", "torch"), dtype=dtype))
            ratio = result.ratio("torch")
            if ratio is not None:
                ratios[dtype][row.name] = ratio
    goals: list[Goal] = []
    for dtype in NARROW:
        work = f"max and mean in {dtype}, NCHW"
        least = min(wide[dtype].values(), default=None)
        goals.append(
            at_least(f"{work}: float32 / {dtype}", "slowest layer", least, 1.0, worst(wide[dtype], largest=False))
        )
        mean, few = geometric_mean(ratios[dtype].values()), worst(ratios[dtype], largest=False)
        goals.append(
            at_least(f"{work}: torch / poolkit", "geometric mean", mean, 10.0, {"of": len(ratios[dtype])} | few)
        )
    return goals
