"""``python -m bench.unfold``: every local reducer against the same thing composed in torch from unfold.

Equality first, then alternating rounds, forward and forward + backward, one thread, channels first, float32. Also the
bytes an output keeps for the backward pass, beside input and output, as torch's hooks for saved tensors see them.
"""

import argparse
import gc
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import poolkit as pk
from bench.compositions import EDGE, ROWS, taps
from bench.goals.goal import Goal, at_least, save, show
from poolkit.bench.clock import alternate, geometric_mean, recycle_memory, set_threads
from poolkit.bench.measure import DiffersError
from poolkit.torch.functional import pool

RESULTS = Path(__file__).parent / "results" / "unfold.json"
CASES = (((8, 64, 56, 56), 2, 2, 0), ((8, 64, 112, 112), 3, 2, 1), ((8, 256, 14, 14), 3, 1, 1))
QUICK_CASES = (((2, 32, 28, 28), 2, 2, 0), ((2, 64, 14, 14), 3, 1, 1))
BAR = 10.0
SECONDS = 1.0


@dataclass(frozen=True)
class Comparison:
    """One reducer on one case: milliseconds, and bytes kept for the backward pass by an output."""

    reducer: str
    case: str
    ms: float
    unfold_ms: float
    train_ms: float | None
    unfold_train_ms: float | None
    kept: float

    @property
    def forward(self) -> float:
        """How many times longer the composition takes."""
        return self.unfold_ms / self.ms

    @property
    def train(self) -> float | None:
        """The same, forward and backward."""
        if self.train_ms is None or self.unfold_train_ms is None:
            return None
        return self.unfold_train_ms / self.train_ms


def kept_bytes(run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, bool]:
    """Bytes an output that autograd keeps beside x and y, and whether it keeps x."""
    saved: dict[int, Tensor] = {}

    def pack(t: Tensor) -> Tensor:
        saved[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = run(x)
    mine, theirs = x.untyped_storage().data_ptr(), y.untyped_storage().data_ptr()
    extra = sum(t.untyped_storage().nbytes() for at, t in saved.items() if at not in {mine, theirs})
    return extra / y.numel(), mine in saved


def compare(
    name: str, case: tuple[tuple[int, ...], int, int, int], seconds: float, *, train: bool = True
) -> Comparison:
    """Check one reducer on one case, then time it.

    Raises:
        DiffersError: its values are not those of the composition.
    """
    record, compose, padded, comparable = ROWS[name]
    shape, kernel, stride, padding = case
    pad = padding if padded else 0
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1
    window, reducer = pk.Sliding(kernel, stride, pad), record(kernel)

    def mine(t: Tensor) -> Tensor:
        return pool(t, window, reducer, seed=0)

    def theirs(t: Tensor) -> Tensor:
        return compose(taps(t, kernel, stride, pad, -EDGE))

    y = mine(x)
    if comparable and not torch.allclose(y.flatten(2), theirs(x), rtol=2e-5, atol=2e-5):
        raise DiffersError(f"{name} {kernel}x{kernel}/{stride}: poolkit and the composition disagree")
    g = x.clone().requires_grad_()
    runs: dict[str, Callable[[], object]] = {"mine": lambda: mine(x), "theirs": lambda: theirs(x)}
    if train:
        grad = torch.rand(y.shape)
        runs["mine train"] = lambda: torch.autograd.grad(mine(g), g, grad)
        runs["theirs train"] = lambda: torch.autograd.grad(theirs(g), g, grad.flatten(2))
    ms = alternate(runs, rounds=7, seconds=seconds)
    label = f"{'x'.join(map(str, shape))} {kernel}x{kernel}/{stride}"
    kept, _ = kept_bytes(mine, g)
    gc.collect()
    return Comparison(name, label, ms["mine"], ms["theirs"], ms.get("mine train"), ms.get("theirs train"), kept)


def goals(comparisons: Iterable[Comparison]) -> list[Goal]:
    """The bars of each reducer, over its cases, and of all."""
    by_name: dict[str, list[Comparison]] = {}
    for one in comparisons:
        by_name.setdefault(one.reducer, []).append(one)
    found = [
        at_least(
            f"{name} against unfold, forward",
            "geometric mean over its cases",
            geometric_mean(one.forward for one in ones),
            BAR,
            {one.case: round(one.forward, 2) for one in ones} | {"bytes kept an output": round(ones[0].kept, 2)},
        )
        for name, ones in by_name.items()
    ]
    everything = [one for ones in by_name.values() for one in ones]
    for work, mean in (
        ("all reducers against unfold, forward", geometric_mean(one.forward for one in everything)),
        ("all reducers against unfold, forward and backward", geometric_mean(one.train for one in everything)),
    ):
        found.append(at_least(work, "geometric mean", mean, BAR, {}))
    return found


def main(argv: list[str] | None = None) -> int:
    """Print one line a reducer and case, then the bars; status 1 where two values differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.unfold", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only reducers whose name contains this text")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measuring time of a reducer and case")
    parser.add_argument("--quick", action="store_true", help="small inputs")
    parser.add_argument("--json", action="store_true", help=f"also write the bars to bench/results/{RESULTS.name}")
    given = parser.parse_args(argv)
    names = [name for name in ROWS if given.filter.lower() in name.lower()]
    if not names:
        print(f"no reducer matches {given.filter!r}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    set_threads(1)
    recycle_memory()
    print(f"{'reducer':12} {'case':24} {'ms':>8} {'unfold':>8} {'times':>6} {'train':>8} {'times':>6} kept")
    done: list[Comparison] = []
    for name in names:
        for case in QUICK_CASES if given.quick else CASES:
            try:
                one = compare(name, case, given.seconds)
            except DiffersError as error:
                print(error, file=sys.stderr)
                return 1
            done.append(one)
            print(
                f"{name:12} {one.case:24} {one.ms:8.3f} {one.unfold_ms:8.2f} {one.forward:6.1f} "
                f"{one.train_ms:8.3f} {one.train:6.1f} {one.kept:4.1f}",
                flush=True,
            )
    bars = goals(done)
    show(bars)
    if given.json:
        save(RESULTS, {"unfold": bars}, quick=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
