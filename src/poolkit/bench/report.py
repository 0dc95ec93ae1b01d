"""What is kept of a run: geometric means, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING, Any

from poolkit.bench.clock import geometric_mean
from poolkit.bench.contestants import mine_beside
from poolkit.bench.rows import HEADLINE
from poolkit.show.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from poolkit.bench.measure import Result

Growth = dict[str, dict[int, float]]
HEADLINE_GROUP = "headline"


@dataclass(frozen=True)
class Summary:
    """Geometric means over the rows of one group: times over the floor, peers' times over poolkit's."""

    group: str
    rows: int
    over_floor: float | None
    over_floor_last: float | None
    ratios: dict[str, float | None]
    slower: int  # layers where torch in the same layout is faster


def peer_ratio(result: Result, peer: str) -> float | None:
    """A peer's time over poolkit's in the same layout."""
    return result.ratio(peer, mine_beside(peer))


def slower(result: Result) -> list[tuple[str, float]]:
    """The layouts in which torch is faster than poolkit, each with torch's time over poolkit's."""
    ratios = [(peer, peer_ratio(result, peer)) for peer in ("torch", "torch-nhwc")]
    return [(peer, ratio) for peer, ratio in ratios if ratio is not None and ratio < 1]


def peers_of(results: Sequence[Result]) -> list[str]:
    """Every contestant with a time that is not poolkit."""
    return list(dict.fromkeys(name for result in results for name in result.ms if not name.startswith("poolkit")))


def summarise(results: Sequence[Result]) -> list[Summary]:
    """One Summary per group present, and "headline" over all maxima and means."""
    present = dict.fromkeys(result.row.group for result in results)
    groups = {group: [r for r in results if r.row.group == group] for group in present}
    headline = [result for result in results if result.row.group in HEADLINE]
    if headline:
        groups[HEADLINE_GROUP] = headline
    peers = peers_of(results)
    return [
        Summary(
            group,
            len(members),
            geometric_mean(result.over_floor() for result in members),
            geometric_mean(result.over_floor("poolkit-nhwc") for result in members),
            {peer: geometric_mean(peer_ratio(result, peer) for result in members) for peer in peers},
            sum(bool(slower(result)) for result in members),
        )
        for group, members in groups.items()
    ]


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, or a dash.

    >>> number(0.04321), number(1234.5, "x"), number(None)
    ('0.0432', '1234x', '-')
    """
    if value is None:
        return "-"
    if value <= 0:
        return f"{value:g}{unit}"
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}{unit}"


def as_json(results: Sequence[Result], growth: Growth, facts: dict[str, Any], left_out: Sequence[Any]) -> str:
    """Everything of a run, for programs."""
    document = {
        "circumstances": facts,
        "summary": [vars(item) for item in summarise(results)],
        "growth_ms": growth,
        "rows": [result.as_dict() for result in results],
        "left_out": left_out,
    }
    return json.dumps(document, indent=1) + "\n"


def as_csv(results: Sequence[Result]) -> str:
    """A line a layer: milliseconds of each contestant."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for result in results for name in result.ms))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "layer", "shape", "window", "kind", "note", "floor_ms", *names])
    for result in results:
        row = result.row
        times = [f"{result.ms[name]:.5f}" if name in result.ms else "" for name in names]
        shape = "x".join(map(str, row.shape))
        floor_ms = f"{result.floor_ms:.7f}" if result.floor_ms < 1e-3 else f"{result.floor_ms:.5f}"
        writer.writerow([row.network, row.layer, shape, row.describe(), row.kind, row.note, floor_ms, *times])
    return text.getvalue()


def save(
    stem: Path, results: Sequence[Result], growth: Growth, facts: dict[str, Any], left_out: Sequence[Any]
) -> list[Path]:
    """Write ``stem``.json and ``stem``.csv; return their paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Not with_suffix: a stem may have a point of its own.
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in ("json", "csv")]
    for path, text in zip(paths, (as_json(results, growth, facts, left_out), as_csv(results)), strict=True):
        write_whole(path, text.encode("utf-8"))
    return paths
