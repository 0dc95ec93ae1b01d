"""torch's own sample inputs of its pooling functions, through poolkit's: equal values, indices, gradients and refusals.

What `docs/differences.md` names is excepted by a rule each, and every exception is counted.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pytest
import torch

import poolkit as pk

DTYPE = torch.float64

EQUAL, NEGATIVE, OUTSIDE = "equal indices, gradient", "negative divisor", "samples outside [0, 1)"
# How many samples and error inputs torch has for each, and which documented differences how many samples show.
COUNTS: dict[str, tuple[int, int, dict[str, int]]] = {
    "nn.functional.max_pool1d": (864, 24, {}),
    "nn.functional.max_pool2d": (1440, 7, {}),
    "nn.functional.max_pool3d": (576, 7, {}),
    "nn.functional.avg_pool1d": (9, 2, {}),
    "nn.functional.avg_pool2d": (7, 5, {NEGATIVE: 1}),
    "nn.functional.avg_pool3d": (8, 6, {NEGATIVE: 1}),
    "nn.functional.adaptive_max_pool1d": (8, 2, {}),
    "nn.functional.adaptive_max_pool2d": (24, 3, {}),
    "nn.functional.adaptive_max_pool3d": (20, 3, {}),
    "nn.functional.adaptive_avg_pool1d": (6, 2, {}),
    "nn.functional.adaptive_avg_pool2d": (10, 3, {}),
    "nn.functional.adaptive_avg_pool3d": (12, 3, {}),
    "nn.functional.fractional_max_pool2d": (37, 0, {OUTSIDE: 1}),
    "nn.functional.fractional_max_pool3d": (48, 0, {}),
    "nn.functional.max_unpool1d": (144, 1, {EQUAL: 56}),
    "nn.functional.max_unpool1d grad": (18, 0, {}),
    "nn.functional.max_unpool2d": (288, 1, {EQUAL: 181}),
    "nn.functional.max_unpool2d grad": (35, 0, {}),
    "nn.functional.max_unpool3d": (96, 1, {EQUAL: 64}),
    "nn.functional.max_unpool3d grad": (9, 0, {}),
    "max_pool2d_with_indices_backward": (1440, 0, {}),
}


@cache
def operators() -> dict[str, Any]:
    """torch's records of its pooling functions, by name and variant."""
    before = torch.backends.__allow_nonbracketed_mutation_flag
    from torch.testing._internal.common_methods_invocations import op_db

    # Their import forbids every later test to set a flag of torch.backends.
    torch.backends.__allow_nonbracketed_mutation_flag = before
    return {f"{op.name} {op.variant_test_name}".strip(): op for op in op_db if "pool" in op.name}


def ours_of(name: str) -> Any:
    """poolkit's function; the backward one of torch is the gradient of ours."""
    plain = name.split(maxsplit=1)[0].removeprefix("nn.functional.").removesuffix("_with_indices_backward")
    return getattr(pk, plain)


def theirs_of(name: str) -> Any:
    return getattr(torch.nn.functional, ours_of(name).__name__)


def exception_of(name: str, sample: Any) -> str | None:
    """Which documented difference a sample shows, if any."""
    divisor = sample.args[5] if "avg_pool" in name and len(sample.args) > 5 else sample.kwargs.get("divisor_override")
    if divisor is not None and divisor < 0:
        return NEGATIVE
    uniforms = sample.kwargs.get("_random_samples")
    if uniforms is not None and not bool(((uniforms >= 0) & (uniforms < 1)).all()):
        return OUTSIDE
    if "unpool" in name and not distinct(sample.args[0], int(name.split(maxsplit=1)[0][-2])):
        return EQUAL
    return None


def distinct(indices: torch.Tensor, rank: int) -> bool:
    """Whether no two cells of a plane have one index."""
    planes = indices.flatten(-rank).sort(-1).values
    return not bool((planes[..., 1:] == planes[..., :-1]).any())


def results(function: Any, sample: Any) -> tuple[Any, torch.Tensor]:
    """The values, or values and indices, and the gradient of a weighted sum of them."""
    leaf = sample.input.detach().clone().requires_grad_()
    torch.manual_seed(0)  # of fractional windows
    result = function(leaf, *sample.args, **sample.kwargs)
    values = result[0] if isinstance(result, tuple) else result
    weights = torch.arange(1.0, values.numel() + 1, dtype=values.dtype).view(values.shape)
    (gradient,) = torch.autograd.grad((values * weights).sum(), leaf)
    return result, gradient


def compare(name: str, sample: Any, *, gradient: bool) -> None:
    (mine, dx), (theirs, other) = results(ours_of(name), sample), results(theirs_of(name), sample)
    assert type(mine) is type(theirs)
    if isinstance(mine, tuple):
        assert torch.equal(mine[1], theirs[1])
        mine, theirs = mine[0], theirs[0]
    if "avg" in name:
        torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(dx, other, rtol=1e-13, atol=1e-13)
        return
    assert torch.equal(mine, theirs)
    if gradient:
        torch.testing.assert_close(dx, other, rtol=1e-13, atol=0)


def samples_of(name: str) -> list[Any]:
    return list(operators()[name].sample_inputs("cpu", DTYPE, requires_grad=True))


@pytest.mark.filterwarnings("ignore")  # torch.testing's own, while it makes its samples
@pytest.mark.parametrize("name", COUNTS)
def test_samples(name: str) -> None:
    exceptions: Counter[str] = Counter()
    samples = samples_of(name)
    for sample in samples:
        exception = exception_of(name, sample)
        if exception is not None:
            exceptions[exception] += 1
        if exception in (NEGATIVE, OUTSIDE):
            with pytest.raises(pk.PoolError):
                ours_of(name)(sample.input, *sample.args, **sample.kwargs)
        else:
            compare(name, sample, gradient=exception is None)
    assert (len(samples), dict(exceptions)) == (COUNTS[name][0], COUNTS[name][2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, (_, errors, _) in COUNTS.items() if errors])
def test_inputs_that_torch_refuses_are_refused(name: str) -> None:
    errors = list(operators()[name].error_inputs("cpu"))
    assert len(errors) == COUNTS[name][1]
    for error in errors:
        sample = error.sample_input
        with pytest.raises((pk.PoolError, TypeError)):
            ours_of(name)(sample.input, *sample.args, **sample.kwargs)


def test_no_pooling_of_torchs_list_is_left_out() -> None:
    assert set(COUNTS) == set(operators())
    for name, op in operators().items():
        assert (op.error_inputs_func is not None) == (COUNTS[name][1] > 0)
    assert sum(samples for samples, _, _ in COUNTS.values()) == 5099
    assert sum(errors for _, errors, _ in COUNTS.values()) == 70
