"""What the lab's commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from poolkit.lab.measures import Measure, measures
from poolkit.lab.stats import Estimate, differences, estimates
from poolkit.lab.verdict import task_of, verdict
from poolkit.show.words import Words

if TYPE_CHECKING:
    from poolkit.lab.journal import Journal

COLUMNS = ("score", "gap", "consistency", "inference_ms_32")

VERDICTS = {
    "better": Words("better", "更好"),
    "worse": Words("worse", "更差"),
    "not told apart": Words("≈", "≈"),
}


def with_interval(measure: Measure, estimate: Estimate) -> str:
    """The mean, and its interval where there is one."""
    if measure.unit == "share":
        around = estimate.interval
        return f"{100 * estimate.mean:.1f}" + (f" [{100 * around.low:.1f}, {100 * around.high:.1f}]" if around else "")
    return measure.text(estimate.mean)


def p_text(p: float | None) -> str:
    """A probability to three digits; a dash where there is none."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def print_journal(journal: Journal, lang: str) -> None:
    """A row for each pooling: means with 95 % intervals, and how its score compares with the first pooling's."""
    known = measures(task_of(journal))
    rows = {key: {row.pool: row for row in estimates(journal.records, key)} for key in COLUMNS}
    against = {row.pool: row for row in differences(journal.records, known["score"], journal.spec.pools[0])}
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    made.add_column(Words("pooling", "池化").say(lang), overflow="fold")
    for key in COLUMNS:
        made.add_column(known[key].title.say(lang), justify="right")
    made.add_column(
        Words(f"against {journal.spec.pools[0]}", f"相对 {journal.spec.pools[0]}").say(lang), justify="right"
    )
    for pool in journal.spec.pools:
        if pool not in rows["score"]:
            continue
        cells = [with_interval(known[key], rows[key][pool]) if pool in rows[key] else "–" for key in COLUMNS]
        compared = against.get(pool)
        said = ""
        if compared is not None:
            said = f"{known['score'].text(compared.mean, signed=True)} {VERDICTS[compared.verdict].say(lang)}"
        made.add_row(pool, *cells, said)
    console = Console(highlight=False)
    console.print(made)
    console.print()
    for words in verdict(journal):
        console.print(words.say(lang), markup=False)
