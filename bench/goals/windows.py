"""Small planes at stride 1, and the growth of the time with the kernel."""

from bench.goals.effort import Effort
from bench.goals.forward import worst
from bench.goals.goal import Goal, at_most
from poolkit.bench.clock import geometric_mean
from poolkit.bench.growth import KERNELS, REDUCERS, growth
from poolkit.bench.measure import Settings
from poolkit.bench.rows import Row

SIDES, SMALL_KERNELS = (7, 10, 13, 14, 17, 20), (3, 5, 9, 13)
BATCH, CHANNELS = 8, 512


def small_planes(effort: Effort) -> list[Goal]:
    """Planes of 7x7 to 20x20 with kernels of 3 to 13, at stride 1."""
    cases = [(side, kernel) for side in SIDES for kernel in SMALL_KERNELS if kernel < 2 * side]
    if effort.quick:
        cases = cases[::5]
    rows = [
        Row(
            f"{side}x{side}",
            f"{kind} {kernel}x{kernel}/1",
            (BATCH, CHANNELS, side, side),
            kind,
            kernel=(kernel,) * 2,
            stride=(1, 1),
            padding=((kernel // 2,) * 2,) * 2,
        )
        for kind in ("max", "avg")
        for side, kernel in cases
    ]
    results = effort.timed(rows, ("poolkit",))
    over = {result.row.name: ratio for result in results if (ratio := result.over_floor()) is not None}
    work = "small planes (7x7 to 20x20; k 3 to 13, stride 1), max and mean / copy floor"
    return [
        at_most(work, "geometric mean", geometric_mean(over.values()), 6.0, {"cases": len(over)}),
        at_most(work, "worst case", max(over.values()), 6.0, worst(over, largest=True)),
    ]


def kernel_growth(effort: Effort) -> list[Goal]:
    """The largest time of any kernel from 3 to 63 over that of 3."""
    tables = growth(Settings(seconds=3 * effort.seconds), ("max", "soft") if effort.quick else tuple(REDUCERS))
    goals: list[Goal] = []
    for kind, ms in tables.items():
        over = {f"{side}x{side}": round(time / ms[KERNELS[0]], 3) for side, time in ms.items()}
        work = f"{kind}, stride 1, k = {KERNELS[0]} to {KERNELS[-1]}: time / time at {KERNELS[0]}"
        goals.append(at_most(work, "worst kernel", max(over.values()), 1.5, over))
    return goals
