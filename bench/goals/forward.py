"""Maxima and means forward: against the copy floor, the best of all peers, and torch in both layouts."""

import json
from pathlib import Path

from bench.goals.effort import Effort
from bench.goals.goal import Goal, at_least, at_most, none_of
from poolkit.bench.clock import geometric_mean
from poolkit.bench.machine import l2_bytes
from poolkit.bench.measure import Result
from poolkit.bench.report import peer_ratio
from poolkit.bench.rows import HEADLINE, Row
from poolkit.bench.selection import contestants, layers

WORK = "max and mean, forward, float32, one thread"
WORST_SHOWN = 8


def measured(effort: Effort) -> list[Goal]:
    """Times every layer, or reads a saved run."""
    run = read(effort.run) if effort.run else effort.timed(layers(quick=effort.quick), contestants())
    results = [result for result in run if result.row.group in HEADLINE]
    return [*against_floor(results), *against_peers(results), *against_torch(results)]


def read(path: Path) -> list[Result]:
    """The rows of a saved run."""
    results: list[Result] = []
    for entry in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        known = {name: value for name, value in entry["row"].items() if name not in {"group", "window"}}
        padding = tuple((before, after) for before, after in known.pop("padding"))
        sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
        results.append(Result(Row(**sizes, padding=padding), entry["floor_ms"], entry["ms"], entry["absent"]))
    return results


def worst(numbers: dict[str, float], *, largest: bool) -> dict[str, float]:
    """The few layers furthest on one side."""
    ordered = sorted(numbers.items(), key=lambda pair: pair[1], reverse=largest)
    return {name: round(value, 3) for name, value in ordered[:WORST_SHOWN]}


def against_floor(results: list[Result]) -> list[Goal]:
    """Time in units of the copy floor, NCHW."""
    over = {result.row.name: ratio for result in results if (ratio := result.over_floor()) is not None}
    large = {result.row.name for result in results if result.row.plane_bytes > l2_bytes()}
    beyond = {name: ratio for name, ratio in over.items() if name in large}
    work = f"{WORK}, NCHW / copy floor"
    plane = f"{work}, planes beyond the L2 cache of {l2_bytes() // 1024} KiB"
    return [
        at_most(work, "geometric mean", geometric_mean(over.values()), 2.0, {"layers": len(over)}),
        at_most(plane, "geometric mean", geometric_mean(beyond.values()), 1.6, worst(beyond, largest=True)),
        at_most(work, "worst layer", max(over.values(), default=None), 6.0, worst(over, largest=True)),
    ]


def against_peers(results: list[Result]) -> list[Goal]:
    """The fastest of all other libraries on each layer, in whatever layout they like, over poolkit in NCHW."""
    ratios: dict[str, float] = {}
    for result in results:
        others = [ms for name, ms in result.ms.items() if not name.startswith("poolkit")]
        if others and "poolkit" in result.ms:
            ratios[result.row.name] = min(others) / result.ms["poolkit"]
    work = f"{WORK}: best of all peers on each layer / poolkit NCHW"
    slow = {name: round(ratio, 3) for name, ratio in sorted(ratios.items(), key=lambda pair: pair[1]) if ratio < 1}
    return [
        at_least(work, "geometric mean", geometric_mean(ratios.values()), 3.0, worst(ratios, largest=False)),
        none_of(work, "slower on none", slow, of=len(ratios)),
    ]


def against_torch(results: list[Result]) -> list[Goal]:
    """torch over poolkit, each in the same layout."""
    goals: list[Goal] = []
    for peer, layout, bar in (("torch", "NCHW", 30.0), ("torch-nhwc", "NHWC", 1.5)):
        ratios = {r.row.name: ratio for r in results if (ratio := peer_ratio(r, peer)) is not None}
        work = f"{WORK}: torch {layout} / poolkit {layout}"
        slow = {name: round(ratio, 3) for name, ratio in sorted(ratios.items(), key=lambda pair: pair[1]) if ratio < 1}
        goals.append(at_least(work, "geometric mean", geometric_mean(ratios.values()), bar, {"layers": len(ratios)}))
        goals.append(none_of(work, "slower on none", slow, of=len(ratios)))
    return goals
