"""``python -m bench.jax_peers``: poolkit on JAX arrays against `jax.lax.reduce_window`, both jitted, on one thread.

Every layer of the table that `reduce_window` can express, in alternating rounds, float32, in the layout
(N, C, spatial...). The results go to ``bench/results/jax-threads-1.csv``.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from poolkit.bench.clock import geometric_mean, recycle_memory
from poolkit.bench.measure import Settings, measure
from poolkit.bench.rows import HEADLINE, load

RESULTS = Path(__file__).with_name("results") / "jax-threads-1.csv"
LARGEST_INPUT = 1 << 26  # bytes: the batch of larger layers is cut


def save(lines: list[dict[str, Any]], path: Path = RESULTS) -> None:
    """Write the table; a temporary file first, so that no half of one is left."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    unfinished.replace(path)


def main() -> int:
    """Print one line a layer, and the geometric means; save all of them where nothing was left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.jax_peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only layers whose name contains this text; saves nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring, per layer")
    given = parser.parse_args()
    recycle_memory()
    settings = Settings(rounds=given.rounds, seconds=given.seconds, peers=("poolkit-jax", "jax"))
    lines: list[dict[str, Any]] = []
    for row in (row.capped(LARGEST_INPUT) for row in load()[0] if row.group in HEADLINE and given.filter in row.name):
        result = measure(row, settings)
        times = result.ratio("jax", "poolkit-jax")
        if times is None:
            print(f"{row.name:40} {'; '.join(result.absent.values())}", flush=True)
            continue
        mine, theirs = result.ms["poolkit-jax"], result.ms["jax"]
        line = {"network": row.network, "layer": row.layer, "shape": "x".join(map(str, row.shape)), "kind": row.kind}
        line |= {"window": row.describe(), "poolkit": f"{mine:.5f}", "reduce_window": f"{theirs:.5f}"}
        lines.append(line | {"times": f"{times:.2f}"})
        print(f"{row.name:40} {row.describe():14} {mine:9.3f} {theirs:9.3f} {times:7.2f}x", flush=True)
    if not lines:
        print("no layer has such a name")
        return 1
    if not given.filter:
        save(lines)
    mean = geometric_mean(float(line["times"]) for line in lines)
    print(f"geometric mean of {len(lines)} layers {mean:.2f}x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
