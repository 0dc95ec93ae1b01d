"""Calls of functions inside of accelerated(): every form of every call gives what torch gives."""

import pytest
import torch
from counting import ours
from torch.nn import functional

import poolkit as pk
from poolkit.surgery.calls import CALLS, NAMES, is_active

X = {1: torch.randn(2, 4, 40), 2: torch.randn(2, 4, 12, 11), 3: torch.randn(2, 4, 8, 7, 6)}
LOW = torch._C._nn


def calls():
    for rank, x in X.items():
        end = f"pool{rank}d"
        for place, name in ((functional, f"max_{end}"), (torch, f"max_{end}")):
            function = getattr(place, name)
            yield function, (x, 3), {}
            yield function, (x, [3] * rank, 2, 1), {"ceil_mode": True}
        yield getattr(functional, f"max_{end}"), (x, 3), {"stride": 1, "padding": 1, "return_indices": True}
        yield getattr(functional, f"avg_{end}"), (x, 3, 2, 1), {"count_include_pad": False}
        yield getattr(functional, f"avg_{end}"), (x,), {"kernel_size": [2] * rank, "ceil_mode": True}
        yield getattr(functional, f"adaptive_max_{end}"), (x, 3), {}
        yield getattr(functional, f"adaptive_max_{end}"), (x, [2] * rank), {"return_indices": True}
        yield getattr(functional, f"adaptive_avg_{end}"), (x, 3), {}
        if rank > 1:
            yield getattr(functional, f"adaptive_avg_{end}"), (x, (None, *[2] * (rank - 1))), {}
            yield getattr(functional, f"fractional_max_{end}"), (x, 2, 3), {}
            yield (
                getattr(functional, f"fractional_max_{end}"),
                (x, 2),
                {"output_ratio": (0.5,) * rank, "return_indices": True},
            )
    yield torch.adaptive_avg_pool1d, (X[1], 5), {}
    yield torch.adaptive_max_pool1d, (X[1], 5), {}
    yield torch.max_pool1d_with_indices, (X[1], 2), {}
    yield torch.avg_pool1d, (X[1], [2]), {}
    yield LOW.adaptive_avg_pool2d, (X[2], (2, 3)), {}
    yield LOW.max_pool2d_with_indices, (X[2], [2, 2], [1, 1]), {}
    for x, dims in ((X[2], (2, 3)), (X[2], [-1, -2]), (X[3], (2, 3, 4))):
        yield torch.mean, (x, dims), {}
        yield torch.Tensor.mean, (x,), {"dim": dims, "keepdim": True}
        yield torch.amax, (x, dims), {}
        yield torch.Tensor.amax, (x, dims, True), {}


def label(call):
    function, arguments, named = call
    return f"{function.__name__}-{arguments[0].dim()}-{arguments[1:]}-{named}"


ALL = list(calls())


def flat(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize("call", ALL, ids=map(label, ALL))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_call_is_taken_over_and_gives_the_same(call, dtype):
    function, (x, *rest), named = call
    x = x.to(dtype)
    torch.manual_seed(0)
    expected = flat(function(x, *rest, **named))
    torch.manual_seed(0)
    with pk.accelerated(only_faster=False):
        assert ours(function, x, *rest, **named) == 1
        torch.manual_seed(0)
        got = flat(function(x, *rest, **named))
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        if "max" in function.__name__:
            assert torch.equal(mine, theirs)
        else:
            torch.testing.assert_close(mine, theirs, rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)


def test_every_function_of_the_table_has_a_name_that_sources_use():
    assert {"max_pool2d", "adaptive_avg_pool3d", "lp_pool1d", "max_unpool2d", "mean", "amax"} <= NAMES
    assert {functional.max_pool2d, functional.avg_pool3d, torch.adaptive_avg_pool1d} <= set(CALLS)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.mean(),
        lambda x: x.mean(1),
        lambda x: x.mean((1, 2)),
        lambda x: x.mean((1, 2, 3)),
        lambda x: torch.mean(x, (2, 3), dtype=torch.float64),
        lambda x: x.amax(),
        lambda x: x.amax((0, 1)),
        lambda x: x[0].mean((-2, -1)),
        lambda x: functional.lp_pool2d(x.abs(), 2, 2),
        lambda x: functional.max_pool2d(x.to(torch.complex64).real, (2,)),
    ],
)
def test_other_calls_are_torchs(call):
    expected = call(X[2])
    with pk.accelerated(only_faster=False):
        assert ours(call, X[2]) == 0
        assert torch.equal(call(X[2]), expected)


def test_lp_pooling_only_when_differences_are_wanted():
    x = X[2].abs()
    with pk.accelerated(only_faster=False, include_different=True):
        assert ours(functional.lp_pool2d, x, 2, 2) == 1
        torch.testing.assert_close(functional.lp_pool2d(x, 2, 2), pk.lp_pool2d(x, 2, 2))


def test_unpooling_only_where_windows_do_not_overlap():
    values, indices = functional.max_pool2d(X[2], 2, return_indices=True)
    expected = functional.max_unpool2d(values, indices, 2, output_size=(12, 11))
    with pk.accelerated(only_faster=False):
        assert ours(functional.max_unpool2d, values, indices, 2, output_size=(12, 11)) == 1
        assert torch.equal(functional.max_unpool2d(values, indices, 2, output_size=(12, 11)), expected)
        assert ours(functional.max_unpool2d, values, indices, 3, 2, output_size=(12, 11)) == 0


def test_errors_are_torchs():
    for wrong in (
        lambda: functional.max_pool2d(X[2], 99),
        lambda: functional.max_pool2d(X[2], 2, padding=9),
        lambda: functional.avg_pool2d(X[2]),
        lambda: functional.avg_pool2d(X[2], 2, unknown=1),
    ):
        with pytest.raises((RuntimeError, TypeError)) as expected:
            wrong()
        with pk.accelerated(only_faster=False), pytest.raises(type(expected.value)) as got:
            wrong()
        assert str(got.value) == str(expected.value)


def test_modules_and_nesting():
    assert not is_active()
    module = torch.nn.MaxPool2d(2)
    with pk.accelerated(only_faster=False):
        assert is_active()
        assert ours(module, X[2]) == 1
        with pk.accelerated(only_faster=False):
            assert ours(module, X[2]) == 1
    assert not is_active()
    assert ours(module, X[2]) == 0


def test_subclasses_of_tensor_stay_with_whom_they_belong_to():
    class Tagged(torch.Tensor):
        pass

    x = X[2].as_subclass(Tagged)
    with pk.accelerated(only_faster=False):
        y = functional.max_pool2d(x, 2)
    assert type(y) is Tagged
