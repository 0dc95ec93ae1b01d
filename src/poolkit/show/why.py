"""Which way the calls of a pooling take on each device, and why: ``poolkit explain NAME --why``."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import torch

    from poolkit.catalog.entry import Entry


class Step(NamedTuple):
    """An operator that the entry's example called, forward or backward, and what serves it."""

    operator: str
    call: str
    cpu: str
    gpu: str


def steps(entry: Entry) -> list[Step]:
    """Runs the entry's example and its backward pass on the CPU, and says of every operator what serves it."""
    from poolkit.torch import ops, triton

    seen: list[Step] = []
    for operator, plan, dtype in _called(entry):
        what, path = ops.decode(plan), _path(operator, plan, dtype)
        shape = " -> ".join("x".join(map(str, sizes)) for sizes in (what.sizes, what.outs))
        name = triton.reducer_of(what).__name__
        step = Step(
            operator,
            f"{name} {shape} {str(dtype).removeprefix('torch.')}",
            f"the {ops.binding} binding's kernels",
            path,
        )
        if step not in seen:
            seen.append(step)
    return seen


def notes() -> list[str]:
    """What holds for all of them on this machine."""
    from poolkit.torch import triton

    missing = triton.missing()
    return [f"Here: {missing}." if missing else "Here: Triton is installed.", "Other devices: torch's own operations."]


def _path(operator: str, plan: str, dtype: torch.dtype) -> str:
    from poolkit.torch import triton

    served = triton.path(operator, plan, dtype)
    return f"a Triton kernel: {served.why}" if served.way == "triton" else f"torch's own operations: {served.why}"


def _called(entry: Entry) -> list[tuple[str, str, torch.dtype]]:
    import numpy as np
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    import poolkit as pk
    from poolkit import nn
    from poolkit.torch import triton

    found: list[tuple[str, str, torch.dtype]] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = cast(str, func._opname)
            if func.namespace == "poolkit" and name in triton.OPERATORS:
                found.append((name, args[1], args[0].dtype))
            return func(*args, **(kwargs or {}))

    def run(t: torch.Tensor) -> Any:
        found.clear()
        x = t if entry.reducer is not None else t.detach().numpy()
        space: dict[str, Any] = {"np": np, "pk": pk, "torch": torch, "nn": nn, "t": t, "x": x}
        exec(entry.call, space)  # noqa: S102  the catalogue's own lines
        return space["y"]

    t = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with Recorder(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's, of lines that put tensors into its functions
        try:
            y = run(t.clone().requires_grad_())
        except RuntimeError:  # lines that go on in NumPy take no gradients
            y = run(t)
        if isinstance(y, torch.Tensor) and y.requires_grad:
            y.sum().backward()
    return found


def available() -> bool:
    """Whether torch is here to ask."""
    return find_spec("torch") is not None
