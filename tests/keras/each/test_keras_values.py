"""`poolkit.keras.pool` against the oracle: windows and reducers by keras.ops, and by kernels where there are any."""

from contextlib import nullcontext
from dataclasses import replace

import keras
import numpy as np
import pytest
from back_end import NAME, array, compiled, first, gradient, layout, own
from keras import ops
from support import (
    CASES,
    DRAWN,
    GRADIENT_TOLERANCE,
    REDUCERS,
    TOLERANCE,
    Case,
    assert_close,
    expected,
    float_data,
    plan_of,
    samples_of,
)

import poolkit as pk
from poolkit import reference
from poolkit.keras import keras_ops_only, kernels, pool

# JAX compiles every function; the others run operation by operation and can do all.
WINDOWS = [CASES[i] for i in (4, 8, 14, 15, 17, 24, 29, 40)] if NAME == "jax" else CASES
FEW = [CASES[2], CASES[13], CASES[16], CASES[23], CASES[29], CASES[35]]
SHORT = [pk.Max(), pk.Mean(), pk.Lp(3.5), pk.LogSumExp(), pk.Median(), pk.Quantile(0.3), pk.Ada(), pk.Mixed(0.3)]
# ops.exp and sums in the order of each back end: twice what the kernels are held to.
CLOSE = 2 * TOLERANCE["float32"]


def window_of(case):
    """The case's window with the samples that the oracle has."""
    samples = samples_of(case, 6)
    if samples is None:
        return case.window
    shape = (2, 3, -1) if case.window.style == "torch" else (-1,)
    return replace(case.window, random_samples=samples.reshape(shape).astype("float32"))


def filter_of(case):
    plan = case.window.plan(case.sizes)
    if any(axis.kind == "adaptive" or axis.reaches for axis in plan.axes):
        return []
    cells = int(np.prod([axis.kernel for axis in plan.axes]))
    return [pk.Filter(tuple(float(i % 5 - 2) for i in range(cells)))]


def check(y, wanted, reducer):
    if reducer.selects or isinstance(reducer, pk.Max | pk.Min):
        np.testing.assert_array_equal(y, wanted.astype("float32"), err_msg=str(reducer))
    else:
        try:
            assert_close(y, wanted, CLOSE, max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0))))
        except AssertionError as error:
            raise AssertionError(f"{reducer}: {error}") from None


@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_keras_ops(case):
    window, last = window_of(case), CASES.index(case) % 2 == 0
    reducers = [*(SHORT if NAME == "jax" else REDUCERS), *filter_of(case)]
    x = own(float_data((2, 3, *case.sizes)), last).astype("float32")

    def run(x):
        with keras_ops_only():
            return [pool(x, window, reducer, data_format=layout(last)) for reducer in reducers]

    plan = plan_of(case, (2, 3, *case.sizes))
    for reducer, y in zip(reducers, array(compiled(run)(x)), strict=True):
        wanted = reference.forward(float_data((2, 3, *case.sizes)), plan, reducer.on(case.window))
        check(first(y, last), wanted.values, reducer)


@pytest.mark.parametrize("case", FEW[:2] if NAME == "jax" else FEW, ids=str)
def test_gradients_of_keras_ops(case):
    window, last = window_of(case), CASES.index(case) % 2 == 1
    for reducer in SHORT if NAME == "jax" else [*REDUCERS, *filter_of(case)]:
        x, _, grad, dx = expected(case, reducer.on(case.window))

        def run(x, reducer=reducer):
            with keras_ops_only():
                return pool(x, window, reducer, data_format=layout(last))

        found = first(gradient(run, own(x, last).astype("float32"), own(grad, last)), last)
        try:
            assert_close(found, dx, GRADIENT_TOLERANCE["float32"], max(1.0, float(np.abs(dx).max())))
        except AssertionError as error:
            raise AssertionError(f"{reducer}: {error}") from None


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("ops_only", [False, True], ids=["kernels", "ops"])
def test_draws_by_given_uniforms(last, ops_only):
    case = Case(pk.Sliding(3, 2, 1), (7, 8))
    x, plan = float_data((2, 3, 7, 8)), plan_of(case, (2, 3, 7, 8))
    u = np.random.default_rng(3).random((2, 3, *plan.out_shape)).astype("float32")

    def run(x, u):
        with keras_ops_only() if ops_only else nullcontext():
            return [pool(x, case.window, reducer, data_format=layout(last), extra=u) for reducer in DRAWN]

    found = array(compiled(run)(own(x, last).astype("float32"), own(u, last)))
    for reducer, y in zip(DRAWN, found, strict=True):
        wanted = reference.forward(x, plan, reducer, u.astype(np.float64)).values
        np.testing.assert_array_equal(first(y, last), wanted.astype("float32"), err_msg=str(reducer))


@pytest.mark.parametrize("case", [CASES[2], CASES[15], CASES[26], CASES[29], CASES[36]], ids=str)
def test_the_compiled_kernels(case, monkeypatch):
    if NAME == "tensorflow":
        assert kernels.of(ops.ones((1, 2, 1))) is None
        return
    used = []
    real = kernels.of
    monkeypatch.setattr(kernels, "of", lambda x: used.append(1) or real(x))
    window = window_of(case)
    for last in (False, True):
        x = own(float_data((2, 3, *case.sizes)), last).astype("float32")
        for reducer in [*SHORT, *filter_of(case)]:
            used.clear()
            y = first(array(pool(x, window, reducer, data_format=layout(last))), last)
            assert used == [1]
            assert real(ops.convert_to_tensor(x)) is not None
            wanted = reference.forward(
                float_data((2, 3, *case.sizes)), plan_of(case, (2, 3, *case.sizes)), reducer.on(window)
            )
            check(y, wanted.values, reducer)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("ops_only", [False, True], ids=["kernels", "ops"])
def test_nan_infinities_and_ties(last, ops_only):
    row = [np.nan, 1, 2, 2, np.inf, np.nan, -np.inf, -np.inf, 3, 3, 0, 0]
    x = own(np.array(row, "float32")[None, None], last)
    reducers = [pk.Max(), pk.Min(), pk.Mean(), pk.Soft(), pk.Median(), pk.Lp(2), pk.Quantile(0.5), pk.LogSumExp()]

    def run(x):
        with keras_ops_only() if ops_only else nullcontext():
            return [pool(x, pk.Sliding(2), reducer, data_format=layout(last)) for reducer in reducers]

    with np.errstate(all="ignore"):
        plan = plan_of(Case(pk.Sliding(2), (12,)), (1, 1, 12))
        for reducer, y in zip(reducers, array(compiled(run)(x)), strict=True):
            wanted = reference.forward(first(x, last).astype(np.float64), plan, reducer).values
            np.testing.assert_allclose(first(y, last), wanted, rtol=1e-6, atol=3e-7, err_msg=str(reducer))


@pytest.mark.parametrize("least", [False, True], ids=["max", "min"])
def test_of_equal_cells_the_first_has_the_gradient_and_the_place(least):
    x = np.array([5, 5, 5, 5, 1, 1, 2, 5, 2, 5, 5, 0], "float32").reshape(1, 3, 4, 1)
    reducer = pk.Min() if least else pk.Max()

    def run(x, **more):
        with keras_ops_only():
            return pool(x, pk.Sliding(3, 1), reducer, data_format="channels_last", **more)

    grad = np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    dx = gradient(run, x, grad).reshape(-1)
    chosen = (4, 11) if least else (0, 1)
    assert {int(i): dx[i] for i in np.flatnonzero(dx)} == dict(zip(chosen, (1.0, 10.0), strict=True))
    _, places = array(compiled(lambda x: run(x, return_indices=True))(x))
    assert places.dtype == np.int32
    assert places.reshape(-1).tolist() == list(chosen)


def test_places_are_those_of_the_oracle():
    for case, last in [(CASES[8], True), (CASES[15], False), (CASES[26], True), (CASES[29], True), (CASES[36], False)]:
        x, pooled, _, _ = expected(case, pk.Max())

        def run(x, case=case, last=last):
            with keras_ops_only():
                return pool(x, window_of(case), pk.Max(), data_format=layout(last), return_indices=True)

        _, places = array(compiled(run)(own(x, last).astype("float32")))
        np.testing.assert_array_equal(first(places, last), pooled.indices)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_accumulates_in_float32(dtype):
    x = ops.ones((1, 2**14, 1), dtype=dtype)

    def run(x):
        with keras_ops_only():
            return [
                pool(x, pk.Global(), reducer, data_format="channels_last")
                for reducer in (pk.Mean(), pk.RMS(), pk.GeM())
            ]

    for y in compiled(run)(x):
        assert keras.backend.standardize_dtype(y.dtype) == dtype
        assert float(array(ops.cast(y, "float32"))[0, 0, 0]) == 1.0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"] if NAME != "jax" else ["int8"])
def test_integers_are_chosen_as_they_are(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max, 0, 1, info.max, info.max], dtype).reshape(1, 6, 1)

    def run(x):
        with keras_ops_only():
            return [pool(x, pk.Sliding(3), r, data_format="channels_last") for r in (pk.Max(), pk.Min(), pk.Median())]

    middle = sorted(x.ravel()[:3].tolist())[1]
    wanted = [[info.max, info.max], [info.min, 1], [middle, info.max]]
    for y, values in zip(array(compiled(run)(x)), wanted, strict=True):
        assert y.dtype == dtype
        assert y.ravel().tolist() == values
    for reducer in (pk.Mean(), pk.Sum(), pk.Soft()):
        with pytest.raises(pk.PoolTypeError, match="takes floats"):
            pool(x, pk.Sliding(2), reducer, data_format="channels_last")


def test_one_seed_is_one_draw_in_both_layouts():
    x = np.random.default_rng(0).random((2, 3, 6)).astype("float32")
    one = array(pool(x, pk.Sliding(3), pk.Stochastic(), data_format="channels_first", seed=4))
    other = array(pool(np.moveaxis(x, 1, -1), pk.Sliding(3), pk.Stochastic(), data_format="channels_last", seed=4))
    np.testing.assert_array_equal(one, np.moveaxis(other, -1, 1))
    assert np.isin(one, x).all()
    with pytest.raises(pk.PoolTypeError, match="seed is an int"):
        pool(x, pk.Sliding(3), pk.Stochastic(), seed="4")


def test_fractional_windows_are_drawn_inside_and_anew():
    x = np.arange(40, dtype="float32").reshape(1, 40, 1)
    seed = keras.random.SeedGenerator(5)
    for window in (pk.Fractional(2, 23), pk.Fractional(output_size=23, style="tensorflow")):
        drawn = [
            tuple(array(pool(x, window, pk.Max(), data_format="channels_last", seed=seed)).ravel()) for _ in range(4)
        ]
        assert len(set(drawn)) > 1
        for y in drawn:
            assert list(y) == sorted(y)
            assert y[-1] == 39


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda x: pool(x, pk.Sliding(9), pk.Max()), "a window fits the padded input"),
        (lambda x: pool(x, 2, pk.Max()), "window is Sliding"),
        (lambda x: pool(x, pk.Sliding(2), "max"), "reducer is one of the records"),
        (lambda x: pool(x, pk.Sliding(2), pk.Max(), data_format="nhwc"), "data_format is"),
        (lambda x: pool(x, pk.Sliding((2, 2)), pk.Max()), "2-D pooling takes a batch"),
        (lambda x: pool(x[0], pk.Sliding(2), pk.Max()), "pooling takes a batch"),
        (lambda x: pool(x, pk.Sliding(2), pk.Mean(), return_indices=True), "chooses none"),
        (lambda x: pool(x, pk.Sliding(2), pk.TopKMean(3)), "k <= the cells of a window"),
        (lambda x: pool(x, pk.Sliding(2), pk.Filter((1.0,))), "weights has one number for each cell"),
        (lambda x: pool(keras.Input((4, 1)), pk.Sliding(2), pk.Max()), "pool takes tensors"),
        (lambda x: pool(x, pk.Sliding(2), pk.Mixed(), extra=np.ones(1)), "as many axes: 3"),
        (lambda x: pool("abc", pk.Sliding(2), pk.Max()), "input x is an array or a tensor"),
    ],
)
def test_errors_are_those_of_every_front_end(call, names):
    with pytest.raises(pk.PoolError, match=names):
        call(np.zeros((1, 4, 1), "float32"))
