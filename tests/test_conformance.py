"""The compiled core against the oracle: window x reducer x rank x dtype x layout x instruction set x threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import (
    ADDING,
    CASES,
    CHOOSING,
    DRAWN,
    FLOATS,
    GRADIENT_TOLERANCE,
    INTEGERS,
    RANKED,
    REDUCERS,
    TOLERANCE,
    A,
    Case,
    F,
    S,
    assert_close,
    dtype_of,
    expected,
    float_data,
    integer_data,
    plan_of,
    run,
    scale_of,
    uniforms_of,
)

import poolkit as pk
from poolkit import _core, arrays, reference

ISAS = _core.available_isas()
# a divisor below the count of cells can push a mean out of its dtype: test_numerics says what happens then
INTEGER_REDUCERS = [*CHOOSING, *RANKED, *(r for r in ADDING if getattr(r, "divisor", None) is None)]
LANES = (1, 7, 8, 9, 15, 16, 17, 31, 33)


def check(x, case, reducer, dtype, pooled, grad, dx):
    y, indices, got = run(x, case, reducer, grad)
    assert y.dtype == x.dtype
    if reducer.selects:
        np.testing.assert_array_equal(y.astype(np.float64), pooled.values)
        np.testing.assert_array_equal(indices, pooled.indices)
        assert_close(
            got, dx, 1.1 * float(np.finfo(np.float16).eps) * 8 if dtype == "bfloat16" else TOLERANCE[dtype], 1.0
        )
    else:
        assert_close(y, pooled.values, TOLERANCE[dtype], scale_of(pooled.values))
        assert_close(got, dx, GRADIENT_TOLERANCE[dtype], scale_of(dx))


def test_no_reducer_and_no_window_is_left_out():
    assert {type(one) for one in [*REDUCERS, *FILTERS]} == set(pk.reducer.REDUCERS)
    assert {type(case.window) for case in CASES} == set(pk.window.WINDOWS)


def test_the_core_knows_the_codes_of_the_records_and_no_other():
    codes = [kind.code for kind in pk.reducer.REDUCERS]
    assert codes == list(range(len(codes)))
    x, spec = np.ones((1, 1, 1)), S(1).plan((1,)).spec
    for code in (*codes, -1, len(codes)):
        extra = np.ones((1, 1, 1)) if code in codes and pk.reducer.REDUCERS[code].extra != "none" else None
        arguments = (code, pk.Sum().params, spec, None, x, np.empty_like(x), None, None, None, extra, 1)
        if code in codes:
            assert _core.forward(*arguments) is None
        else:
            with pytest.raises(ValueError, match="codes"):
                _core.forward(*arguments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("one", REDUCERS, ids=repr)
def test_the_core_asks_for_what_the_records_keep(one, dtype):
    """Without a thing that is kept, the backward pass refuses; without the others it does not."""
    _, _, saved = arrays.forward(np.ones((1, 1, 4), dtype), S(2).plan((4,)), one, save=True)
    grad = np.ones((1, 1, 2), dtype)
    assert arrays.backward(grad, saved).shape == (1, 1, 4)
    for name in one.keeps:
        with pytest.raises(pk.PoolError, match="missing"):
            arrays.backward(grad, replace(saved, **{name: None}))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_floats_agree_with_the_oracle(case, reducer, dtype):
    x, pooled, grad, dx = expected(case, reducer)
    for isa in ISAS:
        assert _core.set_isa(isa)
        check(x.astype(dtype_of(dtype)), case, reducer, dtype, pooled, grad, dx)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reducer", DRAWN, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_drawn_cells_are_those_of_the_oracle(case, reducer, dtype, isa):
    """One uniform for each output says which cell: in both layouts, forward and backward, on every instruction set."""
    assert _core.set_isa(isa)
    x = float_data((2, 3, *case.sizes))
    plan, kind = plan_of(case, x.shape), dtype_of(dtype)
    shape = (2, 3, *plan.out_shape)
    uniforms = uniforms_of(reducer, shape, kind)
    pooled = reference.forward(x, plan, reducer, uniforms)
    grad = np.random.default_rng(1).integers(-3, 4, shape).astype(np.float64)
    dx = reference.backward(x, grad, plan, reducer, uniforms)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x.astype(kind), 1, -1)), -1, 1)
    for given in (x.astype(kind), last):
        y, indices, got = run(given, case, reducer, grad)
        np.testing.assert_array_equal(y.astype(np.float64), pooled.values)
        np.testing.assert_array_equal(indices, pooled.indices)
        np.testing.assert_array_equal(got.astype(np.float64), dx)


def axes_of(case):
    return case.window.plan(case.sizes).axes


FILTERS = [pk.Filter((0.5, -0.25, 2.0)), pk.Filter((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0))]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if all(axis.kind != "adaptive" and not axis.reaches for axis in axes_of(case))],
    ids=str,
)
def test_filters_agree_with_the_oracle(case, dtype):
    plan = plan_of(case, (2, 3, *case.sizes))
    cells = int(np.prod([axis.kernel for axis in plan.axes]))
    reducer = pk.Filter(tuple((np.arange(cells) % 7 - 3) / 4))
    x, pooled, grad, dx = expected(case, reducer)
    check(x.astype(dtype_of(dtype)), case, reducer, dtype, pooled, grad, dx)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("reducer", INTEGER_REDUCERS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_are_exact(case, reducer, dtype):
    x = integer_data((2, 3, *case.sizes), dtype)
    pooled = reference.forward(x, plan_of(case, x.shape), reducer)
    for isa in ISAS:
        assert _core.set_isa(isa)
        y, indices, _ = run(x, case, reducer)
        assert y.dtype == pooled.values.dtype
        np.testing.assert_array_equal(y, pooled.values)
        if indices is not None:
            np.testing.assert_array_equal(indices, pooled.indices)


LANE_WINDOWS = [S(2), S(3, 1, 1), S(3, 2, 1), S(2, 1, 0, 1), S(5, 1, 2), S(3, 2, 2, 2), A(4)]
LANE_REDUCERS = [pk.Max(), pk.Min(), pk.Mean(), pk.Sum(), pk.Lp(2), pk.Soft(), pk.LogSumExp()]


def _fits(window, sizes):
    try:
        window.plan(sizes)
    except pk.PoolError:
        return False
    return True


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("reducer", LANE_REDUCERS, ids=repr)
@pytest.mark.parametrize("window", LANE_WINDOWS, ids=repr)
@pytest.mark.parametrize("width", LANES)
def test_rows_of_every_width(width, window, reducer, dtype):
    for sizes in ((width,), (3, width)):
        case = Case(window, sizes)
        if not _fits(window, sizes):
            continue
        x, pooled, grad, dx = expected(case, reducer, 1, 2)
        for isa in ISAS:
            _core.set_isa(isa)
            check(x.astype(dtype), case, reducer, dtype, pooled, grad, dx)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("reducer", LANE_REDUCERS, ids=repr)
@pytest.mark.parametrize("channels", [1, 3, 7, 8, 15, 16, 17, 31, 33, 65])
def test_channels_last_of_every_count(channels, reducer, dtype):
    case = Case(S(3, 2, 1), (4, 5))
    x, pooled, grad, dx = expected(case, reducer, 1, channels)
    last = _channels_last(x.astype(dtype_of(dtype)))
    for isa in ISAS:
        _core.set_isa(isa)
        check(last, case, reducer, dtype, pooled, _channels_last(grad), dx)


@pytest.mark.parametrize("width", LANES)
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("reducer", [pk.Max(), pk.Min(), pk.Mean(), pk.Sum()], ids=repr)
def test_integer_rows_of_every_width(reducer, dtype, width):
    for window in (S(1), S(3, 1, 1), S(3, 2, 1), A(2)):
        case = Case(window, (3, width))
        x = integer_data((1, 2, 3, width), dtype)
        pooled = reference.forward(x, plan_of(case, x.shape), reducer)
        for layout in (np.ascontiguousarray, _channels_last):
            for isa in ISAS:
                _core.set_isa(isa)
                np.testing.assert_array_equal(run(layout(x), case, reducer)[0], pooled.values)


def _channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def _strided(x):
    wide = np.full([2 * size for size in x.shape], np.array(77, x.dtype))
    view = wide[tuple(slice(1, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def _reversed(x):
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def _all_reversed(x):
    every = tuple(slice(None, None, -1) for _ in x.shape)
    return np.ascontiguousarray(x[every])[every]


def _transposed(x):
    return np.ascontiguousarray(x.T).T


def _batch_inside(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


def _offset(x):
    buffer = np.zeros(x.size + 3, x.dtype)
    buffer[3:] = x.ravel()
    return buffer[3:].reshape(x.shape)


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _unaligned(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    view = buffer[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def _swapped_bytes(x):
    return x.astype(x.dtype.newbyteorder())


def _fortran_planes(x):
    return np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2)


LAYOUTS = [
    _channels_last,
    _strided,
    _reversed,
    _all_reversed,
    _transposed,
    _batch_inside,
    _offset,
    _read_only,
    _unaligned,
    _swapped_bytes,
    _fortran_planes,
]
LAYOUT_CASES = [
    Case(S(3, 2, 1), (17,)),
    Case(S(2), (6, 8)),
    Case(S(3, 1, 1), (7, 19)),
    Case(S((2, 3), 2, (1, 1), (2, 1), True), (9, 18)),
    Case(A((3, 4)), (7, 9)),
    Case(F(2, (3, 4)), (6, 9)),
    Case(S(2, 2, 1), (4, 5, 6)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Lp(3), pk.Soft()], ids=repr)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", LAYOUT_CASES, ids=str)
def test_layouts_make_no_difference(case, layout, reducer, dtype):
    x, pooled, grad, dx = expected(case, reducer)
    plain = x.astype(dtype_of(dtype))
    if dtype == "bfloat16" and layout is _swapped_bytes:  # there is no byte-swapped bfloat16
        return
    laid = pk.arrays.check_array(layout(plain))
    np.testing.assert_array_equal(laid.astype(np.float64), x)
    grad_laid = grad if layout in (_read_only, _unaligned, _swapped_bytes) else layout(grad)
    check(laid, case, reducer, dtype, pooled, grad_laid, dx)


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
def test_broadcast_input(reducer):
    case = Case(S(3, 2, 1), (6, 7))
    x = float_data((1, 1, 6, 7))
    wide = np.broadcast_to(x, (2, 3, 6, 7))
    y, _, _ = run(wide, case, reducer)
    one, _, _ = run(x, case, reducer)
    np.testing.assert_array_equal(y, np.broadcast_to(one, y.shape))
    row = np.broadcast_to(x[..., :1], (1, 1, 6, 7))
    pooled = reference.forward(row, plan_of(case, row.shape), reducer)
    assert_close(run(row, case, reducer)[0], pooled.values, 1e-13)


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
def test_strides_of_single_cells_mean_nothing(reducer):
    x = float_data((7, 1, 5, 3, 2))
    odd = np.lib.stride_tricks.as_strided(x, x.shape, (240, 9872, 48, 16, 8))
    case = Case(S((5, 1, 1)), (5, 3, 2))
    np.testing.assert_array_equal(run(odd, case, reducer)[0], run(x, case, reducer)[0])


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("case", [CASES[1], CASES[17], CASES[30]], ids=str)
def test_threads_make_no_difference(case, reducer):
    x = np.random.default_rng(3).standard_normal((4, 9, *case.sizes)).astype(np.float32)
    grad = np.random.default_rng(4).standard_normal((4, 9, *case.window.plan(case.sizes).out_shape)).astype(np.float32)
    for isa in ISAS:
        _core.set_isa(isa)
        results = []
        for threads in (1, 2, 5):
            pk.set_num_threads(threads)
            results.append(run(x, case, reducer, grad))
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                assert (one is None) == (two is None)
                assert one is None or one.tobytes() == two.tobytes()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_maxima_are_the_same_on_every_instruction_set(case):
    x = np.random.default_rng(0).integers(-4, 4, (2, 17, *case.sizes)).astype(np.float32)  # many ties
    x.flat[::13] = np.nan
    x.flat[::7] = -0.0
    for layout in (np.ascontiguousarray, _channels_last):
        results = []
        for isa in ISAS:
            _core.set_isa(isa)
            y, indices, _ = run(layout(x), case, pk.Max())
            results.append((y.tobytes(), indices.tobytes()))
        assert len(set(results)) == 1


@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
@pytest.mark.parametrize("case", [CASES[0], CASES[12], CASES[14], CASES[16], CASES[29]], ids=str)
def test_empty_batch(case, reducer):
    x = np.zeros((0, 3, *case.sizes), np.float32)
    out = case.window.plan(case.sizes).out_shape
    y, indices, dx = run(x, case, reducer, np.zeros((0, 3, *out)))
    assert y.shape == (0, 3, *out)
    assert indices is None or indices.shape == y.shape
    assert dx.shape == x.shape


def test_large_planes_against_a_shifted_maximum():
    """Planes beyond any cache block: compared with maxima of shifted views, which NumPy works out."""
    x = np.random.default_rng(0).standard_normal((1, 2, 130, 257)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    views = [padded[:, :, i : i + 130, j : j + 257] for i in range(3) for j in range(3)]
    full = np.max(views, axis=0)
    for isa in ISAS:
        _core.set_isa(isa)
        np.testing.assert_array_equal(pk.max_pool2d(x, 3, 1, 1), full)
        np.testing.assert_array_equal(pk.max_pool2d(x, 3, 2, 1), full[:, :, ::2, ::2])


@pytest.mark.parametrize("kernel", [9, 13, 31])
def test_large_kernels_against_shifted_views(kernel):
    x = np.random.default_rng(0).standard_normal((1, 3, 40, 41)).astype(np.float32)
    half = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)), constant_values=-np.inf)
    wanted = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3)).max((-1, -2))
    mean = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half))).astype(np.float64)
    means = np.lib.stride_tricks.sliding_window_view(mean, (kernel, kernel), (2, 3)).mean((-1, -2))
    for isa in ISAS:
        _core.set_isa(isa)
        np.testing.assert_array_equal(pk.max_pool2d(x, kernel, 1, half), wanted)
        y, indices = pk.max_pool2d(x, kernel, 1, half, return_indices=True)
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(
            np.take_along_axis(x.reshape(1, 3, -1), indices.reshape(1, 3, -1), 2), y.reshape(1, 3, -1)
        )
        assert_close(pk.avg_pool2d(x, kernel, 1, half), means, 5e-7, 0.2)
