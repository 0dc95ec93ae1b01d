"""Whether a row's values, and its gradient, are right, before it is timed."""

import importlib
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bench.compositions import EDGE, taps
from bench.gpu.works import UNFOLDED, Run, Work, tensors

LIMITS = {torch.float32: 2e-5, torch.bfloat16: 4e-2}


class WrongError(Exception):
    """No time is reported for a wrong answer."""


@contextmanager
def poisoned() -> Generator[None]:
    """All memory that torch hands out unwritten holds NaN, and the largest of integers: torch's own switch for it."""
    switch: Any = importlib.import_module("torch.utils.deterministic")
    filled = switch.fill_uninitialized_memory
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    switch.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        switch.fill_uninitialized_memory = filled


def results(run: Run, x: Tensor, *, train: bool) -> tuple[Tensor, ...]:
    """The values, indices where there are any, and in training the gradient of half their squares' sum."""
    leaf = x.detach().requires_grad_(train)
    given = tensors(run(leaf))
    if not train:
        return given
    (y,) = given
    return y.detach(), torch.autograd.grad(y, leaf, y.detach())[0]


def check(work: Work, x: Tensor) -> tuple[float, tuple[Tensor, ...]]:
    """The relative error of all values against the row's peer in float64; and what poolkit's call gave.

    Of drawn cells it is looked whether they could be drawn.

    Raises:
        WrongError: it is too large.
    """
    with poisoned():
        got = results(work.mine, x, train=work.train)
    reference = work.peer or work.unfold
    assert reference is not None
    if work.name.startswith("Stochastic"):
        error = drawn_error(x, got[0])
    else:
        error = worst(got, results(reference, x.to(work.wide), train=work.train))
    if not error <= LIMITS[work.dtype]:
        raise WrongError(f"{work.name}: a relative error of {error:.2g} against float64")
    return error, got[:1] if work.train else got


def worst(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> float:
    """The largest of the errors, each relative to the largest value; NaN and a wrong index are infinite ones."""
    errors = [0.0]
    for mine, other in zip(got, want, strict=True):
        if mine.shape != other.shape:
            return math.inf
        if mine.dtype.is_floating_point:
            error = float((mine.detach().double() - other.detach()).abs().max() / other.detach().abs().max())
            errors.append(error if math.isfinite(error) else math.inf)
        else:
            errors.append(0.0 if torch.equal(mine, other) else math.inf)
    return max(errors)


def drawn_error(x: Tensor, y: Tensor) -> float:
    """Every value is a cell of its window that could be drawn, or 0."""
    k, s, p = UNFOLDED["Stochastic"]
    cells = taps(x, k, s, p, -EDGE).clamp(min=0).view(*y.shape, k * k)
    return 0.0 if bool((cells == y.unsqueeze(-1)).any(-1).logical_or(y == 0).all()) else math.inf
