"""Writes the numbers and plots of the pages in docs/studies from the journals beside them.

``python tools/make_studies.py`` writes them; with ``--check`` it names what is stale and exits 1.
"""

import re
import sys
from pathlib import Path

from poolkit.lab import plots
from poolkit.lab.journal import Journal
from poolkit.lab.measures import measures
from poolkit.lab.stats import differences, estimates
from poolkit.lab.tables import p_text, with_interval
from poolkit.lab.verdict import task_of, verdict

STUDIES = Path(__file__).resolve().parent.parent / "docs" / "studies"
COLUMNS = ("score", "train_score", "gap", "consistency", "robustness")
COSTS = ("parameters", "flops", "training_bytes_32")
COLOURS = {"var(--ink)": "#17181a", "var(--soft)": "#5c6066", "var(--rule)": "#d8d8d4", "var(--accent)": "#b23a1e"}
MARKS = re.compile(r"(<!-- numbers: [^\n]*-->\n).*?(<!-- end of numbers -->)", re.DOTALL)


def rows(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def numbers(journal: Journal) -> str:
    """Tables of means, costs and differences, and the verdict in words."""
    known = measures(task_of(journal))
    found = {key: {row.pool: row for row in estimates(journal.records, key)} for key in (*COLUMNS, *COSTS)}
    parts = ["Means over the seeds in percent, with their 95 % bootstrap intervals:\n"]
    for keys in (COLUMNS, COSTS):
        body = [[pool, *(with_interval(known[key], found[key][pool]) for key in keys)] for pool in journal.spec.pools]
        parts.append(rows(["pooling", *(known[key].title.en for key in keys)], body))
    for reference in (journal.spec.pools[0], "stride"):
        parts.append(f"Differences from {reference} in percentage points, paired by seed:\n")
        body = [
            [
                row.pool,
                known[key].title.en,
                known[key].text(row.mean, signed=True),
                f"{known[key].text(row.interval.low, signed=True)} to {known[key].text(row.interval.high, signed=True)}"
                if row.interval
                else "-",
                p_text(row.p_holm),
                row.verdict,
            ]
            for key in ("score", "gap", "consistency")
            for row in differences(journal.records, known[key], reference)
        ]
        parts.append(rows(["pooling", "measure", "difference", "95 % interval", "p (Holm)", "verdict"], body))
    parts.append("".join(f"- {words.en}\n" for words in verdict(journal)))
    return "\n" + "\n".join(parts) + "\n"


def made(page: Path) -> dict[Path, str]:
    """The page and its plots as they should be."""
    journal = Journal.read(page.with_suffix(""))
    known = measures(task_of(journal))
    text = page.read_text(encoding="utf-8")
    assert MARKS.search(text), f"{page} has no marks for its numbers"
    files = {page: MARKS.sub(lambda found: found[1] + numbers(journal) + found[2], text)}
    for key in ("score", "gap", "consistency"):
        svg = plots.forest(estimates(journal.records, key), known[key], journal.records)
        svg = svg.replace("<svg ", '<svg font-family="sans-serif" ', 1)
        for variable, colour in COLOURS.items():
            svg = svg.replace(variable, colour)
        files[page.with_suffix("") / f"{key}.svg"] = re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
    return files


def stale() -> dict[Path, str]:
    """What differs from the files in docs/studies."""
    files = {path: text for page in sorted(STUDIES.glob("*.md")) for path, text in made(page).items()}
    return {
        path: text for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main() -> int:
    """Write, or with ``--check`` only look."""
    found = stale()
    check = "--check" in sys.argv[1:]
    for path, text in found.items():
        print(path)
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
