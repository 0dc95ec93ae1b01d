"""A goal with what was reached: how it is judged, printed and kept."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from poolkit.bench.machine import circumstances
from poolkit.bench.measure import Settings
from poolkit.bench.report import number
from poolkit.show.files import write_whole

WORDS = {True: "yes", False: "no", None: "not measured"}


@dataclass(frozen=True)
class Goal:
    """One bar: the work, the bar in words, the number reached and whether it is met (None: it was not measured)."""

    work: str
    bar: str
    reached: float | None
    met: bool | None
    detail: Mapping[str, Any] = field(default_factory=dict)


def at_most(work: str, what: str, reached: float | None, limit: float, detail: Mapping[str, Any]) -> Goal:
    """A goal that larger numbers miss."""
    return Goal(work, f"{what} <= {limit:g}", reached, None if reached is None else reached <= limit, detail)


def at_least(work: str, what: str, reached: float | None, limit: float, detail: Mapping[str, Any]) -> Goal:
    """A goal that smaller numbers miss."""
    return Goal(work, f"{what} >= {limit:g}", reached, None if reached is None else reached >= limit, detail)


def none_of(work: str, what: str, offenders: Mapping[str, Any], *, of: int) -> Goal:
    """A goal that one offender misses; reached is how many there are, of those looked at."""
    if not of:
        return Goal(work, what, None, None, {})
    return Goal(work, what, len(offenders), not offenders, {"of": of} | dict(offenders))


def show(goals: list[Goal]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 120)
    table = Table(title="goals")
    for heading, side in (("work", "left"), ("goal", "left"), ("reached", "right"), ("met", "left")):
        table.add_column(heading, justify=side)
    for goal in goals:
        reached = "-" if goal.reached is None else number(goal.reached)
        table.add_row(goal.work, goal.bar, reached, WORDS[goal.met], style=None if goal.met else "yellow")
    console.print(table)
    for goal in goals:
        if not goal.met and goal.detail:
            worst = ", ".join(f"{name} {value}" for name, value in list(goal.detail.items())[:8])
            console.print(f"[yellow]{goal.work}, {goal.bar}:[/yellow] {worst}", highlight=False)


def save(path: Path, sections: Mapping[str, list[Goal]], *, quick: bool) -> None:
    """Put the sections into a file, each with the circumstances it was measured in; other sections in it stay."""
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    facts = circumstances(Settings(), recycled=True) | {"quick": quick}
    # Each goal says itself how many threads and which dtype it has.
    facts = {name: value for name, value in facts.items() if name not in {"threads", "rounds", "dtype", "backward"}}
    for name, goals in sections.items():
        document[name] = {"circumstances": facts, "goals": [asdict(goal) for goal in goals]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode("utf-8"))
