"""Gradients against finite differences, what is kept for them, and what differentiation twice says."""

import pytest
import torch

import poolkit as pk
from poolkit import nn
from poolkit.torch.functional import max_unpool, pool

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
]


def distinct(*shape):
    """Values no finite difference can swap, away from zero, of both signs."""
    count = torch.Size(shape).numel()
    # 1.13 keeps magnitudes apart, too.
    values = torch.linspace(-2, 2 * 1.13, count, dtype=torch.float64)
    values = values + torch.where(values >= 0, 0.1, -0.1)
    return values[torch.randperm(count, generator=torch.Generator().manual_seed(1))].view(shape)


def test_no_reducer_and_no_window_is_left_out():
    assert {type(reducer) for reducer in REDUCERS} == set(pk.reducer.REDUCERS)
    assert {type(window) for window in WINDOWS} == set(pk.window.WINDOWS)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("reducer", REDUCERS, ids=str)
def test_gradcheck_in_two_dimensions(window, reducer):
    x = distinct(2, 2, 5, 6)
    x = (x.abs() if isinstance(reducer, pk.PowerMean) else x).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: pool(t, window, reducer, seed=0), x, fast_mode=True)
    if reducer not in (pk.Max(), pk.Mean(), pk.Lp(3), pk.Soft()):
        return
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: pool(t, window, reducer, seed=0), last, fast_mode=True)


@pytest.mark.parametrize("reducer", REDUCERS, ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 7), (1, 2, 4, 3, 5)], ids=str)
def test_gradcheck_in_one_and_three_dimensions(shape, reducer):
    x = distinct(*shape)
    x = (x.abs() if isinstance(reducer, pk.PowerMean) else x).requires_grad_()
    for window in (pk.Sliding(3, 2, 1), pk.Adaptive(2)):
        assert torch.autograd.gradcheck(lambda t, window=window: pool(t, window, reducer), x, fast_mode=True)


def test_gradcheck_of_unpooling():
    values, indices = pool(distinct(2, 2, 6, 6), pk.Sliding(2), pk.Max(), return_indices=True)
    assert torch.autograd.gradcheck(
        lambda t: max_unpool(t, indices, 2, rank=2), values.requires_grad_(), fast_mode=True
    )
    assert torch.autograd.gradgradcheck(lambda t: max_unpool(t, indices, 2, rank=2), values, fast_mode=True)


@pytest.mark.parametrize("reducer", [pk.Sum(), pk.Mean()], ids=str)
def test_linear_reducers_can_be_differentiated_twice(reducer):
    x = distinct(1, 2, 5, 6).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda t: pool(t, pk.Sliding(3, 2, 1), reducer), x, fast_mode=True)


@pytest.mark.parametrize("reducer", [pk.RMS(), pk.Soft(), pk.Lp(3), pk.LogSumExp()], ids=str)
def test_differentiating_the_others_twice_is_an_error_and_never_silence(reducer):
    x = distinct(1, 2, 4, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(pool(x, pk.Sliding(2), reducer).sum(), x, create_graph=True)
    with pytest.raises(pk.PoolError, match="twice"):
        (gradient**2).sum().backward()


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
def test_forward_mode_is_an_error_and_never_silence():
    x = torch.randn(1, 1, 4, 4)
    with pytest.raises((NotImplementedError, RuntimeError), match=r"forward|jvp"):
        torch.func.jvp(nn.AvgPool2d(2), (x,), (x,))
