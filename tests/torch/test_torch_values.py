"""Values, indices and gradients against torch.nn.functional, wherever torch is right (see test_differences.py)."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import poolkit as pk
from poolkit import arrays, nn
from poolkit.plan import AxisPlan, Plan
from poolkit.torch.functional import pool
from poolkit.torch.unpooling import max_unpool

SIZES = {1: (11,), 2: (9, 12), 3: (5, 7, 6)}
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
INTS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


def geometries(dilations=(1, 2)):
    for kernel, stride, padding, dilation, ceil_mode in itertools.product(
        (1, 2, 3), (None, 1, 2, 3), (0, 1), dilations, (False, True)
    ):
        if padding <= kernel // 2:
            yield kernel, stride, padding, dilation, ceil_mode


def theirs(name, rank):
    return getattr(F, f"{name}{rank}d")


def data(rank, dtype=torch.float32, batch=(2, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, *SIZES[rank])
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    low, high = (0, 255) if dtype == torch.uint8 else (-128, 127)
    return torch.randint(low, high + 1, shape, generator=generator).to(dtype)


def ulp(expected):
    """Distance to the next number, in float32."""
    size = expected.abs().float()
    return (torch.nextafter(size, torch.full_like(size, torch.inf)) - size).double()


def same(ours, theirs):
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and torch.equal(ours, theirs)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_and_indices_are_equal_on_every_geometry(rank):
    x = data(rank)
    for kernel, stride, padding, dilation, ceil_mode in geometries():
        expected = theirs("max_pool", rank)(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
        window = pk.Sliding(kernel, stride, padding, dilation, ceil_mode)
        values, indices = pool(x, window, pk.Max(), return_indices=True)
        assert same(values, expected[0]), window
        assert same(indices, expected[1]), window
        assert same(pool(x, window, pk.Max()), expected[0]), window
        assert same(pool(-x, window, pk.Min()), -expected[0]), window


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_gradients_are_equal_on_every_geometry(rank):
    x = data(rank, torch.float64)
    ours, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    for kernel, stride, padding, dilation, ceil_mode in list(geometries())[:: rank + 1]:
        y = pool(ours, pk.Sliding(kernel, stride, padding, dilation, ceil_mode), pk.Max())
        expected = theirs("max_pool", rank)(other, kernel, stride, padding, dilation, ceil_mode)
        grad = torch.randn_like(y)
        torch.testing.assert_close(
            torch.autograd.grad(y, ours, grad)[0], torch.autograd.grad(expected, other, grad)[0], rtol=1e-14, atol=1e-14
        )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, *INTS], ids=str)
def test_max_pool_of_every_dtype(rank, dtype):
    x = data(rank, dtype)
    for kernel, stride, padding in ((2, None, 0), (3, 2, 1), (3, 1, 1)):
        wide = x.double()
        expected, places = theirs("max_pool", rank)(wide, kernel, stride, padding, return_indices=True)
        values, indices = pool(x, pk.Sliding(kernel, stride, padding), pk.Max(), return_indices=True)
        assert values.dtype == dtype
        assert torch.equal(values.double(), expected)
        if dtype.is_floating_point or dtype in (torch.int32, torch.int64):
            assert torch.equal(indices, places)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_avg_pool_is_within_4_ulp_of_the_exact_mean(rank):
    x = data(rank)
    for kernel, stride, padding, _, ceil_mode in geometries((1,)):
        for include_pad in (True, False):
            arguments = (kernel, stride, padding, ceil_mode, include_pad)
            exact = theirs("avg_pool", rank)(x.double(), *arguments)
            scale = theirs("avg_pool", rank)(x.double().abs(), *arguments)
            y = pool(x, pk.Sliding(kernel, stride, padding, 1, ceil_mode), pk.Mean(include_pad))
            assert y.shape == exact.shape
            assert ((y.double() - exact).abs() <= 4 * ulp(scale)).all(), arguments


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_avg_pool_gradients(rank):
    x = data(rank, torch.float64)
    ours, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    for kernel, stride, padding, _, ceil_mode in list(geometries((1,)))[::rank]:
        for include_pad in (True, False):
            y = pool(ours, pk.Sliding(kernel, stride, padding, 1, ceil_mode), pk.Mean(include_pad))
            expected = theirs("avg_pool", rank)(other, kernel, stride, padding, ceil_mode, include_pad)
            grad = torch.randn_like(y)
            torch.testing.assert_close(
                torch.autograd.grad(y, ours, grad)[0],
                torch.autograd.grad(expected, other, grad)[0],
                rtol=1e-13,
                atol=1e-13,
            )


@pytest.mark.parametrize("rank", [2, 3])
def test_divisor_override(rank):
    x = data(rank, torch.float64)
    expected = theirs("avg_pool", rank)(x, 3, 2, 1, divisor_override=5)
    torch.testing.assert_close(pool(x, pk.Sliding(3, 2, 1), pk.Mean(divisor=5)), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rank", [1, 2])
def test_half_precision_means_round_once(rank, dtype):
    x = data(rank, dtype)
    exact = theirs("avg_pool", rank)(x.double(), 3, 2, 1)
    y = pool(x, pk.Sliding(3, 2, 1), pk.Mean())
    assert y.dtype == dtype
    # float32 sums of half-precision numbers are off by far less than half of the last place, save for ties.
    assert (y != exact.to(dtype)).sum() <= 1
    torch.testing.assert_close(y.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("output", [1, 2, 3, 4, 5, 8, 13])
def test_adaptive_pools_even_beyond_the_input_size(rank, output):
    x = data(rank).requires_grad_()
    other = x.detach().clone().requires_grad_()
    values, indices = pool(x, pk.Adaptive(output), pk.Max(), return_indices=True)
    expected = theirs("adaptive_max_pool", rank)(other, output, return_indices=True)
    assert same(values, expected[0])
    assert same(indices, expected[1])
    grad = torch.randn_like(values)
    torch.testing.assert_close(
        torch.autograd.grad(values, x, grad)[0], torch.autograd.grad(expected[0], other, grad)[0]
    )
    mean, expected = pool(x, pk.Adaptive(output), pk.Mean()), theirs("adaptive_avg_pool", rank)(other, output)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(torch.autograd.grad(mean, x, grad)[0], torch.autograd.grad(expected, other, grad)[0])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 4.5])
def test_lp_pool_of_positive_numbers_on_full_windows(rank, p):
    x = data(rank, torch.float64).abs().requires_grad_()
    other = x.detach().clone().requires_grad_()
    for kernel, stride in ((2, None), (3, 1), (3, 2)):
        y, expected = pool(x, pk.Sliding(kernel, stride), pk.Lp(p)), theirs("lp_pool", rank)(other, p, kernel, stride)
        torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
        grad = torch.randn_like(y)
        torch.testing.assert_close(
            torch.autograd.grad(y, x, grad)[0], torch.autograd.grad(expected, other, grad)[0], rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_fractional_pool_with_the_same_seed_is_torchs(rank, dtype, batched):
    x = data(rank, dtype, batch=(2, 3) if batched else (3,))
    for kernel, size in ((2, 3), (1, 4), (3, 2), (2, 1)):
        torch.manual_seed(3)
        expected = theirs("fractional_max_pool", rank)(x, kernel, output_size=size, return_indices=True)
        torch.manual_seed(3)
        values, indices = pool(x, pk.Fractional(kernel, size), pk.Max(), return_indices=True, rank=rank)
        assert same(values, expected[0])
        assert same(indices, expected[1])


def test_fractional_samples_may_hold_more_batches_than_the_input():
    samples, x = torch.rand(4, 3, 2), data(2)
    window = pk.Fractional(2, output_ratio=0.5, random_samples=samples)
    expected = F.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.5), _random_samples=samples)
    assert same(pool(x, window, pk.Max()), expected)


def test_seed_fixes_fractional_windows():
    x, window = data(2), pk.Fractional(2, output_ratio=0.6)
    assert torch.equal(pool(x, window, pk.Max(), seed=7), pool(x, window, pk.Max(), seed=7))
    assert not torch.equal(pool(x, window, pk.Max(), seed=7), pool(x, window, pk.Max(), seed=8))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_and_its_gradient(rank):
    x = data(rank, torch.float64)
    for kernel, stride, padding in ((2, 2, 0), (3, 3, 1), (2, 3, 0)):
        values, indices = theirs("max_pool", rank)(x, kernel, stride, padding, return_indices=True)
        ours, other = values.clone().requires_grad_(), values.clone().requires_grad_()
        y = max_unpool(ours, indices, kernel, stride, padding, output_size=x.shape[2:], rank=rank)
        expected = theirs("max_unpool", rank)(other, indices, kernel, stride, padding, output_size=x.shape[2:])
        assert same(y, expected)
        grad = torch.randn_like(y)
        assert torch.equal(torch.autograd.grad(y, ours, grad)[0], torch.autograd.grad(expected, other, grad)[0])


LAYOUTS = {
    "channels_last": lambda x: x.contiguous(
        memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    ),
    "permuted": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "sliced": lambda x: torch.nn.functional.pad(x, (1, 2))[..., 1:-2],
    "strided": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "expanded": lambda x: x[:, :1].expand_as(x),
    "offset": lambda x: torch.cat([x, x])[2:],
    "batch_first_swapped": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
}


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "reducer", [pk.Max(), pk.Min(), pk.Mean(), pk.Sum(), pk.Lp(2), pk.LogSumExp(), pk.Soft()], ids=lambda r: r.name
)
def test_layouts_change_nothing_but_the_strides(rank, layout, reducer):
    x = LAYOUTS[layout](data(rank))
    plain = x.contiguous()
    for window in (pk.Sliding(3, 2, 1), pk.Sliding(2), pk.Adaptive(3)):
        ours, other = x.detach().requires_grad_(), plain.detach().requires_grad_()
        y, expected = pool(ours, window, reducer), pool(other, window, reducer)
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
        if reducer.core == "select":
            assert torch.equal(y, expected)
        grad = torch.randn_like(y)
        (dx,), (expected,) = torch.autograd.grad(y, ours, grad), torch.autograd.grad(expected, other, grad)
        torch.testing.assert_close(dx, expected, rtol=1e-5, atol=1e-6)
        last = torch.channels_last if rank == 2 else torch.channels_last_3d
        if layout == "channels_last":
            assert y.is_contiguous(memory_format=last)
            assert dx.is_contiguous(memory_format=last)
        else:
            assert y.is_contiguous()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Soft()], ids=lambda r: r.name)
def test_unbatched_inputs_are_batches_of_one(rank, reducer):
    x = data(rank)[0]
    window = pk.Sliding(2)
    assert torch.equal(pool(x, window, reducer, rank=rank), pool(x[None], window, reducer)[0])
    last = x.movedim(0, -1).contiguous().movedim(-1, 0).requires_grad_()
    y = pool(last, window, reducer, rank=rank)
    torch.testing.assert_close(y, pool(x, window, reducer, rank=rank))
    y.sum().backward()
    assert last.grad.shape == x.shape


def test_channels_last_format():
    x = torch.randn(2, 9, 8, 3)
    y, indices = pool(x, pk.Sliding(2), pk.Max(), data_format="channels_last", return_indices=True)
    expected = F.max_pool2d(x.movedim(-1, 1), 2, return_indices=True)
    assert same(y, expected[0].movedim(1, -1))
    assert same(indices, expected[1].movedim(1, -1))


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Lp(2), pk.Soft()], ids=lambda r: r.name)
def test_an_empty_batch_is_legal(batch, reducer):
    x = torch.randn(batch, 3, 8, 8, requires_grad=True)
    y = pool(x, pk.Sliding(2), reducer)
    assert y.shape == (batch, 3, 4, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_nan_ties_and_infinities():
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[[1.0, nan, 3.0, 4.0, nan, nan, -inf, -inf, 2.0, 2.0]]])
    values, indices = pool(x, pk.Sliding(2), pk.Max(), return_indices=True)
    torch.testing.assert_close(values, torch.tensor([[[nan, 4, nan, -inf, 2]]]), rtol=0, atol=0, equal_nan=True)
    assert indices.tolist() == [[[1, 3, 4, 6, 8]]]


def test_integers_sum_in_int64_and_means_round_half_to_even():
    x = torch.tensor([[[1, 2, 3, 5, -1, -2, 127, 127]]], dtype=torch.int8)
    assert pool(x, pk.Sliding(2), pk.Sum()).tolist() == [[[3, 8, -3, 254]]]
    assert pool(x, pk.Sliding(2), pk.Sum()).dtype == torch.int64
    assert pool(x, pk.Sliding(2), pk.Mean()).tolist() == [[[2, 4, -2, 127]]]


def test_results_do_not_depend_on_the_number_of_threads():
    x = torch.randn(4, 16, 33, 31, requires_grad=True)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            for reducer in (pk.Max(), pk.Mean(), pk.Soft(), pk.Lp(3)):
                y = pool(x, pk.Sliding(5, 2, 1), reducer)
                results.append((y.detach(), torch.autograd.grad(y, x, torch.ones_like(y))[0]))
    finally:
        torch.set_num_threads(before)
    for i, (y, dx) in enumerate(results):
        assert torch.equal(y, results[i % 4][0])
        assert torch.equal(dx, results[i % 4][1])


def test_named_functions_remember_calls_and_stay_strict():
    x = data(2)
    expected = F.max_pool2d(x, 3, 2, 1)
    for _ in range(2):
        assert same(pk.max_pool2d(x, 3, 2, 1), expected)
        assert same(pk.max_pool2d(x, (3, 3), stride=2, padding=1), expected)
        assert same(pk.max_pool2d(input=x, kernel_size=3, stride=2, padding=1), expected)
        assert same(pk.max_pool2d(x, 3, 2, 1, return_indices=True)[0], expected)
        assert same(pk.max_pool2d(x.movedim(1, -1), 3, 2, 1, data_format="channels_last"), expected.movedim(1, -1))
        assert same(pk.max_pool2d(x[0], 3, 2, 1), expected[0])
        for bad in (3.0, True, "3", (3.0, 3.0), (True, True), None, (3, 3, 3)):
            with pytest.raises(pk.PoolError, match="kernel_size"):
                pk.max_pool2d(x, bad, 2, 1)
        with pytest.raises(pk.PoolError, match="input x"):
            pk.max_pool2d(x[0, 0], 3)
        with pytest.raises(TypeError):
            pk.max_pool2d(x, 3, nonsense=1)
    torch.manual_seed(0)
    expected = F.fractional_max_pool2d(x, 2, output_size=3)
    torch.manual_seed(0)
    assert same(pk.fractional_max_pool2d(x, 2, output_size=3), expected)
    assert same(pk.fractional_max_pool2d(x, 2, 3, seed=1), pool(x, pk.Fractional(2, 3), pk.Max(), seed=1))
    torch.testing.assert_close(pk.avg_pool2d(x, 2, count_include_pad=False), F.avg_pool2d(x, 2))
    torch.testing.assert_close(pk.lp_pool2d(x.abs(), 3.0, 2), F.lp_pool2d(x.abs(), 3.0, 2))
    assert same(pk.adaptive_max_pool2d(x, (3, None)), F.adaptive_max_pool2d(x, (3, None)))


@dataclass(frozen=True)
class Listed:
    """A window that lists its starts itself."""

    rank, blame = None, "input x"

    def plan(self, sizes):
        return Plan(tuple(AxisPlan("starts", size, 3, 2, starts=np.array([[0, 1, size - 2]])) for size in sizes))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("reducer", [pk.Max(), pk.Mean(), pk.Lp(3), pk.Soft()], ids=lambda r: r.name)
def test_a_window_with_starts_of_its_own_sees_the_same_cells_as_in_numpy(rank, reducer):
    x = data(rank, torch.float64).requires_grad_()
    y = pool(x, Listed(), reducer)
    expected, _, saved = arrays.forward(x.detach().numpy(), Listed().plan(SIZES[rank]), reducer, save=True)
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    assert torch.equal(pool(x.detach(), Listed(), reducer), y)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    np.testing.assert_array_equal(dx.numpy(), arrays.backward(np.ones_like(expected), saved))


@pytest.mark.parametrize("pseudo_random", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
def test_tensorflow_windows_are_those_of_numpy(pseudo_random, overlapping):
    x = data(2)
    layout = {"style": "tensorflow", "pseudo_random": pseudo_random, "overlapping": overlapping, "pooling_ratio": 1.4}
    window = pk.Fractional(**layout)
    for seed in range(5):
        lots = window.draw(1, x.shape[2:], seed)
        given = pk.Fractional(**layout, random_samples=lots)
        for reducer in (pk.Max(), pk.Mean(), pk.Median()):
            want = pk.pool(x.numpy(), given, reducer)
            np.testing.assert_allclose(pool(x, given, reducer).numpy(), want, rtol=1e-6)
        module = nn.FractionalAvgPool2d(None, **layout, _random_samples=torch.from_numpy(lots))
        np.testing.assert_allclose(module(x).numpy(), pk.pool(x.numpy(), given, pk.Mean()), rtol=1e-6)
    torch.manual_seed(3)
    first = nn.FractionalMaxPool2d(None, **layout)(x)
    torch.manual_seed(3)
    assert same(first, nn.FractionalMaxPool2d(None, **layout)(x))


def test_tensorflow_samples_of_a_wrong_kind():
    x = torch.zeros(1, 1, 5)
    for samples in (torch.zeros(3), torch.zeros(2).long(), torch.ones(2), torch.zeros(1, 2)):
        with pytest.raises(pk.PoolError, match="_random_samples"):
            nn.FractionalMaxPool1d(None, 2, style="tensorflow", _random_samples=samples)(x)


def test_means_over_fractional_windows_are_those_of_torch_for_the_maximum():
    """The same samples put the windows of both poolings in the same places."""
    x, samples = data(2), torch.rand(2, 3, 2)
    got = nn.FractionalAvgPool2d(2, output_ratio=0.5, _random_samples=samples)(x)
    window = pk.Fractional(2, output_ratio=0.5, random_samples=samples)
    assert same(got, pool(x, window, pk.Mean()))
    assert same(got, pk.fractional_avg_pool2d(x, 2, output_ratio=0.5, _random_samples=samples))
    assert bool((got <= nn.FractionalMaxPool2d(2, output_ratio=0.5, _random_samples=samples)(x)).all())
