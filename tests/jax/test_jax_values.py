"""Values, indices and gradients of JAX arrays: against the reference, and bit for bit against NumPy arrays."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import (
    CASES,
    DRAWN,
    FLOATS,
    INTEGERS,
    REDUCERS,
    SEED,
    assert_close,
    dtype_of,
    expected,
    float_data,
    in_process,
    integer_data,
    plan_of,
    samples_of,
)

import poolkit as pk
from poolkit.jax import ffi, primitives, pure

# Programs that run once take longer to compile than to run.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
PURE_CASES = [CASES[7], CASES[16], CASES[21]]  # a ceil overhang, windows that reach to the next one, dilated in 2-D


def fitting(case):
    for reducer in REDUCERS:
        try:
            reducer.on(case.window).check(plan_of(case, (2, 3, *case.sizes)))
        except pk.PoolError:
            continue
        yield reducer


def window_of(case):
    """The case's window with its samples, so that the reference sees the same places."""
    if not isinstance(case.window, pk.Fractional):
        return case.window
    return replace(case.window, random_samples=samples_of(case, 6))


def pooled_and_back(window, reducers, x, grads):
    """Values, indices where there are any, and gradients, as one program: compiling is most of what a test takes."""

    def all_of_them(x, grads):
        results = []
        for reducer, grad in zip(reducers, grads, strict=True):
            if reducer.selects:
                y, back, indices = jax.vjp(
                    lambda x, r=reducer: pk.jax.pool(x, window, r, return_indices=True), x, has_aux=True
                )
            else:
                y, back = jax.vjp(lambda x, r=reducer: pk.pool(x, window, r), x)
                indices = None
            results.append((y, indices, back(grad)[0]))
        return results

    return jax.jit(all_of_them, compiler_options=QUICK)(x, grads)


def check_case(case):
    reducers = list(fitting(case))
    assert len(reducers) > 30
    wanted = [expected(case, reducer.on(case.window)) for reducer in reducers]
    x = jnp.asarray(wanted[0][0])
    results = pooled_and_back(window_of(case), reducers, x, [jnp.asarray(grad) for _, _, grad, _ in wanted])
    for reducer, (y, indices, dx), (_, pooled, _, slope) in zip(reducers, results, wanted, strict=True):
        try:
            assert_close(y, pooled.values, 1e-13, scale=1.0)  # cells of about one may cancel
            assert_close(dx, slope, 1e-12, scale=1.0)  # a sum of terms of about one
            if reducer.selects:
                assert indices.dtype == np.int64
                np.testing.assert_array_equal(indices, pooled.indices)
        except AssertionError as error:
            raise AssertionError(f"{reducer}: {error}") from None


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_the_core_gives_the_references_values_and_gradients(case):
    assert ffi.built, "poolkit._jax is missing: build it, or install jax before poolkit"
    check_case(case)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PURE_CASES, ids=str)
def test_the_operations_of_jax_give_the_references_values_and_gradients(case, monkeypatch):
    monkeypatch.setattr(ffi, "forward", pure.forward)
    monkeypatch.setattr(ffi, "gradient", pure.gradient)
    primitives._compiled.cache_clear()
    jax.clear_caches()
    try:
        check_case(case)
    finally:
        monkeypatch.undo()
        jax.clear_caches()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_every_dtype_and_layout_is_that_of_numpy_arrays_to_the_bit(dtype):
    sizes, window = (6, 7), pk.Sliding(3, 2, 1)
    shape = (2, 3, *sizes)
    x = float_data(shape).astype(dtype_of(dtype)) if dtype in FLOATS else integer_data(shape, dtype)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    reducers = [r for r in REDUCERS if dtype in FLOATS or r.integers]
    views = [(x, "channels_first"), (last, "channels_last"), (x[0], "channels_first"), (last[0], "channels_last")]
    windows = [window] * 3 + [pk.Sliding((3, 2), (2, 1))]

    def every(arrays):
        return [
            pk.pool(one, w, r, data_format=layout, return_indices=r.selects)
            for one, (_, layout), w in zip(arrays, views, windows, strict=True)
            for r in reducers
        ]

    # Without its second axis a batch of one has two meanings: these windows say how many axes they pool.
    windows = [pk.Sliding((3, 3), 2, 1)] * 3 + windows[3:]
    got = jax.tree.leaves(jax.jit(every)([jnp.asarray(one) for one, _ in views]))
    wanted = jax.tree.leaves(every([one for one, _ in views]))
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(mine), theirs)


def test_without_64_bit_types_integers_are_32_bits_wide():
    x = np.arange(-20, 16, dtype=np.int32).reshape(1, 1, 6, 6)
    y = pk.sum_pool2d(jnp.asarray(x), 2)
    assert y.dtype == jnp.int32
    np.testing.assert_array_equal(y, pk.sum_pool2d(x, 2))
    values, indices = pk.max_pool2d(jnp.asarray(x), 2, return_indices=True)
    assert indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, pk.max_pool2d(x, 2, return_indices=True)[1])
    np.testing.assert_array_equal(pk.max_unpool2d(values, indices, 2).reshape(-1)[indices.reshape(-1)], values.ravel())


@pytest.mark.parametrize("reducer", DRAWN, ids=str)
def test_an_int_seed_draws_what_numpy_arrays_get(reducer):
    x = np.random.default_rng(0).random((2, 3, 6, 6), np.float32)
    last = np.moveaxis(x, 1, -1)
    wanted, places = pk.pool(x, pk.Sliding(2), reducer, seed=SEED, return_indices=True)
    values, indices = pk.pool(jnp.asarray(x), pk.Sliding(2), reducer, seed=SEED, return_indices=True)
    np.testing.assert_array_equal(values, wanted)
    np.testing.assert_array_equal(indices, places)
    got = pk.pool(jnp.asarray(last), pk.Sliding(2), reducer, seed=SEED, data_format="channels_last")
    np.testing.assert_array_equal(jnp.moveaxis(got, -1, 1), wanted)
    slope = jax.grad(lambda x: pk.pool(x, pk.Sliding(2), reducer, seed=SEED).sum())(jnp.asarray(x))
    _, back = pk.pool_vjp(x, pk.Sliding(2), reducer, seed=SEED)
    np.testing.assert_array_equal(slope, back(np.ones_like(wanted)))


@pytest.mark.parametrize(
    "window",
    [
        pk.Fractional(2, output_ratio=0.6),
        pk.Fractional(output_size=4, style="tensorflow"),
        pk.Fractional(output_size=4, style="tensorflow", pseudo_random=True, overlapping=True),
    ],
    ids=str,
)
def test_fractional_windows_of_ints_keys_and_traced_samples(window):
    x = np.random.default_rng(0).random((2, 3, 9, 7), np.float32)
    given = jnp.asarray(x)
    np.testing.assert_array_equal(pk.pool(given, window, pk.Max(), seed=3), pk.pool(x, window, pk.Max(), seed=3))
    keyed = jax.jit(lambda x, key: pk.pool(x, window, pk.Max(), seed=key))
    first = keyed(given, jax.random.key(1))
    np.testing.assert_array_equal(first, pk.pool(given, window, pk.Max(), seed=jax.random.key(1)))
    np.testing.assert_array_equal(first, keyed(given, jax.random.PRNGKey(1)))
    samples = window.draw(6, (9, 7), 5).astype(np.float32)
    placed = replace(window, random_samples=samples)
    traced = jax.jit(lambda x, u: pk.pool(x, replace(window, random_samples=u), pk.Max()))
    np.testing.assert_array_equal(traced(given, jnp.asarray(samples)), pk.pool(x, placed, pk.Max()))
    with pytest.raises(pk.PoolError, match="samples"):
        traced(given, jnp.zeros((5, 1)))
    with pytest.raises(pk.PoolTypeError, match="floats"):
        traced(given, jnp.zeros(samples.shape, jnp.int32))


def test_keys_draw_anew_and_no_seed_is_an_error():
    x = jnp.asarray(np.random.default_rng(0).random((2, 3, 8, 8), np.float32))
    draw = jax.jit(lambda key: pk.stochastic_pool2d(x, 2, seed=key))
    first, again, other = draw(jax.random.key(0)), draw(jax.random.key(0)), draw(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    many = jax.vmap(draw)(jax.random.split(jax.random.key(2), 3))
    np.testing.assert_array_equal(many[1], draw(jax.random.split(jax.random.key(2), 3)[1]))
    for call in (lambda: pk.stochastic_pool2d(x, 2), lambda: pk.fractional_max_pool2d(x, 2, output_ratio=0.5)):
        with pytest.raises(pk.PoolError, match=r"seed=jax\.random\.key"):
            call()
    with pytest.raises(pk.PoolTypeError, match=r"key of jax\.random"):
        pk.stochastic_pool2d(x, 2, seed=jnp.zeros(3))


def test_global_windows_drop_their_axes():
    x = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    for layout, array in (("channels_first", x), ("channels_last", np.ascontiguousarray(np.moveaxis(x, 1, -1)))):
        for window in (pk.Global(), pk.Global(keepdims=False)):
            y = pk.pool(jnp.asarray(array), window, pk.RMS(), data_format=layout)
            wanted = pk.pool(array, window, pk.RMS(), data_format=layout)
            np.testing.assert_array_equal(y, wanted)


def test_an_empty_batch():
    for reducer in (pk.Max(), pk.Soft(), pk.Filter((0.5,) * 9)):
        back = jax.grad(lambda x, r=reducer: pk.pool(x, pk.Sliding(3), r).sum())
        assert pk.pool(jnp.zeros((0, 2, 6, 6)), pk.Sliding(3), reducer).shape == (0, 2, 2, 2)
        assert back(jnp.zeros((0, 2, 6, 6))).shape == (0, 2, 6, 6)


def test_unpooling_is_that_of_numpy_arrays():
    x = np.random.default_rng(0).random((2, 3, 7, 6), np.float32)
    values, indices = pk.max_pool2d(x, 3, 2, return_indices=True)
    wanted = pk.max_unpool2d(values, indices, 3, 2, output_size=(7, 6))
    got = jax.jit(lambda v, i: pk.max_unpool2d(v, i, 3, 2, output_size=(7, 6)))(values_of(values), values_of(indices))
    np.testing.assert_array_equal(got, wanted)
    last = [jnp.moveaxis(values_of(one), 1, -1) for one in (values, indices)]
    got = pk.max_unpool2d(*last, 3, 2, output_size=(7, 6), data_format="channels_last")
    np.testing.assert_array_equal(jnp.moveaxis(got, -1, 1), wanted)
    # Overlapping windows share a cell: the last of them is put there, and alone has a gradient.
    twice = jnp.zeros((1, 1, 2), jnp.int32)

    def put(v):
        return pk.max_unpool1d(v, twice, 2)

    np.testing.assert_array_equal(put(jnp.array([[[3.0, 5.0]]]))[0, 0], [5, 0, 0, 0])
    np.testing.assert_array_equal(jax.grad(lambda v: put(v).sum())(jnp.ones((1, 1, 2)))[0, 0], [0, 1])
    for bad in (-1, 4):
        with pytest.raises(pk.PoolError, match=r"in \[0, 4\)"):
            pk.max_unpool1d(jnp.ones((1, 1, 2)), jnp.full((1, 1, 2), bad), 2)
    with pytest.raises(pk.PoolTypeError, match="int32"):
        pk.max_unpool1d(jnp.ones((1, 1, 2)), jnp.ones((1, 1, 2)), 2)


def values_of(array):
    return jnp.asarray(array, jnp.int32 if array.dtype == np.int64 else array.dtype)


def test_lax_reduce_window_is_wrong_where_poolkit_is_right():
    """Two reasons to pool with poolkit: sums of bfloat16, and the gradient of a dilated maximum."""
    ones, halves = jnp.ones((1, 1, 8192), jnp.bfloat16), (1, 1, 4096)
    theirs = jax.lax.reduce_window(ones, jnp.bfloat16(0), jax.lax.add, halves, halves, "VALID")
    assert float(theirs[0, 0, 0]) != 4096
    assert float(pk.sum_pool1d(ones, 4096)[0, 0, 0]) == 4096

    def maximum(x):
        window = {"window_dimensions": (1, 1, 2), "window_strides": (1, 1, 1), "padding": "VALID"}
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, **window, window_dilation=(1, 1, 2)).sum()

    x = jnp.array([[[5.0, 1.0, 2.0, 7.0, 3.0]]])
    assert maximum(x) == pk.max_pool1d(x, 2, 1, dilation=2).sum()
    with pytest.raises(NotImplementedError, match="dilation"):
        jax.grad(maximum)(x)
    mine = jax.grad(lambda x: pk.max_pool1d(x, 2, 1, dilation=2).sum())(x)
    np.testing.assert_array_equal(mine[0, 0], [1, 0, 0, 1, 1])  # windows (5, 2), (1, 7) and (2, 3)


def test_the_environment_chooses_the_binding():
    code = "import jax.numpy as jnp, poolkit as pk; from poolkit.jax import ffi; "
    code += "print(ffi.built, float(pk.max_pool1d(jnp.arange(4.0)[None], 2).sum()))"
    assert in_process(code, env={"POOLKIT_JAX_BINDING": "pure"}, seconds=60, gigabytes=12).split() == ["False", "4.0"]
    code = "import poolkit\ntry:\n import poolkit.jax\nexcept ImportError as error: print(error)"
    assert "expected" in in_process(code, env={"POOLKIT_JAX_BINDING": "fast"}, seconds=60, gigabytes=12)


def test_a_hostile_call_is_an_error_and_no_crash():
    x = jnp.ones((2, 3, 8))
    out = jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)
    plan = "0(2.0,0.0,1.0,0,1,1,0.5,0,0) 0(8,4,2,2,0,0,1)"
    settings = {"channels_last": False, "given": np.int64(0), "wanted": np.int64(0)}

    def run(plan=plan, out=out, x=x, **changed):
        return jax.ffi.ffi_call("poolkit_forward", [out])(x, plan=plan, **(settings | changed))[0]

    np.testing.assert_array_equal(run(), jnp.ones((2, 3, 4)))
    for name, bad in {
        "unknown reducer": {"plan": plan.replace("0(2.0", "99(2.0")},
        "does not fit": {"x": jnp.ones((2, 3, 9))},
        "shape": {"out": jax.ShapeDtypeStruct((2, 3, 5), jnp.float32)},
        "rank": {"x": jnp.ones(8)},
        "missing": {"given": np.int64(2)},
        "unsupported dtype": {"x": jnp.ones((2, 3, 8), jnp.complex64)},
        "starts": {"plan": plan.replace(" 0(", " 2(")},
    }.items():
        with pytest.raises(jax.errors.JaxRuntimeError, match=f"poolkit: .*{name}"):
            run(**bad)
