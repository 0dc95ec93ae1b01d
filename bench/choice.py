"""``python -m bench.choice``: where accelerate takes a pooling over, and what either side takes there.

Forward, and forward with backward, of single poolings over sizes and layouts; the last column says what
`poolkit.surgery.choice` decides. Lines where that is the slower side by more than a quarter are marked.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter_ns

import torch
from torch import Tensor, nn

from poolkit import nn as ours
from poolkit.surgery.choice import Shape, sooner

SHAPES = ((1, 64, 7, 7), (8, 512, 7, 7), (8, 512, 14, 14), (8, 256, 28, 28), (4, 64, 112, 112))
POOLINGS: tuple[tuple[str, tuple[int, ...], Shape], ...] = (
    ("MaxPool2d", (2,), Shape("max", 2)),
    ("MaxPool2d", (3, 2, 1), Shape("max", 2)),
    ("AvgPool2d", (2,), Shape("mean", 2)),
    ("AvgPool2d", (3, 1, 1), Shape("mean", 2)),
    ("AdaptiveMaxPool2d", (1,), Shape("adaptive_max", 2)),
    ("AdaptiveAvgPool2d", (1,), Shape("adaptive_mean", 2, whole=True)),
    ("AdaptiveAvgPool2d", (6,), Shape("adaptive_mean", 2)),
)


def ms(run: Callable[[], object], seconds: float) -> float:
    """Median milliseconds within about this many seconds."""
    samples: list[float] = []
    run()
    while len(samples) < 3 or (sum(samples) < 1e3 * seconds and len(samples) < 200):
        begin = perf_counter_ns()
        run()
        samples.append((perf_counter_ns() - begin) / 1e6)
    return median(samples)


def forward(module: nn.Module, x: Tensor) -> None:
    """Without gradients."""
    with torch.no_grad():
        module(x)


def both(module: nn.Module, x: Tensor) -> None:
    """Forward and backward."""
    y = module(x)
    torch.autograd.grad(y, x, torch.ones_like(y))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.choice", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="for each number")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'pooling':28} {'input':16} {'layout':6} {'pass':9} {'torch ms':>9} {'poolkit':>9} {'times':>6} taken over")
    for name, arguments, shape in POOLINGS:
        theirs, mine = getattr(nn, name)(*arguments), getattr(ours, name)(*arguments)
        for size in SHAPES:
            for layout in ("first", "last"):
                x = torch.randn(size)
                if layout == "last":
                    x = x.contiguous(memory_format=torch.channels_last)
                for learns, act in ((False, forward), (True, both)):
                    x = x.detach().requires_grad_(learns)
                    slow, fast = (ms(partial(act, module, x), given.seconds) for module in (theirs, mine))
                    taken = sooner(x, shape)
                    wrong = slow < 0.8 * fast if taken else slow > 1.25 * fast
                    print(
                        f"{name + str(arguments):28} {'x'.join(map(str, size)):16} {layout:6} "
                        f"{'training' if learns else 'inference':9} {slow:9.3f} {fast:9.3f} {slow / fast:6.2f} "
                        f"{'yes' if taken else 'no'}{'  <- slower' if wrong else ''}"
                    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
