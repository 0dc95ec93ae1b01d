"""docs/differences.md, row by row: what torch does, and what poolkit does instead."""

import faulthandler
import math
import multiprocessing
import os
import re
import resource
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import poolkit as pk
from poolkit import nn

NAN, INF = math.nan, math.inf


def line(*values, dtype=torch.float32):
    return torch.tensor([[values]], dtype=dtype)


def test_every_row_of_the_page_has_its_test_and_every_test_its_row():
    page = (Path(__file__).parents[2] / "docs" / "differences.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"`(\w+)` \|$", page, re.MULTILINE))
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_") and "row" not in name}
    assert rows == tests


def test_lp_pool_takes_absolute_values():
    x = line(-1.0, -2.0)
    assert F.lp_pool1d(x, 1.0, 2).item() == -3
    assert math.isnan(F.lp_pool1d(x, 3.0, 2).item())
    assert nn.LPPool1d(1.0, 2)(x).item() == 3
    assert nn.LPPool1d(3.0, 2)(x).item() == pytest.approx(9 ** (1 / 3))


def test_lp_pool_with_a_fractional_exponent():
    x = line(-1.0, -4.0)
    assert math.isnan(F.lp_pool1d(x, 1.5, 2).item())
    assert nn.LPPool1d(1.5, 2)(x).item() == pytest.approx(9 ** (1 / 1.5))


def test_lp_pool_of_overhanging_windows():
    x = torch.ones(1, 1, 3)
    assert F.lp_pool1d(x, 2.0, 2, 2, ceil_mode=True)[0, 0, 1].item() == pytest.approx(math.sqrt(2))
    assert nn.LPPool1d(2.0, 2, 2, ceil_mode=True)(x)[0, 0, 1].item() == 1


def test_lp_pool_does_not_overflow_on_the_way():
    for size, wrong in ((1e30, INF), (1e-30, 0.0)):
        x = line(size, size)
        assert F.lp_pool1d(x, 2.0, 2).item() == wrong
        assert nn.LPPool1d(2.0, 2)(x).item() == pytest.approx(size * math.sqrt(2), rel=1e-6)


def test_lp_pool_in_half_precision_rounds_once():
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = F.lp_pool2d(x.double(), 2.0, 4).bfloat16()
    assert (F.lp_pool2d(x, 2.0, 4) != exact).float().mean() > 0.05
    assert (nn.LPPool2d(2.0, 4)(x) == exact).all()


@pytest.mark.parametrize(("dtype", "wrong"), [(torch.bfloat16, 0.0078125), (torch.float16, 0.0625)], ids=str)
def test_half_precision_adaptive_average_of_ones(dtype, wrong):
    x = torch.ones(1, 1, 16, 64, 64, dtype=dtype)
    assert F.adaptive_avg_pool3d(x, (1, 1, 2))[0, 0, 0, 0, 0].item() == wrong
    assert (nn.AdaptiveAvgPool3d((1, 1, 2))(x) == 1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_adaptive_average_in_three_dimensions(dtype):
    x = torch.rand(1, 1, 8, 40, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = F.adaptive_avg_pool3d(x.double(), 2).to(dtype)
    assert (F.adaptive_avg_pool3d(x, 2) != exact).float().mean() > 0.5
    assert (nn.AdaptiveAvgPool3d(2)(x) == exact).all()


def test_large_float32_averages():
    x = torch.full((1, 1, 2**24), 0.1)
    assert F.avg_pool1d(x, 2**24).item() > 0.115
    exact = x[0, 0, 0].double().item()
    assert abs(nn.AvgPool1d(2**24)(x).item() - exact) <= 4 * 2**-27


def test_integer_averages_round_to_nearest():
    x = line(1, 2, 3, 5, -1, -2, -3, -5, dtype=torch.int64)
    assert F.avg_pool1d(x, 4).tolist() == [[[2, -2]]]
    assert nn.AvgPool1d(4)(x).tolist() == [[[3, -3]]]
    assert nn.AvgPool1d(2)(line(1, 2, 2, 3, dtype=torch.int64)).tolist() == [[[2, 2]]]


def test_index_of_the_first_nan():
    x = line(1.0, NAN, NAN, 0.0)
    assert F.max_pool1d(x, 4, return_indices=True)[1].item() == 2
    assert nn.MaxPool1d(4, return_indices=True)(x)[1].item() == 1


def test_unpooling_equal_indices():
    for unpool, expected in ((F.max_unpool1d, [1, 1]), (lambda *a: nn.MaxUnpool1d(2)(*a[:2]), [0, 1])):
        x = line(1.0, 2.0).requires_grad_()
        unpool(x, line(0, 0, dtype=torch.int64), 2).sum().backward()
        assert x.grad.tolist() == [[expected]]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32], ids=str)
def test_averages_of_small_integers(dtype):
    x = line(1, 2, 3, 5, dtype=dtype)
    with pytest.raises(NotImplementedError):
        F.avg_pool1d(x, 4)
    y = nn.AvgPool1d(4)(x)
    assert y.dtype == dtype
    assert y.item() == 3


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_adaptive_pools_of_integers(dtype):
    x = line(1, 2, 3, 5, dtype=dtype)[None]
    for theirs in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        with pytest.raises((NotImplementedError, RuntimeError)):
            theirs(x, 1)
    assert nn.AdaptiveAvgPool2d(1)(x).item() == 3
    assert nn.AdaptiveMaxPool2d(1)(x).item() == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_averages_in_three_dimensions(dtype):
    x = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    with pytest.raises(NotImplementedError):
        F.avg_pool3d(x, 2)
    assert torch.equal(nn.AvgPool3d(2)(x), F.avg_pool3d(x.double(), 2).to(dtype))


def test_padding_is_limited_by_the_dilated_kernel():
    x = torch.arange(9.0).view(1, 1, 9)
    with pytest.raises(RuntimeError, match="half of kernel size"):
        F.max_pool1d(x, 3, 1, 2, dilation=2)
    assert nn.MaxPool1d(3, 1, 2, dilation=2)(x).tolist() == [[[2, 3, 4, 5, 6, 7, 8, 7, 8]]]
    with pytest.raises(pk.PoolError, match="padding"):
        nn.MaxPool1d(3, 1, 3, dilation=2)(x)


def test_fractional_windows_that_just_fit():
    x = torch.randn(1, 2, 5, 5, 5)
    assert torch.equal(F.fractional_max_pool2d(x[0], 1, output_size=5), x[0])
    with pytest.raises(RuntimeError, match="too large"):
        F.fractional_max_pool3d(x, 1, output_size=5)
    assert torch.equal(nn.FractionalMaxPool2d(1, 5)(x[0]), x[0])
    assert torch.equal(nn.FractionalMaxPool3d(1, 5)(x), x)


@pytest.mark.parametrize("kernel", [0, -1])
def test_fractional_kernels_below_one(kernel):
    assert (F.fractional_max_pool2d(torch.ones(1, 1, 6, 6), kernel, output_size=2) == -INF).all()
    with pytest.raises(pk.PoolError, match="kernel_size"):
        nn.FractionalMaxPool2d(kernel, output_size=2)


@pytest.mark.parametrize("value", [NAN, 7.5, -3.5])
def test_fractional_samples_outside_zero_to_one(value):
    x, samples = torch.ones(1, 1, 6, 6), torch.full((1, 1, 2), value)
    assert F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=samples).shape == (1, 1, 3, 3)
    with pytest.raises(pk.PoolError, match="_random_samples"):
        nn.FractionalMaxPool2d(2, output_size=3, _random_samples=samples)(x)


def test_norm_type_zero_or_below():
    with pytest.raises(ZeroDivisionError):
        F.lp_pool1d(line(1.0, 2.0), 0.0, 2)
    assert F.lp_pool1d(line(1.0, 2.0), -1.0, 2).item() == pytest.approx(2 / 3)
    for norm_type in (0.0, -1.0):
        with pytest.raises(pk.PoolError, match="norm_type"):
            nn.LPPool1d(norm_type, 2)


def test_unpooling_with_stride_zero():
    assert torch.nn.MaxUnpool2d(2, 0)(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2).long()).shape == (1, 1, 2, 2)
    with pytest.raises(pk.PoolError, match="stride"):
        nn.MaxUnpool2d(2, 0)


def test_negative_divisors():
    assert (F.avg_pool2d(torch.ones(1, 1, 4, 4), 2, divisor_override=-1) == -4).all()
    with pytest.raises(pk.PoolError, match="divisor_override"):
        nn.AvgPool2d(2, divisor_override=-1)


def test_adaptive_output_of_nothing():
    assert F.adaptive_avg_pool2d(torch.ones(1, 1, 4, 4), 0).numel() == 0
    with pytest.raises(pk.PoolError, match="output_size"):
        nn.AdaptiveAvgPool2d(0)


def ended_with(call, seconds):
    """The exit status of a call in a process of its own; None if it had to be stopped."""

    def quietly():
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        torch.set_num_threads(1)
        call()

    process = multiprocessing.get_context("fork").Process(target=quietly)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def test_indices_outside_of_the_plane_in_backward():
    def theirs():
        # Two planes' worth of gradients for an input of none: the reads leave the tensors.
        torch.ops.aten.max_pool3d_with_indices_backward(
            torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 4, 4, 4), [2] * 3, [2] * 3, [0] * 3, [1] * 3, False,
            torch.zeros(0, 1, 2, 2, 2, dtype=torch.int64),
        )  # fmt: skip

    assert ended_with(theirs, 30) != 0
    offsets = torch.full((1, 1, 2, 2), 200, dtype=torch.uint8)
    plan = "0(2.0,0.0,1.0,0,1,1) 0(4,2,2,2,0,0,1) 0(4,2,2,2,0,0,1)"
    with pytest.raises(RuntimeError, match="poolkit"):
        torch.ops.poolkit.pool_backward(torch.ones(1, 1, 2, 2), plan, None, None, None, None, offsets, False)


def test_geometry_beyond_64_bits():
    x = torch.arange(4.0).view(1, 1, 4)

    def crashes():
        F.max_pool1d(x, 5, 1, 0, dilation=2**62, ceil_mode=True)

    def hangs():
        F.max_pool1d(x, 2**62, 2**62, 2**61)

    assert ended_with(crashes, 30) not in (0, None)
    assert ended_with(hangs, 3) is None
    with pytest.raises(pk.PoolError, match="dilation"):
        nn.MaxPool1d(5, 1, 0, dilation=2**62, ceil_mode=True)(x)
    with pytest.raises(pk.PoolError, match="kernel_size"):
        nn.MaxPool1d(2**62, 2**62, 2**61)(x)
