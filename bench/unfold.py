"""``python -m bench.unfold``: every local reducer against the same thing composed in torch from unfold.

Equality first, then alternating rounds, forward and forward + backward, one thread, channels first, float32. Also the
bytes an output keeps for the backward pass, beside input and output.
"""

import argparse
import gc
import math
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

import torch
from torch import Tensor
from torch.nn import functional

import poolkit as pk
from poolkit.torch.functional import pool

from .measure import recycle_memory

# ruff: noqa: D103  one composition for each reducer, under its own name

CASES = (((8, 64, 56, 56), 2, 2, 0), ((8, 64, 112, 112), 3, 2, 1), ((8, 256, 14, 14), 3, 1, 1))
EDGE = 1e30  # what fills the padding of taps


def taps(x: Tensor, kernel: int, stride: int, padding: int, fill: float) -> Tensor:
    """``[N, C, windows, taps]`` by unfold, padding filled with `fill`."""
    n, c = x.shape[:2]
    padded = functional.pad(x, [padding] * 4, value=fill) if padding else x
    columns = functional.unfold(padded, kernel, stride=stride)
    return columns.view(n, c, kernel * kernel, -1).transpose(2, 3)


def ranked(weights: Callable[[int], list[float]]) -> Callable[[Tensor], Tensor]:
    """A weighted sum of the sorted taps; windows without padding only."""

    def reduce(t: Tensor) -> Tensor:
        w = torch.tensor(weights(t.shape[-1]), dtype=t.dtype)
        return (t.sort(-1, descending=True).values * w).sum(-1)

    return reduce


def inside(t: Tensor) -> Tensor:
    """Taps that are no padding."""
    return t.abs() < EDGE


def mean(t: Tensor) -> Tensor:
    return torch.where(inside(t), t, 0).sum(-1) / inside(t).sum(-1)


def variance(t: Tensor) -> Tensor:
    return mean(torch.where(inside(t), (t - mean(t).unsqueeze(-1)).square(), -EDGE))


def softmax_mean(t: Tensor, beta: float = 1.0) -> Tensor:
    weights = (torch.where(inside(t), t, -EDGE) * beta).softmax(-1)
    return (weights * t.clamp(-100)).sum(-1)


def ada(t: Tensor) -> Tensor:
    m = mean(t).unsqueeze(-1)
    like = torch.where(inside(t), 2 * (t * m).abs() / (t.square() + m.square()), -EDGE).softmax(-1)
    return 0.5 * (like * t.clamp(-100)).sum(-1) + 0.5 * softmax_mean(t)


def stochastic(t: Tensor) -> Tensor:
    w = t.clamp(min=0)
    flat = (w + 1e-30).flatten(0, -2)
    chosen = torch.multinomial(flat, 1).view(*t.shape[:-1], 1)
    return t.gather(-1, chosen).squeeze(-1)


def filtered(t: Tensor) -> Tensor:
    return torch.where(inside(t), t, 0).mean(-1)


FILTERS = {k: pk.Filter((1 / k**2,) * k**2) for k in (2, 3)}
# reducer, composition, whether padding may be there, whether the two can be compared
ROWS: dict[str, tuple[Callable[[int], pk.Reducer], Callable[[Tensor], Tensor], bool, bool]] = {
    "Max": (lambda _: pk.Max(), lambda t: t.amax(-1), True, True),
    "Mean": (lambda _: pk.Mean(count_include_pad=False), mean, True, True),
    "Lp": (lambda _: pk.Lp(3), lambda t: torch.where(inside(t), t.abs() ** 3, 0).sum(-1) ** (1 / 3), True, True),
    "PowerMean": (lambda _: pk.PowerMean(), lambda t: mean(t.clamp(min=1e-6) ** 3) ** (1 / 3), False, True),
    "RMS": (lambda _: pk.RMS(), lambda t: t.square().mean(-1).sqrt(), False, True),
    "LogSumExp": (lambda _: pk.LogSumExp(), lambda t: t.logsumexp(-1) - math.log(t.shape[-1]), False, True),
    "Soft": (lambda _: pk.Soft(), softmax_mean, True, True),
    "Median": (lambda _: pk.Median(), lambda t: t.median(-1).values, False, True),
    "Quantile": (lambda _: pk.Quantile(0.3), lambda t: t.quantile(0.3, dim=-1), False, True),
    "TopKMean": (lambda _: pk.TopKMean(2), lambda t: t.topk(2, -1).values.mean(-1), True, True),
    "RankMean": (
        lambda _: pk.RankMean(0.5, normalize=False),
        ranked(lambda n: [0.5 ** (r + 1) for r in range(n)]),
        False,
        True,
    ),
    "Ordinal": (
        lambda k: pk.Ordinal(tuple(1 / (r + 1) for r in range(k * k))),
        ranked(lambda n: [1 / (r + 1) for r in range(n)]),
        False,
        True,
    ),
    "Stochastic": (lambda _: pk.Stochastic(), stochastic, True, False),
    "Mixed": (lambda _: pk.Mixed(), lambda t: 0.5 * t.amax(-1) + 0.5 * mean(t), True, True),
    "Var": (lambda _: pk.Var(), variance, True, True),
    "Std": (lambda _: pk.Std(), lambda t: variance(t).sqrt(), True, True),
    "Ada": (lambda _: pk.Ada(), ada, True, True),
    "Boltzmann": (lambda _: pk.Boltzmann(2.0), lambda t: softmax_mean(t, 2.0), True, True),
    "GeM": (lambda _: pk.GeM(), lambda t: mean(t.clamp(min=1e-6) ** 3) ** (1 / 3), False, True),
    "Filter": (lambda k: FILTERS[k], filtered, True, True),
}


def kept_bytes(run: Callable[[Tensor], Tensor], x: Tensor, outputs: int) -> float:
    """Bytes an output that autograd keeps, beside x and y."""
    saved: dict[int, Tensor] = {}

    def pack(t: Tensor) -> Tensor:
        saved[t.data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = run(x)
    known = {x.data_ptr(), y.data_ptr()}
    return sum(t.untyped_storage().nbytes() for at, t in saved.items() if at not in known) / outputs


def timed(runs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each, alternating."""
    samples: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for run, mine in zip(runs, samples, strict=True):
            begin = perf_counter_ns()
            run()
            if turn:
                mine.append((perf_counter_ns() - begin) / 1e6)
    return [median(mine) for mine in samples]


def main() -> int:
    """Print one line a reducer and case; status 1 where two values differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.unfold", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only reducers whose name contains this text")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recycle_memory()
    print(
        f"{'reducer':12} {'input':16} {'window':7} {'ms':>8} {'unfold':>8} {'times':>6} {'train':>7} {'times':>6} kept"
    )
    ratios: list[float] = []
    for name, (record, compose, padded, comparable) in ROWS.items():
        if given.filter.lower() not in name.lower():
            continue
        for shape, kernel, stride, padding in CASES:
            pad = padding if padded else 0
            x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1
            window, reducer = pk.Sliding(kernel, stride, pad), record(kernel)

            def mine(t: Tensor, window: pk.Sliding = window, reducer: pk.Reducer = reducer) -> Tensor:
                return pool(t, window, reducer, seed=0)

            def theirs(
                t: Tensor,
                geometry: tuple[int, int, int] = (kernel, stride, pad),
                compose: Callable[[Tensor], Tensor] = compose,
            ) -> Tensor:
                return compose(taps(t, *geometry, -EDGE))

            y = mine(x)
            if comparable and not torch.allclose(y.flatten(2), theirs(x), rtol=2e-5, atol=2e-5):
                print(f"{name}: the values differ")
                return 1
            grad = torch.rand(y.shape)
            g = x.clone().requires_grad_()
            trained = [
                lambda mine=mine, g=g, grad=grad: mine(g).backward(grad),
                lambda theirs=theirs, g=g, grad=grad: theirs(g).backward(grad.flatten(2)),
            ]
            fast, slow = timed([lambda mine=mine, x=x: mine(x), lambda theirs=theirs, x=x: theirs(x)], given.rounds)
            fast_train, slow_train = timed(trained, given.rounds)
            ratios.append(slow / fast)
            print(
                f"{name:12} {'x'.join(map(str, shape)):16} {kernel}x{kernel}/{stride:<3} {fast:8.2f} {slow:8.1f} "
                f"{slow / fast:6.1f} {fast_train:7.2f} {slow_train / fast_train:6.1f} "
                f"{kept_bytes(mine, g, y.numel()):4.1f}"
            )
            gc.collect()
    print(f"geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.1f}x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
