"""Global, adaptive and pyramid poolings: known numbers, laws, and what is refused."""

import copy
import inspect
import pickle

import pytest
import torch
from torch.nn import functional

from poolkit import PoolError, nn
from poolkit.nn.pyramid import rmac_regions

WHOLE = sorted(name for name in nn.__all__ if name.startswith("Global"))
OTHERS = ("Polyphase", "AvgMax")  # adaptive, but no reducer of their own
SHARED = sorted(name for name in nn.__all__ if name.startswith("Adaptive") and not any(word in name for word in OTHERS))
FIRST = {"AdaptiveLpPool1d": (2.0,), "AdaptiveLpPool2d": (2.0,), "AdaptiveLpPool3d": (2.0,)}


def rank_of(name: str) -> int:
    return int(name[-2])


def positive(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) + 0.1


def test_every_local_reducer_has_its_global_and_adaptive_modules():
    kinds = {"Max", "Min", "Avg", "Sum", "RMS", "Lp", "PowerMean", "Soft", "LogSumExp"}
    for names, prefix in ((WHOLE, "Global"), (SHARED, "Adaptive")):
        assert set(names) == {f"{prefix}{kind}Pool{rank}d" for kind in kinds for rank in (1, 2, 3)}


@pytest.mark.parametrize("name", WHOLE)
def test_a_global_pooling_is_the_adaptive_one_to_a_single_window(name):
    rank = rank_of(name)
    x = positive(2, 3, *(5, 4, 3)[:rank])
    module = getattr(nn, name)()
    local = name.replace("Global", "Adaptive")
    want = getattr(nn, local)(*((2.0,) if local in FIRST else ()), 1)(x)
    torch.testing.assert_close(module(x), want.flatten(1), rtol=0, atol=0)
    torch.testing.assert_close(getattr(nn, name)(keepdims=True)(x), want, rtol=0, atol=0)
    assert getattr(nn, name)()(x[0]).shape == (3,)


@pytest.mark.parametrize("name", [*WHOLE, *SHARED])
def test_each_is_a_class_of_its_own_with_words_and_a_pickle(name):
    kind = getattr(nn, name)
    assert inspect.isclass(kind)
    assert kind.__name__ == name
    assert "{" not in inspect.getdoc(kind)
    module = kind() if name in WHOLE else kind(*FIRST.get(name, ()), 3)
    again = pickle.loads(pickle.dumps(module))
    assert repr(again) == repr(module)
    assert repr(module).startswith(f"{name}(")
    x = positive(1, 2, *(5, 4, 3)[: rank_of(name)])
    assert torch.equal(again(x), module(x))


def test_extremes_of_the_whole_map_say_where():
    x = torch.tensor([[[3.0, 7.0, 7.0, 1.0]]])
    values, indices = nn.GlobalMaxPool1d(return_indices=True)(x)
    assert (values.item(), indices.item()) == (7.0, 1)
    assert nn.GlobalMinPool1d(return_indices=True)(x)[1].item() == 3
    values, indices = nn.AdaptiveMinPool1d(2, return_indices=True)(x)
    assert indices.tolist() == [[[0, 3]]]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: nn.GlobalMaxPool2d(keepdims="yes"), "keepdims"),
        (lambda: nn.GlobalLpPool2d(0.0), "norm_type"),
        (lambda: nn.GlobalSoftPool1d(beta=0), "beta"),
        (lambda: nn.GlobalPowerMeanPool3d(p=-1.0), "p="),
        (lambda: nn.AdaptiveMinPool2d(0), "output_size"),
        (lambda: nn.AdaptiveSumPool2d((1, 2, 3)), "output_size"),
        (lambda: nn.AdaptiveLpPool2d("two", 3), "norm_type"),
        (lambda: nn.AdaptivePowerMeanPool2d(3, eps=-1.0), "eps"),
        (lambda: nn.AdaptiveLogSumExpPool1d(3, mean=2), "mean"),
        (lambda: nn.SpatialPyramidPool2d(()), "levels"),
        (lambda: nn.SpatialPyramidPool2d(4), "levels"),
        (lambda: nn.SpatialPyramidPool2d((1, (2, 2, 2))), "levels"),
        (lambda: nn.SpatialPyramidPool2d((1, 0)), "levels"),
        (lambda: nn.SpatialPyramidPool2d(mode="mean"), "mode"),
        (lambda: nn.SpatialPyramidPool2d(mode=3), "mode"),
        (lambda: nn.SpatialPyramidPool2d(flatten="no"), "flatten"),
        (lambda: nn.ChainedMaxPool2d(4), "kernel_size"),
        (lambda: nn.ChainedMaxPool2d(repeats=0), "repeats"),
        (lambda: nn.SPPF(0, 4), "in_channels"),
        (lambda: nn.SPPF(4, 4.0), "out_channels"),
        (lambda: nn.SPPF(4, 4, 2), "kernel_size"),
        (lambda: nn.SPPF(4, 4, 5, 0), "hidden_channels"),
        (lambda: nn.PyramidPoolingModule(3), "in_channels"),
        (lambda: nn.PyramidPoolingModule(8, ()), "bins"),
        (lambda: nn.PyramidPoolingModule(8, out_channels=0), "out_channels"),
        (lambda: nn.PyramidPoolingModule(8, align_corners=None), "align_corners"),
        (lambda: nn.StripPool2d(0), "channels"),
        (lambda: nn.StripPool2d(3, 2), "kernel_size"),
        (lambda: nn.RMACPool(0), "levels"),
        (lambda: nn.RMACPool(eps=0.0), "eps"),
        (lambda: nn.RMACPool(whole=None), "whole"),
        (lambda: nn.WildcatPool2d(0), "kmax"),
        (lambda: nn.WildcatPool2d(1.0), "kmax"),
        (lambda: nn.WildcatPool2d(1, -1), "kmin"),
        (lambda: nn.WildcatPool2d(1, 1.5), "kmin"),
        (lambda: nn.WildcatPool2d(alpha=float("nan")), "alpha"),
    ],
)
def test_a_bad_argument_is_named(make, named):
    with pytest.raises(PoolError) as caught:
        make()
    assert named in caught.value.gave


MODULES = [
    nn.SpatialPyramidPool2d(),
    nn.ChainedMaxPool2d(),
    nn.SPPF(4, 2),
    nn.PyramidPoolingModule(4),
    nn.StripPool2d(4),
    nn.RMACPool(),
    nn.WildcatPool2d(),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
@pytest.mark.parametrize(
    "x",
    [torch.ones(4, 5), torch.ones(1, 4, 5, 5, dtype=torch.int64), torch.ones(2, 4, 0, 3), [1.0]],
    ids=["two axes", "integers", "empty", "a list"],
)
def test_a_bad_input_is_named(module, x):
    with pytest.raises(PoolError, match="input x"):
        module(x)


@pytest.mark.parametrize("module", MODULES[2:5], ids=lambda module: type(module).__name__)
def test_other_channels_are_refused(module):
    with pytest.raises(PoolError, match="4 channels"):
        module(torch.rand(2, 3, 5, 5))


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_the_pyramid_has_one_length_for_every_size(size):
    spp = nn.SpatialPyramidPool2d((1, 2, (4, 3)))
    assert spp.cells == 1 + 4 + 12
    assert spp(torch.rand(2, 5, size, 9)).shape == (2, 5 * 17)
    assert spp(torch.rand(5, size, size)).shape == (5 * 17,)


def test_one_level_of_one_window_is_global_pooling():
    x = positive(2, 3, 5, 6)
    assert torch.equal(nn.SpatialPyramidPool2d((1,))(x), nn.GlobalMaxPool2d()(x))
    assert torch.equal(nn.SpatialPyramidPool2d((1,), "avg")(x), nn.GlobalAvgPool2d()(x))


def test_three_chained_passes_are_windows_of_5_9_and_13():
    x = positive(1, 2, 20, 17)
    parts = [x, *(functional.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))]
    assert torch.equal(nn.ChainedMaxPool2d(5, 3)(x), torch.cat(parts, 1))


def test_batch_normalisation_of_one_number_is_refused_in_training_only():
    module = nn.PyramidPoolingModule(4)
    x = positive(1, 4, 6, 6)
    with pytest.raises(PoolError, match="norm"):
        module(x)
    assert module.eval()(x).shape == (1, 8, 6, 6)
    assert nn.PyramidPoolingModule(4, norm=None)(x).shape == (1, 8, 6, 6)
    grouped = nn.PyramidPoolingModule(4, (1, 2), norm=lambda n: torch.nn.GroupNorm(1, n))
    assert grouped(x).shape == (1, 8, 6, 6)


def test_a_strip_sees_its_whole_row_and_column_and_their_neighbours_only():
    module = nn.StripPool2d(1).double()
    x = positive(1, 1, 9, 9).double().requires_grad_()
    module(x)[0, 0, 4, 4].backward()
    seen = x.grad[0, 0] != 0
    assert seen[3:6].all()
    assert seen[:, 3:6].all()
    seen[3:6] = seen[:, 3:6] = False
    assert not seen.any()


def test_regions_of_a_square_map_are_1_4_and_9():
    regions = rmac_regions(12, 12, 3)
    assert regions[0] == (0, 0, 12)
    assert regions[1:5] == [(0, 0, 8), (0, 4, 8), (4, 0, 8), (4, 4, 8)]
    assert [side for _, _, side in regions[5:]] == [6] * 9
    assert [top for top, left, _ in regions[5:] if left == 0] == [0, 3, 6]


def test_regions_of_a_long_map_overlap_by_about_two_fifths():
    lefts = [left for _, left, side in rmac_regions(20, 44, 1) if side == 20]
    assert lefts == [0, 12, 24]
    assert [top for top, _, _ in rmac_regions(44, 20, 1)] == lefts


def test_a_region_counts_by_its_direction_alone():
    module = nn.RMACPool(1)
    x = positive(2, 4, 6, 6)
    torch.testing.assert_close(module(x), module(3 * x))
    torch.testing.assert_close(module(x).norm(dim=1), torch.ones(2))
    torch.testing.assert_close(nn.RMACPool(1, whole=True)(x), 2 * module(x))


@pytest.mark.parametrize("module", [nn.RMACPool(), nn.WildcatPool2d(3, 2), nn.SpatialPyramidPool2d()], ids=str)
def test_zeros_give_zeros_and_finite_gradients(module):
    x = torch.zeros(2, 3, 6, 5, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_wildcat_by_hand():
    x = torch.tensor([[[[5.0, -2.0], [1.0, 4.0]]]])
    assert nn.WildcatPool2d()(x).item() == (5 - 2) / 2
    assert nn.WildcatPool2d(2, 1, 0.5)(x).item() == (4.5 - 0.5 * 2) / 2
    assert nn.WildcatPool2d(2, 0)(x).item() == 4.5
    assert nn.WildcatPool2d(0.5, 0.1, 1.0)(x).item() == (4.5 - 2) / 2


def test_wildcat_of_all_cells_is_the_mean():
    x = positive(2, 3, 4, 5)
    torch.testing.assert_close(nn.WildcatPool2d(20, 0)(x), x.mean((2, 3)))
    torch.testing.assert_close(nn.WildcatPool2d(20)(x), x.mean((2, 3)))


def test_of_equal_cells_the_first_are_chosen():
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    nn.WildcatPool2d(1, 1, 0.5)(x).backward()
    assert x.grad.tolist() == [[[[0.75, 0.0], [0.0, 0.0]]]]


def test_more_cells_than_there_are_cannot_be_taken():
    with pytest.raises(PoolError, match="kmin=5"):
        nn.WildcatPool2d(1, 5)(torch.rand(1, 1, 2, 2))


@pytest.mark.parametrize("module", [*MODULES, nn.GlobalSoftPool2d(), nn.AdaptiveLpPool2d(2.0, 3)], ids=str)
def test_shapes_are_known_without_numbers(module):
    x = torch.rand(2, 4, 9, 7)
    twin = copy.deepcopy(module).to("meta")
    assert twin(x.to("meta")).shape == module(x).shape
