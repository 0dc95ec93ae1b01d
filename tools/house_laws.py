"""The house's own laws, checked by reading every tracked text file.

Run as ``python tools/house_laws.py``; prints each breach as ``path:line: law`` and exits 1 if there is any.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CODE = (".py", ".pyi", ".cpp", ".hpp", ".sh", ".cmake", ".toml")
TEXT = (*CODE, ".md", ".txt", ".csv", ".json", ".html", "Makefile")
LONGEST_FILE = 600


@dataclass(frozen=True)
class Law:
    """One thing that no file with one of ``suffixes`` may contain."""

    pattern: re.Pattern[str]
    says: str
    suffixes: tuple[str, ...] = CODE


LAWS = (
    Law(re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), "finish it, or write down what is missing where users look"),
    Law(re.compile(r"-ffast-math|-Ofast|__fast_math__|-ffinite-math"), "NaN and infinity keep their meaning"),
    Law(re.compile(r"^\s*(#|//)\s*([-=*#~/])\2{5,}"), "no banner comments"),
    Law(
        re.compile(r"(?<![\w.])/(work|home|root|Users|opt)/\w"),
        "no path of one machine",
        TEXT,
    ),
    Law(
        re.compile(r"\b(this|that|earlier|previous|next) session\b|\b[Ii]ssue #?\d+\b"),
        "text speaks of the code, not of the work on it",
        TEXT,
    ),
    Law(re.compile(r"<omp\.h>|#pragma omp|-fopenmp"), "threads come from the caller; no OpenMP", (*CODE, ".txt")),
    Law(
        re.compile(r"^\s*(import|from) (torchvision|timm)\b"), "torchvision and timm break beside a CPU build of torch"
    ),
)
# The laws quote what they forbid.
EXEMPT = {Path("tools/house_laws.py")}


def tracked_files(root: Path) -> list[Path]:
    """Every file that git tracks, or would if it were added."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for path in map(Path, filter(None, names)) if (root / path).is_file()]


def breaches(root: Path) -> list[str]:
    """All breaches, as printable lines."""
    found: list[str] = []
    for path in tracked_files(root):
        if path in EXEMPT or not path.name.endswith(TEXT):
            continue
        lines = (root / path).read_text(encoding="utf-8").splitlines()
        for law in LAWS:
            if path.name.endswith(law.suffixes):
                found += [
                    f"{path}:{number}: {law.says}: {line.strip()[:100]}"
                    for number, line in enumerate(lines, 1)
                    if law.pattern.search(line)
                ]
        if path.suffix in {".py", ".cpp", ".hpp"} and len(lines) > LONGEST_FILE:
            found.append(f"{path}:1: {len(lines)} lines: more than {LONGEST_FILE}, so more than one subject")
    return found


def main() -> int:
    """Print the breaches; the exit status says whether there were any."""
    found = breaches(Path(__file__).resolve().parent.parent)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
