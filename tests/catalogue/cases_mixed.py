"""Cases of mixtures of maximum and mean, and of trees of filters."""

from __future__ import annotations

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import mixed as oracle

_rng = np.random.default_rng(41)


def draw(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def filled(module, seed: int = 3, scale: float = 0.6):
    """The module with parameters as training might leave them."""
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        values = scale * rng.normal(size=parameter.shape)
        parameter.data = parameter.data + parameter.new_tensor(values)
    return module


CASES = [
    Case(
        "mixed_pool",
        lambda: filled(nn.MixedPool2d(3, stride=2, padding=1)),
        (draw(2, 3, 5, 6),),
        lambda state, x: oracle.mixed_pool(x, state["weight"], (3, 3), stride=2, padding=1),
        others=((draw(1, 2, 7, 4),),),
    ),
    Case(
        "mixed_pool",
        lambda: filled(nn.MixedPool1d(3, stride=2, dilation=2, weight="channel", channels=3)),
        (draw(2, 3, 9),),
        lambda state, x: oracle.mixed_pool(x, state["weight"], (3,), stride=2, dilation=2),
        others=((draw(1, 3, 6),),),
        label="channel",
    ),
    Case(
        "mixed_pool",
        lambda: filled(nn.MixedPool2d(2, weight="region", regions=(2, 3), clamp=True)),
        (draw(2, 3, 4, 6),),
        lambda state, x: oracle.mixed_pool(x, state["weight"].clip(0, 1), (2, 2), stride=2),
        others=((draw(1, 2, 7, 9),), (draw(1, 2, 10, 2),), (draw(1, 1, 3, 4),)),
        label="region",
    ),
    Case(
        "mixed_pool",
        lambda: filled(nn.MixedPool3d(2, weight="region", channels=2, regions=2)),
        (draw(1, 2, 6, 4, 2),),
        lambda state, x: oracle.mixed_pool(x, state["weight"], (2, 2, 2), stride=2),
        others=((draw(1, 2, 4, 5, 6),),),
        label="region-channel",
    ),
    Case(
        "gated_pool",
        lambda: filled(nn.GatedPool2d((2, 3), stride=1, padding=1)),
        (draw(2, 3, 3, 4),),
        lambda state, x: oracle.gated_pool(x, state["weight"], stride=1, padding=1),
        others=((draw(1, 2, 5, 3),),),
    ),
    Case(
        "gated_pool",
        lambda: filled(nn.GatedPool1d(3, stride=2, channels=3)),
        (draw(2, 3, 9),),
        lambda state, x: oracle.gated_pool(x, state["weight"], stride=2),
        others=((draw(1, 3, 4),),),
        label="channel",
    ),
    Case(
        "tree_pool",
        lambda: filled(nn.TreePool2d(2, stride=1, padding=1)),
        (draw(2, 3, 3, 4),),
        lambda state, x: oracle.tree_pool(x, state["leaves"], state["gates"], stride=1, padding=1),
        others=((draw(1, 2, 5, 3),),),
    ),
    Case(
        "tree_pool",
        lambda: filled(nn.TreePool1d(3, 4, stride=2, channels=2)),
        (draw(2, 2, 7),),
        lambda state, x: oracle.tree_pool(x, state["leaves"], state["gates"], stride=2),
        others=((draw(1, 2, 5),),),
        label="deep",
    ),
    Case(
        "tree_pool",
        lambda: filled(nn.TreePool3d(2, depth=1)),
        (draw(1, 2, 4, 2, 3),),
        lambda state, x: oracle.tree_pool(x, state["leaves"], state["gates"], stride=2),
        label="leaf",
    ),
    Case(
        "avg_max_pool",
        lambda: nn.AvgMaxPool2d(3, stride=2, padding=1),
        (draw(2, 3, 5, 6),),
        lambda state, x: oracle.avg_max_pool(x, (3, 3), stride=2, padding=1),
        others=((draw(1, 2, 7, 4),),),
    ),
    Case(
        "avg_max_pool",
        lambda: nn.AdaptiveAvgMaxPool2d((2, 3)),
        (draw(2, 3, 5, 4),),
        lambda state, x: oracle.adaptive_avg_max_pool(x, (2, 3)),
        others=((draw(1, 2, 6, 2),),),
        label="adaptive",
    ),
    Case(
        "avg_max_pool",
        nn.AdaptiveAvgMaxPool3d,
        (draw(2, 3, 2, 4, 3),),
        lambda state, x: oracle.adaptive_avg_max_pool(x, (1, 1, 1)),
        label="global",
    ),
    Case(
        "cat_avg_max_pool",
        lambda: nn.CatAvgMaxPool2d(3, stride=2, padding=1),
        (draw(2, 3, 5, 6),),
        lambda state, x: oracle.cat_avg_max_pool(x, (3, 3), stride=2, padding=1),
        others=((draw(1, 2, 7, 4),),),
    ),
    Case(
        "cat_avg_max_pool",
        lambda: nn.CatAvgMaxPool1d(2, first="max"),
        (draw(2, 3, 7),),
        lambda state, x: oracle.cat_avg_max_pool(x, (2,), "max", stride=2),
        label="max-first",
    ),
    Case(
        "cat_avg_max_pool",
        lambda: nn.AdaptiveCatAvgMaxPool2d(2, first="max"),
        (draw(2, 3, 5, 4),),
        lambda state, x: oracle.adaptive_cat_avg_max_pool(x, (2, 2), "max"),
        others=((draw(1, 2, 3, 2),),),
        label="adaptive",
    ),
]
