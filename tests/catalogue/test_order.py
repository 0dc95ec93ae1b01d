"""What order statistics promise beyond their formulas."""

import numpy as np
import pytest
import torch

import poolkit as pk
from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError

F64 = torch.float64
POOLS = {
    "median": nn.MedianPool2d,
    "midpoint": lambda *args: nn.MedianPool2d(*args, interpolation="midpoint"),
    "quantile": lambda kernel, *args: nn.QuantilePool2d(kernel, 0.8, *args),
    "top-k": lambda kernel, *args: nn.TopKMeanPool2d(kernel, 3, *args),
    "rank-average": nn.RankPool2d,
    "rank-weighted": lambda *args: nn.RankPool2d(*args, mode="weighted"),
    "ordinal": nn.OrdinalPool2d,
}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def windows(x, kernel):
    """The cells of every 2-D window at stride 1: [N, C, windows, cells]."""
    seen = np.lib.stride_tricks.sliding_window_view(x.numpy(), (kernel, kernel), (2, 3))
    return np.ascontiguousarray(seen).reshape(*seen.shape[:4], -1)


def test_a_median_ignores_a_fifth_of_rubbish():
    x = torch.full((1, 1, 5, 5), 7.0)
    x.view(-1)[::5] = torch.tensor([1e9, -1e9, torch.inf, -torch.inf, 0.0])
    assert nn.MedianPool2d(5)(x).item() == 7


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_medians_are_those_of_numpy_and_torch(kernel):
    x = draw(2, 2, 9, 8)
    seen = windows(x, kernel)
    got = nn.MedianPool2d(kernel, 1, interpolation="midpoint")(x).numpy()
    np.testing.assert_array_equal(got, np.median(seen, -1))
    assert torch.equal(nn.MedianPool2d(kernel, 1)(x), torch.from_numpy(seen).median(-1).values)


def test_the_median_is_that_of_scipy_inside():
    ndimage = pytest.importorskip("scipy.ndimage")
    x = draw(1, 1, 12, 11)
    want = ndimage.median_filter(x[0, 0].numpy(), size=5)[2:-2, 2:-2]
    np.testing.assert_array_equal(nn.MedianPool2d(5, 1)(x)[0, 0].numpy(), want)


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("q", [0, 0.1, 0.5, 0.75, 1])
def test_quantiles_are_those_of_numpy_and_torch(q, method):
    x = draw(2, 2, 7, 8)
    seen = windows(x, 4)
    got = nn.QuantilePool2d(4, q, 1, interpolation=method)(x)
    np.testing.assert_allclose(got.numpy(), np.quantile(seen, q, -1, method=method), rtol=1e-14, atol=1e-14)
    want = torch.quantile(torch.from_numpy(seen), q, -1, interpolation=method)
    torch.testing.assert_close(got, want, rtol=1e-14, atol=1e-14)


def test_the_five_numbers_of_a_window():
    x = torch.arange(9.0).flip(0).view(1, 1, 3, 3)
    got = [nn.QuantilePool2d(3, q)(x).item() for q in (0, 0.25, 0.5, 0.75, 1)]
    assert got == [0, 2, 4, 6, 8]


def test_indices_are_the_places_of_the_values():
    x = draw(2, 3, 7, 8)
    for module in (
        nn.MedianPool2d(3, 2, 1, return_indices=True),
        nn.QuantilePool2d(3, 0.9, 2, 1, interpolation="nearest", return_indices=True),
    ):
        values, indices = module(x)
        assert torch.equal(x.flatten(2).gather(2, indices.flatten(2)).view_as(values), values)


def test_integers_stay_integers():
    x = torch.tensor([[[2**62, 1, 2**62 - 1, 5, 6, 7]]])
    assert nn.MedianPool1d(3)(x).tolist() == [[[2**62 - 1, 6]]]
    with pytest.raises(PoolTypeError, match="floating"):
        nn.MedianPool1d(3, interpolation="midpoint")(x)


def test_limits_are_known_poolings():
    x = draw(2, 3, 9, 8)
    window = (3, 2, 1)
    most, least = nn.MaxPool2d(*window)(x), nn.MinPool2d(*window)(x)
    mean = nn.AvgPool2d(*window, count_include_pad=False)(x)
    top = nn.TopKMeanPool2d(3, 1, 2, 1)
    for module, want in (
        (top, most),
        (nn.TopKMeanPool2d(3, 9, 2, 1), mean),
        (nn.TopKMeanPool2d(3, 1.0, 2, 1), mean),
        (nn.QuantilePool2d(3, 1, 2, 1), most),
        (nn.QuantilePool2d(3, 0, 2, 1), least),
        (nn.RankPool2d(*window, t=1), most),
        (nn.RankPool2d(*window, t=4), nn.TopKMeanPool2d(3, 4, 2, 1)(x)),
        (nn.RankPool2d(*window, mode="weighted", alpha=1), most),
        (nn.RankPool2d(*window, mode="weighted", alpha=1e-9), mean),
        (nn.OrdinalPool2d(*window), mean),
        (nn.OrdinalPool2d(*window, constraint="none", channels=3), mean),
    ):
        torch.testing.assert_close(module.to(F64)(x), want, rtol=1e-7, atol=1e-7)


def test_one_cell_and_the_share_one_are_remembered_apart():
    x = draw(1, 1, 4, 4)
    for _ in range(2):
        assert torch.equal(nn.TopKMeanPool2d(4, 1)(x), x.amax((2, 3), keepdim=True))
        torch.testing.assert_close(nn.TopKMeanPool2d(4, 1.0)(x), x.mean((2, 3), keepdim=True))
        assert torch.equal(nn.RankPool2d(4, t=1)(x), x.amax((2, 3), keepdim=True))
        torch.testing.assert_close(nn.RankPool2d(4, t=1.0)(x), x.mean((2, 3), keepdim=True))
        assert torch.equal(pk.pool(x, pk.Sliding(4), pk.TopKMean(1)), x.amax((2, 3), keepdim=True))
        torch.testing.assert_close(pk.pool(x, pk.Sliding(4), pk.TopKMean(1.0)), x.mean((2, 3), keepdim=True))
    assert pk.TopKMean(1) != pk.TopKMean(1.0)
    assert len({pk.TopKMean(2), pk.TopKMean(2), pk.TopKMean(0.5)}) == 2


def test_ranks_by_hand():
    x = torch.tensor([[[3.0, 1.0, 4.0, 2.0]]])
    paper = nn.RankPool1d(4, mode="weighted", alpha=0.5, normalize=False)(x).item()
    assert paper == 4 / 2 + 3 / 4 + 2 / 8 + 1 / 16
    assert nn.RankPool1d(4, mode="weighted", alpha=0.5)(x).item() == pytest.approx(paper / (1 - 0.5**4))
    assert nn.RankPool1d(4, mode="average", t=3)(x).item() == pytest.approx(3)
    assert nn.RankPool1d(4)(x).item() == 3.5


@pytest.mark.parametrize("name", POOLS)
def test_where_a_cell_stands_in_its_window_does_not_matter(name):
    x, module = draw(2, 2, 6, 6), POOLS[name](3).to(F64)
    torch.testing.assert_close(module(x.flip(-1)).flip(-1), module(x))
    torch.testing.assert_close(module(x.mT).mT, module(x))


@pytest.mark.parametrize("name", POOLS)
def test_padding_is_no_cell(name):
    """A window at the border sees fewer cells, not zeros: a map of ones stays one."""
    x = torch.ones(1, 2, 5, 5, dtype=F64)
    torch.testing.assert_close(POOLS[name](3, 2, 1).to(F64)(x), torch.ones(1, 2, 3, 3, dtype=F64))


@pytest.mark.parametrize("name", POOLS)
def test_a_gradient_is_shared_out_and_a_nan_stays_in_its_window(name):
    module, x = POOLS[name](2).to(F64), torch.zeros(1, 1, 4, 4, dtype=F64, requires_grad=True)
    module(x).sum().backward()
    assert x.grad.isfinite().all()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(4.0, dtype=F64))
    y = module(x.detach().index_fill(3, torch.tensor([3]), torch.nan))
    assert y[..., 1].isnan().all()
    assert (y[..., 0] == 0).all()


def test_ordinal_weights_are_ranks():
    x = draw(2, 3, 6, 6)
    module = nn.OrdinalPool2d(3, channels=3, constraint="none").to(F64)
    with torch.no_grad():
        module.weight.zero_()
        module.weight[0, 0] = module.weight[1, 4] = module.weight[2, 8] = 1
    y = module(x)
    for channel, other in enumerate((nn.MaxPool2d(3), nn.MedianPool2d(3), nn.MinPool2d(3))):
        torch.testing.assert_close(y[:, channel], other(x)[:, channel])


def test_softmax_keeps_ordinal_pooling_within_its_cells():
    torch.manual_seed(0)
    x, module = draw(2, 2, 6, 6), nn.OrdinalPool2d(2).to(F64)
    torch.nn.init.normal_(module.weight, std=3)
    y = module(x)
    assert (y <= nn.MaxPool2d(2)(x)).all()
    assert (y >= nn.MinPool2d(2)(x)).all()
    torch.testing.assert_close(module.weights.sum(), torch.ones((), dtype=F64))


def test_ordinal_pooling_learns_the_pooling_that_made_the_target():
    torch.manual_seed(0)
    module = nn.OrdinalPool1d(3)
    rate = torch.optim.Adam(module.parameters(), lr=0.2)
    for step in range(80):
        x = draw(8, 4, 30, seed=step).float()
        loss = (module(x) - nn.MedianPool1d(3)(x)).square().mean()
        rate.zero_grad()
        loss.backward()
        rate.step()
    torch.testing.assert_close(module.weights.detach(), torch.tensor([[0.0, 1.0, 0.0]]), atol=0.05, rtol=0)


def test_functions_are_the_same():
    x = draw(2, 3, 7, 7)
    assert torch.equal(pk.median_pool2d(x, 3, 2), nn.MedianPool2d(3, 2)(x))
    assert torch.equal(pk.quantile_pool2d(x, 3, 0.3, 2), nn.QuantilePool2d(3, 0.3, 2)(x))
    assert torch.equal(pk.topk_mean_pool2d(x, 3, 0.3), nn.TopKMeanPool2d(3, 0.3)(x))
    assert torch.equal(pk.rank_mean_pool2d(x, 3, alpha=0.3), nn.RankPool2d(3, mode="weighted", alpha=0.3)(x))


@pytest.mark.parametrize(
    ("make", "blamed"),
    [
        (lambda: nn.MedianPool2d(0), "kernel_size"),
        (lambda: nn.MedianPool2d((3, 3, 3)), "kernel_size"),
        (lambda: nn.MedianPool2d(3, padding=2), None),
        (lambda: nn.MedianPool2d(3, interpolation="upper"), "interpolation"),
        (lambda: nn.MedianPool2d(3, return_indices="yes"), "return_indices"),
        (lambda: nn.MedianPool2d(3, interpolation="midpoint", return_indices=True), "return_indices"),
        (lambda: nn.QuantilePool2d(3, 1.5), "q"),
        (lambda: nn.QuantilePool2d(3, "median"), "q"),
        (lambda: nn.QuantilePool2d(3, 0.5, return_indices=True), "return_indices"),
        (lambda: nn.TopKMeanPool2d(3, 0), "k"),
        (lambda: nn.TopKMeanPool2d(3, 10), "k"),
        (lambda: nn.TopKMeanPool2d(3, 1.5), "k"),
        (lambda: nn.TopKMeanPool2d(3, True), "k"),
        (lambda: nn.RankPool2d(3, mode="stochastic"), "mode"),
        (lambda: nn.RankPool2d(3, t=10), "t"),
        (lambda: nn.RankPool2d(3, t=0.0), "t"),
        (lambda: nn.RankPool2d(3, mode="weighted", alpha=0), "alpha"),
        (lambda: nn.RankPool2d(3, mode="weighted", normalize="no"), "normalize"),
        (lambda: nn.OrdinalPool2d(3, channels=0), "channels"),
        (lambda: nn.OrdinalPool2d(3, constraint="simplex"), "constraint"),
        (lambda: nn.OrdinalPool2d(3.0), "kernel_size"),
    ],
)
def test_a_bad_argument_is_named(make, blamed):
    if blamed is None:  # what depends on the input is reported there
        with pytest.raises(PoolError, match="padding"):
            make()(torch.zeros(1, 1, 5, 5))
        return
    with pytest.raises(PoolError) as caught:
        make()
    assert blamed in caught.value.gave


def test_bad_inputs():
    module = nn.OrdinalPool2d(2, channels=3)
    with pytest.raises(PoolError, match="channels=3"):
        module(torch.zeros(1, 4, 6, 6))
    with pytest.raises(PoolError, match="input x of shape"):
        module(torch.zeros(3, 6))
    with pytest.raises(PoolTypeError):
        module(torch.zeros(1, 3, 6, 6).int())
    with pytest.raises(PoolTypeError):
        module(np.zeros((1, 3, 6, 6)))
