"""Memory: what is kept for the backward pass, and the most that a thread of the core allocates for itself."""

import gc
import weakref

import numpy as np
import torch

import poolkit as pk
from bench.goals.effort import Effort
from bench.goals.goal import Goal, at_most
from bench.scratch import CASES, most_scratch
from bench.unfold import kept_bytes
from bench.valgrind import MissingError
from poolkit.window import Window

MEBI = 2**20
KEPT: tuple[tuple[str, Window, pk.Reducer, float], ...] = (
    ("max 3x3/2", pk.Sliding(3, 2, 1), pk.Max(), 1),
    ("max 15x15/1 (225 taps)", pk.Sliding(15, 1, 7), pk.Max(), 1),
    ("max 17x17/1 (289 taps)", pk.Sliding(17, 1, 8), pk.Max(), 2),
    ("global max (3136 taps)", pk.Global(), pk.Max(), 2),
    ("mean 3x3/2", pk.Sliding(3, 2, 1), pk.Mean(), 0),
    ("adaptive mean", pk.Adaptive(7), pk.Mean(), 0),
)


class _Source(torch.autograd.Function):
    """Gives a tensor that requires a gradient and is no leaf, so that only who needs it keeps it alive."""

    @staticmethod
    def forward(ctx: object, _leaf: torch.Tensor, array: np.ndarray) -> torch.Tensor:  # noqa: ARG004 - torch's protocol
        return torch.from_numpy(array)

    @staticmethod
    def backward(ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ARG004 - torch's protocol
        return grad.sum().reshape(1), None


def input_is_freed(window: Window, reducer: pk.Reducer) -> bool:
    """Whether the input's memory is gone while the output can still be differentiated."""
    leaf = torch.zeros(1, requires_grad=True)
    array = np.random.default_rng(0).random((2, 8, 56, 56), dtype=np.float32)
    memory = weakref.ref(array)  # the tensor's storage owns the array: it dies with the storage
    x = _Source.apply(leaf, array)
    y = pk.pool(x, window, reducer)
    del x, array
    gc.collect()
    freed = memory() is None
    y.sum().backward()
    return freed


def kept(_effort: Effort) -> list[Goal]:
    """By torch's hooks for saved tensors."""
    goals: list[Goal] = []
    for name, window, reducer, limit in KEPT:
        x = torch.rand((2, 8, 56, 56)).requires_grad_()
        bytes_kept, keeps_input = kept_bytes(lambda t, w=window, r=reducer: pk.pool(t, w, r), x)
        goals.append(at_most(f"{name}: kept for backward", "bytes an output", bytes_kept, limit, {}))
        freed = input_is_freed(window, reducer) and not keeps_input
        goals.append(Goal(f"{name}: input while its output lives", "freed", float(freed), freed))
    return goals


def scratch(effort: Effort) -> list[Goal]:
    """By valgrind's dhat, which sees every allocation of the core's library; without it the goal is not measured."""
    work = "most scratch of a thread, forward and backward, by valgrind's dhat (AVX2)"
    try:
        peaks = most_scratch(list(CASES)[:2] if effort.quick else list(CASES))
    except MissingError as error:
        return [Goal(work, "MiB <= 1", None, None, {"why": str(error)})]
    detail = {name: f"{peak / MEBI:.3f} MiB" for name, peak in sorted(peaks.items(), key=lambda pair: -pair[1])}
    return [at_most(work, "MiB", max(peaks.values()) / MEBI, 1.0, detail)]
