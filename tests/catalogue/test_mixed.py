"""What mixtures of maximum and mean, and trees of filters, promise beyond their formulas."""

import pytest
import torch
from cases_mixed import CASES
from test_modules import make, outputs, tensors

from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError

F64 = torch.float64


def draw(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def put(module, name, values):
    with torch.no_grad():
        module.get_parameter(name).copy_(torch.as_tensor(values))
    return module


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_graph_without_breaks(case):
    torch.compiler.reset()
    module = make(case)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for inputs in (case.inputs, *case.others):
        for got, want in zip(outputs(compiled(*tensors(inputs))), outputs(module(*tensors(inputs))), strict=True):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shapes_are_known_without_values_and_batches_may_be_missing_or_empty(case):
    module, (x,) = make(case), tensors(case.inputs)
    y = module(x)
    torch.testing.assert_close(module(x[0]), y[0])
    assert module(x[:0]).shape == (0, *y.shape[1:])
    assert module.to("meta")(x.to("meta")).shape == y.shape


# The numbers of parameters that the abstract of the paper's journal version gives (IEEE TPAMI 40, 2018).
@pytest.mark.parametrize(("pool", "count"), [(nn.MixedPool2d, 1), (nn.GatedPool2d, 9), (nn.TreePool2d, 27)])
def test_parameters_are_as_few_as_the_paper_says(pool, count):
    assert sum(parameter.numel() for parameter in pool(3).parameters()) == count


def test_by_hand():
    x = torch.tensor([[[1.0, 3.0, 4.0, 4.0]]])
    torch.testing.assert_close(put(nn.MixedPool1d(2), "weight", [0.25])(x), torch.tensor([[[2.25, 4.0]]]))
    # w x is log 3 in the first window and 0 in the second: the gate is 3/4, then 1/2.
    x, w = torch.tensor([[[1.0, 3.0, 5.0, 0.0]]]), [0.0, torch.tensor(3.0).log() / 3]
    torch.testing.assert_close(put(nn.GatedPool1d(2), "weight", [w])(x), torch.tensor([[[2.75, 3.75]]]))
    tree = put(put(nn.TreePool1d(2), "gates", [[w]]), "leaves", [[[1.0, 0.0]], [[0.0, 1.0]]])
    torch.testing.assert_close(tree(x), torch.tensor([[[1.5, 2.5]]]))


def test_the_gate_is_on_the_maximum():
    x = torch.tensor([[[1.0, 3.0]]])
    module = put(nn.GatedPool1d(2), "weight", [[100.0, 100.0]])
    assert torch.equal(module(x), torch.tensor([[[3.0]]]))
    assert torch.equal(put(module, "weight", [[-100.0, -100.0]])(x), torch.tensor([[[2.0]]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 1, 0, 2, True)])
def test_mixed_reaches_from_mean_to_maximum(window, dtype):
    x = draw(2, 3, 8, 9, dtype=dtype)
    kernel, stride, padding, dilation, ceil = (*window, *(None, 0, 1, False)[len(window) - 1 :])
    top = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)(x)
    mean = nn.AvgPool2d(kernel, stride, padding, ceil, False, dilation=dilation)(x)
    module = nn.MixedPool2d(*window).to(dtype)
    assert torch.equal(put(module, "weight", [1.0])(x), top)
    # Both sum the same cells in another order.
    near = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(put(module, "weight", [0.0])(x), mean, rtol=near, atol=near)
    torch.testing.assert_close(
        nn.AvgMaxPool2d(*window)(x), ((top.double() + mean.double()) / 2).to(dtype), rtol=near, atol=near
    )
    assert torch.equal(nn.CatAvgMaxPool2d(*window)(x), torch.cat([mean, top], 1))
    assert torch.equal(nn.CatAvgMaxPool2d(*window, first="max")(x), torch.cat([top, mean], 1))


def test_a_share_of_one_leaves_infinite_means_out():
    x = torch.tensor([[[-torch.inf, 1.0]]])
    assert torch.equal(put(nn.MixedPool1d(2), "weight", [1.0])(x), torch.tensor([[[1.0]]]))


def test_a_fresh_gate_is_one_half_and_learns():
    x = draw(2, 3, 8, 8)
    module = nn.GatedPool2d(3, 2, 1).to(F64)
    torch.testing.assert_close(module(x), nn.AvgMaxPool2d(3, 2, 1)(x))
    module(x).sum().backward()
    assert (module.weight.grad != 0).all()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_fresh_tree_is_the_mean_and_its_leaves_part(depth):
    torch.manual_seed(0)
    x = draw(2, 3, 8, 8)
    module = nn.TreePool2d(3, depth, 2, 1).to(F64)
    assert module.leaves.shape == (2 ** (depth - 1), 1, 3, 3)
    assert module.gates.shape == (2 ** (depth - 1) - 1, 1, 3, 3)
    torch.testing.assert_close(module(x), nn.AvgPool2d(3, 2, 1)(x))
    step = torch.optim.SGD(module.parameters(), 0.1)
    before = module.gates.detach().clone()
    for _ in range(2):
        step.zero_grad()
        module(x).square().sum().backward()
        step.step()
    assert len({tuple(leaf.flatten().tolist()) for leaf in module.leaves}) == len(module.leaves)
    assert ((module.gates != before).flatten(1).any(1)).all()


def test_a_tree_of_one_level_is_a_filter():
    x = draw(2, 3, 7, 7)
    tree, plain = nn.TreePool2d(3, 1, channels=3).to(F64), nn.FilterPool2d(3, channels=3).to(F64)
    weights = draw(3, 3, 3, seed=1)
    torch.testing.assert_close(put(tree, "leaves", weights[None])(x), put(plain, "weight", weights)(x))


def test_regions_of_the_outputs_size_have_one_weight_for_each_window():
    x = draw(2, 3, 6, 4)
    weights = draw(1, 3, 2, seed=1)
    module = put(nn.MixedPool2d(2, weight="region", regions=(3, 2)).to(F64), "weight", weights)
    top, mean = nn.MaxPool2d(2)(x), nn.AvgPool2d(2)(x)
    torch.testing.assert_close(module(x), weights * top + (1 - weights) * mean)


@pytest.mark.parametrize(
    ("size", "regions", "places"),
    [(6, 3, [0, 0, 1, 1, 2, 2]), (2, 4, [1, 3]), (5, 2, [0, 0, 1, 1, 1]), (1, 3, [1]), (3, 3, [0, 1, 2])],
)
def test_a_grid_of_weights_is_laid_over_any_output(size, regions, places):
    module = put(nn.MixedPool1d(2, weight="region", regions=regions), "weight", [list(range(regions))])
    x = torch.tensor([0.0, 2.0]).repeat(size)[None, None]
    # The maximum is 2 and the mean 1, so that the output is 1 + weight.
    assert (module(x) - 1).flatten().tolist() == places


def test_clamped_weights_stay_and_free_ones_leave():
    x = torch.tensor([[[1.0, 3.0]]])
    assert put(nn.MixedPool1d(2), "weight", [2.0])(x).item() == 4.0
    module = put(nn.MixedPool1d(2, clamp=True), "weight", [2.0])
    module(x).sum().backward()
    assert module(x).item() == 3.0
    assert module.weight.grad.item() == 0.0
    assert put(module, "weight", [-1.0])(x).item() == 2.0


def test_adaptive_windows_are_torchs():
    x = draw(2, 3, 7, 5)
    mean, top = (pool((3, None))(x) for pool in (torch.nn.AdaptiveAvgPool2d, torch.nn.AdaptiveMaxPool2d))
    torch.testing.assert_close(nn.AdaptiveAvgMaxPool2d((3, None))(x), (mean + top) / 2)
    torch.testing.assert_close(nn.AdaptiveCatAvgMaxPool2d((3, None))(x), torch.cat([mean, top], 1))
    whole = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
    torch.testing.assert_close(nn.AdaptiveCatAvgMaxPool2d()(x).flatten(1), whole)
    torch.testing.assert_close(nn.AdaptiveAvgMaxPool2d()(x).flatten(1), (x.mean((2, 3)) + x.amax((2, 3))) / 2)


def test_side_by_side_takes_integers():
    x = torch.arange(8).view(1, 1, 8)
    assert nn.CatAvgMaxPool1d(4)(x).tolist() == [[[2, 6], [3, 7]]]


@pytest.mark.parametrize("pool", [nn.MixedPool1d, nn.GatedPool1d, nn.TreePool1d, nn.AvgMaxPool1d, nn.CatAvgMaxPool1d])
def test_nan_stays_in_its_window(pool):
    y = pool(2)(torch.tensor([[[torch.nan, 1.0, 2.0, 3.0]]]))
    assert y[..., 0].isnan().all()
    assert y[..., 1].isfinite().all()


@pytest.mark.parametrize("pool", [nn.MixedPool2d, nn.GatedPool2d, nn.TreePool2d, nn.AvgMaxPool2d])
def test_zeros_have_finite_gradients(pool):
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    module = pool(2)
    module(x).sum().backward()
    assert all(part.grad.isfinite().all() for part in (x, *module.parameters()))


@pytest.mark.parametrize(
    ("make_one", "blamed"),
    [
        (lambda: nn.MixedPool2d(0), "kernel_size"),
        (lambda: nn.MixedPool2d(2, padding=-1), "padding"),
        (lambda: nn.MixedPool2d(2, weight="pixel"), "weight"),
        (lambda: nn.MixedPool2d(2, weight=0.5), "weight"),
        (lambda: nn.MixedPool2d(2, weight="channel"), "channels"),
        (lambda: nn.MixedPool2d(2, channels=3), "channels"),
        (lambda: nn.MixedPool2d(2, weight="channel", channels=0), "channels"),
        (lambda: nn.MixedPool2d(2, weight="region"), "regions"),
        (lambda: nn.MixedPool2d(2, regions=2), "regions"),
        (lambda: nn.MixedPool2d(2, weight="region", regions=(2, 2, 2)), "regions"),
        (lambda: nn.MixedPool2d(2, weight="region", regions=0), "regions"),
        (lambda: nn.MixedPool2d(2, initial=torch.nan), "initial"),
        (lambda: nn.MixedPool2d(2, clamp="yes"), "clamp"),
        (lambda: nn.GatedPool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.GatedPool2d(2.0), "kernel_size"),
        (lambda: nn.GatedPool2d(2, stride=0), "stride"),
        (lambda: nn.GatedPool2d(2, channels=True), "channels"),
        (lambda: nn.TreePool2d(2, 0), "depth"),
        (lambda: nn.TreePool2d(2, 11), "depth"),
        (lambda: nn.TreePool2d(2, 2.0), "depth"),
        (lambda: nn.AvgMaxPool2d(2, dilation=0), "dilation"),
        (lambda: nn.AdaptiveAvgMaxPool2d(0), "output_size"),
        (lambda: nn.CatAvgMaxPool2d(2, first="min"), "first"),
        (lambda: nn.AdaptiveCatAvgMaxPool2d(1, first=None), "first"),
    ],
)
def test_a_bad_argument_is_named(make_one, blamed):
    with pytest.raises(PoolError, match=rf"you gave  {blamed}="):
        make_one()


def test_bad_inputs():
    for module in (
        nn.MixedPool2d(2, weight="channel", channels=3),
        nn.MixedPool2d(2, weight="region", regions=2, channels=3),
        nn.GatedPool2d(2, channels=3),
        nn.TreePool2d(2, channels=3),
    ):
        for x, kind, words in (
            (torch.zeros(1, 4, 4, 4), PoolError, "channels=3"),
            (torch.zeros(4, 4), PoolError, "input"),
            (torch.zeros(1, 3, 4, 4).int(), PoolTypeError, "dtype"),
            ([[1.0]], PoolTypeError, "input"),
            (torch.zeros(1, 3, 1, 1), PoolError, "input"),
        ):
            with pytest.raises(kind, match=words):
                module(x)


def test_a_kernel_that_was_changed_without_its_weights_is_an_error():
    module = nn.GatedPool2d(2)
    module.kernel_size = 3
    with pytest.raises(PoolError, match="weights of length 4 with a kernel of 9 cells"):
        module(torch.zeros(1, 1, 6, 6))
