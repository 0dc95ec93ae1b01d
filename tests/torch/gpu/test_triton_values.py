"""Values, indices and gradients of every kernel against the oracle: every window, reducer, dtype and layout.

In the interpreter, where each launch takes a tenth of a second, a part of the product in which every pair of a window's
kind and a reducer occurs; on a GPU all of it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import (
    ADDING,
    CASES,
    DRAWN,
    FLOATS,
    GRADIENT_TOLERANCE,
    REDUCERS,
    SMOOTH,
    TOLERANCE,
    Case,
    S,
    assert_close,
    dtype_of,
    expected,
    float_data,
    plan_of,
    scale_of,
    uniforms_of,
)
from triton_support import DEVICE, INTERPRETED, array, run, tensor

import poolkit as pk
from poolkit import reference

pytestmark = pytest.mark.gpu

ALL = [*REDUCERS, *DRAWN]
# What goes to the compositions is no kernel's business here.
KERNELS = [reducer for reducer in ALL if not isinstance(reducer, pk.Ada)]


def product():
    for i, case in enumerate(CASES):
        for j, reducer in enumerate(KERNELS):
            for k, dtype in enumerate(FLOATS):
                for last in (False, True):
                    if not INTERPRETED or ((i + j) % 23 == 0 and k == (i // 2 + j) % 4 and last == ((i + j // 3) % 2)):
                        yield pytest.param(case, reducer, dtype, last, id=f"{case}-{reducer!r}-{dtype}-{last}")


def oracle(case: Case, reducer: pk.Reducer):
    """Input, what comes out, the gradient of that, what comes back."""
    if not reducer.draws:
        return expected(case, reducer)
    x = float_data((2, 3, *case.sizes))
    plan = plan_of(case, x.shape)
    uniforms = uniforms_of(reducer, (2, 3, *plan.out_shape), np.dtype("float64"))
    pooled = reference.forward(x, plan, reducer, uniforms)
    grad = np.random.default_rng(1).integers(-3, 4, pooled.values.shape).astype(np.float64)
    return x, pooled, grad, reference.backward(x, grad, plan, reducer, uniforms)


def check(case: Case, reducer: pk.Reducer, dtype: str, last: bool) -> None:
    reducer = reducer.on(case.window)
    x, pooled, grad, dx = oracle(case, reducer)
    leaf = tensor(x.astype(dtype_of(dtype)), last=last).requires_grad_()
    y, indices = run(leaf, plan_of(case, x.shape), reducer)
    y.backward(tensor(grad.astype(dtype_of(dtype)), last=last))
    assert y.dtype == leaf.dtype == leaf.grad.dtype
    assert leaf.grad.stride() == leaf.stride()
    if reducer.selects:
        np.testing.assert_array_equal(indices.cpu().numpy(), pooled.indices)
        np.testing.assert_array_equal(array(y), pooled.values)
    assert_close(array(y), pooled.values, TOLERANCE[dtype], scale_of(pooled.values))
    assert_close(array(leaf.grad), dx, GRADIENT_TOLERANCE[dtype], scale_of(dx))


@pytest.mark.parametrize(("case", "reducer", "dtype", "last"), list(product()))
def test_values_indices_and_gradients(case: Case, reducer: pk.Reducer, dtype: str, last: bool, caplog) -> None:
    check(case, reducer, dtype, last)
    assert not caplog.records, "a composition took the call over"


# More taps than are written out, so that passes over the axes do the work.
LARGE = [
    Case(S((7, 6), 1, (3, 2)), (9, 11)),
    Case(S((5, 9), (1, 2), (2, 4), (2, 1)), (12, 13)),
    Case(S((3, 4, 4), (1, 2, 1), (1, 0, 2)), (4, 7, 5)),
    Case(pk.Adaptive((2, 3)), (14, 16)),
    Case(pk.Fractional(output_size=(2, 2), style="tensorflow"), (13, 15)),
]
CARRIED = [pk.Max(), pk.Min(), *ADDING, pk.Lp(float("inf")), *SMOOTH]
CARRIED += [pk.Mixed(0.3), pk.Var(), pk.Var(unbiased=True), pk.Std()]


def passes():
    for i, case in enumerate(LARGE):
        for j, reducer in enumerate(CARRIED):
            for dtype in ("float32", "float64"):
                for last in (False, True):
                    if not INTERPRETED or ((i + j) % 5 == 0 and (dtype == "float32") == last == (j % 2)):
                        yield pytest.param(case, reducer, dtype, last, id=f"{case}-{reducer!r}-{dtype}-{last}")


@pytest.mark.parametrize(("case", "reducer", "dtype", "last"), list(passes()))
def test_large_windows_go_axis_by_axis(case: Case, reducer: pk.Reducer, dtype: str, last: bool, monkeypatch) -> None:
    from poolkit.torch.triton import slide

    tasks = []
    monkeypatch.setattr(slide, "tasks_of", lambda task, make=slide.tasks_of: tasks.append(task) or make(task))
    check(case, reducer, dtype, last)
    assert tasks


CUT = [
    pk.Max(),
    pk.Mean(),
    pk.Lp(3),
    pk.Soft(-2.0),
    pk.Boltzmann(),
    pk.Mixed(),
    pk.Var(unbiased=True),
    pk.Std(),
    pk.GeM(),
]
LINES = [
    Case(S((13, 15), 1, 2), (9, 11)),  # padding
    Case(S((40, 1)), (40, 3)),
    Case(pk.Adaptive((3, 1)), (3, 70)),
    Case(S((3, 40)), (6, 40)),  # the second pass over the rows, with what the first one carries
]


def pieces():
    """Whole planes with every core, and long lines with some."""
    for j, reducer in enumerate([*CUT, pk.Stochastic(sample=False)]):
        for last in (False, True):
            if not INTERPRETED or j % 2 == last:
                yield pytest.param(Case(pk.Global(), (15, 17)), reducer, last, id=f"global-{reducer!r}-{last}")
    for i, case in enumerate(LINES):
        for j, reducer in enumerate([*CUT[:4], pk.Min()]):
            for last in (False, True):
                if not INTERPRETED or (i + j) % 2 == last:
                    yield pytest.param(case, reducer, last, id=f"{case}-{reducer!r}-{last}")


@pytest.mark.parametrize(("case", "reducer", "last"), list(pieces()))
def test_few_long_windows_are_cut_into_pieces(case: Case, reducer: pk.Reducer, last: bool, monkeypatch) -> None:
    from poolkit.torch.triton import codes
    from poolkit.torch.triton import run as runs

    stages = []

    def launch(kernel, programs, *arguments, make=runs.launch, **constants):
        stages.append(constants.get("STAGE"))
        make(kernel, programs, *arguments, **constants)

    monkeypatch.setattr(runs, "WORTH", 40)
    monkeypatch.setattr(runs, "BUSY", 64)
    monkeypatch.setattr(runs, "launch", launch)
    check(case, reducer, "float32", last)
    assert codes.WHOLE in stages or codes.JOIN in stages
    assert codes.JOIN in stages or case.sizes != (15, 17)


SPLIT = [Case(pk.Adaptive((2, 3)), (13, 15)), Case(S(45, 10, 20, 2), (91,)), Case(LARGE[4].window, (13, 15))]


def splits():
    for i, case in enumerate(SPLIT):
        for j, reducer in enumerate([*CUT, pk.Stochastic(sample=False), pk.Lp(float("inf"))]):
            for last in (False, True):
                if not INTERPRETED or (i + j) % 2 == last:
                    yield pytest.param(case, reducer, last, id=f"{case}-{reducer!r}-{last}")


@pytest.mark.parametrize(("case", "reducer", "last"), list(splits()))
def test_few_large_windows_are_cut_into_pieces(case: Case, reducer: pk.Reducer, last: bool, monkeypatch) -> None:
    from poolkit.torch.triton import run as runs
    from poolkit.torch.triton import slide

    programs = []

    def launch(kernel, number, *arguments, make=runs.launch, **constants):
        programs.append(kernel)
        make(kernel, number, *arguments, **constants)

    monkeypatch.setattr(slide, "by_axis_pays", lambda *_: False)
    monkeypatch.setattr(runs, "LONG", 8)
    monkeypatch.setattr(runs, "launch", launch)
    check(case, reducer, "float32", last)
    assert runs.split in programs


@pytest.mark.parametrize("last", [False, True], ids=["planar", "channels-last"])
@pytest.mark.parametrize("reducer", [pk.Max(), pk.Soft(), pk.Median()], ids=repr)
def test_many_small_tiles_and_wide_numbers(reducer: pk.Reducer, last: bool, monkeypatch) -> None:
    """Tiles of a few cells, and the arithmetic of tensors of 2**31 cells and more."""
    from poolkit.torch.triton import grid, small

    monkeypatch.setattr(small, "ELEMENTS", 16)
    monkeypatch.setattr(grid, "TILE_BYTES", 256)
    monkeypatch.setattr(grid, "MOST_LANES", 4)
    monkeypatch.setattr(grid, "NARROW", 0)
    check(Case(S(3, 2, 1), (5, 7)), reducer, "float32", last)


if not INTERPRETED:

    def test_tensors_of_more_than_two_to_the_31_cells() -> None:
        """Needs 12 GiB."""
        x = torch.zeros(2, 1, 2**15, 2**15 + 2, dtype=torch.float16, device=DEVICE).requires_grad_()
        with torch.no_grad():
            x[-1, -1, -1, -1] = 3
        y, indices = pk.max_pool2d(x, 2, return_indices=True)
        assert y[-1, -1, -1, -1] == 3
        assert indices[-1, -1, -1, -1] == 2**15 * (2**15 + 2) - 1
        y.sum().backward()
        assert x.grad[-1, -1, -1, -1] == 1
