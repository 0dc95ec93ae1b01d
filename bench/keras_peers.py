"""``python -m bench.keras_peers``: the layers of poolkit.keras against Keras's own of the same name, on one back end.

Equality first, then alternating rounds, one thread, float32, in both layouts; on the back end that KERAS_BACKEND names,
else on torch. A third contestant copies as many bytes as a layer has to read and write: no layer is much quicker, so
Keras's time over the copy's is about the most that any layer can gain. Prints a table and saves it under
``bench/results``.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poolkit.bench.with_jax import limit_threads

if os.environ.setdefault("KERAS_BACKEND", "torch") == "jax":
    limit_threads(1)  # before JAX is imported

import keras
import numpy as np
import torch
from keras import ops

import poolkit as pk
from poolkit.bench.clock import alternate, geometric_mean, recycle_memory, sample_ns, set_threads
from poolkit.keras import layers

# name, arguments, input with the channels first
CASES: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...] = (
    ("MaxPooling2D", {"pool_size": 2}, (8, 64, 112, 112)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (8, 64, 112, 112)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 1, "padding": "same"}, (8, 128, 28, 28)),
    ("AveragePooling2D", {"pool_size": 2}, (8, 64, 112, 112)),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2}, (8, 64, 56, 56)),
    ("MaxPooling1D", {"pool_size": 2}, (32, 64, 4096)),
    ("MaxPooling3D", {"pool_size": 2}, (2, 16, 32, 64, 64)),
    ("GlobalMaxPooling2D", {}, (32, 512, 14, 14)),
    ("GlobalAveragePooling2D", {}, (32, 512, 14, 14)),
    ("AdaptiveAveragePooling2D", {"output_size": 7}, (8, 256, 31, 31)),
    ("AdaptiveMaxPooling2D", {"output_size": 7}, (8, 256, 31, 31)),
)


def copying(x: Any, y: Any) -> Callable[[], Any]:
    """Reads and writes together as many bytes as reading x and writing y takes."""
    size = sum(int(np.prod(one.shape)) for one in (x, y)) // 2
    source, target = np.zeros(size, np.float32) + 1, np.zeros(size, np.float32) + 1
    return lambda: np.copyto(target, source)


def contestants(name: str, options: dict[str, Any], x: Any) -> dict[str, Callable[[], Any]] | None:
    """Both layers on this input and the copy, or None where Keras's values are its own."""
    mine, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    back_end = keras.backend.backend()
    run: dict[str, Callable[[], Any]] = {}
    for title, layer in (("poolkit", mine), ("keras", theirs)):
        call: Callable[[Any], Any] = layer.call
        if back_end == "jax":
            import jax

            compiled = jax.jit(call)
            run[title] = lambda compiled=compiled: compiled(x).block_until_ready()
        elif back_end == "tensorflow":
            import tensorflow as tf

            graph: Any = tf.function(call)
            run[title] = lambda graph=graph: graph(x).numpy()
        else:
            run[title] = lambda call=call: call(x)
    one, other = (np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(run[title]()))) for title in run)
    return {**run, "copy": copying(x, one)} if np.allclose(one, other, rtol=1e-5, atol=2e-6) else None


def least(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least milliseconds of one call of each, called by turns."""
    ms = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for title, run in runs.items():
            ms[title] = min(ms[title], sample_ns(run, 1) / 1e6)
    return ms


def main() -> int:
    """Print and save one row for each case and layout."""
    parser = argparse.ArgumentParser(prog="python -m bench.keras_peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, for each row")
    parser.add_argument(
        "--least",
        type=int,
        default=0,
        help="least time of so many calls, for a machine that is not idle; saves nothing",
    )
    given = parser.parse_args()
    set_threads(1)
    recycle_memory()
    back_end = keras.backend.backend()
    rows: list[dict[str, Any]] = []
    heads = f"{'layer':26} {'input':22} {'layout':9} {'poolkit ms':>10} {'keras ms':>10} {'times':>7}"
    print(f"{heads} {'copy ms':>8} {'at most':>7}")
    with torch.inference_mode():
        for data_format in ("channels_first", "channels_last"):
            for name, options, shape in CASES:
                last = data_format == "channels_last"
                array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
                x = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(array, 1, -1)) if last else array)
                runs = contestants(name, {**options, "data_format": data_format}, x)
                title = f"{name[:-9] if not options else name} {'x'.join(map(str, options.values()))}"
                if runs is None:
                    print(f"{title:26} Keras's values are its own")
                    continue
                ms = least(runs, given.least) if given.least else alternate(runs, rounds=9, seconds=given.seconds)
                rows.append({"layer": name, **options, "shape": shape, "data_format": data_format, "ms": ms})
                times = ms["keras"] / ms["poolkit"]
                where = "x".join(map(str, shape))
                line = (
                    f"{title:26} {where:22} {data_format[9:]:9} {ms['poolkit']:10.3f} {ms['keras']:10.3f} {times:6.1f}x"
                )
                print(f"{line} {ms['copy']:8.3f} {ms['keras'] / ms['copy']:6.1f}x", flush=True)
    means, most = (
        {
            data_format: geometric_mean(
                row["ms"]["keras"] / row["ms"][of] for row in rows if row["data_format"] == data_format
            )
            for data_format in ("channels_first", "channels_last")
        }
        for of in ("poolkit", "copy")
    )
    for name, mean in means.items():
        if mean is not None:
            print(f"{name}: geometric mean {mean:.1f}x; a copy in poolkit's place {most[name]:.1f}x")
    if given.least:
        return 0
    about = {"back_end": back_end, "keras": keras.__version__, "machine": platform.machine(), "threads": 1}
    path = Path(__file__).parent / "results" / f"keras-{back_end}.json"
    text = json.dumps(
        {**about, "poolkit": pk.__version__, "geometric_mean": means, "copy": most, "rows": rows}, indent=1
    )
    partial = path.with_suffix(".tmp")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
