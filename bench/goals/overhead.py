"""What a call costs: 1x1x4x4 tensors of torch, where the pooling itself is nothing."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

import poolkit as pk
from bench.goals.effort import Effort
from bench.goals.goal import Goal, at_most
from poolkit.bench.clock import alternate
from poolkit.bench.measure import DiffersError

if TYPE_CHECKING:
    from collections.abc import Callable

PAIRS = {
    "max_pool2d": (pk.max_pool2d, F.max_pool2d),
    "avg_pool2d": (pk.avg_pool2d, F.avg_pool2d),
}


class Nothing(torch.autograd.Function):
    """A node of the autograd graph in Python that does nothing: without one in C++ no call costs less."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        """x."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004 the base class names it
        """dx."""
        return grads[0]


def measured(effort: Effort) -> list[Goal]:
    """poolkit's time over torch's, forward, where nothing and where the input requires a gradient."""
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    g = x.clone().requires_grad_()
    goals: list[Goal] = []
    for name, (mine, theirs) in PAIRS.items():
        if not torch.equal(mine(x, 2), theirs(x, 2)):
            raise DiffersError(f"{name} 1x1x4x4: poolkit and torch disagree")
        grad = torch.ones_like(theirs(x, 2))
        runs: dict[str, Callable[[], Any]] = {
            "plain mine": partial(mine, x, 2),
            "plain theirs": partial(theirs, x, 2),
            "grad mine": partial(mine, g, 2),
            "grad theirs": partial(theirs, g, 2),
            "grad of nothing": partial(cast("Callable[..., Any]", Nothing.apply), g),
            "train mine": lambda mine=mine, grad=grad: torch.autograd.grad(mine(g, 2), g, grad),
            "train theirs": lambda theirs=theirs, grad=grad: torch.autograd.grad(theirs(g, 2), g, grad),
        }
        ms = alternate(runs, rounds=25, seconds=2 * effort.seconds)
        micro = {f"{run}, microseconds": round(1000 * time, 2) for run, time in ms.items()}
        micro["forward and backward / torch's"] = round(ms["train mine"] / ms["train theirs"], 3)
        for kind, limit, words in (("plain", 1.5, "no gradient"), ("grad", 2.0, "input requires a gradient")):
            work = f"call of {name}, 1x1x4x4, {words}: poolkit / torch"
            goals.append(at_most(work, "median", ms[f"{kind} mine"] / ms[f"{kind} theirs"], limit, micro))
    return goals
