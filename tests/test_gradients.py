"""Gradients against central differences in float64, for every reducer and kind of window."""

from __future__ import annotations

import numpy as np
import pytest
from support import ADDING, CASES, CHOOSING, REDUCERS, SMOOTH, A, Case, F, S, float_data, plan_of

import poolkit as pk
from poolkit import arrays

WINDOWS = [
    Case(S(3, 2, 1), (9,)),
    Case(S(3, 2, 0, 1, True), (8,)),
    Case(S(3, 1, "same", 2), (7,)),
    Case(A(7), (3,)),
    Case(A(3), (7,)),
    Case(F(2, 4), (8,)),
    Case(pk.Global(), (6,)),
    Case(S(3, 2, 1), (5, 6)),
    Case(S((2, 3), 1, ((1, 0), (0, 2)), (2, 1)), (5, 4)),
    Case(S(2, 2, 1, 1, True), (4, 5)),
    Case(A((8, 2)), (3, 5)),
    Case(F(2, (3, 2)), (5, 4)),
    Case(S(2, 1, 1), (3, 2, 3)),
    Case(A((2, 4, 3)), (3, 3, 4)),
]


def pooled(x, case, reducer):
    return arrays.forward(x, plan_of(case, x.shape), reducer)[0]


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_central_differences(case, reducer):
    x = float_data((2, 2, *case.sizes)) + 1 / 64  # away from the kinks at 0 and eps, and without ties
    y, _, saved = arrays.forward(x, plan_of(case, x.shape), reducer, save=True)
    grad = np.random.default_rng(0).standard_normal(y.shape)
    dx = arrays.backward(grad, saved)
    step = 1e-6
    for cell in np.random.default_rng(1).choice(x.size, min(x.size, 12), replace=False):
        up, down = x.copy(), x.copy()
        up.flat[cell] += step
        down.flat[cell] -= step
        slope = ((pooled(up, case, reducer) - pooled(down, case, reducer)) * grad).sum() / (2 * step)
        assert dx.flat[cell] == pytest.approx(slope, rel=2e-5, abs=2e-7)


@pytest.mark.parametrize("reducer", [*ADDING, *SMOOTH, *CHOOSING], ids=repr)
def test_pool_vjp_in_both_layouts_and_unbatched(reducer):
    x = float_data((2, 3, 6, 7))
    window = S(3, 2, 1)
    y, back = pk.pool_vjp(x, window, reducer)
    grad = np.random.default_rng(0).standard_normal(y.shape)
    dx = back(grad)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(back(grad), dx)
    z, last = pk.pool_vjp(np.moveaxis(x, 1, -1), window, reducer, data_format="channels_last")
    np.testing.assert_allclose(np.moveaxis(z, -1, 1), y, rtol=1e-13)
    np.testing.assert_allclose(np.moveaxis(last(np.moveaxis(grad, 1, -1)), -1, 1), dx, rtol=1e-12, atol=1e-14)
    one = pk.Sliding((3, 3), 2, 1)
    z, single = pk.pool_vjp(x[1], one, reducer)
    np.testing.assert_allclose(single(grad[1]), dx[1], rtol=1e-12, atol=1e-14)


def test_ties_go_to_the_first_cell_alone():
    y, back = pk.pool_vjp(np.zeros((1, 1, 4, 4)), S(2), pk.Max())
    dx = back(np.ones_like(y))
    assert dx[0, 0].tolist() == [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4]


def test_dilated_maximum():
    y, back = pk.pool_vjp(np.arange(5.0).reshape(1, 1, 5), S(2, 1, 0, 2), pk.Max())
    assert y.tolist() == [[[2, 3, 4]]]
    assert back(np.ones_like(y)).tolist() == [[[0, 0, 1, 1, 1]]]


def test_the_gradient_of_a_nan_goes_to_the_reported_cell():
    y, back = pk.pool_vjp(np.array([[[1, np.nan, 3, 2]]]), S(2), pk.Max())
    assert back(np.ones_like(y)).tolist() == [[[0, 1, 1, 0]]]


@pytest.mark.parametrize(
    "reducer", [pk.Lp(2), pk.Lp(1), pk.Lp(3), pk.Lp(np.inf), pk.RMS(), pk.PowerMean(eps=0)], ids=repr
)
def test_zero_windows_have_zero_gradient(reducer):
    y, back = pk.pool_vjp(np.zeros((1, 1, 4)), S(2), reducer)
    assert not y.any()
    assert not back(np.ones_like(y)).any()


def test_offsets_grow_with_the_window():
    """One byte for up to 255 cells, two up to 65535, then four; the gradient is right in each."""
    for side, kind in ((15, np.uint8), (16, np.uint16), (255, np.uint16), (256, np.int32)):
        x = np.zeros((1, 1, side, side), np.float32)
        x[0, 0, -1, -1] = 1
        y, _, saved = arrays.forward(x, pk.Global().plan((side, side)), pk.Max(), save=True)
        assert saved.offsets.dtype == kind
        dx = arrays.backward(np.full_like(y, 7), saved)
        assert dx[0, 0, -1, -1] == 7
        assert dx.sum() == 7


def test_max_and_min_keep_no_input():
    for reducer in CHOOSING:
        _, _, saved = arrays.forward(np.zeros((1, 1, 4)), S(2).plan((4,)), reducer, save=True)
        assert saved.x is None
        assert saved.y is None
    for reducer in ADDING:
        _, _, saved = arrays.forward(np.zeros((1, 1, 4)), S(2).plan((4,)), reducer, save=True)
        assert (saved.x, saved.y, saved.lse, saved.offsets) == (None,) * 4


@pytest.mark.parametrize("case", CASES[:12], ids=str)
def test_backward_is_the_same_bits_every_time(case):
    x = np.random.default_rng(0).standard_normal((3, 5, *case.sizes)).astype(np.float32)
    for reducer in (pk.Max(), pk.Mean(), pk.Soft()):
        y, back = pk.pool_vjp(x, case.window, reducer, seed=0)
        grad = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
        assert len({back(grad).tobytes() for _ in range(5)}) == 1


def test_half_precision_gradients_accumulate_in_float32():
    """2048 + 1 is 2048 in float16: a gradient that sums 4096 ones must not stop there."""
    x = np.zeros((1, 1, 1, 1), np.float16)
    y, back = pk.pool_vjp(x, pk.Adaptive((64, 64)), pk.Sum())
    assert back(np.ones_like(y)).item() == 4096
