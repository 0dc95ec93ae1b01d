"""Other reducers: against the time of max on the same windows, and against compositions from unfold."""

from functools import partial

import numpy as np

import poolkit as pk
from bench.goals.effort import Effort
from bench.goals.goal import Goal, at_least, at_most
from bench.unfold import CASES, QUICK_CASES, compare
from poolkit.bench.clock import alternate, geometric_mean

WINDOWS = (
    ((8, 64, 112, 112), 3, 2, 1),
    ((8, 64, 112, 112), 2, 2, 0),
    ((8, 256, 14, 14), 3, 1, 1),
    ((4, 64, 56, 56), 5, 1, 2),
)
QUICK_WINDOWS = (((2, 64, 28, 28), 3, 2, 1), ((2, 64, 14, 14), 3, 1, 1))
SMOOTH: dict[str, pk.Reducer] = {
    "Lp(2)": pk.Lp(2),
    "Lp(3)": pk.Lp(3),
    "RMS": pk.RMS(),
    "LogSumExp": pk.LogSumExp(),
    "Soft": pk.Soft(),
    "PowerMean(3)": pk.PowerMean(3.0),
    "Mixed": pk.Mixed(),
}
WHOLE = ("Stochastic", "Median", "Quantile", "TopKMean")


def against_max(effort: Effort) -> list[Goal]:
    """Each smooth reducer and the median, over max, alternating on the same inputs."""
    shares: dict[str, dict[str, float]] = {}
    for shape, kernel, stride, padding in QUICK_WINDOWS if effort.quick else WINDOWS:
        # Positive, as what follows a ReLU: no reducer leaves its domain.
        x = np.random.default_rng(0).random(shape, dtype=np.float32) + np.float32(0.1)
        window = pk.Sliding(kernel, stride, padding)
        contestants = {"max": pk.Max()} | SMOOTH | ({"Median": pk.Median()} if kernel == 3 else {})
        runs = {name: partial(pk.pool, x, window, reducer) for name, reducer in contestants.items()}
        ms = alternate(runs, rounds=9, seconds=3 * effort.seconds)
        label = f"{'x'.join(map(str, shape))} {kernel}x{kernel}/{stride}"
        for name, time in ms.items():
            shares.setdefault(name, {})[label] = round(time / ms["max"], 3)
    goals: list[Goal] = []
    for name, share in shares.items():
        if name != "max":
            limit, work = (3.0, "Median 3x3 / max") if name == "Median" else (2.5, f"{name} / max")
            goals.append(at_most(work, "geometric mean", geometric_mean(share.values()), limit, share))
    return goals


def against_unfold(effort: Effort) -> list[Goal]:
    """Reducers that need the whole window, forward, over the compositions that torch's users write."""
    goals: list[Goal] = []
    for name in WHOLE:
        done = [compare(name, case, effort.seconds, train=False) for case in (QUICK_CASES if effort.quick else CASES)]
        ratios = {one.case: round(one.forward, 2) for one in done}
        mean = geometric_mean(ratios.values())
        goals.append(at_least(f"{name}: torch from unfold / poolkit", "geometric mean", mean, 20.0, ratios))
    return goals
