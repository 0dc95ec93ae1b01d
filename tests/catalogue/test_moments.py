"""What statistics over time promise beyond their formulas."""

import pytest
import torch

from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError

F64 = torch.float64
POOLS = {
    "plain": nn.StatisticsPool1d,
    "unbiased": lambda: nn.StatisticsPool1d(unbiased=True),
    "attentive": lambda: nn.AttentiveStatisticsPool1d(3, 4),
    "own-frame": lambda: nn.AttentiveStatisticsPool1d(3, 4, global_context=False),
}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def made(name):
    torch.manual_seed(1)
    return POOLS[name]().to(F64)


def test_by_hand():
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 100.0]]])
    lengths = torch.tensor([4])
    torch.testing.assert_close(nn.StatisticsPool1d()(x, lengths=lengths), torch.tensor([[2.5, 1.25**0.5]]))
    torch.testing.assert_close(nn.StatisticsPool1d(True)(x, lengths=lengths), torch.tensor([[2.5, (5 / 3) ** 0.5]]))


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("training", [True, False])
def test_padding_has_no_influence_and_nothing_is_random(name, training):
    module, x = made(name).train(training), draw(2, 3, 5)
    want = module(x)
    padded = torch.nn.functional.pad(x, (0, 4), value=torch.nan).requires_grad_()
    mask = (torch.arange(9) < 5).expand(2, 9)
    got = module(padded, mask)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(module(padded, lengths=torch.tensor([5, 5])), want)
    torch.testing.assert_close(module(padded[0], mask[0]), want[0])
    torch.testing.assert_close(module(padded[0], lengths=torch.tensor(5)), want[0])
    got.sum().backward()
    assert padded.grad.isfinite().all()
    assert (padded.grad[..., 5:] == 0).all()


@pytest.mark.parametrize("name", POOLS)
def test_constant_and_missing_signals_have_finite_gradients(name):
    module = made(name)
    x = torch.full((2, 3, 4), 0.1, dtype=F64, requires_grad=True)
    y = module(x, lengths=torch.tensor([4, 0]))
    y.sum().backward()
    torch.testing.assert_close(y[0, 3:], torch.full((3,), 1e-6, dtype=F64))
    assert (y[1] == 0).all()
    assert x.grad.isfinite().all()
    assert (x.grad[1] == 0).all()


@pytest.mark.parametrize("name", POOLS)
def test_the_order_of_time_does_not_matter(name):
    module, x = made(name), draw(2, 3, 5)
    torch.testing.assert_close(module(x.flip(-1)), module(x))


def test_attention_that_is_the_same_everywhere_is_no_attention():
    module, x = made("attentive"), draw(2, 3, 6)
    with torch.no_grad():
        module.V.weight.zero_()
    torch.testing.assert_close(module(x), nn.StatisticsPool1d()(x))


def test_far_from_zero_the_deviation_does_not_cancel():
    x = torch.tensor([[[10000.0, 10001.0, 10002.0]]])
    torch.testing.assert_close(nn.StatisticsPool1d()(x)[0, 1], torch.tensor((2 / 3) ** 0.5), rtol=1e-6, atol=0)
    module = nn.AttentiveStatisticsPool1d(1, 2, global_context=False)
    with torch.no_grad():
        module.V.weight.zero_()
    torch.testing.assert_close(module(x)[0, 1], torch.tensor((2 / 3) ** 0.5), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("make", "blamed"),
    [
        (lambda: nn.StatisticsPool1d(unbiased="no"), "unbiased"),
        (lambda: nn.StatisticsPool1d(eps=0), "eps"),
        (lambda: nn.AttentiveStatisticsPool1d(0), "channels"),
        (lambda: nn.AttentiveStatisticsPool1d(3, 0), "attention_channels"),
        (lambda: nn.AttentiveStatisticsPool1d(3, global_context=None), "global_context"),
        (lambda: nn.AttentiveStatisticsPool1d(3, eps=-1.0), "eps"),
    ],
)
def test_a_bad_argument_is_named(make, blamed):
    with pytest.raises(PoolError) as caught:
        make()
    assert caught.value.gave.startswith(f"{blamed}=")


@pytest.mark.parametrize("name", ["plain", "attentive"])
def test_bad_signals_masks_and_lengths(name):
    module, x = POOLS[name](), torch.zeros(2, 3, 5)
    mask = torch.ones(2, 5).bool()
    for given, more, kind, words in (
        (x[None], {}, PoolError, "input"),
        (x[..., :0], {}, PoolError, "empty"),
        (x.int(), {}, PoolTypeError, "input of dtype"),
        (x, {"mask": mask.float()}, PoolTypeError, "mask of dtype"),
        (x, {"mask": mask.T}, PoolError, "mask of shape"),
        (x, {"mask": mask, "lengths": torch.tensor([5, 5])}, PoolError, "mask and lengths"),
        (x, {"lengths": [5, 5]}, PoolTypeError, "lengths="),
        (x, {"lengths": torch.tensor([0.5, 1.0])}, PoolTypeError, "lengths of dtype"),
        (x, {"lengths": torch.tensor([5])}, PoolError, "lengths of shape"),
        (x, {"lengths": torch.tensor([5, 6])}, PoolError, "lengths"),
        (x, {"lengths": torch.tensor([-1, 5])}, PoolError, "lengths"),
    ):
        with pytest.raises(kind, match=words):
            module(given, **more)
    if name == "attentive":
        with pytest.raises(PoolError, match="channels=3"):
            module(torch.zeros(2, 4, 5))
