"""Compiles kernels for GPUs that are not here, instead of launching them: what a call would launch goes to Triton.

The interpreter knows no types of loops, no layouts and no registers; the compiler does. As a program it takes a target
and a number n, compiles what every n-th pair of a window and a reducer launches, and prints how many kernels that was.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
from support import CASES, DRAWN, REDUCERS, Case, S
from triton_support import arguments

import poolkit as pk
from bench.gpu.elsewhere import Compiler
from poolkit import arrays
from poolkit.torch import triton
from poolkit.torch.triton import kernels, run
from poolkit.window import plan_for


class Compiled(Compiler):
    """What has been compiled."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.compiled: dict[str, Any] = {}
        self.exact: set[str] = set()

    def took(self, compiled: Any, constants: dict[str, Any], *, exact: bool) -> None:
        # In a tuple the cache on disk would take a function for the same after its source has changed.
        for value in constants.values():
            assert not (isinstance(value, tuple) and any(hasattr(part, "cache_key") for part in value))
        self.compiled[compiled.hash] = compiled
        if exact:
            self.exact.add(compiled.hash)


def call(case: Case, reducer: pk.Reducer, dtype: torch.dtype, last: bool) -> None:
    """Forward and backward."""
    reducer = reducer.on(case.window)
    x = torch.rand(2, 3, *case.sizes, dtype=dtype)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    samples = case.window.draw(6, case.sizes, 5, "float32") if isinstance(case.window, pk.Fractional) else None
    plan = plan_for(case.window, tuple(x.shape), len(case.sizes), samples=samples)
    x, starts, extra, text = arguments(x, plan, reducer)
    if "offsets" in reducer.keeps:
        size = arrays.offset_dtype(plan).itemsize
        y, offsets, _ = kernels.pool_with_offsets_and_indices(x, text, starts, size, extra)
        kernels.pool_backward(y, text, starts, x if "x" in reducer.keeps else None, None, None, offsets, last)
    else:
        y = kernels.pool(x, text, starts, extra)
        kernels.pool_backward(y, text, starts, x, y, None, None, last, extra)


def learned(reducer: pk.Reducer, case: Case, last: bool) -> None:
    """Backward with the gradient of what stands beside x."""
    x = torch.rand(2, 3, *case.sizes)
    x = x.to(memory_format=torch.channels_last) if last else x
    plan = plan_for(case.window, tuple(x.shape), len(case.sizes), samples=None)
    x, starts, extra, text = arguments(x, plan, reducer)
    y = kernels.pool(x, text, starts, extra)
    kernels.pool_backward_extra(y, text, starts, x, y, None, None, last, extra)


def main(target: str, every: int) -> None:
    launcher = Compiled(target)
    reducers = [reducer for reducer in [*REDUCERS, *DRAWN] if not isinstance(reducer, pk.Ada)]
    windows = [*CASES[14:16], *CASES[18:20], CASES[27], CASES[32], Case(S((7, 6), 1, (3, 2)), (9, 11))]
    dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    for j, reducer in enumerate(reducers):
        for i, case in enumerate(windows):
            if (i + 3 * j) % every == 0 and not (i == 6 and (reducer.draws or isinstance(reducer, triton.SORTED))):
                call(case, reducer, dtypes[(i + j) % 4], bool(j % 2))
    call(Case(S((7, 6), 1, (3, 2)), (9, 11)), pk.Stochastic("softmax"), torch.float32, False)
    assert launcher.exact
    run.WORTH = run.LONG = 16  # few cells are worth a program: planes and windows are cut
    learned(pk.Boltzmann(), Case(pk.Global(), (8, 8)), last=False)
    learned(pk.Filter((1.0,) * 9), Case(S(3, 2, 1), (8, 8)), last=True)
    call(Case(S((7, 6), 1, (3, 2)), (9, 11)), pk.Std(unbiased=True), torch.float32, last=False)
    call(Case(pk.Adaptive((2, 3)), (13, 15)), pk.GeM(), torch.bfloat16, last=True)
    for name, kernel in launcher.compiled.items():
        text = kernel.asm.get("ptx", "") + kernel.asm.get("amdgcn", "")
        assert text
        # Nothing is added as it comes: the bits of a gradient do not depend on the order of programs.
        assert not any(word in text for word in ("atom.", "red.global", "global_atomic", "flat_atomic"))
        # A draw has the bits of the CPU: nothing is rounded once where that rounds twice.
        assert not (name in launcher.exact and re.search(r"\b(fma\.|v_\w*(fma|mac))", text))
    print(f"{len(launcher.compiled)} kernels for {target}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
