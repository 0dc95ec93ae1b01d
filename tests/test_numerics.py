"""What the numbers promise: NaN, infinities, ties, signed zeros, precision, saturation, symmetry."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from support import (
    BF16,
    FLOATS,
    INTEGERS,
    REDUCERS,
    SMOOTH,
    TOLERANCE,
    A,
    S,
    assert_close,
    dtype_of,
    float_data,
    scale_of,
)

import poolkit as pk
from poolkit import _core, reference

INF, NAN = math.inf, math.nan
ISAS = _core.available_isas()


@pytest.fixture(params=ISAS, autouse=True)
def isa(request):
    assert _core.set_isa(request.param)
    return request.param


def line(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(1, 1, -1)


def flat(array):
    return np.asarray(array, np.float64).ravel().tolist()


def assert_same(actual, wanted):
    np.testing.assert_array_equal(np.asarray(actual, np.float64).ravel(), wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("width", [3, 8, 17, 40])
def test_a_nan_spoils_its_own_windows_and_no_other(reducer, width, dtype):
    """One NaN at every position of a row, in both layouts, with windows that overlap."""
    clean = np.abs(float_data((1, 5, 3, width))) + 0.5
    window = S(3, 1, 1)
    untouched = pk.pool(clean.astype(dtype_of(dtype)), window, reducer)
    for at in range(width):
        x = clean.astype(dtype_of(dtype))
        x[:, :, 1, at] = NAN
        y = pk.pool(x, window, reducer)
        spoiled = np.zeros(y.shape, bool)
        spoiled[..., max(at - 1, 0) : at + 2] = True
        np.testing.assert_array_equal(np.isnan(y.astype(np.float64)), spoiled)
        if reducer.core == "softmax" or isinstance(reducer, pk.Lp | pk.PowerMean | pk.RMS | pk.GeM | pk.Boltzmann):
            # a row with a NaN may take another path, which rounds differently in the last place
            assert_close(y[~spoiled], untouched[~spoiled].astype(np.float64), TOLERANCE[dtype], 0.5)
        else:
            np.testing.assert_array_equal(y[~spoiled], untouched[~spoiled])
        last = pk.pool(np.ascontiguousarray(np.moveaxis(x, 1, -1)), window, reducer, data_format="channels_last")
        np.testing.assert_array_equal(np.isnan(np.moveaxis(last, -1, 1).astype(np.float64)), spoiled)


@pytest.mark.parametrize("reducer", [pk.Max(), pk.Min()], ids=repr)
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_index_is_that_of_the_first_nan(reducer, dtype):
    x = np.ones((1, 1, 6, 20), dtype_of(dtype))
    x[0, 0, 2, 5] = x[0, 0, 2, 6] = x[0, 0, 3, 4] = NAN
    y, indices = pk.pool(x, pk.Global(), reducer, return_indices=True)
    assert math.isnan(y.item())
    assert indices.item() == 2 * 20 + 5
    y, indices = pk.pool(x, S(3, 1, 1), reducer, return_indices=True)
    assert_same(y, flat(pk.pool(x, S(3, 1, 1), reducer)))
    assert indices[0, 0, 3, 5] == 2 * 20 + 5
    assert indices[0, 0, 4, 4] == 3 * 20 + 4


def test_nan_cases_of_the_wild():
    assert_same(pk.max_pool1d(line(1, NAN, 3, 4, NAN, 2), 2), [NAN, 4, NAN])
    assert_same(pk.avg_pool1d(line(1, NAN, 3, 4), 2, count_include_pad=False), [NAN, 3.5])
    assert_same(pk.avg_pool1d(line(1, 2, 3, NAN, 5, 6, 7, 8), 3, 1), [2, NAN, NAN, NAN, 6, 7])
    x = line(0, 1, 2, 3, 4, *[NAN] * 7, 4, 3, 2, 1, 0, dtype=np.float64)
    assert_same(pk.max_pool1d(x, 3, 1, 1), [1, 2, 3, 4, *[NAN] * 9, 4, 3, 2, 1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities(dtype):
    def of(*values):
        return line(*values, dtype=dtype_of(dtype))

    assert_same(pk.avg_pool1d(of(1, INF, 3, 4, 5), 2, 1), [INF, INF, 3.5, 4.5])
    assert_same(pk.avg_pool1d(of(INF, -INF, 1, INF), 2), [NAN, INF])
    y, indices = pk.max_pool1d(of(*[-INF] * 6), 3, return_indices=True)
    assert_same(y, [-INF, -INF])
    assert indices.ravel().tolist() == [0, 3]
    y, indices = pk.max_pool1d(of(*[NAN] * 6), 3, return_indices=True)
    assert indices.ravel().tolist() == [0, 3]
    y, indices = pk.min_pool1d(of(*[INF] * 6), 3, return_indices=True)
    assert_same(y, [INF, INF])
    assert indices.ravel().tolist() == [0, 3]
    assert_same(pk.lp_pool1d(of(-INF, 1), 2, 2), [INF])
    assert_same(pk.lse_pool1d(of(-INF, -INF, INF, 0), 2), [-INF, INF])
    assert_same(pk.soft_pool1d(of(-INF, 2, INF, 0), 2), [2, INF])
    assert_same(pk.soft_pool1d(of(-INF, -INF), 2), [-INF])


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_the_first_of_equal_cells_wins(layout):
    x = np.zeros((1, 33, 9, 35), np.float32)
    given = x if layout == "channels_first" else np.moveaxis(x, 1, -1)
    for window in (S(3, 1, 1), S(2), S(3, 2, 1, 2), A((2, 5))):
        for pool in (pk.Max(), pk.Min()):
            _y, indices = pk.pool(given, window, pool, return_indices=True, data_format=layout)
            plan = window.plan((9, 35))
            rows, columns = (axis.start for axis in plan.axes)
            first = rows[:, None] * 35 + columns
            shape = (1, 33, *plan.out_shape)
            indices = indices if layout == "channels_first" else np.moveaxis(indices, -1, 1)
            np.testing.assert_array_equal(indices, np.broadcast_to(first, shape))


def test_signed_zeros_are_equal_and_the_first_wins():
    for size in (2, 16, 34):
        x = np.zeros((1, 1, size), np.float32)
        x[..., ::4] = -0.0
        x[..., 3::4] = -0.0  # -0 0 0 -0
        for pool in (pk.max_pool1d, pk.min_pool1d):
            np.testing.assert_array_equal(np.signbit(pool(x, 2)).ravel(), np.signbit(x.ravel()[::2]))
            y, _ = pool(x, 2, return_indices=True)
            np.testing.assert_array_equal(np.signbit(y).ravel(), np.signbit(x.ravel()[::2]))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_padding_never_wins_a_maximum(dtype):
    info = np.iinfo(dtype)
    for value in (info.min, info.max, 1):
        x = np.full((1, 1, 5, 5), value, dtype)
        assert (pk.max_pool2d(x, 5, 1, 2) == value).all()
        assert (pk.min_pool2d(x, 5, 1, 2) == value).all()
    assert_same(pk.max_pool2d(-np.ones((1, 1, 2, 2)), 2, 2, 1), [-1] * 4)
    x = np.array([[[[-1, -2], [-3, -4]]]], np.int32)
    assert_same(pk.max_pool2d(x, 2, 2, 1, 2, True), [-4] * 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("count", [300, 2049, 65536, 2**20])
def test_the_mean_of_ones_is_one(dtype, count):
    x = np.ones((1, 1, count), dtype_of(dtype))
    assert pk.avg_pool1d(x, count).item() == 1
    assert pk.adaptive_avg_pool1d(x, 1).item() == 1
    assert pk.adaptive_avg_pool3d(x.reshape(1, 1, 1, 1, -1), (1, 1, 1)).item() == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_adaptive_mean_of_a_volume(dtype):
    x = np.ones((1, 1, 16, 64, 64), dtype_of(dtype))
    assert flat(pk.adaptive_avg_pool3d(x, (1, 1, 2))) == [1, 1]


def test_the_mean_of_many_tenths():
    x = np.full((1, 1, 2**24), np.float32(0.1))
    y = pk.avg_pool1d(x, 2**24).item()
    assert abs(y - np.float32(0.1)) <= 4 * np.spacing(np.float32(0.1))


@pytest.mark.parametrize("count", [7, 64, 1000, 65536])
def test_means_and_sums_are_within_four_ulp(count):
    x = np.random.default_rng(count).random((1, 3, count)).astype(np.float32)
    for data_format in ("channels_first", "channels_last"):
        given = x if data_format == "channels_first" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
        means = pk.avg_pool1d(given, count, data_format=data_format).ravel()
        sums = pk.sum_pool1d(given, count, data_format=data_format).ravel()
        for channel in range(3):
            exact = math.fsum(x[0, channel].tolist())
            assert abs(float(means[channel]) - exact / count) <= 4 * float(np.spacing(np.float32(exact / count)))
            assert abs(float(sums[channel]) - exact) <= 4 * float(np.spacing(np.float32(exact)))


def test_a_mean_below_the_largest_float_does_not_overflow():
    assert flat(pk.avg_pool1d(line(*[3e38] * 4), 4)) == [np.float32(3e38)]
    x = np.full((1, 1, 4, 4), 8e37, np.float32)
    assert np.isfinite(pk.avg_pool2d(x, 3, 1, 1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(
    "reducer", [pk.Lp(2), pk.Lp(3), pk.Lp(1.5), pk.RMS(), pk.PowerMean(3), pk.PowerMean(8)], ids=repr
)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 2e-38])
def test_norms_neither_overflow_nor_vanish(reducer, dtype, scale):
    """Powers of 1e30 leave float32, powers of 1e-30 too: the norm does not."""
    if isinstance(reducer, pk.PowerMean):
        reducer = pk.PowerMean(reducer.p, eps=0)
    x = np.array([1.0, 2.0, 0.5, 1.5, 2.0, 1.0] * 3).reshape(1, 1, 3, 6)
    y = pk.pool(x, S(3, 1, 1), reducer)
    big = pk.pool((x * scale).astype(dtype_of(dtype)), S(3, 1, 1), reducer)
    tolerance = 2e-2 if dtype == "bfloat16" else 1e-5
    np.testing.assert_allclose(big.astype(np.float64) / scale, y, rtol=tolerance)
    # one giant in a row of small cells must not cost its neighbours their digits
    x = np.ones((1, 1, 1, 40), np.float64)
    x[..., 20] = 1e30
    y = pk.pool(x.astype(np.float32), S((1, 3), 1), reducer)
    np.testing.assert_allclose(y, pk.pool(x, S((1, 3), 1), reducer), rtol=1e-5)


@pytest.mark.parametrize("reducer", [pk.Lp(1), pk.Lp(2), pk.Lp(3), pk.RMS(), pk.PowerMean(eps=0)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norms_of_the_smallest_numbers(reducer, dtype):
    """The reciprocal of a subnormal number is infinite: a scale must not be one."""
    tiny = np.finfo(dtype).smallest_subnormal
    for cells in ([tiny] * 4, [tiny, 0, 0, 0], [0, 0, 0, 1000 * tiny]):
        x = np.array(cells, dtype).reshape(1, 1, 4)
        for window in (S(1), S(2), S(2, 1), S(4)):
            y = pk.pool(x, window, reducer)
            assert np.isfinite(y).all()
            assert (y <= x.sum() * 1.01 + tiny).all()
            y, back = pk.pool_vjp(x, window, reducer)
            assert np.isfinite(back(np.ones_like(y))).all()


@pytest.mark.parametrize("reducer", [pk.Lp(1), pk.Lp(2), pk.Lp(3), pk.Lp(2.5), pk.RMS(), pk.PowerMean(eps=0)], ids=repr)
@pytest.mark.parametrize("dtype", FLOATS)
def test_norms_of_negative_zeros_are_zero(reducer, dtype):
    x = np.full((1, 1, 20, 40), -0.0).astype(dtype_of(dtype))
    for window in (S(2), S(3, 1, 1), S(3, 2), S(5, 3), S(11, 1, 5), pk.Global()):
        assert not np.asarray(pk.pool(x, window, reducer), np.float64).any()


JOINED = [
    pk.Lp(2),
    pk.Lp(3),
    pk.RMS(),
    pk.PowerMean(3.0),
    pk.LogSumExp(),
    pk.LogSumExp(beta=-2.0, mean=False),
    pk.Soft(),
    pk.Soft(beta=7.0),
    pk.Mixed(0.3),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("window", [S(2), S(3, 1, 1), S(3, 2, 1), S((4, 7), (1, 2), 2)], ids=str)
@pytest.mark.parametrize("reducer", JOINED, ids=repr)
def test_planes_that_leave_the_common_range(reducer, window, dtype):
    """Rows of several vectors whose cells are raised as they are, or relative to their largest, or alone."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 3, 34, 100))
    x[:, 0] = np.where(rng.random(x[:, 0].shape) < 0.01, 500, np.abs(x[:, 0]))
    x[:, 1] = np.where(rng.random(x[:, 1].shape) < 0.5, np.maximum(x[:, 1], 0), 1e-12)
    x[:, 2] = np.where(rng.random(x[:, 2].shape) < 0.002, INF, np.abs(x[:, 2]))
    x[:, 2, 20, 20:22] = NAN
    for planes in (x[:, :1], x[:, 1:2], x[:, 2:]):
        given = planes.astype(dtype_of(dtype))
        exact = given.astype(np.float64)
        wanted = reference.forward(exact, window.plan(given.shape[2:]), reducer).values
        got = pk.pool(given, window, reducer).astype(np.float64)
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(got[~finite], wanted[~finite])
        scale = max(scale_of(exact[np.isfinite(exact)]), scale_of(wanted[finite]))
        assert np.abs(got[finite] - wanted[finite]).max() <= 4 * TOLERANCE[dtype] * scale


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint8"])
@pytest.mark.parametrize(
    "window", [S(2), S(2, (3, 2), 1), S(3, 1, 1), S(3, 2, 1), S(5, 1, 2), S((4, 7), (1, 2), 2)], ids=str
)
def test_means_of_narrow_types_round_as_the_exact_ones(window, dtype):
    rng = np.random.default_rng(4)
    x = rng.integers(0 if dtype == "uint8" else -128, 128, (1, 2, 34, 53)).astype(dtype_of(dtype))
    for reducer in (pk.Mean(), pk.Mean(count_include_pad=False), pk.Mean(divisor=100)):
        wanted = reference.forward(x.astype(np.float64), window.plan(x.shape[2:]), reducer).values
        rounded = np.rint(wanted) if "int" in dtype else wanted.astype(dtype_of(dtype))
        got = pk.pool(x, window, reducer)
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got.astype(np.float64), rounded.astype(np.float64))


def test_soft_reducers_do_not_overflow():
    x = line(-1000, 1000, 999, -88, 89, 500)
    np.testing.assert_allclose(pk.soft_pool1d(x, 2), line(1000, 999, 500), rtol=1e-6)
    np.testing.assert_allclose(pk.lse_pool1d(x, 2, mean=False), line(1000, 999, 500), rtol=1e-6)
    np.testing.assert_allclose(pk.lse_pool1d(x, 2, beta=-1, mean=False), line(-1000, -88, 89), rtol=1e-6)
    half = np.array([[[11.5, 12, 11.5, 600]]], np.float16)
    assert np.isfinite(pk.soft_pool1d(half, 2)).all()
    x = np.zeros((1, 1, 1, 40), np.float64)
    x[..., 20] = 1e4
    for reducer in (pk.Soft(), pk.LogSumExp()):
        y = pk.pool(x.astype(np.float32), S((1, 3), 1), reducer)
        np.testing.assert_allclose(y, pk.pool(x, S((1, 3), 1), reducer), rtol=1e-6, atol=1e-7)


def test_limits_of_beta():
    x = np.random.default_rng(0).standard_normal((1, 2, 9)).astype(np.float64)
    mean, high = pk.avg_pool1d(x, 3), pk.max_pool1d(x, 3)
    for pool in (pk.soft_pool1d, pk.lse_pool1d):
        np.testing.assert_allclose(pool(x, 3, beta=1e-7), mean, atol=1e-6)
        np.testing.assert_allclose(pool(x, 3, beta=1e4), high, atol=1e-3)


def test_lp_uses_magnitudes():
    x = line(-1, -2, -3, 1, 2, 3)
    np.testing.assert_allclose(pk.lp_pool1d(x, 1.5, 1).ravel(), [1, 2, 3, 1, 2, 3], rtol=1e-6)
    assert flat(pk.lp_pool1d(x, 1, 2)) == [3, 4, 5]
    assert flat(pk.lp_pool1d(x, INF, 2)) == [2, 3, 3]
    ones = np.ones((1, 1, 3, 3), np.float32)
    np.testing.assert_allclose(
        pk.lp_pool2d(ones, 2, 2, ceil_mode=True)[0, 0], [[2, math.sqrt(2)], [math.sqrt(2), 1]], rtol=1e-6
    )


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_means_round_to_nearest_ties_to_even(dtype):
    for values in ([1, 2, 3, 5], [1, 2, 2, 5], [3, 3, 4, 4], [0, 0, 1, 1], [0, 1, 1, 1]):
        y = pk.avg_pool1d(line(*values, dtype=dtype), 4)
        assert y.dtype == dtype
        assert y.item() == round(Fraction(sum(values), 4))
    if np.iinfo(dtype).min < 0:
        for values in ([-1, -2, -2, -5], [-3, -3, -4, -4], [0, -1, -1, -1], [-7, 1, 1, 1]):
            assert pk.avg_pool1d(line(*values, dtype=dtype), 4).item() == round(Fraction(sum(values), 4))
    top = np.iinfo(dtype).max
    if dtype != "int64":
        assert pk.avg_pool1d(np.full((1, 1, 1000), top, dtype), 1000).item() == top
        assert pk.sum_pool1d(np.full((1, 1, 1000), top, dtype), 1000).item() == 1000 * int(top)
    # padding counts as zeros, or not at all
    x = np.full((1, 1, 4), 3, dtype)
    assert flat(pk.avg_pool1d(x, 2, 2, 1)) == [2, 3, 2]
    assert flat(pk.avg_pool1d(x, 2, 2, 1, count_include_pad=False)) == [3, 3, 3]


def test_divisors():
    ones = np.ones((1, 1, 4, 4), np.float32)
    wanted = [[1, 1.5, 1.5, 1], [1.5, 2.25, 2.25, 1.5], [1.5, 2.25, 2.25, 1.5], [1, 1.5, 1.5, 1]]
    for include in (True, False):
        y = pk.avg_pool2d(ones, 3, 1, 1, count_include_pad=include, divisor_override=4)
        assert y[0, 0].tolist() == wanted
    assert pk.avg_pool2d(ones, 4, divisor_override=2).item() == 8
    assert pk.pool(ones, pk.Global(), pk.Mean(divisor=2)).item() == 8
    y = pk.avg_pool2d(-ones, 2, 2, 1)
    assert y[0, 0].tolist() == [[-0.25, -0.5, -0.25], [-0.5, -1, -0.5], [-0.25, -0.5, -0.25]]
    assert flat(pk.avg_pool1d(line(1, 2, 3, 4), 1, 2, ceil_mode=True)) == [1, 3]


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_mirror_symmetry(reducer, dtype):
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 21)).astype(dtype)
    for window in (S(3, 1, 1), S(3, 2, 1), S(5, 1, 2, 1), A((3, 7)), S(3, 2, 2, 2)):
        y = pk.pool(x, window, reducer)
        z = pk.pool(np.ascontiguousarray(x[..., ::-1, ::-1]), window, reducer)[..., ::-1, ::-1]
        if reducer.selects:
            np.testing.assert_array_equal(y, z)
        else:
            np.testing.assert_allclose(y, z, rtol={"float16": 2e-3}.get(dtype, 1e-5), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 129])
def test_vector_paths_equal_the_plain_path(channels, isa):
    """Maxima bit for bit the same in lanes and in tails; identical channels give identical results."""
    rng = np.random.default_rng(channels)
    row = rng.standard_normal((1, 7, 8, 1)).astype(np.float32)
    row[0, 2, 3] = NAN
    x = np.repeat(row, channels, -1)
    for reducer in REDUCERS:
        y = pk.pool(x, S(3, 2, 1), reducer, data_format="channels_last")
        np.testing.assert_array_equal(y, np.repeat(y[..., :1], channels, -1))
    x = rng.standard_normal((1, 7, 8, channels)).astype(np.float32)
    y = pk.max_pool2d(x, 3, 2, 1, data_format="channels_last")
    _core.set_isa("baseline" if "baseline" in ISAS else ISAS[-1])
    np.testing.assert_array_equal(y, pk.max_pool2d(x, 3, 2, 1, data_format="channels_last"))


def test_half_maxima_are_exact():
    every = np.arange(65536, dtype=np.uint16)
    for dtype in (np.dtype(np.float16), BF16):
        x = every.view(dtype).reshape(1, 1, 256, 256)
        y = pk.max_pool2d(x, 2, 2)
        blocks = x.reshape(128, 2, 128, 2).transpose(0, 2, 1, 3).reshape(128, 128, 4).astype(np.float32)
        np.testing.assert_array_equal(y[0, 0].astype(np.float32), blocks.max(-1))


@pytest.mark.parametrize("reducer", SMOOTH, ids=repr)
def test_single_cell_windows(reducer):
    x = np.abs(np.random.default_rng(0).standard_normal((1, 2, 19))).astype(np.float32) + 0.5
    np.testing.assert_allclose(pk.pool(x, S(1), reducer), x, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [50.0, 300.0, 1e4])
def test_large_powers_neither_overflow_nor_vanish(dtype, p):
    x = (np.abs(float_data((2, 3, 6, 20))) * 1.7 + 0.1).astype(dtype)
    cells = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (2, 2), (2, 3))[:, :, ::2, ::2]
    top = cells.max((-2, -1))
    total = ((cells / top[..., None, None]) ** p).sum((-2, -1))
    for reducer, sums in ((pk.Lp(p), total), (pk.PowerMean(p), total / 4)):
        want = top * sums ** (1 / p)
        np.testing.assert_allclose(pk.pool(x, S(2), reducer), want, rtol=1e-6 if dtype == "float32" else 1e-14)
