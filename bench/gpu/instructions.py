"""``python -m bench.gpu.instructions``: how many machine instructions a GPU's kernels have, counted without a GPU.

Triton compiles each call for sm_90, and cuobjdump, which Triton's package brings, lists what its kernels consist of.
The loops of these kernels are written out, so an element of a tile runs all of it once, but for what is there for
numbers that leave the accumulator's range: that is left out. What is printed is instructions for an output or, of
gradients, for a cell of the input: how many a thread has for each that it makes. Beside them stand those of the general
loops, which serve other windows.

A count is no time. By NVIDIA's datasheet an H200 moves 4.8e12 bytes in a second, and it issues about 33e12 instructions
of a thread (132 multiprocessors, 4 schedulers, 32 lanes, 1.98 GHz): seven for each byte.
"""

import re
import subprocess
import sys
import tempfile
from typing import Any, cast

import torch
from triton import knobs

import poolkit as pk
from bench.gpu.elsewhere import Compiler
from poolkit.torch import ops
from poolkit.torch.triton import kernels, small

CALLS: dict[str, tuple[pk.Reducer, int, int, int]] = {
    "max 3x3/2": (pk.Max(), 3, 2, 1),
    "mean 3x3/2": (pk.Mean(), 3, 2, 1),
    "Lp(2) 3x3/2": (pk.Lp(2), 3, 2, 1),
    "LogSumExp 3x3/2": (pk.LogSumExp(), 3, 2, 1),
    "Soft 3x3/2": (pk.Soft(), 3, 2, 1),
    "max 2x2/2": (pk.Max(), 2, 2, 0),
    "max 3x3/1": (pk.Max(), 3, 1, 1),
    "max 31x31/1": (pk.Max(), 31, 1, 15),
}
SHAPE = (2, 256, 64, 64)
LINE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][A-Z0-9_.]*)")


class Counter(Compiler):
    """Adds up the instructions of what is launched, for each element that a thread makes."""

    def __init__(self) -> None:
        super().__init__("sm_90")
        self.each = 0.0

    def __call__(self, kernel: Any, programs: int, *values: Any, exact: bool = False, **constants: Any) -> None:
        """Without the part for numbers that leave the accumulator's range."""
        if "LOOK" in constants:
            constants["LOOK"] = False
        super().__call__(kernel, programs, *values, exact=exact, **constants)

    def took(self, compiled: Any, constants: dict[str, Any], *, exact: bool) -> None:  # noqa: ARG002  of all launches
        """Count them."""
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(compiled.asm["cubin"])
            file.flush()
            command = [str(knobs.nvidia.cuobjdump.path), "-sass", file.name]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        count = sum(name != "NOP" for name in LINE.findall(text))
        block = constants.get("BLOCK", (1,))
        made = constants.get("HIGH", 1) * constants.get("BROAD", 1) * block[0] * block[-1] * (*block, 1, 1)[1]
        self.each += count / (made * constants["ROWS"] * constants["COLS"] / 128)


def counts(reducer: pk.Reducer, window: pk.Sliding, dtype: torch.dtype, *, last: bool) -> tuple[float, float]:
    """Of the forward pass, and of the gradient."""
    x = torch.empty(SHAPE, dtype=dtype)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    text = ops.encode(reducer.code, reducer.params, window.plan(SHAPE[2:]).spec)
    counter = Counter()
    y = kernels.pool(x, text)
    forward, counter.each = counter.each, 0.0
    if isinstance(reducer, pk.Max):
        offsets = torch.empty_like(y, dtype=torch.uint8 if window.kernel_size != 31 else torch.int16)
        kernels.pool_backward(y, text, None, None, None, None, offsets, last)
    else:
        lse = torch.empty_like(y, dtype=torch.float32)
        kernels.pool_backward(y, text, None, x, y.float(), lse, None, last)
    return forward, counter.each


def no_window(grid: object) -> bool:  # noqa: ARG001  in place of `small.slides`
    """As if none were small."""
    return False


def main() -> int:
    """The table."""
    print("| call | of an output | | | | of a cell's gradient | | | |")
    kinds = [(dtype, last) for last in (False, True) for dtype in (torch.float32, torch.bfloat16)]
    names = [f"{'channels-last' if last else 'planar'} {str(dtype)[6:]}" for dtype, last in kinds]
    print(f"| | {' | '.join(names * 2)} |\n|---|{'---:|' * 8}")
    for name, (reducer, kernel, stride, padding) in CALLS.items():
        window = pk.Sliding(kernel, stride, padding)
        pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
        for dtype, last in kinds:
            mine = counts(reducer, window, dtype, last=last)
            served, small.slides = small.slides, cast(Any, no_window)
            pairs.append((mine, counts(reducer, window, dtype, last=last)))
            small.slides = served
        cells = [f"{mine[i]:.0f} ({before[i]:.0f})" for i in (0, 1) for mine, before in pairs]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
