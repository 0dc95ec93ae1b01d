"""What learned powers, sharpnesses, likenesses and filters promise beyond their formulas."""

import pytest
import torch
from cases_weighted import CASES
from test_mixed import draw, put
from test_modules import keywords, make, outputs, tensors

import poolkit as pk
from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError

F64 = torch.float64
LEARNED = (nn.GeMPool2d, nn.BoltzmannPool2d, nn.AdaPool2d)


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_graph_without_breaks(case):
    torch.compiler.reset()
    module = make(case)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for inputs in (case.inputs, *case.others):
        given, more = tensors(inputs), keywords(case)
        for got, want in zip(outputs(compiled(*given, **more)), outputs(module(*given, **more)), strict=True):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shapes_are_known_without_values_and_batches_may_be_missing_or_empty(case):
    module, given, more = make(case), tensors(case.inputs), keywords(case)
    y = module(*given, **more)
    for rows in (0, slice(0)):
        part = module(*(one[rows] for one in given), **{name: value[rows] for name, value in more.items()})
        torch.testing.assert_close(part, y[rows])
    elsewhere = {name: value.to("meta") for name, value in more.items()}
    assert module.to("meta")(*(one.to("meta") for one in given), **elsewhere).shape == y.shape


def test_by_hand():
    x = torch.tensor([[[1.0, 2.0, 4.0]]])
    torch.testing.assert_close(nn.GeMPool1d()(x), torch.tensor([[[(73 / 3) ** (1 / 3)]]]))
    # With beta = ln 2 the weights are 2, 4 and 16.
    soft = nn.BoltzmannPool1d(beta=torch.tensor(2.0).log().item())
    torch.testing.assert_close(soft(x), torch.tensor([[[(2 + 8 + 64) / 22]]]))
    # The mean is 2, so that the coefficients are 0, 1, 24/40 and 0, and the distances 2, 0, 4 and 2.
    x = torch.tensor([[[0.0, 2.0, 6.0, 0.0]]])
    weights = torch.tensor([0.0, 1.0, 24 / 40, 0.0]).exp()
    want = (weights * x).sum() / weights.sum()
    torch.testing.assert_close(put(nn.AdaPool1d(4), "beta", [1.0])(x).squeeze(), want)
    weights = torch.tensor([1 / 2.5, 1 / 0.5, 1 / 4.5, 1 / 2.5])
    want = (weights * x).sum() / weights.sum()
    torch.testing.assert_close(nn.AdaPool1d(4, weighting="idw", eps=0.5, beta=1.0)(x).squeeze(), want)
    module = put(nn.FilterPool1d(3, stride=1, padding=1), "weight", [[1.0, 2.0, 3.0]])
    assert module(torch.tensor([[[1.0, 10.0]]])).tolist() == [[[32.0, 21.0]]]
    x = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    sharp = put(nn.AutoPool1d(2), "alpha", [0.0, torch.tensor(3.0).log()])
    torch.testing.assert_close(sharp(x), torch.tensor([[0.5, 0.75]]))


@pytest.mark.parametrize("window", [(), (2,), (3, 2, 1)])
def test_gem_reaches_from_mean_to_maximum(window):
    x = draw(2, 3, 6, 6).abs() + 0.1
    mean = nn.AvgPool2d(*window, count_include_pad=False)(x) if window else x.mean((2, 3), keepdim=True)
    top = nn.MaxPool2d(*window)(x) if window else x.amax((2, 3), keepdim=True)
    torch.testing.assert_close(nn.GeMPool2d(*window, p=1.0).to(F64)(x), mean)
    torch.testing.assert_close(nn.GeMPool2d(*window, p=1e5).to(F64)(x), top, rtol=1e-4, atol=0)
    torch.testing.assert_close(nn.GeMPool2d(*window, p=2.5).to(F64)(x), nn.GeMPool2d(*window, p=2.5, learned=False)(x))


@pytest.mark.parametrize("window", [(), (2,), (3, 2, 1)])
def test_boltzmann_reaches_from_minimum_over_mean_to_maximum(window):
    x = draw(2, 3, 6, 6)
    mean = nn.AvgPool2d(*window, count_include_pad=False)(x) if window else x.mean((2, 3), keepdim=True)
    top = nn.MaxPool2d(*window)(x) if window else x.amax((2, 3), keepdim=True)
    low = nn.MinPool2d(*window)(x) if window else x.amin((2, 3), keepdim=True)
    for beta, want in ((0.0, mean), (1e5, top), (-1e5, low)):
        torch.testing.assert_close(nn.BoltzmannPool2d(*window, beta=beta).to(F64)(x), want)
        torch.testing.assert_close(nn.BoltzmannPool2d(*window, beta=beta, learned=False)(x), want)


def test_ada_without_likeness_is_soft_pooling():
    x = draw(2, 3, 6, 6)
    soft = nn.SoftPool2d(2)(x)
    torch.testing.assert_close(nn.AdaPool2d(2, beta=0.0).to(F64)(x), soft)
    torch.testing.assert_close(nn.AdaPool2d(2, beta=0.0, learned=False, weighting="idw")(x), soft)


def test_a_fresh_autopool_is_the_mean_and_agrees_with_boltzmann():
    x = draw(2, 3, 7)
    module = nn.AutoPool1d(3).to(F64)
    torch.testing.assert_close(module(x), x.mean(-1))
    alpha = torch.tensor([1e5, -1e5, 1.5])
    want = put(nn.BoltzmannPool1d(channels=3).to(F64), "beta", alpha)(x).squeeze(-1)
    torch.testing.assert_close(put(module, "alpha", alpha)(x), want)
    torch.testing.assert_close(want[:, 0], x[:, 0].amax(-1))


def test_padding_of_a_sequence_has_no_influence():
    module, x = put(nn.AutoPool1d(3).to(F64), "alpha", [0.0, 1.0, -2.0]), draw(2, 3, 5)
    padded = torch.nn.functional.pad(x, (0, 4), value=torch.nan).requires_grad_()
    mask = (torch.arange(9) < 5).expand(2, 9)
    y = module(padded, mask)
    torch.testing.assert_close(y, module(x))
    torch.testing.assert_close(module(padded, lengths=torch.tensor([5, 5])), y)
    y.sum().backward()
    assert padded.grad.isfinite().all()
    assert (padded.grad[..., 5:] == 0).all()
    assert (module(padded, torch.zeros(2, 9).bool()) == 0).all()


def test_a_fresh_filter_is_the_mean_that_counts_padding():
    x = draw(2, 3, 6, 7)
    torch.testing.assert_close(nn.FilterPool2d(3, 2, 1).to(F64)(x), nn.AvgPool2d(3, 2, 1)(x))


def test_a_filter_is_a_depthwise_convolution():
    x, weight = draw(2, 3, 6, 7), draw(3, 2, 3, seed=1)
    module = put(nn.FilterPool2d((2, 3), 1, 1, 2, channels=3).to(F64), "weight", weight)
    want = torch.nn.functional.conv2d(x, weight[:, None], padding=1, dilation=2, groups=3)
    torch.testing.assert_close(module(x), want)


@pytest.mark.parametrize("pool", LEARNED)
@pytest.mark.parametrize("kernel", [None, 2])
def test_each_channel_has_a_value_of_its_own(pool, kernel):
    x = draw(2, 3, 4, 6).abs()
    module = pool(kernel, channels=3).to(F64)
    (name, parameter) = next(iter(module.named_parameters()))
    assert parameter.shape == (3,)
    values = [0.25, 0.5, 0.75]
    y = put(module, name, values)(x)
    assert y.shape == ((2, 3, 1, 1) if kernel is None else (2, 3, 2, 3))
    for c, value in enumerate(values):
        alone = pool(kernel, **{name: value}).to(F64)
        torch.testing.assert_close(y[:, c : c + 1], alone(x[:, c : c + 1]))
    y.sum().backward()
    assert (parameter.grad != 0).all()


@pytest.mark.parametrize("pool", LEARNED)
def test_what_is_not_learned_is_no_parameter(pool):
    module = pool(2, learned=False)
    assert module.state_dict() == {}
    torch.testing.assert_close(module(draw(1, 1, 4, 4)), pool(2).to(F64)(draw(1, 1, 4, 4)))


@pytest.mark.parametrize("pool", [*LEARNED, nn.FilterPool2d])
def test_zeros_and_a_batch_of_nothing_give_finite_gradients(pool):
    for x in (torch.zeros(1, 2, 4, 4), torch.zeros(0, 2, 4, 4)):
        module = pool(2)
        x.requires_grad_()
        module(x).sum().backward()
        assert all(part.grad.isfinite().all() for part in (x, *module.parameters()))


@pytest.mark.parametrize("pool", [*LEARNED, nn.FilterPool2d])
def test_nan_stays_in_its_window(pool):
    x = torch.ones(1, 1, 2, 4)
    x[..., 0, 0] = torch.nan
    y = pool(2)(x)
    assert y[..., 0].isnan().all()
    assert y[..., 1].isfinite().all()


@pytest.mark.parametrize("p", [-1.0, 0.0, 0.001])
def test_powers_that_fall_too_low_stop(p):
    x = draw(1, 1, 4, 4).abs()
    module = put(nn.GeMPool2d().to(F64), "p", [p])
    y = module(x)
    torch.testing.assert_close(y, nn.GeMPool2d(p=0.01).to(F64)(x))
    torch.testing.assert_close(y.squeeze(), x.clamp(min=1e-6).log().mean().exp(), rtol=0.1, atol=0)
    y.sum().backward()
    assert module.p.grad.item() == 0.0


def test_half_precision_powers_do_not_vanish():
    x = torch.full((1, 1, 4, 4), 1e-3, dtype=torch.float16)
    torch.testing.assert_close(nn.GeMPool2d().half()(x).flatten(), x.flatten()[:1], rtol=2e-3, atol=0)


def test_shares_out_of_range_count_as_its_ends():
    x = draw(1, 2, 4, 4)
    module = put(nn.AdaPool2d(2).to(F64), "beta", [-0.5])
    torch.testing.assert_close(module(x), nn.SoftPool2d(2)(x))
    free = put(nn.AdaPool2d(2, clamp=False).to(F64), "beta", [-0.5])
    assert not torch.allclose(free(x), module(x))


def test_a_share_does_not_know_the_size_it_first_saw():
    module = nn.AdaPool2d(2).to(F64)
    for size in (4, 6, 10):
        x = draw(1, 2, size, size)
        torch.testing.assert_close(module(x), pk.ada_pool2d(x, 2, beta=0.5))


@pytest.mark.parametrize(
    ("make_one", "blamed"),
    [
        (lambda: nn.GeMPool2d(0), "kernel_size"),
        (lambda: nn.GeMPool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.GeMPool2d(stride=2), "stride"),
        (lambda: nn.GeMPool2d(padding=1), "padding"),
        (lambda: nn.BoltzmannPool2d(dilation=2), "dilation"),
        (lambda: nn.AdaPool2d(ceil_mode=True), "ceil_mode"),
        (lambda: nn.GeMPool2d(p=0), "p"),
        (lambda: nn.GeMPool2d(p=torch.inf), "p"),
        (lambda: nn.GeMPool2d(p="3"), "p"),
        (lambda: nn.GeMPool2d(eps=-1e-6), "eps"),
        (lambda: nn.GeMPool2d(channels=0), "channels"),
        (lambda: nn.GeMPool2d(channels=3, learned=False), "channels"),
        (lambda: nn.GeMPool2d(learned="no"), "learned"),
        (lambda: nn.BoltzmannPool2d(beta=torch.nan), "beta"),
        (lambda: nn.BoltzmannPool2d(channels=2.0), "channels"),
        (lambda: nn.AdaPool2d(2, beta=1.5), "beta"),
        (lambda: nn.AdaPool2d(2, weighting="dsc"), "weighting"),
        (lambda: nn.AdaPool2d(2, eps=0.0), "eps"),
        (lambda: nn.AdaPool2d(2, clamp=2), "clamp"),
        (lambda: nn.FilterPool2d(None), "kernel_size"),
        (lambda: nn.FilterPool2d(2, channels=-1), "channels"),
        (lambda: nn.AutoPool1d(0), "channels"),
    ],
)
def test_a_bad_argument_is_named(make_one, blamed):
    with pytest.raises(PoolError, match=rf"you gave  (Sliding\()?{blamed}="):
        make_one()


def test_bad_inputs():
    for module in (*(pool(2, channels=3) for pool in (*LEARNED, nn.FilterPool2d)), nn.GeMPool2d(channels=3)):
        for x, kind, words in (
            (torch.zeros(1, 4, 4, 4), PoolError, "channels=3"),
            (torch.zeros(4, 4), PoolError, "input"),
            (torch.zeros(1, 3, 4, 4).int(), PoolTypeError, "dtype"),
            ([[1.0]], PoolTypeError, "input"),
        ):
            with pytest.raises(kind, match=words):
                module(x)


def test_bad_signals_and_masks():
    module, x, mask = nn.AutoPool1d(3), torch.zeros(2, 3, 5), torch.ones(2, 5).bool()
    for given, more, kind, words in (
        (x[None], {}, PoolError, "input"),
        (x[..., :0], {}, PoolError, "empty"),
        (x[:, :2], {}, PoolError, "channels=3"),
        (x.int(), {}, PoolTypeError, "input of dtype"),
        (x, {"mask": mask.float()}, PoolTypeError, "mask of dtype"),
        (x, {"mask": mask.T}, PoolError, "mask of shape"),
        (x, {"mask": mask, "lengths": torch.tensor([5, 5])}, PoolError, "mask and lengths"),
        (x, {"lengths": torch.tensor([5, 6])}, PoolError, "lengths"),
    ):
        with pytest.raises(kind, match=words):
            module(given, **more)
