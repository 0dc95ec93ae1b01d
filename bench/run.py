"""``python -m bench.run``: check equality, time every layer against the copy floor and the peers, print and save.

Examples:
    One layer while working on a kernel: ``python -m bench.run --filter resnet50 --peers torch``.
    poolkit alone: ``python -m bench.run --only poolkit --filter yolo``.
    Backward passes in half precision: ``python -m bench.run --backward --dtype bfloat16 --quick``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolkit.bench.measure import Settings

HERE = Path(__file__).parent
IMAGE = HERE.parent / "docs" / "images" / "bench.png"
# The default settings: a full run with them is what the READMEs and the page on performance show.
USUAL = ("float32", False, "both")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only layers whose network/layer contains this text")
    parser.add_argument("--kind", default="", help="only layers of this kind or group: max, avg, adaptive, global ...")
    parser.add_argument("--quick", action="store_true", help="a cross-section of the layers, in about a minute")
    parser.add_argument("--peers", default=None, help="contestants beside poolkit, comma-separated (default: all)")
    parser.add_argument("--only", default="", help="these contestants alone, comma-separated, such as poolkit")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16", "int8"])
    parser.add_argument("--backward", action="store_true", help="forward and backward, not forward alone")
    parser.add_argument("--layout", default="both", choices=["both", "first", "last"], help="where the channels lie")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (the copy has one)")
    parser.add_argument("--rounds", type=int, default=9, help="most samples of each contestant (default 9)")
    parser.add_argument("--seconds", type=float, default=None, help="measuring time of a layer (default 1.5)")
    parser.add_argument("--cap", type=int, default=96, help="most MiB of a float32 input; larger batches are cut")
    parser.add_argument("--growth", action="store_true", help="only the growth with the kernel's side")
    parser.add_argument("--fresh-memory", action="store_true", help="let outputs fault in fresh pages every time")
    parser.add_argument("--list", action="store_true", help="name the layers and stop")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run; the exit status is 1 when poolkit and torch disagree."""
    given = arguments(argv)
    from rich.progress import track

    from poolkit.bench import clock, contestants, growth, machine, measure, plot, report, rows, selection, tables
    from poolkit.bench.task import Unavailable
    from poolkit.show.files import write_whole

    chosen = selection.layers(given.filter, kind=given.kind, quick=given.quick, cap=given.cap, dtype=given.dtype)
    if given.list:
        for row in chosen:
            print(f"{row.name}  {'x'.join(map(str, row.shape))}  {row.describe()}  {row.kind}")
        return 0
    if not chosen:
        print(f"no layer matches {given.filter!r} {given.kind!r}; --list names them", file=sys.stderr)
        return 2
    try:
        names = tuple(filter(None, given.only.split(","))) or selection.contestants(given.layout, given.peers)
        names = tuple(name for name in names if contestants.installed(name))
    except KeyError as error:
        print(f"no contestant {error.args[0]}; there are {', '.join(contestants.PEERS)}", file=sys.stderr)
        return 2

    recycled = not given.fresh_memory and clock.recycle_memory()
    seconds = given.seconds if given.seconds is not None else (selection.QUICK_SECONDS if given.quick else 1.5)
    settings = measure.Settings(given.threads, given.rounds, seconds, names, given.dtype, given.backward)
    clock.set_threads(settings.threads)
    if warning := machine.busy(settings.threads):
        print(f"warning: {warning}", file=sys.stderr)
    usual = (given.dtype, given.backward, given.layout) == USUAL
    # Beside the usual run, one with fewer peers is whole, too.
    fewer = usual and given.threads == 1 and given.peers is not None
    part = given.filter or given.kind or given.quick or given.only or fewer or given.growth
    results: list[measure.Result] = []
    grown: report.Growth = {}
    try:
        if not given.growth:
            rounds = track(chosen, description="layers", transient=True)
            results = [measure.measure(row, settings) for row in rounds]
        if given.growth or (usual and not part):
            grown = growth.growth(settings)
    except (measure.DiffersError, Unavailable) as error:
        print(error, file=sys.stderr)
        return 1
    tables.show(results, grown, settings)
    left_out = [] if part else rows.load()[1]
    for name, reason in left_out:
        print(f"left out: {name}: {reason}")
    facts = machine.circumstances(settings, recycled=recycled)
    stem = HERE / "results" / ("partial" if part else run_name(settings, given.layout))
    saved = report.save(stem, results, grown, facts, left_out)
    if results:
        image = IMAGE if usual and not part and settings.threads == 1 else stem.parent / f"{stem.name}.png"
        write_whole(image, plot.png(results, facts))
        saved.append(image)
    for path in saved:
        print(os.path.relpath(path))
    return 0


def run_name(settings: Settings, layout: str) -> str:
    """The name under which a full run is kept, as in ``threads-1`` or ``threads-2-bfloat16-backward``."""
    parts = [f"threads-{settings.threads}"]
    parts += [settings.dtype] if settings.dtype != "float32" else []
    parts += ["backward"] if settings.backward else []
    parts += [f"channels-{layout}"] if layout != "both" else []
    return "-".join(parts)


if __name__ == "__main__":
    sys.exit(main())
