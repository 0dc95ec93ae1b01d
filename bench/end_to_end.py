"""``python -m bench.end_to_end``: whole networks in plain torch before and after `poolkit.accelerate`.

Inference and a training step on the CPU, channels first, float32. Outputs are compared first; then the two contestants
take turns, and the medians count. Peak memory is measured in a process for each. Writes bench/results/end_to_end.json.
"""

import argparse
import gc
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

import poolkit as pk
from bench.resident import peak_bytes
from poolkit.bench.clock import recycle_memory
from poolkit.lab.models.inception import Inception
from poolkit.lab.models.resnet import ResNet18
from poolkit.lab.models.unet import UNet
from poolkit.lab.models.vgg import VGG16
from poolkit.lab.models.yolo_spp import SPP, SPPF

RESULTS = Path(__file__).parent / "results" / "end_to_end.json"
CONTESTANTS = ("torch", "poolkit")
PHASES = ("inference", "training")
# Name, network, input at scale 1; --small divides the batch and the sides.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (ResNet18, (8, 3, 224, 224)),
    "vgg16": (VGG16, (2, 3, 224, 224)),
    "unet": (lambda: UNet(1, 2, width=32), (1, 1, 256, 256)),
    "inception": (Inception, (8, 3, 224, 224)),
    "yolo_spp": (lambda: SPP(512), (8, 512, 20, 20)),
    "yolo_sppf": (lambda: SPPF(512), (8, 512, 20, 20)),
}


def made(name: str, contestant: str, *, training: bool, small: bool) -> tuple[nn.Module, Tensor]:
    """A network and its input, the same for both contestants."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = make().train(training)
    if small:
        shape = (min(shape[0], 2), shape[1], *(max(side // 4, 16) for side in shape[2:]))
    if contestant == "poolkit":
        pk.accelerate(model, quiet=True)
    return model, torch.randn(shape)


def runner(model: nn.Module, x: Tensor, *, training: bool) -> Callable[[], Tensor]:
    """One inference, or one training step without the optimizer's part, which has no pooling."""

    def infer() -> Tensor:
        with torch.inference_mode():
            return model(x)

    def step() -> Tensor:
        model.zero_grad()
        y = model(x)
        y.square().mean().backward()
        return y.detach()

    return step if training else infer


def time_both(name: str, *, training: bool, small: bool, rounds: int) -> dict[str, float]:
    """Median milliseconds of both, taking turns; the outputs are compared before.

    Raises:
        AssertionError: the outputs differ.
    """
    runs = {one: runner(*made(name, one, training=training, small=small), training=training) for one in CONTESTANTS}
    outputs: list[Tensor] = []
    for run in runs.values():
        torch.manual_seed(1)
        outputs.append(run())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)
    samples: dict[str, list[float]] = {one: [] for one in CONTESTANTS}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for one, run in runs.items():
                begin = perf_counter_ns()
                run()
                samples[one].append((perf_counter_ns() - begin) / 1e6)
    finally:
        gc.enable()
    return {one: median(taken) for one, taken in samples.items()}


def peak(name: str, contestant: str, *, training: bool, small: bool, threads: int) -> int:
    """Peak resident bytes of a process that does it twice."""
    command = [sys.executable, "-m", "bench.end_to_end", "--peak-of", name, contestant, "--threads", str(threads)]
    command += ["--training"] * training + ["--small"] * small
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_here(name: str, contestant: str, *, training: bool, small: bool) -> int:
    """The same, of this process."""
    run = runner(*made(name, contestant, training=training, small=small), training=training)
    run()
    run()
    return peak_bytes()


def main() -> int:
    """Print the table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.end_to_end", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filter", default="", help="only networks whose name contains this text")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="small inputs, to see that it works")
    parser.add_argument("--training", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak-of", nargs=2, metavar=("NETWORK", "CONTESTANT"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are written")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.peak_of:
        print(peak_here(*given.peak_of, training=given.training, small=given.small))
        return 0
    recycle_memory()
    rows: list[dict[str, Any]] = []
    print(f"{'network':10} {'phase':9} {'torch ms':>9} {'poolkit':>9} {'times':>6} {'torch MB':>9} {'poolkit':>9}")
    for name in NETWORKS:
        if given.filter not in name:
            continue
        for phase in PHASES:
            training = phase == "training"
            ms = time_both(name, training=training, small=given.small, rounds=given.rounds)
            memory = {
                one: peak(name, one, training=training, small=given.small, threads=given.threads) for one in CONTESTANTS
            }
            rows.append({"network": name, "phase": phase, "ms": ms, "peak_rss": memory})
            print(
                f"{name:10} {phase:9} {ms['torch']:9.1f} {ms['poolkit']:9.1f} {ms['torch'] / ms['poolkit']:6.2f} "
                f"{memory['torch'] / 1e6:9.0f} {memory['poolkit'] / 1e6:9.0f}"
            )
    about = {
        "torch": torch.__version__,
        "threads": given.threads,
        "small": given.small,
        "rounds": given.rounds,
        "machine": platform.machine(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = given.out.with_suffix(".part")
    unfinished.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
