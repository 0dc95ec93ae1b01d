"""``python -m bench.gpu``: the Triton kernels on one GPU against ATen, Inductor and the copy rate, in one table.

Every row is checked before it is timed: fresh random inputs, outputs in memory that held NaN, and the relative error
against the same call in float64. Times are medians of CUDA events, each sample after writes that turn the second cache
over; the copy rate is measured between them. The bars are those of ``docs/gpu.md``. It ends within eight minutes: rows
that no time is left for are listed as such, and then, as for a bar that is missed, the exit status is 1.

``--dry`` runs all of it on tiny tensors in Triton's interpreter, without a GPU: its times mean nothing.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median
from time import monotonic, perf_counter

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes

import poolkit as pk
from bench.compositions import EDGE, ROWS, taps
from bench.goals.goal import WORDS, Goal, at_least, at_most, none_of
from poolkit.show.files import write_whole
from poolkit.torch.functional import pool

RESULTS = Path(__file__).parent / "results"
DEADLINE = 450.0  # seconds; a row that has begun may take some more
CACHE = 256 * 2**20  # bytes, more than any second cache
ROUNDS = 15
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Work:
    """A call to time, what others make of it, and the bytes it has to move."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    last: bool
    train: bool
    mine: Run
    peer: Run | None = None  # in torch's own operations: ATen as it is, Inductor compiled
    unfold: Run | None = None
    kept: float = 0.0  # bytes an output that forward writes and backward reads, beside y and x
    again: bool = False  # backward reads x
    judged: bool = True  # by the share of the copy rate

    def moved(self, x: Tensor, y: Tensor) -> float:
        """Bytes that cannot be avoided."""
        one = x.nbytes + y.nbytes
        if not self.train:
            return one
        return 2 * one + 2 * self.kept * y.numel() + (x.nbytes if self.again else 0)


@dataclass
class Row:
    """What was measured: milliseconds, and shares."""

    work: str
    train: bool
    judged: bool
    ms: float = math.nan
    share: float = math.nan  # of the copy rate
    error: float = math.nan  # relative, against float64
    peers: dict[str, float] = field(default_factory=dict)  # how many times longer they take


def soft_by_means(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Soft pooling as people write it."""
    weights = x.exp()
    over = functional.avg_pool2d(weights, kernel, stride, padding)
    return functional.avg_pool2d(x * weights, kernel, stride, padding) / over


def lse_by_means(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Log of the mean of exponentials, of the taps that are there."""
    return functional.avg_pool2d(x.exp(), kernel, stride, padding, count_include_pad=False).log()


Peer = Callable[[Tensor, int, int, int], Tensor]
FOLDS: dict[str, tuple[pk.Reducer, Peer, float, bool]] = {
    "max": (pk.Max(), functional.max_pool2d, 1.0, False),
    "mean": (pk.Mean(), functional.avg_pool2d, 0.0, False),
    "sum": (pk.Sum(), lambda x, k, s, p: functional.avg_pool2d(x, k, s, p, divisor_override=1), 0.0, False),
    "lp": (pk.Lp(2), lambda x, k, s, p: functional.lp_pool2d(functional.pad(x, [p] * 4), 2, k, s), 0.0, True),
    "soft": (pk.Soft(), soft_by_means, 0.0, True),
    "lse": (pk.LogSumExp(), lse_by_means, 0.0, True),
}
WINDOWS = ((3, 2, 1), (2, 2, 0))
UNFOLDED = {"Stochastic": (2, 2, 0), "Median": (3, 1, 0), "Mixed": (3, 2, 1)}


def works(*, dry: bool) -> list[Work]:
    """All rows, the bars' first."""
    fp32, bf16 = torch.float32, torch.bfloat16
    list_: list[Work] = []
    for train in (False, True):
        for dtype in (fp32, bf16):
            for last in (False, True):
                shape = (2, 3, 8, 8) if dry else (64 if dtype == fp32 else 128, 256, 64, 64)
                for name, (reducer, peer, kept, again) in FOLDS.items():
                    if dry and (dtype != fp32 or last != train or (train and name in {"sum", "lse"})):
                        continue
                    for k, s, p in WINDOWS[: 1 if train or dtype == bf16 or dry else 2]:
                        list_.append(
                            Work(
                                f"{name} {k}x{k}/{s} {str(dtype)[6:]} {'channels-last' if last else 'planar'}",
                                shape,
                                dtype,
                                last,
                                train,
                                lambda x, r=reducer, k=k, s=s, p=p: pool(x, pk.Sliding(k, s, p), r),
                                lambda x, f=peer, k=k, s=s, p=p: f(x, k, s, p),
                                kept=kept,
                                again=again,
                            )
                        )
    shape = (2, 3, 8, 8) if dry else (32, 64, 112, 112)
    for name, (k, s, p) in UNFOLDED.items():
        make, compose, _, _ = ROWS[name]
        reducer = make(k)
        list_.append(
            Work(
                f"{name} {k}x{k}/{s}",
                shape,
                fp32,
                last=False,
                train=False,
                mine=lambda x, r=reducer, k=k, s=s, p=p: pool(x, pk.Sliding(k, s, p), r),
                unfold=lambda x, f=compose, k=k, s=s, p=p: from_taps(f, x, k, s, p),
                judged=False,
            )
        )
    list_.append(gated(shape))
    list_ += [
        Work(
            f"max {k}x{k}/1",
            (1, 2, 12, 12) if dry else (16, 64, 256, 256),
            fp32,
            last=False,
            train=False,
            mine=lambda x, k=k: pool(x, pk.Sliding(k, 1, k // 2), pk.Max()),
            peer=lambda x, k=k: functional.max_pool2d(x, k, 1, k // 2),
            judged=False,
        )
        for k in ((3, 5) if dry else (3, 31))
    ]
    list_.append(
        Work(
            "mean global",
            (2, 3, 8, 8) if dry else (64, 256, 64, 64),
            fp32,
            last=False,
            train=False,
            mine=lambda x: pool(x, pk.Global(), pk.Mean()),
            peer=lambda x: functional.adaptive_avg_pool2d(x, 1),
            judged=False,
        )
    )
    return list_


def from_taps(compose: Run, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """A composition over unfolded taps, as a map."""
    y = compose(taps(x, kernel, stride, padding, -EDGE))
    return y.view(*x.shape[:2], (x.shape[2] + 2 * padding - kernel) // stride + 1, -1)


def gated(shape: tuple[int, ...]) -> Work:
    """The maximum where a filter of the window says so."""
    weights = (0.3, -0.2, 0.1, 0.4)

    def mine(x: Tensor) -> Tensor:
        gate = pool(x, pk.Sliding(2), pk.Filter(weights)).sigmoid()
        return pool(x, pk.Sliding(2), pk.Mixed(), extra=gate)

    def compose(t: Tensor) -> Tensor:
        gate = (t * torch.tensor(weights, dtype=t.dtype, device=t.device)).sum(-1).sigmoid()
        return gate * t.amax(-1) + (1 - gate) * t.mean(-1)

    unfold: Run = lambda x: from_taps(compose, x, 2, 2, 0)  # noqa: E731  a row like the others
    return Work("Gated 2x2/2", shape, torch.float32, False, False, mine, unfold=unfold, judged=False)


class Clock:
    """Times calls on one device."""

    def __init__(self, device: torch.device) -> None:
        self.gpu = device.type != "cpu"
        self.device = device
        self.flush = torch.empty(CACHE // 4 if self.gpu else 4, dtype=torch.int32, device=device)

    def ms(self, call: Callable[[], object], rounds: int = ROUNDS) -> float:
        """The median of one call."""
        samples = [self._sample(call) for _ in range(rounds if self.gpu else 1)]
        return median(samples)

    def _sample(self, call: Callable[[], object]) -> float:
        self.flush.zero_()
        if not self.gpu:
            begin = perf_counter()
            call()
            return (perf_counter() - begin) * 1e3
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def copy_rate(self) -> float:
        """Bytes a millisecond, read and written, of a copy of 512 MiB."""
        source = torch.ones(2**27 if self.gpu else 2**12, device=self.device)
        to = torch.empty_like(source)
        to.copy_(source)
        return 2 * source.nbytes / self.ms(lambda: to.copy_(source))


def made(work: Work, device: torch.device, seed: int) -> Tensor:
    """A fresh input."""
    generator = torch.Generator(device).manual_seed(seed)
    x = torch.randn(work.shape, generator=generator, device=device).to(work.dtype)
    return x.contiguous(memory_format=torch.channels_last) if work.last else x


def step(run: Run, x: Tensor, train: bool) -> Callable[[], object]:
    """What is timed."""
    if not train:
        return lambda: run(x)
    leaf = x.detach().requires_grad_()
    dy = torch.ones_like(run(leaf))
    return lambda: torch.autograd.grad(run(leaf), leaf, dy)


def relative_error(work: Work, x: Tensor) -> float:
    """Of the values, and of the gradient in a training row, in outputs whose memory held NaN before."""
    if work.name.startswith("Stochastic"):
        return drawn_error(work, x)
    part = x[:1]
    poison = [torch.full_like(x, math.nan) for _ in range(2)]
    del poison

    def results(t: Tensor) -> list[Tensor]:
        leaf = t.detach().requires_grad_(work.train)
        y = work.mine(leaf)
        return [y, torch.autograd.grad(y.square().sum() / 2, leaf)[0]] if work.train else [y]

    worst = 0.0
    with _disable_current_modes():  # by the kernels of the CPU
        wants = [t.detach() for t in results(part.double().cpu())]
    for mine, want in zip(results(x), wants, strict=True):
        got = mine.detach()[:1].double().cpu()
        worst = max(worst, float((got - want).abs().max() / want.abs().max()))
        if not bool(mine.isfinite().all()):
            return math.inf
    return worst


def drawn_error(work: Work, x: Tensor) -> float:
    """Every value is a cell of its window that could be drawn, or 0."""
    y = work.mine(x)
    cells = taps(x, 2, 2, 0, -EDGE).clamp(min=0).view(*y.shape, 4)
    return 0.0 if bool((cells == y.unsqueeze(-1)).any(-1).logical_or(y == 0).all()) else math.inf


LIMITS = {torch.float32: 2e-5, torch.bfloat16: 4e-2}


def measure(work: Work, clock: Clock, seed: int, *, compile_too: bool) -> Row:
    """One row; RuntimeError where it is wrong."""
    row = Row(work.name, work.train, work.judged)
    x = made(work, clock.device, seed)
    row.error = relative_error(work, x)
    if not row.error <= LIMITS[work.dtype]:
        raise RuntimeError(f"{work.name}: a relative error of {row.error:.2g} against float64")
    x = made(work, clock.device, seed + 1)
    call = step(work.mine, x, work.train)
    call()
    rate = clock.copy_rate()
    row.ms = clock.ms(call)
    row.share = work.moved(x, work.mine(x)) / row.ms / rate
    others: dict[str, Run | None] = {"aten": work.peer, "unfold": work.unfold}
    if compile_too and work.peer is not None:
        torch._dynamo.reset()
        others["inductor"] = torch.compile(work.peer)
    for name, run in others.items():
        if run is not None:
            other = step(run, x, work.train)
            other()
            row.peers[name] = clock.ms(other, ROUNDS if name != "unfold" else 5) / row.ms
    return row


def judge(rows: list[Row]) -> list[Goal]:
    """The bars."""
    by_name = {row.work: row for row in rows}
    goals: list[Goal] = []
    for train, bar in ((False, 0.9), (True, 0.8)):
        shares = {row.work: row.share for row in rows if row.judged and row.train == train}
        work = "forward and backward" if train else "forward"
        least = min(shares.values(), default=None)
        detail = {name: f"{share:.2f}" for name, share in shares.items() if share < bar}
        goals.append(at_least(work, "share of the copy rate, the least", least, bar, detail))
    for peer, bar in (("aten", 1.3), ("inductor", 1.1)):
        ratios = {row.work: row.peers[peer] for row in rows if peer in row.peers}
        mean = geometric_mean(ratios.values()) if ratios else None
        goals.append(at_least("all rows", f"times {peer}'s speed, geometric mean", mean, bar, {}))
        slower = {name: f"{ratio:.2f}" for name, ratio in ratios.items() if ratio < 0.95}
        goals.append(none_of("all rows", f"slower than {peer} by more than 5 %", slower, of=len(ratios)))
    for name in (*(f"{name} {k}x{k}/{s}" for name, (k, s, _) in UNFOLDED.items()), "Gated 2x2/2"):
        row = by_name.get(name)
        goals.append(at_least(name, "times the composition's speed", row and row.peers["unfold"], 10.0, {}))
    ones = [row for row in rows if row.work.endswith("/1") and row.work.startswith("max")]
    growth = ones[1].ms / ones[0].ms if len(ones) == 2 else None
    goals.append(at_most("stride 1", "time of the large kernel over that of 3x3", growth, 2.5, {}))
    return goals


def table(rows: list[Row], goals: list[Goal], facts: dict[str, object], left: list[str]) -> str:
    """The page."""
    lines = [
        "| call | ms | of the copy rate | ATen | Inductor | unfold | error |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        peers = [f"{row.peers[name]:.2f}x" if name in row.peers else "-" for name in ("aten", "inductor", "unfold")]
        name = f"{row.work}, forward and backward" if row.train else row.work
        lines.append(f"| {name} | {row.ms:.3f} | {row.share:.2f} | {' | '.join(peers)} | {row.error:.1e} |")
    lines += ["", "| work | bar | reached | met |", "|---|---|---:|---|"]
    for goal in goals:
        reached = "-" if goal.reached is None else f"{goal.reached:.2f}"
        lines.append(f"| {goal.work} | {goal.bar} | {reached} | {WORDS[goal.met]} |")
    lines += ["", ", ".join(f"{name} {value}" for name, value in facts.items())]
    if left:
        lines += ["", f"No time was left for: {', '.join(left)}"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: all bars met; 1: not; 2: there is nothing to run on."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="tiny tensors in Triton's interpreter; no GPU is needed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for gpu.json and gpu.md")
    options = parser.parse_args(arguments)
    from poolkit.torch import triton

    if (why := triton.missing()) is not None or not (options.dry or torch.cuda.is_available()):
        sys.stderr.write(
            f"you gave  bench.gpu\nthe rule  {why or 'torch finds a GPU'}\ndo this   run it on one, or --dry\n"
        )
        return 2
    begin = monotonic()
    device = torch.device("cpu" if options.dry else "cuda")
    clock = Clock(device)
    rows: list[Row] = []
    left: list[str] = []
    wrong: list[str] = []
    for seed, work in enumerate(works(dry=options.dry)):
        if monotonic() - begin > DEADLINE:
            left.append(work.name)
            continue
        try:
            rows.append(measure(work, clock, 2 * seed, compile_too=not options.dry))
        except RuntimeError as error:
            wrong.append(str(error))
    facts: dict[str, object] = {
        "device": torch.cuda.get_device_name() if clock.gpu else "none: Triton's interpreter, whose times mean nothing",
        "torch": torch.__version__,
        "copy GB/s": round(clock.copy_rate() / 1e6, 1),
        "seconds": round(monotonic() - begin),
    }
    goals = judge(rows)
    page = table(rows, goals, facts, left) + "".join(f"\nWrong: {line}\n" for line in wrong)
    document = {
        "facts": facts,
        "rows": [asdict(row) for row in rows],
        "goals": [asdict(goal) for goal in goals],
        "left": left,
        "wrong": wrong,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "gpu.json", (json.dumps(document, indent=1) + "\n").encode())
    write_whole(options.out / "gpu.md", page.encode())
    print(page)
    if options.dry:
        return 1 if wrong or left else 0
    return 0 if not wrong and not left and all(goal.met for goal in goals) else 1


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
