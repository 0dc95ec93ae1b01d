"""Laws that hold for any input, tried on random ones."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import REDUCERS

import poolkit as pk

quick = settings(max_examples=60, deadline=None)
cells = st.floats(-100, 100, width=32)
images = hnp.arrays(np.float32, hnp.array_shapes(min_dims=4, max_dims=4, max_side=9), elements=cells)
reducers = st.sampled_from(REDUCERS)


@st.composite
def windows(draw):
    kernel = draw(st.integers(1, 4))
    dilation = draw(st.integers(1, 3))
    effective = (kernel - 1) * dilation + 1
    return pk.Sliding(
        kernel, draw(st.integers(1, 4)), draw(st.integers(0, effective // 2)), dilation, draw(st.booleans())
    )


def fits(window, x):
    try:
        return bool(window.plan(x.shape[2:]))
    except pk.PoolError:
        return False


def close(a, b, scale=100.0):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * scale)


@quick
@given(images, windows(), reducers)
def test_shape_formula(x, window, reducer):
    assume(fits(window, x))
    k, s, p, d = window.kernel_size, window.stride, window.padding, window.dilation

    def length(size):
        room = size + 2 * p - (k - 1) * d - 1
        if not window.ceil_mode:
            return room // s + 1
        out = -(-room // s) + 1
        return out - 1 if (out - 1) * s >= size + p else out

    assert pk.pool(x, window, reducer).shape == (*x.shape[:2], *map(length, x.shape[2:]))


@quick
@given(images, windows(), reducers)
def test_mirror(x, window, reducer):
    """Where the windows lie symmetrically, so do the results."""
    assume(fits(window, x))
    plan = window.plan(x.shape[2:])
    for axis in plan.axes:
        assume((axis.out - 1) * axis.stride + axis.effective == axis.size + 2 * axis.before)
    y = pk.pool(np.ascontiguousarray(x[..., ::-1, ::-1]), window, reducer)[..., ::-1, ::-1]
    if reducer.selects:
        np.testing.assert_array_equal(pk.pool(x, window, reducer), y)
    else:
        close(pk.pool(x, window, reducer), y)


@quick
@given(images, st.integers(1, 3), st.integers(1, 3), reducers)
def test_translation_by_a_stride(x, kernel, stride, reducer):
    assume(min(x.shape[2:]) >= kernel + stride)
    window = pk.Sliding(kernel, stride)
    y = pk.pool(np.ascontiguousarray(x[:, :, stride:, stride:]), window, reducer)
    whole = pk.pool(x, window, reducer)
    close(y, whole[:, :, 1 : 1 + y.shape[2], 1 : 1 + y.shape[3]])


@quick
@given(images, windows())
def test_means_lie_between_minima_and_maxima(x, window):
    assume(fits(window, x))
    low, high = pk.pool(x, window, pk.Min()), pk.pool(x, window, pk.Max())
    for reducer in (pk.Mean(count_include_pad=False), pk.Soft(), pk.LogSumExp()):
        y = pk.pool(x, window, reducer)
        assert (y >= low - 1e-4).all()
        assert (y <= high + 1e-4).all()
    assert (pk.pool(x, window, pk.RMS()) <= np.maximum(abs(low), abs(high)) * (1 + 1e-5) + 1e-6).all()


@quick
@given(st.floats(0.5, 50, width=32), hnp.array_shapes(min_dims=4, max_dims=4, max_side=9), windows())
def test_means_of_a_constant_are_the_constant(value, shape, window):
    x = np.full(shape, value, np.float32)
    assume(fits(window, x))
    for reducer in (pk.Mean(count_include_pad=False), pk.PowerMean(), pk.RMS(), pk.LogSumExp(), pk.Soft()):
        np.testing.assert_allclose(pk.pool(x, window, reducer), value, rtol=1e-5)


@quick
@given(images, windows(), st.integers(-50, 50))
def test_shifts_come_through(x, window, shift):
    assume(fits(window, x))
    for reducer in (pk.Max(), pk.Min(), pk.Mean(count_include_pad=False), pk.LogSumExp(), pk.Soft()):
        close(pk.pool(x + np.float32(shift), window, reducer), pk.pool(x, window, reducer) + np.float32(shift))


@quick
@given(images, windows(), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_scales_come_through(x, window, scale):
    assume(fits(window, x))
    for reducer in (pk.Max(), pk.Sum(), pk.Mean(), pk.Lp(3), pk.RMS()):
        close(pk.pool(x * np.float32(scale), window, reducer), pk.pool(x, window, reducer) * scale, 100 * scale)


@quick
@given(images)
def test_maximum_of_single_cells_is_the_input(x):
    np.testing.assert_array_equal(pk.pool(x, pk.Sliding(1), pk.Max()), x)
    np.testing.assert_array_equal(pk.pool(x, pk.Adaptive(None), pk.Max()), x)


@quick
@given(images, st.integers(1, 3))
def test_maxima_of_maxima(x, kernel):
    """Two passes of stride 1 are one pass with the wider window."""
    assume(min(x.shape[2:]) >= 2 * kernel - 1)
    twice = pk.max_pool2d(pk.max_pool2d(x, kernel, 1), kernel, 1)
    np.testing.assert_array_equal(twice, pk.max_pool2d(x, 2 * kernel - 1, 1))


@quick
@given(images, windows())
def test_minimum_is_the_mirrored_maximum(x, window):
    assume(fits(window, x))
    y, indices = pk.pool(x, window, pk.Min(), return_indices=True)
    z, jndices = pk.pool(-x, window, pk.Max(), return_indices=True)
    np.testing.assert_array_equal(y, -z)
    np.testing.assert_array_equal(indices, jndices)


@quick
@given(images, windows())
def test_indices_point_at_the_values(x, window):
    assume(fits(window, x))
    y, indices = pk.pool(x, window, pk.Max(), return_indices=True)
    found = np.take_along_axis(x.reshape(*x.shape[:2], -1), indices.reshape(*x.shape[:2], -1), 2)
    np.testing.assert_array_equal(found.reshape(y.shape), y)
    np.testing.assert_array_equal(y, pk.pool(x, window, pk.Max()))


@quick
@given(images, st.integers(1, 3))
def test_unpooling_keeps_the_maxima(x, kernel):
    assume(min(x.shape[2:]) >= kernel)
    y, indices = pk.max_pool2d(x, kernel, return_indices=True)
    z = pk.max_unpool2d(y, indices, kernel, output_size=x.shape)
    np.testing.assert_array_equal(
        np.take_along_axis(z.reshape(*x.shape[:2], -1), indices.reshape(*x.shape[:2], -1), 2),
        y.reshape(*x.shape[:2], -1),
    )
    assert np.isin(z[z != 0], y).all()


@quick
@given(images, windows(), reducers)
def test_samples_and_channels_are_independent(x, window, reducer):
    assume(fits(window, x))
    y = pk.pool(x, window, reducer)
    both = pk.pool(np.concatenate([x, x]), window, reducer)
    np.testing.assert_array_equal(both, np.concatenate([y, y]))
    np.testing.assert_array_equal(pk.pool(np.ascontiguousarray(x[:, ::-1]), window, reducer), y[:, ::-1])
    np.testing.assert_array_equal(
        pk.pool(
            x[0],
            pk.Sliding((window.kernel_size,) * 2, window.stride, window.padding, window.dilation, window.ceil_mode),
            reducer,
        ),
        y[0],
    )


@quick
@given(images, windows(), reducers)
def test_layouts_agree(x, window, reducer):
    assume(fits(window, x))
    y = pk.pool(x, window, reducer)
    last = pk.pool(np.ascontiguousarray(np.moveaxis(x, 1, -1)), window, reducer, data_format="channels_last")
    if reducer.selects:
        np.testing.assert_array_equal(np.moveaxis(last, -1, 1), y)
    else:
        close(np.moveaxis(last, -1, 1), y)


@quick
@given(images, st.integers(1, 3), reducers)
def test_adaptive_windows_of_a_divisor_slide(x, factor, reducer):
    wide = np.repeat(np.repeat(x, factor, 2), factor, 3) + np.arange(factor, dtype=np.float32)[np.newaxis, :].repeat(
        x.shape[3], 0
    ).reshape(-1)
    close(pk.pool(wide, pk.Adaptive(x.shape[2:]), reducer), pk.pool(wide, pk.Sliding(factor), reducer))


@quick
@given(images, reducers)
def test_global_windows_are_whole_kernels(x, reducer):
    whole = pk.pool(x, pk.Sliding(x.shape[2:]), reducer)
    close(pk.pool(x, pk.Global(), reducer), whole)
    close(pk.pool(x, pk.Adaptive(1), reducer), whole)


@quick
@given(images, windows(), reducers)
def test_the_gradient_of_a_sum_of_outputs_sums_up(x, window, reducer):
    """Where the reducer's weights add up to one, the input's gradient adds up to the output's."""
    assume(fits(window, x))
    if not isinstance(reducer, pk.Max | pk.Min | pk.LogSumExp | pk.Soft):
        reducer = pk.Mean(count_include_pad=False)
    x = x.astype(np.float64)
    y, back = pk.pool_vjp(x, window, reducer)
    grad = np.random.default_rng(0).standard_normal(y.shape)
    np.testing.assert_allclose(back(grad).sum(), grad.sum(), rtol=1e-9, atol=1e-7)
