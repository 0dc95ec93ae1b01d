"""find_pools: every pooling a model runs, where, on what, and at what cost."""

import dataclasses
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

import poolkit as pk


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.chain = nn.MaxPool2d(5, 1, 2)
        self.blur = pk.nn.MaxBlurPool2d()
        self.inner = Inner()

    def forward(self, x, scale=1.0):
        x = self.norm(self.convolution(x)).relu()
        x = self.chain(self.chain(x)) * scale
        x = self.inner(self.blur(x))
        return pk.soft_pool2d(x, 2).mean((2, 3))


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8, 2, 2))

    def forward(self, x):
        x = functional.conv2d(x, self.weight, stride=2)
        return functional.max_pool2d(x, kernel_size=2, stride=1)


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64)


def test_every_pooling_is_found_in_order(x):
    sites = pk.find_pools(Net(), x, rounds=1)
    found = [(site.kind, site.name, site.pooling) for site in sites]
    assert found == [
        ("strided convolution", "convolution", "torch.nn.Conv2d"),
        ("module", "chain", "torch.nn.MaxPool2d"),
        ("module", "blur", "poolkit.nn.MaxBlurPool2d"),
        ("strided convolution", "inner", "torch.nn.functional.conv2d"),
        ("call", "inner", "torch.nn.functional.max_pool2d"),
        ("call", "", "poolkit.pool Soft"),
        ("call", "", "torch.Tensor.mean"),
    ]
    by_name = {site.pooling: site for site in sites}
    chain = by_name["torch.nn.MaxPool2d"]
    assert (chain.calls, chain.input_shape, chain.output_shape) == (2, (2, 8, 32, 32), (2, 8, 32, 32))
    assert chain.geometry["kernel_size"] == 5
    assert chain.place == ""
    call = by_name["torch.nn.functional.max_pool2d"]
    assert call.geometry["kernel_size"] == 2
    assert call.geometry["stride"] == 1
    assert re.fullmatch(r"(.*/)?test_find.py:\d+", call.place)
    assert by_name["poolkit.pool Soft"].geometry["kernel_size"] == (2, 2)
    assert by_name["torch.nn.functional.conv2d"].geometry["kernel_size"] == (2, 2)


def test_records_are_frozen_and_shares_are_shares(x):
    sites = pk.find_pools(Net(), x, rounds=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sites[0].calls = 3
    assert all(0 <= site.time_share <= 1 and 0 <= site.memory_share <= 1 and site.ms > 0 for site in sites)
    assert 0.1 < sum(site.time_share for site in sites) <= 1
    assert 0.1 < sum(site.memory_share for site in sites) <= 1


def test_the_bytes_kept_are_those_of_what_is_saved():
    """A maximum of torch keeps its input and 8 bytes an output, poolkit's one byte an output."""
    x = torch.randn(1, 4, 16, 16, requires_grad=True)
    inputs, outputs = 4 * 16 * 16 * 4, 4 * 8 * 8
    (theirs,) = pk.find_pools(nn.MaxPool2d(2), x, rounds=1)
    assert theirs.kept_bytes == inputs + 8 * outputs
    assert theirs.memory_share == 1
    (mine,) = pk.find_pools(pk.nn.MaxPool2d(2), x, rounds=1)
    assert mine.kept_bytes == outputs

    class Call(nn.Module):
        def forward(self, x):
            return pk.max_pool2d(x, 2)

    (call,) = pk.find_pools(Call(), x, rounds=1)
    assert call.kept_bytes == outputs
    (mean,) = pk.find_pools(nn.AvgPool2d(2), x, rounds=1)
    assert mean.kept_bytes == inputs, "torch's average keeps its input"


def test_an_accelerated_model_shows_what_it_runs(x):
    model = pk.accelerate(Net(), only_faster=False, quiet=True)
    found = [site.pooling for site in pk.find_pools(model, x, rounds=1)]
    assert found[1] == "torch.nn.MaxPool2d", "the module keeps its name"
    assert found[4:] == ["poolkit.pool Max", "poolkit.pool Soft", "poolkit.pool Mean"]


def test_the_model_is_left_as_it_was(x):
    model = Net().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    torch.manual_seed(1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    pk.find_pools(model, {"x": x, "scale": 2.0}, rounds=1)
    assert torch.equal(torch.rand(1), drawn)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(pk.PoolError, match="the model takes the example"):
        pk.find_pools(model, torch.randn(1, 4, 8, 8))
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]


def test_the_table(x, capsys):
    pk.find_pools(Net(), x, rounds=1, show=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert "kept for the backward pass" in printed
    assert "2x8x32x32" in printed
    pk.find_pools(nn.Linear(2, 2), torch.randn(1, 2), rounds=1, show=True)
    assert "runs no pooling" in capsys.readouterr().out


def test_bad_arguments(x):
    with pytest.raises(pk.PoolError, match="rounds"):
        pk.find_pools(Net(), x, rounds=0)
    with pytest.raises(pk.PoolTypeError, match="show"):
        pk.find_pools(Net(), x, show="yes")
