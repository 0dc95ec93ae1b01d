import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolkit.show.loss import measure, nearest_window, seen
from poolkit.window import Adaptive, Sliding


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 7), st.integers(1, 3))
def test_nearest_window_is_the_one_with_the_nearest_centre(size, kernel, stride, dilation):
    if (kernel - 1) * dilation + 1 > size:
        return
    (axis,) = Sliding(kernel, stride=stride, dilation=dilation).plan((size,)).axes
    centres = (axis.start + axis.stop - 1) / 2
    wanted = [int(np.argmin(np.abs(centres - position))) for position in range(size)]
    assert nearest_window(axis.start, axis.stop, size).tolist() == wanted


@given(st.integers(1, 40), st.integers(1, 12))
def test_a_position_inside_one_window_only_belongs_to_it(size, windows):
    (axis,) = Adaptive(min(windows, size)).plan((size,)).axes
    owner = nearest_window(axis.start, axis.stop, size)
    for position in range(size):
        holders = np.flatnonzero((axis.start <= position) & (position < axis.stop))
        assert owner[position] in holders


def test_seen_follows_the_taps():
    (axis,) = Sliding(2, stride=4, dilation=2).plan((9,)).axes
    assert np.flatnonzero(seen(axis.start, axis.stop, axis.step, 9)).tolist() == [0, 2, 4, 6]


def test_a_perfect_copy_loses_nothing():
    x = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    loss = measure(x, x, np.arange(4), np.arange(5), np.ones(4, np.bool_), np.ones(5, np.bool_))
    assert loss.rms == 0
    assert loss.psnr == np.inf
    assert loss.unseen == 0
    assert not loss.heat.any()


def test_loss_is_the_difference_to_the_laid_back_picture():
    x = np.zeros((3, 2, 4), np.float32)
    x[:, :, 2:] = 1
    shown = np.full((3, 1, 1), 0.25, np.float32)
    loss = measure(x, shown, np.zeros(2, int), np.zeros(4, int), np.ones(2, np.bool_), np.array([True] * 3 + [False]))
    np.testing.assert_allclose(loss.heat, [[0.25, 0.25, 0.75, 0.75]] * 2)
    assert loss.rms == pytest.approx(np.sqrt((0.25**2 + 0.75**2) / 2))
    assert loss.unseen == pytest.approx(0.25)
