"""``python -m bench.run``: check equality, time every layer against the copy floor and the peers, print and save.

Examples:
    One layer while working on a kernel: ``python -m bench.run --filter resnet50 --peers torch``.
    poolkit alone: ``python -m bench.run --only poolkit --filter yolo``.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
IMAGE = HERE.parent / "docs" / "images" / "bench.png"
MEBI = 2**20
BUSY = 0.5  # load beyond the cores that still counts as idle


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only layers whose network/layer contains this text")
    parser.add_argument("--kind", default="", help="only layers of this kind or group: max, avg, adaptive, global ...")
    parser.add_argument("--quick", action="store_true", help="a cross-section of the layers, under three minutes")
    parser.add_argument("--peers", default="", help="contestants beside poolkit, comma-separated (default: all)")
    parser.add_argument("--only", default="", help="these contestants alone, comma-separated, such as poolkit")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (the copy has one)")
    parser.add_argument("--rounds", type=int, default=9, help="most samples of each contestant (default 9)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time of a layer (default 2)")
    parser.add_argument("--cap", type=int, default=96, help="most MiB of an input; larger batches are cut")
    parser.add_argument("--growth", action="store_true", help="only the growth with the kernel's side")
    parser.add_argument("--fresh-memory", action="store_true", help="let outputs fault in fresh pages every time")
    parser.add_argument("--list", action="store_true", help="name the layers and stop")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run; the exit status is 1 when poolkit and torch disagree."""
    given = arguments(argv)
    from rich.progress import track

    from . import measure, peers, report, rows

    chosen, left_out = rows.load()
    chosen = [row for row in chosen if given.filter in row.name and given.kind in {"", row.kind, row.group}]
    if given.quick:
        chosen = [row for row in chosen if (row.network, row.layer) in rows.QUICK]
    if given.list:
        for row in chosen:
            print(f"{row.name}  {'x'.join(map(str, row.shape))}  {row.describe()}  {row.kind}")
        return 0
    if not chosen:
        print(f"no layer matches {given.filter!r} {given.kind!r}; --list names them", file=sys.stderr)
        return 2
    names = tuple(filter(None, given.only.split(","))) or peers.DEFAULT
    if given.peers:
        mine = tuple(name for name in names if name.startswith("poolkit"))
        names = (*mine, *(name for name in given.peers.split(",") if name not in mine))
    unknown = [name for name in names if name not in peers.PEERS]
    if unknown:
        print(f"no contestant {', '.join(unknown)}; there are {', '.join(peers.PEERS)}", file=sys.stderr)
        return 2
    names = tuple(name for name in names if peers.installed(name))

    recycled = not given.fresh_memory and measure.recycle_memory()
    settings = measure.Settings(given.threads, given.rounds, given.seconds, names)
    measure.set_threads(settings.threads)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load + settings.threads > cores + BUSY:
        print(f"warning: the load is {load:.1f} on {cores} cores; times will be noisy", file=sys.stderr)
    full = not (given.filter or given.kind or given.quick or given.only or given.peers or given.growth)
    results: list[measure.Result] = []
    growth: dict[str, dict[int, float]] = {}
    try:
        if not given.growth:
            results = [
                measure.measure(row.capped(given.cap * MEBI), settings)
                for row in track(chosen, description="layers", transient=True)
            ]
        if full or given.growth:
            growth = measure.growth(settings)
    except measure.DiffersError as error:
        print(error, file=sys.stderr)
        return 1
    report.show(results, growth, settings)
    for name, reason in left_out if full else ():
        print(f"left out: {name}: {reason}")
    facts = report.circumstances(settings, recycled=recycled)
    stem = HERE / "results" / (f"threads-{settings.threads}" if full else "partial")
    saved = report.save(stem, results, growth, facts, left_out if full else [])
    if results:
        image = IMAGE if full and settings.threads == 1 else stem.with_suffix(".png")
        saved.append(report.draw(image, results, facts))
    for path in saved:
        print(os.path.relpath(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
