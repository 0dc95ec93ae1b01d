"""``python -m bench.jax_peers``: poolkit on JAX arrays against `jax.lax.reduce_window`, both jitted, on one thread.

Every layer of the table that `reduce_window` can express: equality first, then alternating rounds, float32, in the
layout (N, C, spatial...). The results go to ``bench/results/jax-threads-1.csv``.
"""

import argparse
import csv
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import poolkit as pk
from poolkit.window import plan_for

from .measure import ATOL, RTOL, Settings, alternate, geometric_mean, recycle_memory
from .peers import Unavailable
from .rows import HEADLINE, Row, load

RESULTS = Path(__file__).with_name("results") / "jax-threads-1.csv"
LARGEST_INPUT = 1 << 26  # bytes: the batch of larger layers is cut


def one_thread() -> None:
    """One processor for this process: XLA has as many threads as the process may use processors. Before jax loads."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"


def reduce_window(row: Row) -> Callable[[Any], Any]:
    """The layer as `jax.lax.reduce_window`, means by the number of cells that count.

    Raises:
        Unavailable: its windows differ in size or overlap unevenly.
    """
    from jax import lax

    plan = plan_for(row.window, row.shape, row.rank)
    if any(axis.kind == "adaptive" and axis.size % axis.out for axis in plan.axes):
        raise Unavailable("reduce_window has windows of one size")
    kernels, strides, pads = [1, 1], [1, 1], [(0, 0), (0, 0)]
    for axis in plan.axes:
        adaptive = axis.kind == "adaptive"
        kernel, stride = (axis.size // axis.out,) * 2 if adaptive else (axis.kernel, axis.stride)
        kernels.append(kernel)
        strides.append(stride)
        pads.append((axis.before, max((axis.out - 1) * stride + kernel - axis.size - axis.before, 0)))
    if "max" in row.kind:
        return lambda x: lax.reduce_window(x, -np.inf, lax.max, kernels, strides, pads)
    counts = np.float32(1)
    for i, axis in enumerate(plan.axes):
        of_axis = axis.count_padded if row.kind != "avg_exclude_pad" else axis.count
        counts = counts * of_axis.astype(np.float32).reshape(-1, *[1] * (row.rank - 1 - i))
    return lambda x: lax.reduce_window(x, np.float32(0), lax.add, kernels, strides, pads) / counts


def measured(row: Row, settings: Settings) -> dict[str, float]:
    """Milliseconds of both.

    Raises:
        Unavailable: reduce_window has no such layer, or other values.
    """
    import jax

    x = jax.device_put(np.random.default_rng(0).standard_normal(row.shape, np.float32))
    functions = {"poolkit": partial(pk.pool, window=row.window, reducer=row.reducer), "reduce_window": reduce_window(row)}
    compiled = {name: jax.jit(function).lower(x).compile() for name, function in functions.items()}
    mine, theirs = (np.asarray(run(x)) for run in compiled.values())
    if mine.shape != theirs.shape or not (
        np.array_equal(mine, theirs) if "max" in row.kind else np.allclose(mine, theirs, rtol=RTOL, atol=10 * ATOL)
    ):
        raise Unavailable("its values differ from poolkit's")
    return alternate({name: partial(_wait, run, x) for name, run in compiled.items()}, settings)


def _wait(run: Callable[[Any], Any], x: Any) -> None:
    run(x).block_until_ready()


def save(lines: list[dict[str, Any]], path: Path = RESULTS) -> None:
    """Write the table; a temporary file first, so that no half of one is left."""
    partial_file = path.with_suffix(".tmp")
    with partial_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    partial_file.replace(path)


def main() -> int:
    """Print one line a layer, and the geometric means; save all of them where nothing was left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.jax_peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only layers whose name contains this text; saves nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring, per layer")
    given = parser.parse_args()
    one_thread()
    recycle_memory()
    settings = Settings(rounds=given.rounds, seconds=given.seconds)
    lines: list[dict[str, Any]] = []
    for row in load()[0]:
        if row.group not in HEADLINE or given.filter not in row.name:
            continue
        row = row.capped(LARGEST_INPUT)
        try:
            ms = measured(row, settings)
        except Unavailable as reason:
            print(f"{row.name:40} {reason}", flush=True)
            continue
        times = ms["reduce_window"] / ms["poolkit"]
        lines.append({
            "network": row.network, "layer": row.layer, "shape": "x".join(map(str, row.shape)), "kind": row.kind,
            "window": row.describe(), "poolkit": f"{ms['poolkit']:.5f}", "reduce_window": f"{ms['reduce_window']:.5f}",
            "times": f"{times:.2f}",
        })  # fmt: skip
        print(f"{row.name:40} {row.describe():14} {ms['poolkit']:9.3f} {ms['reduce_window']:9.3f} {times:7.2f}x", flush=True)
    if not lines:
        print("no layer has such a name")
        return 1
    if not given.filter:
        save(lines)
    for group in HEADLINE:
        mean = geometric_mean(float(line["times"]) for line in lines if line["kind"].startswith(group))
        if mean is not None:
            print(f"{group:9} {mean:6.2f}x")
    mean = geometric_mean(float(line["times"]) for line in lines)
    print(f"geometric mean of {len(lines)} layers {mean:.2f}x")
    return 0 if mean is not None and math.isfinite(mean) else 1


if __name__ == "__main__":
    raise SystemExit(main())
