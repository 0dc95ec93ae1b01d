"""Learned poolings made of several steps: starts, limits, laws, and what is refused."""

import copy
import math

import pytest
import torch

from poolkit import PoolError, nn
from poolkit.torch.weighted import weighted_mean, weighted_spread


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Fixed(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits


def test_lip_starts_as_a_mean():
    x = random(2, 3, 7, 6)
    lip = nn.LIPPool2d(3).double()
    torch.testing.assert_close(lip(x), nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x))


def test_lip_of_large_logits_is_the_cell_they_point_at():
    x = random(1, 1, 4, 4)
    for scale in (1e3, 1e30):
        logits = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
        logits[..., ::2, 1::2] = scale
        assert torch.equal(nn.LIPPool2d(1, 2, 2, 0, Fixed(logits))(x), x[..., ::2, 1::2])


def test_lip_with_its_own_input_as_logits_is_soft_pooling():
    x = random(2, 3, 7, 6)
    torch.testing.assert_close(nn.LIPPool2d(3, 3, 2, 1, torch.nn.Identity())(x), nn.SoftPool2d(3, 2, 1)(x))


def test_lip_in_half_precision_with_logits_beyond_its_range():
    x = random(1, 1, 4, 4).half()
    logits = (random(1, 1, 4, 4) * 5000).half()
    y = nn.LIPPool2d(1, 2, 2, 0, Fixed(logits))(x)
    assert y.dtype == torch.float16
    assert y.isfinite().all()


def test_lip_weights_are_at_most_e_to_the_12_apart():
    lip = nn.LIPPool2d(2).double()
    for parameter in lip.parameters():
        torch.nn.init.normal_(parameter, std=100)
    logits = lip.logit(random(1, 2, 6, 6))
    assert logits.min() >= 0
    assert logits.max() <= 12


@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 2, 0, 2), (3, 2, 1, 1, True)], ids=str)
def test_weighted_mean_and_spread_are_transposes_and_twice_differentiable(window):
    x, logits = random(1, 2, 7, 6), random(1, 2, 6, 7).mT
    y = weighted_mean(x, logits, 2, *window)
    g = random(*y.shape).flip(1)
    torch.testing.assert_close((y * g).sum(), (x * weighted_spread(g, logits, 2, *window)).sum())
    small = (random(1, 1, 5).requires_grad_(), random(1, 5, 1).mT.contiguous().requires_grad_())
    assert torch.autograd.gradgradcheck(lambda a, b: weighted_mean(a, b, 1, *window), small)


def test_weighted_mean_under_transforms():
    x, logits = random(3, 2, 6), random(3, 6, 2).mT.contiguous()

    def total(a, b):
        return weighted_mean(a, b, 1, 2).square().sum()

    each = torch.func.vmap(torch.func.grad(total, argnums=(0, 1)))(x, logits)
    together = torch.func.grad(total, argnums=(0, 1))(x, logits)
    torch.testing.assert_close(each, together)


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_detail_of_a_constant_map_is_the_constant(variant):
    x = torch.full((1, 2, 6, 8), 3.5)
    torch.testing.assert_close(nn.DetailPreservingPool2d(2, variant)(x), torch.full((1, 2, 3, 4), 3.5))


def test_detail_with_no_power_or_much_alpha_is_the_mean():
    x = random(1, 1, 4, 4)
    pool = nn.DetailPreservingPool2d(1).double()
    torch.nn.init.constant_(pool.log_lambda, -40)
    torch.testing.assert_close(pool(x), nn.AvgPool2d(2)(x))
    pool = nn.DetailPreservingPool2d(1).double()
    torch.nn.init.constant_(pool.log_alpha, 30)
    torch.testing.assert_close(pool(x), nn.AvgPool2d(2)(x))


def test_detail_by_hand():
    x = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]], dtype=torch.float64)
    # The mean is 1: deviations 1, 1, 1, 3, weights 2, 2, 2, 4.
    assert nn.DetailPreservingPool2d(1, eps=1e-9).double()(x).item() == pytest.approx(4 * 4 / 10)
    # Upwards only: deviations 0, 0, 0, 3, weights 1, 1, 1, 4.
    assert nn.DetailPreservingPool2d(1, "lite", False, eps=1e-9).double()(x).item() == pytest.approx(16 / 7)


def test_gaussian_is_random_in_training_and_fixed_in_evaluation():
    pool = nn.GaussianPool2d(3, 2)
    x = random(4, 3, 6, 6).float()
    torch.manual_seed(1)
    first = pool(x)
    assert not torch.equal(first, pool(x))
    torch.manual_seed(1)
    assert torch.equal(first, pool(x))
    pool.eval()
    assert torch.equal(pool(x), pool(x))


def test_gaussian_lies_above_the_mean_by_one_share_for_each_channel():
    x = random(2, 3, 8, 8)
    for variant in ("isp", "half"):
        pool = nn.GaussianPool2d(3, 2, variant=variant).double()
        mean = nn.AvgPool2d(2)(x)
        deviation = (nn.AvgPool2d(2)(x * x) - mean * mean).sqrt()
        share = (pool(x) - mean) / deviation
        assert (share > 0).all()
        torch.testing.assert_close(share, share[..., :1, :1].expand_as(share))


def test_half_gaussian_in_evaluation_is_the_mean_of_training():
    pool = nn.GaussianPool2d(2, 2, variant="half").double()
    x = random(1, 2, 4, 4)
    torch.manual_seed(0)
    noise = torch.randn(20000, 2, dtype=torch.float64)
    drawn = pool(x.expand(20000, -1, -1, -1), noise).mean(0)
    torch.testing.assert_close(drawn, pool.eval()(x)[0], rtol=0, atol=4 * 0.7 / math.sqrt(20000))


def test_gaussian_keeps_its_digits_under_a_large_mean():
    pool = nn.GaussianPool2d(1, 2).eval()
    for parameter in pool.parameters():
        torch.nn.init.zeros_(parameter)
    x = random(1, 1, 4, 4).float()
    shifted = pool(x + 4096) - 4096
    torch.testing.assert_close(shifted, pool(x), rtol=0, atol=2e-3)


def test_alpha_of_two_is_bilinear_and_of_one_the_mean_of_positive_maps():
    x = random(2, 3, 4, 5).abs() + 0.1
    cells = x.flatten(2)
    torch.testing.assert_close(nn.AlphaPool(2.0, flatten=False).double()(x), cells @ cells.mT / 20)
    rows = nn.AlphaPool(1.0, flatten=False).double()(x)
    torch.testing.assert_close(rows, cells.mean(-1)[:, None].expand(2, 3, 3))


@pytest.mark.parametrize(
    ("n", "limit"), [(0.0, lambda p: p.mean(2)), (1.0, lambda p: (p * p).sum(2) / p.sum(2)), (1e4, lambda p: p.amax(2))]
)
def test_power_pooling_runs_from_the_mean_to_the_maximum(n, limit):
    p = torch.rand(2, 3, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(nn.PowerPool(3, n).double()(p), limit(p), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "module",
    [
        nn.LIPPool2d(3),
        nn.DetailPreservingPool2d(3),
        nn.DetailPreservingPool2d(3, "full", symmetric=False),
        nn.GaussianPool2d(3, 2),
        nn.GaussianPool2d(3, 2, variant="half").eval(),
        nn.AlphaPool(),
        nn.AlphaPool(0.5),
        nn.PowerPool(3),
        nn.PowerPool(3, 0.5),
        nn.PowerPool(3, 200.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_maps_give_finite_values_and_gradients(module, value):
    x = torch.full((2, 3, 4, 4), value, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_all_zeros_have_power_zero():
    assert not nn.PowerPool(2, 3.0)(torch.zeros(1, 2, 5)).any()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: nn.LIPPool2d(0), "channels"),
        (lambda: nn.LIPPool2d(3, 0), "kernel_size"),
        (lambda: nn.LIPPool2d(3, (2, 2, 2)), "kernel_size"),
        (lambda: nn.LIPPool2d(3, 2, 0), "stride"),
        (lambda: nn.LIPPool2d(3, padding=-1), "padding"),
        (lambda: nn.LIPPool2d(3, logit=len), "logit"),
        (lambda: nn.LIPPool2d(3, logit=torch.nn.Flatten())(torch.rand(1, 3, 4, 4)), "logit"),
        (lambda: nn.LIPPool2d(3)(torch.rand(1, 4, 4, 4)), "input x"),
        (lambda: nn.LIPPool2d(3)(torch.rand(3, 4, 4)), "input x"),
        (lambda: nn.DetailPreservingPool2d(2.0), "channels"),
        (lambda: nn.DetailPreservingPool2d(2, "half"), "variant"),
        (lambda: nn.DetailPreservingPool2d(2, symmetric="yes"), "symmetric"),
        (lambda: nn.DetailPreservingPool2d(2, kernel_size=0), "kernel_size"),
        (lambda: nn.DetailPreservingPool2d(2, eps=0), "eps"),
        (lambda: nn.DetailPreservingPool2d(2)(torch.rand(1, 3, 4, 4)), "input x"),
        (lambda: nn.DetailPreservingPool2d(2)(torch.rand(1, 2, 1, 4)), "kernel_size"),
        (lambda: nn.GaussianPool2d(0, 2), "num_features"),
        (lambda: nn.GaussianPool2d(2, 0), "kernel_size"),
        (lambda: nn.GaussianPool2d(2, 2, variant="full"), "variant"),
        (lambda: nn.GaussianPool2d(2, 2, eps=-1), "eps"),
        (lambda: nn.GaussianPool2d(2, 2)(torch.rand(1, 3, 4, 4)), "input x"),
        (lambda: nn.GaussianPool2d(2, 2)(torch.rand(1, 2, 4, 4), torch.rand(2, 2)), "noise"),
        (lambda: nn.AlphaPool("1"), "alpha"),
        (lambda: nn.AlphaPool(float("inf")), "alpha"),
        (lambda: nn.AlphaPool(eps=0), "eps"),
        (lambda: nn.AlphaPool(learn=2), "learn"),
        (lambda: nn.AlphaPool(flatten=None), "flatten"),
        (lambda: nn.AlphaPool()(torch.rand(3, 4)), "input x"),
        (lambda: nn.AlphaPool()([1.0]), "input x"),
        (lambda: nn.PowerPool(0), "channels"),
        (lambda: nn.PowerPool(2, float("nan")), "n="),
        (lambda: nn.PowerPool(2, eps=0), "eps"),
        (lambda: nn.PowerPool(2, learn="no"), "learn"),
        (lambda: nn.PowerPool(2)(torch.rand(1, 3, 4)), "input x"),
        (lambda: nn.PowerPool(2)(torch.ones(1, 2, 4, dtype=torch.bool)), "input x"),
    ],
)
def test_a_bad_argument_is_named(call, named):
    with pytest.raises(PoolError) as caught:
        call()
    assert named in caught.value.gave


@pytest.mark.parametrize(
    "module",
    [nn.LIPPool2d(4), nn.DetailPreservingPool2d(4, "full"), nn.GaussianPool2d(4, 3), nn.AlphaPool(), nn.PowerPool(4)],
    ids=lambda module: type(module).__name__,
)
def test_shapes_are_known_without_numbers(module):
    x = torch.rand(2, 4, 9, 7)
    assert copy.deepcopy(module).to("meta")(x.to("meta")).shape == module(x).shape
