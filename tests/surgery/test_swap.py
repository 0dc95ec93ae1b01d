"""swap: other poolings with the same geometry, all or none, and back."""

import copy

import pytest
import torch
from torch import nn

import poolkit as pk


class Net(nn.Module):
    """Poolings of several kinds, one of them under two names."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(3, 2, 1))
        self.stage1 = nn.ModuleDict({"pool": nn.MaxPool2d(2, ceil_mode=True), "other": nn.AvgPool2d(3, 1, 1)})
        self.twice = self.stage1["other"]
        self.head = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = self.twice(self.stage1["other"](self.stage1["pool"](self.stem(x))))
        return self.fc(self.head(x).flatten(1))


@pytest.fixture
def x():
    return torch.randn(2, 3, 31, 34)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def kinds(model):
    return {name: type(module).__name__ for name, module in model.named_modules() if "Pool" in type(module).__name__}


BEFORE = {"stem.1": "MaxPool2d", "stage1.pool": "MaxPool2d", "stage1.other": "AvgPool2d", "head": "AdaptiveAvgPool2d"}


@pytest.mark.parametrize(
    ("rules", "changed"),
    [
        ({"AvgPool2d": "SoftPool2d"}, {"stage1.other": "SoftPool2d"}),
        ({nn.AvgPool2d: pk.nn.MedianPool2d}, {"stage1.other": "MedianPool2d"}),
        ({"stem.1": "MaxBlurPool2d"}, {"stem.1": "MaxBlurPool2d"}),
        ({"stage1.*": "LogSumExpPool2d"}, {"stage1.pool": "LogSumExpPool2d", "stage1.other": "LogSumExpPool2d"}),
        ({"MaxPool2d": "MinPool2d", "stem.1": "RMSPool2d"}, {"stem.1": "RMSPool2d", "stage1.pool": "MinPool2d"}),
        ({"s*": "MinPool2d", "MaxPool2d": "RMSPool2d"},
         dict.fromkeys(["stem.1", "stage1.pool", "stage1.other"], "MinPool2d")),
        ({"twice": nn.AvgPool2d(5, 1, 2)}, {"stage1.other": "AvgPool2d"}),
        ({"head": "GlobalMaxPool2d"}, {"head": "GlobalMaxPool2d"}),
        ({"head": "GeMPool2d"}, {"head": "GeMPool2d"}),
        ({"head": "AdaptiveSoftPool2d"}, {"head": "AdaptiveSoftPool2d"}),
        ({"stem.1": "LIPPool2d"}, {"stem.1": "LIPPool2d"}),
        ({"MaxPool2d": lambda name, old: pk.nn.SoftPool2d(3, 2, 1) if name == "stem.1" else None},
         {"stem.1": "SoftPool2d"}),
        (lambda name, old: pk.nn.SumPool2d(3, 1, 1) if name == "twice" or name.endswith("other") else None,
         {"stage1.other": "SumPool2d"}),
    ],
)  # fmt: skip
def test_a_rule_replaces_what_it_names_and_keeps_the_geometry(net, x, rules, changed):
    expected, names = net(x), set(net.state_dict())
    assert pk.swap(net, rules, example=x, quiet=True) is net
    assert {name: kind for name, kind in kinds(net).items() if name in BEFORE} == BEFORE | changed
    assert net.twice is net.stage1["other"]
    assert net(x).shape == expected.shape
    assert not torch.equal(net(x), expected)
    pk.restore(net)
    assert kinds(net) == BEFORE
    assert set(net.state_dict()) == names
    assert torch.equal(net(x), expected)


def test_the_geometry_arrives():
    model = nn.Sequential(
        nn.MaxPool2d((3, 2), (2, 1), (1, 0), dilation=(1, 2), ceil_mode=True),
        nn.AvgPool2d(2, count_include_pad=False, divisor_override=3),
        nn.FractionalMaxPool2d(2, output_ratio=0.5),
        nn.MaxPool1d(3, 2, 1, return_indices=True),
        nn.AdaptiveMaxPool3d((2, None, 1)),
    )
    pk.swap(
        model,
        {
            "0": "SoftPool2d",
            "1": pk.nn.AvgPool2d,
            "2": "FractionalAvgPool2d",
            "3": "MinPool1d",
            "4": "AdaptiveSoftPool3d",
        },
        quiet=True,
    )
    soft, mean, fractional, low, adaptive = model
    assert (soft.kernel_size, soft.stride, soft.padding, soft.dilation) == ((3, 2), (2, 1), (1, 0), (1, 2))
    assert soft.ceil_mode
    assert (mean.divisor_override, mean.count_include_pad) == (3, False)
    assert fractional.output_ratio == (0.5, 0.5)
    assert low.return_indices
    assert adaptive.output_size == (2, None, 1)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"stage1.pool": "MaxBlurPool2d"}, "ceil_mode=True"),
        ({"stem.1": "AdaptiveSoftPool2d"}, "kernel_size=3"),
        ({"stem.1": "GlobalMaxPool2d"}, "kernel_size=3"),
        ({"head": "SoftPool2d"}, "whole map"),
        ({"stem.1": "SoftPool1d"}, "same number of axes"),
        ({"stem.1": "LIPPool2d"}, "needs channels"),
        ({"stem.1": "QuantilePool2d"}, "needs q"),
        ({"stem.1": "S3Pool2d"}, "stem.1: S3Pool2d in place of MaxPool2d(3, stride=2, padding=1)"),
        ({"stem.1": nn.Identity}, "kernel_size=3"),
        ({"fc": "SoftPool2d"}, "kernel_size or an output_size"),
        ({"AvgPool2d": "SoftPool2d", "stem.1": lambda *_: 3}, "a rule returns a torch.nn.Module"),
    ],
)
def test_what_cannot_keep_the_geometry_is_an_error_and_changes_nothing(net, x, rules, message):
    expected = net(x)
    with pytest.raises(pk.PoolError) as error:
        pk.swap(net, rules)
    assert message in str(error.value)
    assert kinds(net) == BEFORE
    assert torch.equal(net(x), expected)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"stem.2": "SoftPool2d"}, "did you mean stem.1"),
        ({"MaxPool3d": "SoftPool3d"}, "a rule names a pooling of the model"),
        ({"AvgPool2d": "SoftPool2d", "blocks.*": "SoftPool2d"}, "blocks.*"),
        ({nn.LPPool2d: "SoftPool2d"}, "LPPool2d"),
        ({"AvgPool2d": "SoftPool"}, "did you mean"),
        ({"AvgPool2d": 3}, "here int"),
        ({3: "SoftPool2d"}, "key"),
        ([], "a mapping or a function"),
        (lambda name, old: None, "None for all"),
        (lambda name, old: "SoftPool2d", "here str"),
        ({"": "SoftPool2d"}, "the model itself"),
    ],
)
def test_bad_rules_are_errors_and_change_nothing(net, rules, message):
    with pytest.raises(pk.PoolError) as error:
        pk.swap(net, rules)
    assert message in str(error.value)
    assert kinds(net) == BEFORE


def test_with_an_example_shapes_are_checked_before_anything_changes(net, x):
    for wrong, message in (
        (nn.MaxPool2d(2), "the output shape stays (2, 8, 16, 17), here (2, 8, 15, 17)"),
        (nn.MaxPool2d(3, 2, 1, return_indices=True), "here ((2, 8, 16, 17), (2, 8, 16, 17))"),
        (nn.Linear(4, 4), "takes what the old module takes"),
    ):
        with pytest.raises(pk.PoolError) as error:
            pk.swap(net, {"AvgPool2d": "SoftPool2d", "stem.1": wrong}, example=x)
        assert message in str(error.value)
        assert "stem.1" in str(error.value)
        assert kinds(net) == BEFORE
    with pytest.raises(pk.PoolError, match=r"float32 tensor of shape \(2, 5, 8, 8\)"):
        pk.swap(net, {"AvgPool2d": "SoftPool2d"}, example=torch.randn(2, 5, 8, 8))
    assert kinds(net) == BEFORE


def test_trying_an_example_leaves_no_trace(x):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.MaxPool2d(2)).train()
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    pk.swap(model, {"MaxPool2d": "SoftPool2d"}, example={"input": x}, quiet=True)
    assert torch.equal(torch.rand(1), drawn)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_the_new_module_takes_over_hooks_flag_and_dtype(x):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)).double().eval()
    seen = []
    handle = model[1].register_forward_hook(lambda *_: seen.append("hook"))
    pk.swap(model, {"MaxPool2d": "GeMPool2d"}, quiet=True)
    assert model[1].p.dtype == torch.float64
    assert not model[1].training
    model(x.double())
    handle.remove()
    model(x.double())
    assert seen == ["hook"]
    assert "1.p" in model.state_dict()


def test_one_given_module_for_several_places_is_copied(net):
    given = pk.nn.GeMPool2d(3, 1, 1)
    pk.swap(net, {"MaxPool2d": given}, quiet=True)
    assert net.stem[1] is given
    assert isinstance(net.stage1["pool"], pk.nn.GeMPool2d)
    assert net.stage1["pool"] is not given


def test_swapped_twice_and_copied_it_still_finds_back(net, x):
    expected = net(x)
    pk.accelerate(net, quiet=True)
    pk.swap(net, {"AvgPool2d": "SoftPool2d"}, quiet=True)
    pk.swap(net, {"SoftPool2d": "MedianPool2d"}, quiet=True)
    assert kinds(net)["stage1.other"] == "MedianPool2d"
    for model in (copy.deepcopy(net), net):
        pk.restore(model)
        assert kinds(model) == BEFORE
        assert type(model.stem[1]) is nn.MaxPool2d
        assert torch.equal(model(x), expected)


def test_a_model_without_pooling_says_so_and_stays(capsys):
    model = nn.Sequential(nn.Linear(2, 2))
    assert pk.swap(model, {"MaxPool2d": "SoftPool2d"}) is model
    assert "no pooling" in capsys.readouterr().out


def test_the_table_says_what_was_and_what_is(net, x, capsys):
    pk.swap(net, {"AvgPool2d": "SoftPool2d", "head": pk.nn.GeMPool2d(channels=8), "stem.1": "LIPPool2d"}, example=x)
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 swapped" in printed
    assert "stage1.other, twice" in printed
    assert "same shape" in printed
