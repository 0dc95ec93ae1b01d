"""JAX's transformations: vmap, jvp, gradients of gradients, extra arrays, several devices; nothing is copied."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import in_process

import poolkit as pk

S = pk.Sliding(2, 1)
# Programs that run a few times take longer to compile than to run.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# One for each kind of derivative: linear, a choice, a choice's magnitude, and formulas with what each keeps.
KINDS = [pk.Mean(), pk.Max(), pk.Lp(float("inf")), pk.Lp(3), pk.LogSumExp(), pk.Soft(), pk.Median("midpoint"), pk.Std()]


def data(*shape, seed=0):
    """Distinct, away from zero."""
    count = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(count).reshape(shape) + 1.0) / count


# What they take beside x, with gradients of its own.
BESIDE = [
    (pk.Mixed(), np.array([[0.25], [0.75]])),
    (pk.Ada(), np.array(0.3)),
    (pk.Boltzmann(), np.array([[0.5], [-1.0]])),
    (pk.GeM(), np.array([[2.5], [3.0]])),
    (pk.Ordinal((1.0,)), np.array([[0.7, 0.2, 0.1]])),
    (pk.Filter((0.0,) * 3), np.array([[0.5, -0.25, 0.75], [1.0, 0.5, -1.0]])),
]


def derivatives_of(functions):
    """For each function: its value, its tangent, its gradient, and the gradient's tangent."""

    def everything(points, tangents):
        results = []
        for function, point, tangent in zip(functions, points, tangents, strict=True):
            value, pushed = jax.jvp(function, point, tangent)
            weights = jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
            gradient = jax.grad(lambda *p, f=function, w=weights: (f(*p) * w).sum(), tuple(range(len(point))))
            results.append((value, pushed, weights, *jax.jvp(gradient, point, tangent)))
        return results

    return jax.jit(everything, compiler_options=QUICK)


@pytest.mark.usefixtures("x64")
def test_forward_mode_reverse_mode_and_second_derivatives():
    """All three are those that finite differences find, and the first two are transposes of each other."""
    x, key = jnp.asarray(data(1, 2, 3, 4)), jax.random.key(0)
    functions = [lambda x, r=r: pk.pool(x, S, r) for r in KINDS]
    functions += [lambda x, r=r: pk.pool(x[0], pk.Fractional((2,), 3), r, seed=key) for r in (pk.Max(), pk.RMS())]
    points = [(x,)] * len(functions)
    for reducer, extra in BESIDE:
        functions.append(lambda x, extra, r=reducer: pk.jax.pool(x, pk.Sliding(3, 2, 1), r, extra=extra))
        points.append((jnp.asarray(data(2, 2, 7)), jnp.asarray(extra)))
    draw = np.random.default_rng(3)
    tangents = [tuple(jnp.asarray(draw.standard_normal(one.shape)) for one in point) for point in points]
    run, step = derivatives_of(functions), 1e-5

    def shifted(by):
        moved = [
            tuple(p + by * t for p, t in zip(point, tangent, strict=True))
            for point, tangent in zip(points, tangents, strict=True)
        ]
        return run(moved, tangents)

    for at, above, below, tangent, name in zip(
        run(points, tangents), shifted(step), shifted(-step), tangents, [*KINDS, "max", "rms", *BESIDE], strict=True
    ):
        value, pushed, weights, gradient, second = at
        assert value.size > 1
        np.testing.assert_allclose(pushed, (above[0] - below[0]) / (2 * step), rtol=1e-6, atol=1e-7, err_msg=str(name))
        paired = sum((g * t).sum() for g, t in zip(gradient, tangent, strict=True))
        np.testing.assert_allclose(paired, (pushed * weights).sum(), rtol=1e-10, atol=1e-12, err_msg=str(name))
        for mine, high, low in zip(second, above[3], below[3], strict=True):
            np.testing.assert_allclose(mine, (high - low) / (2 * step), rtol=1e-5, atol=1e-6, err_msg=str(name))


@pytest.mark.usefixtures("x64")
def test_arrays_beside_x_in_both_layouts_and_of_a_wrong_shape():
    x, window = data(2, 2, 7), pk.Sliding(3, 2, 1)
    last = jnp.asarray(np.moveaxis(x, 1, -1))
    for reducer, extra in BESIDE:
        moved = extra if reducer.extra == "kernel" else np.moveaxis(np.broadcast_to(extra, (2, 1)), 0, -1)
        y = pk.jax.pool(last, window, reducer, extra=jnp.asarray(moved), data_format="channels_last")
        wanted = pk.jax.pool(jnp.asarray(x), window, reducer, extra=jnp.asarray(extra))
        np.testing.assert_allclose(np.moveaxis(y, -1, 1), wanted, rtol=1e-13)
        with pytest.raises(pk.PoolError, match="extra of shape"):
            pk.jax.pool(jnp.asarray(x), window, reducer, extra=jnp.ones((5, 4)))


def test_arrays_beside_x_are_those_that_torch_takes():
    torch = pytest.importorskip("torch")
    from poolkit.torch.functional import pool as torch_pool

    x = data(2, 3, 6, 6).astype(np.float32)
    rows = np.random.default_rng(1).random((3, 4), np.float32)
    ours, back = jax.vjp(
        lambda x, w: pk.jax.pool(x, S, pk.Filter((0.0,) * 4), extra=w), jnp.asarray(x), jnp.asarray(rows)
    )
    leaves = [torch.tensor(one, requires_grad=True) for one in (x, rows)]
    theirs = torch_pool(leaves[0], S, pk.Filter((0.0,) * 4), extra=leaves[1])
    theirs.sum().backward()
    np.testing.assert_array_equal(ours, theirs.detach().numpy())
    for mine, leaf in zip(back(jnp.ones_like(ours)), leaves, strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), rtol=1e-5)


def one_by_one(function, axes, arrays):
    size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
    picked = (
        [a if axis is None else jnp.take(a, i, axis) for a, axis in zip(arrays, axes, strict=True)] for i in range(size)
    )
    return [jnp.stack(parts) for parts in zip(*(function(*one) for one in picked), strict=True)]


@pytest.mark.parametrize("batch", [(), (2,)], ids=["unbatched", "batched"])
def test_vmap_is_one_call_after_the_other(batch):
    """Over x, over places, over weights and over uniforms, alone and together; also over gradients, and twice."""
    x = jnp.asarray(data(3, *batch, 2, 6), jnp.float32)
    planes = 2 * int(np.prod(batch))
    samples = jnp.asarray(np.random.default_rng(0).random((3, planes, 1), np.float32))
    weights = jnp.asarray(np.random.default_rng(1).random((3, 2, 3), np.float32))
    draws = jnp.asarray(np.random.default_rng(2).random((3, *batch, 2, 5), np.float32))

    def fractional(x, samples):
        return pk.pool(x, pk.Fractional((2,), (4,), random_samples=samples), pk.Soft())

    def filtered(x, weights):
        return pk.jax.pool(x, pk.Sliding((3,), 1), pk.Filter((0.0,) * 3), extra=weights)

    def drawn(x, draws):
        return pk.jax.pool(x, pk.Sliding((2,), 1), pk.Stochastic("softmax"), extra=draws)

    for function, beside in ((fractional, samples), (filtered, weights), (drawn, draws)):

        def with_gradients(x, beside, function=function):
            y, back = jax.vjp(lambda x: function(x, beside), x)
            more = jax.grad(lambda b: (function(x, b) ** 2).sum())(beside) if function is filtered else y
            return y, back(y**2)[0], more

        for axes in ((0, 0), (0, None), (None, 0)):
            arrays = [a if axis == 0 else a[1] for a, axis in zip((x, beside), axes, strict=True)]
            got = jax.jit(jax.vmap(with_gradients, axes))(*arrays)
            for mine, theirs in zip(got, one_by_one(with_gradients, axes, arrays), strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)

    twice = jax.vmap(jax.vmap(filtered, (None, 0)), (0, None))(x, weights)
    for i, j in itertools.product(range(3), range(3)):
        np.testing.assert_allclose(twice[i, j], filtered(x[i], weights[j]), rtol=1e-6)
    # The gradient of weights that all elements share is a sum over them.
    summed = jax.grad(lambda w: (jax.vmap(filtered, (0, None))(x, w) ** 2).sum())(weights[0])
    parts = [jax.grad(lambda w, i=i: (filtered(x[i], w) ** 2).sum())(weights[0]) for i in range(3)]
    np.testing.assert_allclose(summed, sum(parts), rtol=1e-5)


def test_vmap_maps_any_axis():
    x = jnp.asarray(data(2, 3, 6, 4, 5), jnp.float32)
    y = jax.vmap(lambda x: pk.max_pool2d(x, 2), in_axes=3, out_axes=1)(x)
    for i in range(4):
        np.testing.assert_array_equal(y[:, i], pk.max_pool2d(x[:, :, :, i], 2))


def test_nothing_is_copied_or_transposed():
    """A program is the custom call alone, in both layouts and in both passes; a maximum keeps a byte an output."""
    for layout, shape in (("channels_first", (2, 8, 16, 16)), ("channels_last", (2, 16, 16, 8))):
        x = jnp.ones(shape, jnp.float32)

        def pool(x, layout=layout):
            return pk.max_pool2d(x, 2, data_format=layout)

        compiled = jax.jit(pool).lower(x).compile()
        text = compiled.as_text()
        assert text.count("custom-call(") == 1
        for wasted in (" copy(", " transpose(", " fusion("):
            assert wasted not in text, wasted
        y, back = jax.vjp(pool, x)
        kept = [leaf for leaf in jax.tree.leaves(back) if leaf is not x]
        assert sum(leaf.nbytes for leaf in kept) <= y.size
        text = jax.jit(back).lower(y).compile().as_text()
        assert " copy(" not in text
        assert " transpose(" not in text


DEVICES = """
import jax, jax.numpy as jnp, numpy as np, poolkit as pk
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
assert len(jax.devices()) == 2
x = jnp.asarray(np.random.default_rng(0).random((4, 3, 8, 6), np.float32))
w = jnp.full((1, 9), 0.1)
def pool(x): return pk.max_pool2d(x, 3, 2, 1)
def loss(w, x): return (pk.jax.pool(x, pk.Sliding(3), pk.Filter((0.0,) * 9), extra=w) ** 2).sum()
mesh = jax.make_mesh((2,), ("b",), axis_types=(AxisType.Auto,))
shared = jax.jit(jax.shard_map(pool, mesh=mesh, in_specs=P("b"), out_specs=P("b")))
assert "all-gather" not in shared.lower(x).compile().as_text()
np.testing.assert_array_equal(shared(x), pool(x))
total = lambda w, x: jax.shard_map(
    lambda w, x: jax.lax.psum(loss(w, x), "b"), mesh=mesh, in_specs=(P(), P("b")), out_specs=P())(w, x)
for mine, whole in zip(jax.jit(jax.grad(total, (0, 1)))(w, x), jax.grad(loss, (0, 1))(w, x)):
    np.testing.assert_allclose(mine, whole, rtol=1e-4, atol=1e-6)
np.testing.assert_array_equal(jax.pmap(pool)(x.reshape(2, 2, 3, 8, 6)).reshape(4, 3, 4, 3), pool(x))
np.testing.assert_array_equal(jax.jit(pool)(jax.device_put(x, NamedSharding(mesh, P("b")))), pool(x))
explicit = jax.make_mesh((2,), ("b",), axis_types=(AxisType.Explicit,))
with jax.set_mesh(explicit):
    y = jax.jit(pool)(jax.device_put(x, NamedSharding(explicit, P("b"))))
    assert y.sharding.spec[0] == "b"
print("done")
"""


def test_two_devices_share_a_batch():
    env = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    assert in_process(DEVICES, seconds=180, gigabytes=16, env=env).strip() == "done"


BUSY = """
import threading, jax, jax.numpy as jnp, numpy as np, poolkit as pk
x = jnp.asarray(np.random.default_rng(0).random((8, 32, 64, 64), np.float32))
pool = jax.jit(lambda x: sum(pk.max_pool2d(x + i, 3, 2, 1) for i in range(8)))
wanted = np.asarray(pool(x))
wrong = []
def work():
    for _ in range(10):
        if not np.array_equal(pool(x), wanted): wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert not wrong
print("done")
"""


def test_more_callers_than_threads_do_not_wait_for_each_other():
    assert in_process(BUSY, seconds=120, gigabytes=16).strip() == "done"
