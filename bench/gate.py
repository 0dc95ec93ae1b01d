"""``python -m bench.gate``: a regression gate that counts instructions, not seconds.

Each case of `kernel_cases` runs once under valgrind's callgrind, which counts the instructions between entering and
leaving the core's forward or backward; on AVX2 kernels, one thread, warm. The counts are compared with those in
bench/results/instructions.json. They do not depend on what else the machine does, and hardly on which machine it is;
they do depend on the compiler, whose name is kept with them.

Exit status: 0 within the tolerance, 1 where a case needs more instructions, 2 where nothing could be counted.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.kernel_cases import CASES
from bench.valgrind import MissingError, run
from poolkit.show.files import write_whole

KEPT = Path(__file__).parent / "results" / "instructions.json"
TOLERANCE = 0.03
ENTRANCES = ("poolkit::forward*", "poolkit::backward*")


def count(names: list[str]) -> dict[str, int]:
    """Instructions of one warm call of each case.

    Raises:
        MissingError: there is no valgrind here.
    """
    order = list(CASES)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        options = [f"--toggle-collect={entrance}" for entrance in ENTRANCES]
        options.append(f"--callgrind-out-file={out}")
        program = Path(__file__).with_name("gate_program.py")
        run("callgrind", options, program, *(str(order.index(name)) for name in names))
        counted = dict(filter(None, map(read_dump, Path(folder).iterdir())))
    missing = [name for name in names if not counted.get(name)]
    if missing:
        raise MissingError(f"callgrind counted nothing for {', '.join(missing)}")
    return {name: counted[name] for name in names}


def read_dump(path: Path) -> tuple[str, int] | None:
    """The case of a dump and its instructions; None for a dump that only clears what came before."""
    text = path.read_text(encoding="utf-8")
    case = re.search(r"^desc: Trigger: dump case-(\d+)$", text, re.MULTILINE)
    total = re.search(r"^summary: (\d+)", text, re.MULTILINE)
    if case is None or total is None:
        return None
    return list(CASES)[int(case.group(1))], int(total.group(1))


def judge(counted: dict[str, int], kept: dict[str, int], tolerance: float) -> tuple[list[str], list[str]]:
    """Lines of the table, and the names of the cases that need more instructions than is tolerated."""
    lines: list[str] = []
    worse: list[str] = []
    for name, now in counted.items():
        if name not in kept:
            lines.append(f"{name:32} {now:12,} {'-':>12}         new: keep it with --write")
            worse.append(name)
            continue
        change = now / kept[name] - 1
        verdict = "ok"
        if now > kept[name] * (1 + tolerance):
            verdict = "MORE"
            worse.append(name)
        elif change < -tolerance:
            verdict = "fewer: keep it with --write"
        lines.append(f"{name:32} {now:12,} {kept[name]:12,} {100 * change:+7.2f} % {verdict}")
    return lines, worse


def compiler() -> str:
    """The C++ compiler of this machine, most likely the core's; that of Python where there is none."""
    found = shutil.which("c++")
    if found is None:
        return platform.python_compiler()
    return subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main(argv: list[str] | None = None) -> int:
    """Count, compare, and with --write keep the counts."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"keep the counts in bench/results/{KEPT.name}")
    parser.add_argument("--filter", default="", help="only cases whose name contains this text")
    given = parser.parse_args(argv)
    names = [name for name in CASES if given.filter in name]
    if not names:
        print(f"no case matches {given.filter!r}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    document = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if not document and not given.write:
        print(f"bench/results/{KEPT.name} does not exist; --write makes it", file=sys.stderr)
        return 2
    try:
        counted = count(names)
    except MissingError as error:
        print(f"nothing was counted: {error}", file=sys.stderr)
        return 2
    tolerance = document.get("tolerance", TOLERANCE)
    lines, worse = judge(counted, document.get("instructions", {}), tolerance)
    print(f"{'case':32} {'now':>12} {'kept':>12}  change")
    print("\n".join(lines))
    if given.write:
        instructions = {
            name: (document.get("instructions", {}) | counted)[name]
            for name in CASES
            if name in counted or name in document.get("instructions", {})
        }
        kept = {"compiler": compiler(), "isa": "avx2", "tolerance": tolerance, "instructions": instructions}
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        write_whole(KEPT, (json.dumps(kept, indent=1) + "\n").encode("utf-8"))
        print(f"kept in bench/results/{KEPT.name}")
        return 0
    if worse:
        print(f"more than {100 * tolerance:g} % above what was kept: {', '.join(worse)}", file=sys.stderr)
        if document.get("compiler") != compiler():
            print(f"the counts were kept with {document.get('compiler')}, here is {compiler()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
