"""Gradients against finite differences, what is kept for them, and what differentiation twice says."""

import pytest
import torch
from support import DRAWN, RANKED, WHOLE

import poolkit as pk
from poolkit import nn
from poolkit.torch.functional import pool
from poolkit.torch.unpooling import max_unpool

REDUCERS = [
    pk.Max(),
    pk.Min(),
    pk.Sum(),
    pk.Mean(),
    pk.Mean(count_include_pad=False),
    pk.Mean(divisor=3),
    pk.Lp(1),
    pk.Lp(1.5),
    pk.Lp(2),
    pk.Lp(3),
    pk.Lp(float("inf")),
    pk.PowerMean(),
    pk.PowerMean(p=0.5),
    pk.RMS(),
    pk.LogSumExp(),
    pk.LogSumExp(beta=-2.0, mean=False),
    pk.Soft(),
    pk.Soft(beta=-3.0),
    *RANKED,
    *WHOLE,
    *DRAWN,
]
WINDOWS = [
    pk.Sliding(2),
    pk.Sliding(3, 2, 1),
    pk.Sliding(3, 1, 1, ceil_mode=True),
    pk.Sliding(2, 1, 1, 2, ceil_mode=True),
    pk.Sliding(3, 2, "same"),
    pk.Sliding(5, 1, 2),
    pk.Adaptive(3),
    pk.Adaptive(7),
    pk.Global(),
    pk.Global(keepdims=False),
    pk.Fractional(2, output_ratio=0.6),
    pk.Fractional(pooling_ratio=1.4, style="tensorflow", overlapping=True),
]


def distinct(*shape):
    """Values no finite difference can swap, away from zero, of both signs."""
    count = torch.Size(shape).numel()
    # 1.13 keeps magnitudes apart, too.
    values = torch.linspace(-2, 2 * 1.13, count, dtype=torch.float64)
    values = values + torch.where(values >= 0, 0.1, -0.1)
    return values[torch.randperm(count, generator=torch.Generator().manual_seed(1))].view(shape)


def test_no_reducer_and_no_window_is_left_out():
    assert {type(reducer) for reducer in REDUCERS} | {pk.Filter} == set(pk.reducer.REDUCERS)
    assert {type(window) for window in WINDOWS} == set(pk.window.WINDOWS)


EXTRAS = [
    (pk.Mixed(), (1, 2, 1, 1)),
    (pk.Mixed(), ()),
    (pk.Mixed(), (4, 5)),
    (pk.Ada(), (2, 1, 1)),
    (pk.Boltzmann(), (3, 2, 1, 1)),
    (pk.GeM(), (2, 1, 1)),
    (pk.Ordinal((1.0,)), (1, 4)),
    (pk.Ordinal((1.0,)), (2, 9)),
    (pk.Filter((1.0,) * 6), (1, 6)),
    (pk.Filter((1.0,) * 6), (2, 6)),
]


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(("reducer", "shape"), EXTRAS, ids=str)
def test_gradcheck_of_what_is_learned(reducer, shape, last):
    """The array beside x, in every shape it may have, has its gradient in both layouts."""
    x = distinct(3, 2, 5, 6).abs()
    x = (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_()
    extra = (torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5).requires_grad_()
    window = pk.Sliding((2, 3), 1, ((0, 0), (1, 0)))
    assert torch.autograd.gradcheck(lambda t, e: pool(t, window, reducer, extra=e), (x, extra))
    frozen = x.detach()
    assert torch.autograd.gradcheck(lambda e: pool(frozen, window, reducer, extra=e), extra)
    assert torch.autograd.gradgradcheck(lambda t, e: pool(t, window, reducer, extra=e), (x, extra), fast_mode=True)


@pytest.mark.parametrize("channels", [8, 17, 40, 130])
@pytest.mark.parametrize("reducer", REDUCERS, ids=repr)
def test_many_channels_have_the_same_gradient_in_both_layouts(reducer, channels):
    """More channels than a vector has lanes, than a block has vectors, and some left over."""
    x = distinct(2, channels, 5, 6).abs()
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        t = x.contiguous(memory_format=layout).requires_grad_()
        y = pool(t, pk.Sliding(3, 2, 1), reducer, seed=0)
        grads.append(torch.autograd.grad(y, t, torch.linspace(1, 2, y.numel(), dtype=x.dtype).view(y.shape))[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("reducer", "shape"), EXTRAS, ids=str)
def test_what_is_learned_under_vmap_and_grad(reducer, shape):
    x = distinct(2, 3, 2, 5, 6).abs()
    extra = torch.rand((2, *shape), dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    window = pk.Sliding((2, 3), 1, ((0, 0), (1, 0)))

    def total(t, e):
        return pool(t, window, reducer, extra=e).square().sum()

    both = torch.func.vmap(torch.func.grad(total, argnums=(0, 1)))(x, extra)
    for i in range(2):
        for mine, theirs in zip(both, torch.func.grad(total, argnums=(0, 1))(x[i], extra[i]), strict=True):
            torch.testing.assert_close(mine[i], theirs)


@pytest.mark.parametrize(
    ("reducer", "shape", "words"),
    [
        (pk.Mixed(), (3, 1, 1), "broadcasts to the output"),
        (pk.Ordinal((1.0,)), (3, 4), "weights have the shape"),
        (pk.Filter((1.0,) * 4), (4,), "weights have the shape"),
        (pk.Filter((1.0,) * 4), (2, 5), "one weight for each kernel cell"),
    ],
)
def test_arrays_of_a_wrong_shape(reducer, shape, words):
    with pytest.raises(pk.PoolError, match=words):
        pool(torch.ones(1, 2, 4, 4), pk.Sliding(2), reducer, extra=torch.ones(shape))


@pytest.mark.parametrize("reducer", DRAWN, ids=str)
def test_draws_by_seed_and_generator(reducer):
    """The same seed, the same cells: in every layout, by int or by generator; without one, other cells every time."""
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    window = pk.Sliding(4)
    y = pool(x, window, reducer, seed=3)
    assert torch.equal(y, pool(x, window, reducer, seed=3))
    assert torch.equal(y, pool(x.to(memory_format=torch.channels_last), window, reducer, seed=3))
    assert torch.equal(y, pool(x.movedim(1, -1), window, reducer, seed=3, data_format="channels_last").movedim(-1, 1))
    assert torch.equal(y, pool(x, window, reducer, seed=torch.Generator().manual_seed(3)))
    assert not torch.equal(y, pool(x, window, reducer, seed=4))
    torch.manual_seed(0)
    first = pool(x, window, reducer)
    assert not torch.equal(first, pool(x, window, reducer))
    torch.manual_seed(0)
    assert torch.equal(first, pool(x, window, reducer))
    values, places = pool(x, window, reducer, seed=3, return_indices=True)
    found = x.flatten(2).gather(2, places.flatten(2)).view_as(y)
    assert torch.equal(torch.where(values == 0, values, found), values)


@pytest.mark.parametrize("reducer", DRAWN, ids=str)
def test_draws_repeat_under_checkpointing(reducer):
    x = torch.rand(2, 3, 8, 8, requires_grad=True)

    def run():
        return pool(x * 1, pk.Sliding(2), reducer)

    torch.manual_seed(5)
    (plain,) = torch.autograd.grad(run().sum(), x)
    torch.manual_seed(5)
    (again,) = torch.autograd.grad(torch.utils.checkpoint.checkpoint(run, use_reentrant=False).sum(), x)
    assert torch.equal(plain, again)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("reducer", REDUCERS, ids=str)
def test_gradcheck_in_two_dimensions(window, reducer):
    x = distinct(2, 2, 5, 6)
    x = (x.abs() if isinstance(reducer, pk.PowerMean | pk.GeM) else x).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: pool(t, window, reducer, seed=0), x, fast_mode=True)
    if reducer not in (pk.Max(), pk.Mean(), pk.Lp(3), pk.Soft()):
        return
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: pool(t, window, reducer, seed=0), last, fast_mode=True)


@pytest.mark.parametrize("reducer", REDUCERS, ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 7), (1, 2, 4, 3, 5)], ids=str)
def test_gradcheck_in_one_and_three_dimensions(shape, reducer):
    x = distinct(*shape)
    x = (x.abs() if isinstance(reducer, pk.PowerMean | pk.GeM) else x).requires_grad_()
    for window in (pk.Sliding(3, 2, 1), pk.Adaptive(2)):
        assert torch.autograd.gradcheck(lambda t, window=window: pool(t, window, reducer, seed=0), x, fast_mode=True)


def test_gradcheck_of_unpooling():
    values, indices = pool(distinct(2, 2, 6, 6), pk.Sliding(2), pk.Max(), return_indices=True)
    assert torch.autograd.gradcheck(
        lambda t: max_unpool(t, indices, 2, rank=2), values.requires_grad_(), fast_mode=True
    )
    assert torch.autograd.gradgradcheck(lambda t: max_unpool(t, indices, 2, rank=2), values, fast_mode=True)


SMOOTH_TWICE = [pk.Sum(), pk.Mean(), pk.RMS(), pk.Soft(), pk.Lp(3), pk.LogSumExp(), pk.PowerMean(), pk.Var()]


@pytest.mark.parametrize("reducer", SMOOTH_TWICE, ids=str)
def test_smooth_reducers_can_be_differentiated_twice(reducer):
    x = (distinct(1, 2, 5, 6).abs() / 4 + 0.5).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda t: pool(t, pk.Sliding(3, 2, 1), reducer), x, fast_mode=True)


def saved_bytes(module, x):
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
        module(x)
    return sum(sizes)


def test_max_and_min_keep_one_byte_an_output_and_average_and_sum_nothing():
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    outputs = 2 * 3 * 8 * 8
    assert saved_bytes(nn.MaxPool2d(3, 2, 1), x) == outputs
    assert saved_bytes(nn.MinPool2d(3, 2, 1), x) == outputs
    assert saved_bytes(nn.MaxPool2d(3, 2, 1, return_indices=True), x) == outputs
    assert saved_bytes(nn.AvgPool2d(2), x) == 0
    assert saved_bytes(nn.SumPool2d(2), x) == 0


@pytest.mark.parametrize(("kernel", "bytes_each"), [(15, 1), (16, 2), (255, 2), (256, 4)])
def test_offsets_grow_with_the_window(kernel, bytes_each):
    x = torch.randn(1, 1, 260, 260, requires_grad=True)
    module = nn.MaxPool2d(kernel, stride=5)
    y = module(x)
    assert saved_bytes(module, x) == bytes_each * y.numel()
    other = x.detach().clone().requires_grad_()
    y.sum().backward()
    torch.nn.functional.max_pool2d(other, kernel, stride=5).sum().backward()
    assert torch.equal(x.grad, other.grad)


def test_gradients_accumulate_in_float32_for_half_precision():
    x = torch.zeros(1, 1, 1, 4096, dtype=torch.float16, requires_grad=True)
    y = pool(x, pk.Sliding((1, 4096), 1), pk.Max())
    y.backward(torch.ones_like(y))
    assert x.grad[0, 0, 0, 0] == 1
    x = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16, requires_grad=True)
    y = pool(x, pk.Sliding(33, 1), pk.Mean())
    y.backward(torch.ones_like(y))
    centre = x.grad[0, 0, 32, 32].item()
    assert centre == pytest.approx(32 * 32 / 33**2, rel=0.005)


def test_without_gradients_nothing_is_recorded():
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    with torch.no_grad():
        assert not nn.MaxPool2d(2)(x).requires_grad
    with torch.inference_mode():
        assert nn.AvgPool2d(2)(x).is_inference()
    assert not nn.MaxPool2d(2)(x.detach()).requires_grad
    assert nn.MaxPool2d(2)(x).requires_grad
    values, indices = nn.MaxPool2d(2, return_indices=True)(x)
    assert values.requires_grad
    assert not indices.requires_grad


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("reducer", [pk.Max(), *SMOOTH_TWICE], ids=str)
def test_forward_mode_follows_the_backward_pass(reducer):
    x = distinct(1, 2, 5, 6).abs() / 4 + 0.5
    along = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))

    def call(t):
        return pool(t, pk.Sliding(3, 2, 1), reducer)

    y, moved = torch.func.jvp(call, (x,), (along,))
    # Forward mode goes through the compositions, which add up in another order: a few roundings of float64.
    torch.testing.assert_close(y, call(x), rtol=0 if isinstance(reducer, pk.Max) else 1e-15, atol=0)
    back = torch.func.vjp(call, x)[1]
    for at in range(y.numel()):  # row by row of the Jacobian
        unit = torch.zeros(y.numel(), dtype=y.dtype)
        unit[at] = 1
        torch.testing.assert_close(
            moved.flatten()[at], (back(unit.view(y.shape))[0] * along).sum(), rtol=1e-9, atol=1e-12
        )
