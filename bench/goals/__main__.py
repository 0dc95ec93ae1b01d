"""``python -m bench.goals``: measure what the speed goals name, and print goal, reached and whether it is met.

Sections can be measured one at a time and at different times: ``--json`` puts each into bench/results/goals.json and
leaves the others there as they are.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench.goals import dtypes, forward, memory, overhead, reducers, threads, training, windows
from bench.goals.effort import Effort
from bench.goals.goal import Goal, save, show
from poolkit.bench.clock import recycle_memory, set_threads
from poolkit.bench.machine import busy
from poolkit.bench.measure import DiffersError

RESULTS = Path(__file__).parent.parent / "results" / "goals.json"
SECTIONS: dict[str, Callable[[Effort], list[Goal]]] = {
    "forward": forward.measured,
    "training": training.measured,
    "small-planes": windows.small_planes,
    "growth": windows.kernel_growth,
    "reducers": reducers.against_max,
    "unfold": reducers.against_unfold,
    "dtypes": dtypes.measured,
    "threads": threads.measured,
    "overhead": overhead.measured,
    "kept": memory.kept,
    "scratch": memory.scratch,
}


def main(argv: list[str] | None = None) -> int:
    """Measure; the exit status is 1 where values differ, 2 for a wrong argument, else 0, whatever was reached."""
    parser = argparse.ArgumentParser(prog="python -m bench.goals", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help=f"sections, comma-separated: {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=1.0, help="measuring time of a row (default 1)")
    parser.add_argument("--quick", action="store_true", help="a cross-section of everything, in about two minutes")
    parser.add_argument(
        "--run", type=Path, help="a run saved by bench.run, for the forward goals, in place of a new one"
    )
    parser.add_argument("--json", action="store_true", help="put the sections into bench/results/goals.json")
    given = parser.parse_args(argv)
    names = list(filter(None, given.only.split(","))) or list(SECTIONS)
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    if given.run is not None and not given.run.is_file():
        print(f"{given.run} does not exist; python -m bench.run writes one", file=sys.stderr)
        return 2
    recycle_memory()
    set_threads(1)
    if warning := busy(1):
        print(f"warning: {warning}", file=sys.stderr)
    effort = Effort(given.seconds if not given.quick else min(given.seconds, 0.2), given.quick, given.run)
    done: dict[str, list[Goal]] = {}
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        try:
            done[name] = SECTIONS[name](effort)
        except DiffersError as error:
            print(error, file=sys.stderr)
            return 1
        if given.json:
            # After each section: what was measured stays, whatever becomes of the next.
            save(RESULTS, {name: done[name]}, quick=given.quick)
    goals = [goal for section in done.values() for goal in section]
    show(goals)
    met, missed = (sum(goal.met is answer for goal in goals) for answer in (True, False))
    print(f"{met} met, {missed} not met, {len(goals) - met - missed} not measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
