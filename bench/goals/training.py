"""Maxima and means forward and backward, against the floor of their own bytes and torch."""

from bench.goals.effort import Effort
from bench.goals.forward import worst
from bench.goals.goal import Goal, at_least, at_most
from poolkit.bench.clock import geometric_mean
from poolkit.bench.rows import HEADLINE
from poolkit.bench.selection import layers

CAP = 24  # MiB of an input: torch's backward passes in NCHW take seconds on larger ones
WORK = "max and mean, forward and backward, float32, NCHW, one thread"


def measured(effort: Effort) -> list[Goal]:
    """Times every maximum and mean."""
    rows = [row for row in layers(quick=effort.quick, cap=CAP) if row.group in HEADLINE]
    results = effort.timed(rows, ("poolkit-torch", "torch"), backward=True)
    over = {r.row.name: ratio for r in results if (ratio := r.over_floor("poolkit-torch")) is not None}
    ratios = {r.row.name: ratio for r in results if (ratio := r.ratio("torch", "poolkit-torch")) is not None}
    floor = f"{WORK} / floor of x, y, dy, dx and offsets"
    mean_floor, mean_torch = geometric_mean(over.values()), geometric_mean(ratios.values())
    return [
        at_most(floor, "geometric mean", mean_floor, 3.0, worst(over, largest=True)),
        at_least(f"{WORK}: torch / poolkit", "geometric mean", mean_torch, 15.0, worst(ratios, largest=False)),
    ]
