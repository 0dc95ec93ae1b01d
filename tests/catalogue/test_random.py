"""What random poolings promise: the published numbers, the frequencies of their draws, and what a seed fixes."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import poolkit as pk
from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError
from poolkit.reference import random as oracle

F64 = torch.float64
# chi-squared exceeds these with probability 0.001, by degrees of freedom
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 7: 24.32, 14: 36.12}
POOLS = {
    "stochastic": nn.StochasticPool2d,
    "softmax": lambda *args: nn.StochasticPool2d(*args, activation="softmax"),
    "rank-stochastic": nn.RankStochasticPool2d,
    "max-drop": nn.MaxDropPool2d,
    "random-mixed": lambda *args: nn.RandomMixedPool2d(*args, per="plane"),
    "s3": lambda kernel: nn.S3Pool2d(kernel, 2 * kernel),
}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def chi_squared(observed, chances):
    expected = np.asarray(chances) * sum(observed)
    return float(((np.asarray(observed) - expected) ** 2 / expected).sum())


def drawn(module, cells, times=20000):
    """What `times` windows with these cells give, all of one call."""
    x = torch.tensor(cells, dtype=torch.float32)
    return module.train()(x.expand(1, times, *x.shape), generator=0).flatten().numpy()


# Zeiler and Fergus, 2013, figure 1: activations after the rectifier, and the probabilities 0.4 and 0.6.
FIGURE = [[1.6, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.4]]


def test_the_example_of_zeiler_and_fergus():
    module = nn.StochasticPool2d(3)
    x = torch.tensor(FIGURE, dtype=F64)[None, None]
    assert module.eval()(x).item() == pytest.approx(2.08, abs=1e-12)
    y = drawn(module, FIGURE)
    observed = [np.isclose(y, value).sum() for value in (1.6, 2.4)]
    assert sum(observed) == len(y)
    assert chi_squared(observed, [0.4, 0.6]) < CRITICAL[1]
    assert y.mean() == pytest.approx(2.08, abs=0.02)


def test_the_example_with_negative_cells_before_the_rectifier():
    module = nn.StochasticPool2d(3).eval()
    before = torch.tensor([[1.6, -1.0, -2.0], [-0.5, -3.0, -1.0], [-0.1, -1.0, 2.4]], dtype=F64)
    assert module(before[None, None]).item() == pytest.approx(2.08, abs=1e-12)


CELLS = [1.0, 3.0, 2.0, -1.0]
FREQUENCIES = [
    (nn.StochasticPool1d(4), {1.0: 1 / 6, 3.0: 3 / 6, 2.0: 2 / 6}),
    (
        nn.StochasticPool1d(4, activation="softmax", temperature=2.0),
        {cell: np.exp(cell / 2) / sum(np.exp(np.array(CELLS) / 2)) for cell in CELLS},
    ),
    (nn.RankStochasticPool1d(4, alpha=0.5), {3.0: 8 / 15, 2.0: 4 / 15, 1.0: 2 / 15, -1.0: 1 / 15}),
    (nn.MaxDropPool1d(4, drop_prob=0.4), {3.0: 0.6, 2.0: 0.24, 1.0: 0.096, -1.0: 0.0384, 0.0: 0.0256}),
    (nn.RandomMixedPool1d(4, prob=0.3, per="channel"), {3.0: 0.3, 1.25: 0.7}),
]


@pytest.mark.parametrize(("module", "chances"), FREQUENCIES, ids=lambda value: type(value).__name__)
def test_frequencies_of_the_draws(module, chances):
    y = drawn(module, CELLS)
    observed = [int((y == np.float32(value)).sum()) for value in chances]
    assert sum(observed) == len(y)
    assert chi_squared(observed, list(chances.values())) < CRITICAL[len(chances) - 1]
    mean = sum(value * chance for value, chance in chances.items())
    assert module.eval()(torch.tensor([CELLS])).item() == pytest.approx(mean, rel=1e-6)


def test_every_choice_of_rows_and_columns_is_equally_likely():
    """Strips of 4 cells, of which 2 stay: 6 pairs, all alike, and rising."""
    module, pairs = nn.S3Pool1d(1, 4, stride=2).train(), list(itertools.combinations(range(4), 2))
    source, counts = torch.Generator().manual_seed(0), dict.fromkeys(pairs, 0)
    x = torch.arange(48 * 4.0)[None]
    for _ in range(50):
        kept = module(x, generator=source).view(48, 2).long() % 4
        for pair in kept.tolist():
            counts[tuple(pair)] += 1
    assert chi_squared(list(counts.values()), [1 / 6] * 6) < 20.52  # five degrees of freedom


def test_s3_evaluation_is_the_mean_over_all_draws():
    """Strips as long as the stride: each of 2 x 2 x 2 choices, equally likely."""
    x = draw(1, 2, 4, 2).numpy()
    choices = [[[0.0, 1.0]], [[1.0, 0.0]]]
    every = [
        oracle.s3_pool(x, (2, 3), (2, 2), (2, 2), [rows + more, columns])
        for rows, more, columns in itertools.product(choices, repeat=3)
    ]
    module = nn.S3Pool2d((2, 3), stride=2).eval()
    np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), np.mean(every, 0), rtol=1e-12)


def test_s3_keeps_whole_rows_and_columns_for_all_channels_and_samples():
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(2, 3, 8, 8)
    y = nn.S3Pool2d(1, 4, stride=2)(x, generator=3)
    assert (y == y[:1, :1]).all()
    rows, columns = y[0, 0] // 8, y[0, 0] % 8
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    assert (rows[:, 0].diff() > 0).all()
    assert (columns[0].diff() > 0).all()
    assert (rows[:2, 0] < 4).all()
    assert (rows[2:, 0] >= 4).all()


def test_s3_with_whole_strips_is_max_pooling_at_stride_one():
    x = draw(2, 2, 6, 5)
    torch.testing.assert_close(nn.S3Pool2d(3, 4, stride=1)(x), nn.MaxPool2d(3, 1, 1)(x))


@pytest.mark.parametrize("name", POOLS)
def test_a_seed_means_the_same_draws_and_a_generator_goes_on(name):
    module, x = POOLS[name](2).train(), draw(4, 8, 8, 8)
    assert torch.equal(module(x, generator=1), module(x, generator=1))
    assert not torch.equal(module(x, generator=1), module(x, generator=2))
    source = torch.Generator().manual_seed(1)
    first, second = module(x, generator=source), module(x, generator=source)
    assert torch.equal(first, module(x, generator=1))
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    third = module(x)
    torch.manual_seed(7)
    assert torch.equal(module(x), third)


@pytest.mark.parametrize("name", POOLS)
def test_evaluation_draws_nothing(name):
    module, x = POOLS[name](2).eval(), draw(2, 2, 8, 8)
    before = torch.get_rng_state()
    first = module(x)
    assert torch.equal(module(x, generator=5), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("generator", [None, 3])
def test_draws_repeat_when_checkpointing_computes_again(name, generator):
    module, x = POOLS[name](2).train(), draw(2, 3, 8, 8).requires_grad_()
    torch.manual_seed(5)
    y = module(x, generator=generator)
    (want,) = torch.autograd.grad((y * y).sum(), x)
    torch.manual_seed(5)
    again = checkpoint(lambda given: module(given, generator=generator).square(), x, use_reentrant=False)
    (got,) = torch.autograd.grad(again.sum(), x)
    torch.testing.assert_close(again, y * y)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["stochastic", "softmax", "rank-stochastic"])
def test_the_drawn_cell_alone_receives_the_gradient(name):
    module, x = POOLS[name](2).train(), draw(2, 3, 6, 6).exp().requires_grad_()
    y = module(x, generator=0)
    y.sum().backward()
    marked = torch.where(x.grad == 1, x.detach(), 0.0)
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(nn.SumPool2d(2)(marked), y.detach())


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("training", [True, False])
def test_zeros_give_zeros_and_finite_gradients(name, training):
    module, x = POOLS[name](2).train(training), torch.zeros(1, 2, 4, 4, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert (y == 0).all()
    assert x.grad.isfinite().all()


def test_negative_windows_of_relu_give_zero_and_those_of_softmax_a_cell():
    x = -1 - torch.rand(1, 2, 4, 4)
    for training in (True, False):
        assert (nn.StochasticPool2d(2).train(training)(x) == 0).all()
        assert (nn.StochasticPool2d(2, activation="softmax").train(training)(x) < -1).all()


def test_limits_are_known_poolings():
    x = draw(2, 2, 8, 8)
    most = nn.MaxPool2d(2)(x)
    for module in (
        nn.RankStochasticPool2d(2, alpha=1),
        nn.MaxDropPool2d(2, drop_prob=0),
        nn.RandomMixedPool2d(2, prob=1),
        nn.StochasticPool2d(2, activation="softmax", temperature=1e-4),
    ):
        for training in (True, False):
            torch.testing.assert_close(module.train(training)(x), most)
    weighted = nn.RankPool2d(2, mode="weighted", alpha=0.3)(x)
    torch.testing.assert_close(nn.RankStochasticPool2d(2, alpha=0.3).eval()(x), weighted)
    torch.testing.assert_close(nn.RandomMixedPool2d(2, prob=0)(x), nn.AvgPool2d(2)(x))


def test_who_draws_for_itself():
    x = torch.tensor([[0.0, 2.0]]).expand(64, 32, 2)
    for per, alike in (("layer", (0, 1)), ("channel", (0,)), ("sample", (1,)), ("plane", ())):
        y = nn.RandomMixedPool1d(2, per=per)(x, generator=0)[..., 0]
        assert set(y.unique().tolist()) <= {1.0, 2.0}
        for axis in (0, 1):
            same = bool((y == y.narrow(axis, 0, 1)).all())
            assert same == (axis in alike), per
    assert nn.RandomMixedPool1d(2, per="plane")(x[0], generator=0).shape == (32, 1)


def test_functions_are_the_same():
    x = draw(2, 3, 8, 8)
    for module, function in (
        (nn.StochasticPool2d(2), pk.stochastic_pool2d),
        (nn.RankStochasticPool2d(2), pk.rank_stochastic_pool2d),
        (nn.MaxDropPool2d(2), pk.max_drop_pool2d),
    ):
        assert torch.equal(module(x, generator=4), function(x, 2, seed=4))
        assert torch.equal(module.eval()(x), function(x, 2, sample=False))


@pytest.mark.parametrize(
    ("make", "blamed"),
    [
        (lambda: nn.StochasticPool2d(0), "kernel_size"),
        (lambda: nn.StochasticPool2d(2, activation="sigmoid"), "activation"),
        (lambda: nn.StochasticPool2d(2, temperature=0), "temperature"),
        (lambda: nn.RankStochasticPool2d(2, alpha=1.5), "alpha"),
        (lambda: nn.MaxDropPool2d(2, drop_prob=1), "drop_prob"),
        (lambda: nn.MaxDropPool2d(2, drop_prob=-0.1), "drop_prob"),
        (lambda: nn.RandomMixedPool2d(2, prob=2), "prob"),
        (lambda: nn.RandomMixedPool2d(2, per="batch"), "per"),
        (lambda: nn.S3Pool2d(0), "kernel_size"),
        (lambda: nn.S3Pool2d(2, 3), "grid_size"),
        (lambda: nn.S3Pool2d(2, (4, 4, 4)), "grid_size"),
        (lambda: nn.S3Pool2d(2, stride="2"), "stride"),
    ],
)
def test_a_bad_argument_is_named(make, blamed):
    with pytest.raises(PoolError) as caught:
        make()
    assert caught.value.gave.startswith(f"{blamed}=")


@pytest.mark.parametrize("name", POOLS)
def test_bad_generators_and_inputs(name):
    module, x = POOLS[name](2).train(), torch.zeros(1, 2, 8, 8)
    for generator in ("seed", 0.5, True, np.random.default_rng(0)):
        with pytest.raises(PoolTypeError, match="generator="):
            module(x, generator=generator)
    with pytest.raises(PoolError, match="generator=-1"):
        module(x, generator=-1)
    with pytest.raises(PoolError, match="input x of shape"):
        module(torch.zeros(8, 8))
    with pytest.raises(PoolTypeError):
        module(np.zeros((1, 2, 8, 8)))
