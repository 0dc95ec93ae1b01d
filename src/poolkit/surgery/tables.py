"""What surgery prints: tables by rich, or plain lines where rich is not installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.surgery.acceleration import Verdict


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0) -> None:
    """A titled table; the last `numbers` columns are aligned to the right."""
    if find_spec("rich") is None:
        lines = [title, *("  ".join(row) for row in [headings, *rows])]
        sys.stdout.write("\n".join(lines) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        right = place >= len(headings) - numbers
        table.add_column(heading, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(highlight=False, emoji=False)
    console.print(escape(title))
    if rows:
        console.print()
        console.print(table)
        console.print()


def print_survey(model: str, verdicts: Sequence[Verdict]) -> None:
    """What `accelerate` did."""
    name = model.rpartition(".")[2]
    swapped = sum(verdict.swapped for verdict in verdicts)
    if not verdicts:
        title = f"{name} has no pooling: nothing to accelerate"
    else:
        title = f"{name}: poolkit runs {swapped} of {len(verdicts)}"
    rows = [
        (
            verdict.name or "(the model)",
            f"{verdict.type.removeprefix('torch.nn.')}({verdict.settings})"
            if not verdict.settings.startswith("calls")
            else f"{verdict.type.rpartition('.')[2]}: {verdict.settings}",
            ("poolkit" if verdict.swapped else "left alone") + (f": {verdict.why}" if verdict.why else ""),
        )
        for verdict in verdicts
    ]
    print_table(title, ("name", "pooling", "run by"), rows)
