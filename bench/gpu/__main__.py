"""The command: see bench.gpu."""

import argparse
import json
import os
import random
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic

import torch

import bench.gpu
from bench.goals.goal import Goal
from bench.gpu import ahead
from bench.gpu.clock import Clock
from bench.gpu.judge import Row, judge, table
from bench.gpu.measure import brief, host_rows, measure
from bench.gpu.works import works
from poolkit.show.files import write_whole

RESULTS = Path(__file__).parent.parent / "results"
DEADLINE = 450.0  # seconds; a row that has begun may take some more
SAVED_EVERY = 15.0


@dataclass
class Report:
    """What there is so far, and the two files of it."""

    facts: dict[str, object]
    rows: list[Row] = field(default_factory=list[Row])
    left: list[str] = field(default_factory=list[str])
    beyond: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    without: list[str] = field(default_factory=list[str])

    def save(self, folder: Path) -> tuple[str, list[Goal]]:
        """Write gpu.json and gpu.md; what is in the latter, and the bars."""
        goals = judge(self.rows)
        document = asdict(self) | {"goals": [asdict(goal) for goal in goals]}
        remarks = {
            "Wrong": self.wrong,
            "No time was left for": self.left,
            "No time was left, beyond the bars, for": self.beyond,
            "Left out": self.without,
        }
        page = table(self.rows, goals, self.facts, remarks)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "gpu.json", (json.dumps(document, indent=1) + "\n").encode())
        write_whole(folder / "gpu.md", page.encode())
        return page, goals


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: all bars met; 1: not; 2: there is nothing to run on."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=bench.gpu.__doc__)
    parser.add_argument("--dry", action="store_true", help="tiny tensors in Triton's interpreter; no GPU is needed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for gpu.json and gpu.md")
    parser.add_argument("--seed", type=int, default=None, help="of the inputs; they are fresh without")
    options = parser.parse_args(arguments)
    from poolkit.torch import triton

    if (why := triton.missing()) is not None or not (options.dry or torch.cuda.is_available()):
        sys.stderr.write(
            f"you gave  bench.gpu\nthe rule  {why or 'torch finds a GPU'}\ndo this   run it on one, or --dry\n"
        )
        return 2
    begin = monotonic()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    device = torch.device("cpu" if options.dry else "cuda")
    report = Report(
        {
            "device": "none: Triton's interpreter, whose times mean nothing"
            if options.dry
            else torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "seed": seed,
            "compiled ahead": "nothing" if options.dry else ahead.compile_all(),
        }
    )
    clock = Clock(device)
    list_, report.without = works(device, dry=options.dry)
    report.rows += host_rows(clock, device)
    saved = monotonic()
    for number, work in enumerate(list_):
        if monotonic() - begin > DEADLINE:
            (report.beyond if work.beyond else report.left).append(work.name)
            continue
        try:
            row, without = measure(work, clock, device, seed + 2 * number, compile_too=not options.dry)
        except Exception as error:  # noqa: BLE001  the rows after it are to be measured all the same
            report.wrong.append(f"{work.name}: {brief(error)}")
            continue
        report.rows.append(row)
        report.without += without
        if monotonic() - saved > SAVED_EVERY:
            report.save(options.out)
            saved = monotonic()
    report.facts["copy GB/s"] = round(median(clock.rates) / 1e6, 1) if clock.rates else None
    report.facts["seconds"] = round(monotonic() - begin)
    page, goals = report.save(options.out)
    print(page)
    done = not report.wrong and not report.left and (options.dry or all(goal.met for goal in goals))
    return 0 if done else 1


def command() -> int:
    """`main`; for ``--dry`` in a process in which Triton's interpreter is on from the start."""
    if "--dry" not in sys.argv:
        return main()
    if os.environ.get("TRITON_INTERPRET") != "1":
        interpreted = {**os.environ, "TRITON_INTERPRET": "1"}
        os.execve(sys.executable, [sys.executable, "-m", "bench.gpu", *sys.argv[1:]], interpreted)  # noqa: S606
    import numpy as np

    from poolkit.torch import triton

    with triton.Forced(), np.errstate(all="ignore"):
        return main()


if __name__ == "__main__":
    sys.exit(command())
