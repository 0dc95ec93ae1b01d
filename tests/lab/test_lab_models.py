import pytest
import torch
from torch import nn

import poolkit.nn as pn
from poolkit.errors import PoolError
from poolkit.lab.models import MODELS, build
from poolkit.lab.poolings import DEFAULT, POOLINGS, is_made, parse, split

SMALL = {"max_blur"}  # blurs three cells of what is left, which in the deepest models is one


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_trains_in_every_model(name):
    torch.manual_seed(0)
    for model in MODELS:
        side = 16 if name in SMALL else 8
        task = MODELS[model].task
        made = build(model, 2, 3, (side, side), parse(name), task)
        y = made(torch.randn(2, 2, side, side))
        assert y.shape == ((2, 3) if task == "classification" else (2, 3, side, side))
        y.sum().backward()
        pools = [module for module in made.modules() if is_made(module)]
        assert pools
        for pool in pools:
            for parameter in pool.parameters():
                assert parameter.grad is not None
                assert bool(parameter.grad.isfinite().all())


def test_two_networks_that_differ_in_their_poolings_start_alike():
    made = []
    for name in ("max", "attention", "tree", "conv"):
        torch.manual_seed(7)
        model = build("vgg_small", 3, 10, (16, 16), parse(name))
        made.append([p for m in model.modules() if isinstance(m, nn.Linear) for p in m.parameters()])
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(made[0], other, strict=True))


def test_names_and_settings():
    assert split("max, soft(beta=2,ceil_mode=True) ,ada") == ["max", "soft(beta=2,ceil_mode=True)", "ada"]
    assert parse("MaxPool2d").name == parse("max_pool").name == "max"
    assert parse("lip") == parse("attention")
    assert parse("soft(beta=2.0)")(4).beta == 2.0
    assert len(DEFAULT) == 8
    for text in ("maxx", "", "max()()", "max(2)", "soft(beta=open('x'))", "import os", "max;min", "soft(beta="):
        with pytest.raises(PoolError):
            parse(text)
    with pytest.raises(PoolError, match="did you mean max"):
        parse("maxx")
    with pytest.raises(PoolError, match="settings are arguments"):
        parse("max(warp=3)")(4)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.later = pn.AvgPool2d(2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.later(self.pool(self.conv(x).relu())).mean((2, 3)))


def test_a_model_of_ones_own_has_its_poolings_replaced(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "own_nets", __import__("types").SimpleNamespace(Own=Own))
    model = build("own_nets:Own", 3, 4, (16, 16), parse("attention"))
    pools = [module for module in model.modules() if is_made(module)]
    assert [(type(p).__name__, p.kernel_size, p.stride, p.padding) for p in pools] == [
        ("LIPPool2d", 3, 2, 1), ("LIPPool2d", 2, 2, 0),
    ]  # fmt: skip
    with pytest.raises(PoolError, match="here torch says"):
        build("own_nets:Own", 1, 4, (16, 16), parse("max"))
    with pytest.raises(PoolError, match=r"answers \(2, 7\), here \(2, 4\)"):
        build("own_nets:Own", 3, 7, (16, 16), parse("max"))


def test_what_does_not_fit_is_refused():
    with pytest.raises(PoolError, match="here unknown"):
        build("lenet6", 1, 10, (8, 8), parse("max"))
    with pytest.raises(PoolError, match="a model for segmentation"):
        build("lenet", 1, 10, (8, 8), parse("max"), "segmentation")
    with pytest.raises(PoolError, match="the model fits them"):
        build("lenet", 1, 10, (2, 2), parse("max"))
