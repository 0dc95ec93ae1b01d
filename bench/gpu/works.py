"""What is timed: poolkit's calls, what they have to move, and the same things in torch's own operations."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import poolkit as pk
from bench.compositions import EDGE, ROWS, taps
from poolkit.bench import rows, with_torch
from poolkit.bench.rows import FLOAT_BYTES
from poolkit.bench.task import Task, Unavailable
from poolkit.torch.functional import pool

Run = Callable[[Tensor], Any]  # a tensor, or values and indices
MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
ABOVE = 16 * 2**20  # bytes of a network shape's input
SMALL = (2, 3, 8, 8)  # what --dry takes
DRY_LAYERS = {
    "onednn:googlenet_v1/max_pool1/3x3_s2",  # ceil mode
    "segnet/pool_unpool",  # with indices
    "fmp_cifar/ratio_1.41",
    "unet3d_original/pool3",
}


@dataclass(frozen=True)
class Work:
    """A call to time, what others make of it, and the bytes it has to move."""

    name: str
    kind: str  # which bars it counts for: fold, unfold, stride, network; or other
    shape: tuple[int, ...]
    mine: Run
    peer: Run | None = None  # in torch's own operations: ATen as it is, Inductor compiled
    unfold: Run | None = None
    dtype: torch.dtype = torch.float32
    last: bool = False
    train: bool = False
    kept: float = 0.0  # bytes an output that forward writes and backward reads, beside y and x
    again: bool = False  # backward reads x
    compiled: bool = True  # the peer by Inductor, too
    beyond: bool = False  # measured where time is left for it
    wide: torch.dtype = torch.float64  # what the reference is computed in

    def moved(self, x: Tensor, results: tuple[Tensor, ...]) -> float:
        """Bytes that cannot be avoided."""
        one = x.nbytes + sum(result.nbytes for result in results)
        if not self.train:
            return one
        return 2 * one + 2 * self.kept * results[0].numel() + (x.nbytes if self.again else 0)


def tensors(given: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a call gave."""
    return given if isinstance(given, tuple) else (given,)


def made(work: Work, device: torch.device, seed: int) -> Tensor:
    """A fresh input."""
    generator = torch.Generator(device).manual_seed(seed)
    x = torch.randn(work.shape, generator=generator, device=device).to(work.dtype)
    return x.contiguous(memory_format=MEMORY_FORMATS[x.ndim]) if work.last else x


def step(run: Run, x: Tensor, *, train: bool) -> Callable[[], object]:
    """What is timed."""
    if not train:
        return lambda: run(x)
    leaf = x.detach().requires_grad_()
    dy = torch.ones_like(run(leaf))
    return lambda: torch.autograd.grad(run(leaf), leaf, dy)


def compiled(run: Run) -> Run:
    """By Inductor, for one shape alone.

    Where a kernel of it has a choice of tiles it tries them when it first runs, and forgets them: those that processes
    beside each other have found (bench.gpu.ahead) are no good.
    """
    torch.compiler.reset()
    inductor: Any = importlib.import_module("torch._inductor")
    forgets: Any = {"autotune_local_cache": False} if "autotune_local_cache" in inductor.list_options() else {}
    return torch.compile(run, dynamic=False, options=forgets)


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
GATED = "Gated"
UNFOLDED = {"Stochastic": (2, 2, 0), "Median": (3, 1, 0), "Mixed": (3, 2, 1), GATED: (2, 2, 0)}
GATE = (0.3, -0.2, 0.1, 0.4)
STRIDE_1 = (3, 31)


def works(device: torch.device, *, dry: bool) -> tuple[list[Work], list[str]]:
    """All rows, in the order of the bars and those beyond them last; and why a layer is in none."""
    rest, without = network(device, dry=dry)
    list_ = [*folds(dry=dry), *unfolded(device, dry=dry), *large(dry=dry), *rest]
    return sorted(list_, key=lambda work: work.beyond), without


def folds(*, dry: bool) -> list[Work]:
    """The folding reducers on 256 MiB, in both layouts, forward and backward."""
    list_: list[Work] = []
    for train in (False, True):
        for dtype in (torch.float32, torch.bfloat16):
            for last in (False, True):
                whole = dtype == torch.float32
                shape = SMALL if dry else (64 if whole else 128, 256, 64, 64)
                for name, (reducer, peer, kept, again) in FOLDS.items():
                    if dry and (not whole or last != train or (train and name not in {"max", "soft"})):
                        continue
                    for k, s, p in WINDOWS[: 1 if train or not whole or dry else 2]:
                        list_.append(
                            Work(
                                f"{name} {k}x{k}/{s} {str(dtype)[6:]} {layout(last=last)}",
                                "fold",
                                shape,
                                lambda x, r=reducer, k=k, s=s, p=p: pool(x, pk.Sliding(k, s, p), r),
                                lambda x, f=peer, k=k, s=s, p=p: f(x, k, s, p),
                                dtype=dtype,
                                last=last,
                                train=train,
                                kept=kept,
                                again=again,
                                compiled=whole,
                            )
                        )
    return list_


def layout(*, last: bool) -> str:
    """In a row's name."""
    return "channels-last" if last else "planar"


def unfolded(device: torch.device, *, dry: bool) -> list[Work]:
    """What torch has no operator for, against compositions over unfold."""
    shape = SMALL if dry else (32, 64, 112, 112)
    weights = torch.tensor(GATE, device=device)  # not in the call: the host would wait for the copy
    list_: list[Work] = []
    for name, (k, s, p) in UNFOLDED.items():
        if name == GATED:
            mine, compose = gated, partial(gate_of_taps, weights=weights)
        else:
            make, compose, _, _ = ROWS[name]
            mine = partial(pool, window=pk.Sliding(k, s, p), reducer=make(k))
        unfold = partial(from_taps, compose, kernel=k, stride=s, padding=p)
        list_.append(Work(f"{name} {k}x{k}/{s}", "unfold", shape, mine, unfold=unfold))
    return list_


def from_taps(compose: Run, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """A composition over unfolded taps, as a map."""
    y = compose(taps(x, kernel, stride, padding, -EDGE))
    return y.view(*x.shape[:2], (x.shape[2] + 2 * padding - kernel) // stride + 1, -1)


def gated(x: Tensor) -> Any:
    """The maximum where a filter of the window says so."""
    gate = pool(x, pk.Sliding(2), pk.Filter(GATE))
    assert isinstance(gate, Tensor)
    return pool(x, pk.Sliding(2), pk.Mixed(), extra=gate.sigmoid())


def gate_of_taps(t: Tensor, weights: Tensor) -> Tensor:
    """The same of taps."""
    gate = (t * weights).sum(-1).sigmoid()
    return gate * t.amax(-1) + (1 - gate) * t.mean(-1)


def large(*, dry: bool) -> list[Work]:
    """Large windows: with stride 1, the small one first, and the whole plane."""
    list_ = [
        Work(
            f"max {k}x{k}/1",
            "stride",
            (1, 2, 12, 12) if dry else (16, 64, 256, 256),
            lambda x, k=k: pool(x, pk.Sliding(k, 1, k // 2), pk.Max()),
            lambda x, k=k: functional.max_pool2d(x, k, 1, k // 2),
            compiled=k == STRIDE_1[0],  # Inductor has no kernel for windows that large and calls ATen's
        )
        for k in ((3, 5) if dry else STRIDE_1)
    ]
    shape = SMALL if dry else (64, 256, 64, 64)
    return [
        *list_,
        Work(
            "mean global",
            "other",
            shape,
            lambda x: pool(x, pk.Global(keepdims=True), pk.Mean()),
            lambda x: functional.adaptive_avg_pool2d(x, 1),
        ),
    ]


def network(device: torch.device, *, dry: bool) -> tuple[list[Work], list[str]]:
    """The layers of real networks whose input is above 16 MiB, the largest first; and why a layer is left out."""
    found, left_out = rows.load()
    without = [f"{name}: {why}" for name, why in left_out]
    chosen = [row for row in found if FLOAT_BYTES * row.cells > ABOVE]
    if dry:
        chosen = [
            replace(row, shape=(2, 3, *(min(size, 9) for size in row.shape[2:])))
            for row in chosen
            if row.name in DRY_LAYERS
        ]
    list_: list[Work] = []
    for row in sorted(chosen, key=lambda row: -row.cells):
        try:
            planar = _layer(row, device)
        except Unavailable as why:
            without.append(f"{row.name}: {why}")
            continue
        list_.append(planar)
        if row.rank > 1 and not (dry and list_[1:]):
            list_.append(replace(planar, name=f"{row.name} {layout(last=True)}", last=True, beyond=True))
    return list_, without


def _layer(row: rows.Row, device: torch.device) -> Work:
    """One row of network_shapes.csv, with torch's own call for it."""
    peer: Any = with_torch.layer(Task(row))
    if row.kind != "fractional_max":
        indices = row.kind == "max_with_indices"
        mine: Run = partial(pool, window=row.window, reducer=row.reducer, return_indices=indices)
        return Work(row.name, "network", row.shape, mine, peer)
    # On the device once: the copy is no part of the call. Windows begin where float32 says, so there is no float64.
    arguments = {**peer.keywords, "_random_samples": peer.keywords["_random_samples"].to(device)}
    own = partial(pk.fractional_max_pool2d, **arguments)
    return Work(row.name, "network", row.shape, own, partial(peer.func, **arguments), wide=torch.float32)
