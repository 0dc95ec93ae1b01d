"""Writes the tables of docs/frontends.md: which window with which reducer which front end has, and how exactly.

Run as ``python tools/make_frontends.py``; ``--check`` only says whether the page is stale. Each front end is asked in a
process of its own, since Keras has one back end a process: ``--column NAME`` prints what one of them gives.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import poolkit as pk
from poolkit import reference
from poolkit.reducer import REDUCERS
from poolkit.window import plan_for

PAGE = Path(__file__).resolve().parent.parent / "docs" / "frontends.md"
FRONT_ENDS = ("NumPy", "torch", "JAX", "Keras on TensorFlow", "Keras on JAX", "Keras on torch")
SIZES = (9, 10)
# float32 against the float64 oracle, in units of the last place of the largest result.
ULPS = 8
EXACT, CLOSE, MISSING = "exact", "close", "-"
WINDOWS: dict[str, Any] = {
    "Sliding": pk.Sliding(3, 2, 1),
    "Adaptive": pk.Adaptive((4, 3)),
    "Fractional": pk.Fractional(2, output_ratio=0.5),
    "Global": pk.Global(),
}
NEEDED: dict[str, tuple[Any, ...]] = {
    "Quantile": (0.3,),
    "TopKMean": (2,),
    "Ordinal": ((0.5, 0.3, 0.2),),
}


def reducers(window: str) -> dict[str, Any]:
    """One of each reducer, to be used with this window."""
    cells = {"Sliding": 9, "Fractional": 4}.get(window, 1)
    needed = {**NEEDED, "Filter": ((0.25,) * cells,)}
    made = {kind.__name__: kind(*needed.get(kind.__name__, ())) for kind in REDUCERS}
    # What is drawn differs from front end to front end; the mean over all draws does not.
    return {name: replace(one, sample=False) if one.draws else one for name, one in made.items()}


def pooling(front_end: str) -> Any:
    """A function of a channels-first float32 array, a window and a reducer."""
    if front_end == "NumPy":
        return pk.pool
    if front_end == "torch":
        import torch

        return lambda x, window, reducer: pk.pool(torch.from_numpy(x), window, reducer).numpy()
    if front_end == "JAX":
        import jax.numpy as jnp

        return lambda x, window, reducer: np.asarray(pk.pool(jnp.asarray(x), window, reducer))
    from keras import ops

    from poolkit.keras import pool

    def run(x: Any, window: Any, reducer: Any) -> Any:
        return np.asarray(ops.convert_to_numpy(pool(x, window, reducer, data_format="channels_first")))

    return run


def column(front_end: str) -> dict[str, dict[str, str]]:
    """For each window and reducer whether this front end has it, and whether bit for bit."""
    run = pooling(front_end)
    rng = np.random.default_rng(7)
    x = rng.permutation(2 * 3 * SIZES[0] * SIZES[1]).reshape(2, 3, *SIZES) / 64.0 - 4.0
    found: dict[str, dict[str, str]] = {}
    for name, window in WINDOWS.items():
        samples = window.draw(6, SIZES, 5, np.float32) if isinstance(window, pk.Fractional) else None
        used = window if samples is None else replace(window, random_samples=samples.reshape(2, 3, 2))
        plan = plan_for(window, x.shape, 2, samples=samples)
        found[name] = {}
        for title, reducer in reducers(name).items():
            found[name][title] = _kind(run, x, used, reducer, plan)
    return found


def _kind(run: Any, x: Any, window: Any, reducer: Any, plan: Any) -> str:
    try:
        y = run(x.astype(np.float32), window, reducer)
    except pk.PoolError:
        return MISSING
    wanted = reference.forward(x, plan, reducer.on(window)).values
    if reducer.selects:
        if not np.array_equal(y, wanted.astype(np.float32)):
            raise AssertionError(f"{window} with {reducer} differs")
        return EXACT
    bound = ULPS * np.spacing(np.float32(np.abs(wanted).max()))
    if not np.abs(y - wanted).max() <= bound:
        raise AssertionError(f"{window} with {reducer} is off by {np.abs(y - wanted).max() / bound * ULPS:.1f} ulp")
    return CLOSE


def asked(front_end: str) -> dict[str, dict[str, str]]:
    """`column` in a process of its own."""
    back_end = front_end.rsplit(" ", 1)[-1].lower() if front_end.startswith("Keras") else "torch"
    environment = {**os.environ, "KERAS_BACKEND": back_end, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--column", front_end]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{front_end}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def tables(columns: dict[str, dict[str, dict[str, str]]]) -> str:
    """The tables in Markdown, one for each window."""
    parts: list[str] = []
    for window in WINDOWS:
        parts += [f"### {window}", "", f"| reducer | {' | '.join(FRONT_ENDS)} |", "|---" * (len(FRONT_ENDS) + 1) + "|"]
        for reducer in reducers(window):
            cells = " | ".join(columns[name][window][reducer] for name in FRONT_ENDS)
            parts.append(f"| `{reducer}` | {cells} |")
        parts.append("")
    return "\n".join(parts)


def of_page(front_end: str) -> dict[str, dict[str, str]]:
    """What the page says of one front end, as `column` gives it."""
    at, found, window = FRONT_ENDS.index(front_end) + 1, dict[str, dict[str, str]](), ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            window = line[4:]
            found[window] = {}
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found[window][cells[0].strip("`")] = cells[at]
    return found


def main() -> int:
    """Write the page, check it, or print a column."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--column", choices=FRONT_ENDS)
    given = parser.parse_args()
    if given.column:
        print(json.dumps(column(given.column)))
        return 0
    old = PAGE.read_text(encoding="utf-8")
    made = tables({name: asked(name) for name in FRONT_ENDS})
    new = re.sub(
        r"(<!-- tables -->\n).*?(?=<!-- end of tables -->)", lambda m: f"{m[1]}\n{made}\n", old, flags=re.DOTALL
    )
    if given.check:
        print(
            "docs/frontends.md is stale: run tools/make_frontends.py" if new != old else "docs/frontends.md is as it is"
        )
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
