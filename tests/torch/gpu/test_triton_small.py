"""Small windows that slide, whose outputs share what they have in common: `rows`, `lines` and `rows_back`."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from support import ADDING, SMOOTH, Case, S
from test_triton_values import check
from triton_support import DEVICE, INTERPRETED, run

import poolkit as pk

pytestmark = pytest.mark.gpu

CHOOSING = [pk.Max(), pk.Min(), pk.Lp(float("inf"))]
SERVED = [*CHOOSING, *ADDING, *SMOOTH]
# What each kernel's loops depend on: strides, padding on one side or both, dilation, windows that leave a part of the
# input or overhang it, columns of outputs that are not filled, lengths that fours and pairs divide or not, 1-D to 3-D.
CASES = [
    Case(S(3, 2, 1), (11, 13)),
    Case(S(2), (8, 12)),
    Case(S(3, 1, 1), (6, 9)),
    Case(S((3, 2), (3, 1), (0, 1), (2, 1)), (15, 8)),
    Case(S(3, 2, 0, 1, ceil_mode=True), (8, 10)),
    Case(S((5, 3), (1, 4), (2, 1)), (9, 16)),
    Case(S((1, 5), 1, (0, 2)), (3, 20)),
    Case(S((4, 1), 2, (1, 0)), (9, 6)),
    Case(S(3, 3), (33,)),
    Case(S(9, 1, 4), (24,)),
    Case(S(12, 2, 6), (31,)),
    Case(S((3, 2, 2), (2, 2, 1), (1, 1, 0)), (5, 6, 7)),
    Case(S((12, 1, 1), 1, (5, 0, 0)), (17, 2, 3)),
    Case(S((9, 10), 1, (4, 5)), (13, 12)),
    Case(pk.Adaptive((3, 4)), (9, 8)),  # equal shares
]


def some(cases, reducers, every: int):
    """All of them on a GPU; in the interpreter every so many'th, each reducer and each case in turn."""
    for (i, case), (j, reducer), last in product(enumerate(cases), enumerate(reducers), (False, True)):
        if not INTERPRETED or ((i + 2 * j) % every == 0 and last == ((i + j // 2) % 2)):
            yield pytest.param(case, reducer, last, id=f"{case}-{reducer!r}-{last}")


@pytest.mark.parametrize(("case", "reducer", "last"), list(some(CASES, SERVED, 13)))
def test_they_give_what_the_oracle_does(case: Case, reducer: pk.Reducer, last: bool, monkeypatch) -> None:
    from poolkit.torch.triton import small

    launched = set()

    def launch(kernel, programs, *arguments, make=small.launch, **constants):
        launched.add(kernel)
        make(kernel, programs, *arguments, **constants)

    monkeypatch.setattr(small, "launch", launch)
    check(case, reducer, "float32", last)
    *others, line = case.window.plan(case.sizes).axes
    beside = not last and line.out >= 4 and all(axis.count.max() == 1 for axis in others)
    assert (small.by_lines.lines if beside else small.by_rows.rows) in launched


PLANES = [Case(pk.Global(), (4, 6)), Case(S(5, 1, 1), (3, 3)), Case(pk.Global(), (20, 15))]


@pytest.mark.parametrize(("case", "reducer", "last"), list(some(PLANES, [*CHOOSING[:2], pk.Stochastic()], 2)))
def test_what_all_of_a_plane_chose_has_its_place(case: Case, reducer: pk.Reducer, last: bool, monkeypatch) -> None:
    """Offsets of one byte and of two, without a launch for the gradient."""
    from poolkit.torch.triton import run as runs

    monkeypatch.setattr(runs, "back", None)
    check(case, reducer, "float32", last)


@pytest.mark.parametrize("last", [False, True], ids=["planar", "channels-last"])
def test_planes_that_chose_nothing_have_no_gradient(last: bool) -> None:
    check(Case(pk.Global(), (4, 6)), pk.MaxDrop(0.9), "float32", last)


SPECIAL = [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-36, 0.0, -0.0]


@pytest.mark.parametrize(("case", "reducer", "last"), list(some([*CASES[:11], CASES[-1]], SERVED, 11)))
def test_they_give_what_the_general_loops_do(case: Case, reducer: pk.Reducer, last: bool, monkeypatch) -> None:
    """With all that is no ordinary number: values, places, and gradients where the general loops have numbers."""
    from poolkit.torch.triton import small

    rng = np.random.default_rng(len(str(case)) + len(repr(reducer)))
    data = rng.standard_normal((2, 3, *case.sizes)).astype(np.float32)
    mask = rng.random(data.shape) < 0.1
    data[mask] = rng.choice(SPECIAL, mask.sum())
    data[0, 0] = -np.inf
    data[0, 1] = rng.choice([2e38, 3e38], data[0, 1].shape)
    x = torch.from_numpy(data).to(DEVICE)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    plan = case.window.plan(case.sizes)

    def both() -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y, indices = run(leaf, plan, reducer)
        y.backward(torch.ones_like(y))
        return y.detach(), indices, leaf.grad

    y, indices, dx = both()
    monkeypatch.setattr(small, "slides", lambda _: False)
    want, places, gradient = both()
    torch.testing.assert_close(y, want, rtol=2e-6, atol=1e-6, equal_nan=True)
    assert (indices is None) == (places is None)
    if indices is not None:
        assert torch.equal(indices, places)
    known = gradient.isfinite()
    torch.testing.assert_close(dx[known & ~dx.isnan()], gradient[known & ~dx.isnan()], rtol=1e-5, atol=1e-5)
    # A cell that is no number makes its windows' gradients none, too; the general loops say 0 for some of them.
    assert not bool((dx.isnan() & known & (gradient != 0)).any())


@pytest.mark.parametrize("reducer", [pk.Mean(), pk.Lp(2), pk.Soft(), pk.Max()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_infinite_cells_in_every_precision(dtype: torch.dtype, reducer: pk.Reducer, monkeypatch) -> None:
    from poolkit.torch.triton import small

    x = torch.randn(1, 2, 7, 9, generator=torch.Generator().manual_seed(2)).to(DEVICE, dtype)
    x[0, 0, 2, 3], x[0, 1, 5, 5], x[0, 1, 1, 1] = float("inf"), float("-inf"), float("nan")
    plan = CASES[0].window.plan((7, 9))
    y, _ = run(x, plan, reducer)
    monkeypatch.setattr(small, "slides", lambda _: False)
    want, _ = run(x, plan, reducer)
    torch.testing.assert_close(y, want, equal_nan=True)


@pytest.mark.parametrize("reducer", [pk.Soft(), pk.Soft(-2.0), pk.LogSumExp()], ids=repr)
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[9]], ids=str)
def test_windows_far_below_the_largest_cell_of_their_column(case: Case, reducer: pk.Reducer, monkeypatch) -> None:
    """Their exponentials vanish beside it; they are made again."""
    from poolkit.torch.triton import small

    x = torch.randn(1, 2, *case.sizes, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    x[0, 0].flatten()[::7] += 300
    x[0, 1].flatten()[::5] -= 300
    plan = case.window.plan(case.sizes)
    y, _ = run(x, plan, reducer)
    monkeypatch.setattr(small, "slides", lambda _: False)
    want, _ = run(x, plan, reducer)
    torch.testing.assert_close(y, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("case", [CASES[0], CASES[9]], ids=str)
@pytest.mark.parametrize(("dtype", "low"), [(torch.float32, -3.3e38), (torch.float64, -1e300)], ids=str)
def test_taps_that_are_not_there_weigh_nothing(case: Case, dtype: torch.dtype, low: float) -> None:
    """However low those are that are there."""
    x = torch.full((1, 1, *case.sizes), low, dtype=dtype, device=DEVICE)
    y, _ = run(x, case.window.plan(case.sizes), pk.Soft(0.01))
    if dtype == torch.float64:  # else their sums are infinite
        torch.testing.assert_close(y, torch.full_like(y, low))
    z, _ = run(x, case.window.plan(case.sizes), pk.LogSumExp(0.01))
    torch.testing.assert_close(z, torch.full_like(z, low))
