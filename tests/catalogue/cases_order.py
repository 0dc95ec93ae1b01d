"""Cases of order statistics."""

from __future__ import annotations

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import order as oracle
from poolkit.reference.sliding import slide

_rng = np.random.default_rng(21)
# kernel, stride, padding, dilation of the module and of the oracle
TILES = ((2, 2), (2, 2), (0, 0), (1, 1))
BORDER = ((3, 3), (2, 2), (1, 1), (1, 1))
UNEVEN = ((2, 3), (1, 2), (0, 1), (2, 1))
LINE = ((3,), (1,), (1,), (2,))
CUBE = ((2, 2, 1), (2, 1, 1), (1, 0, 0), (1, 1, 1))


def draw(*shape: int) -> np.ndarray:
    """Distinct values, none of them 0: no rank or sign changes in half precision or under finite differences."""
    return _rng.permutation(np.prod(shape)).reshape(shape) / 16.0 - np.prod(shape) / 32.0 + 1 / 32


def over(window, formula):
    return lambda state, x: slide(x, lambda cells, channel: formula(cells), *window)


def ordinal(window, constraint):
    def run(state, x):
        weights = oracle.softmax(state["weight"]) if constraint == "softmax" else state["weight"]
        return slide(x, lambda cells, channel: oracle.ordinal(cells, weights[channel % len(weights)]), *window)

    return run


def taught(module, rows: int, seed: int):
    """With weights that are not those it begins with."""

    def make():
        made = module()
        weights = np.random.default_rng(seed).normal(size=(rows, made.weight.shape[1]))
        made.load_state_dict({"weight": made.weight.new_tensor(weights)})
        return made

    return make


CASES = [
    Case(
        "median_pool",
        lambda: nn.MedianPool2d(*BORDER),
        (draw(2, 2, 5, 6),),
        over(BORDER, lambda cells: oracle.quantile(cells, 0.5, "lower")),
        others=((draw(1, 3, 3, 4),),),
    ),
    Case(
        "median_pool",
        lambda: nn.MedianPool1d(*LINE, interpolation="midpoint"),
        (draw(2, 2, 9),),
        over(LINE, np.median),
        label="midpoint",
    ),
    Case(
        "quantile_pool",
        lambda: nn.QuantilePool2d(UNEVEN[0], 0.3, *UNEVEN[1:]),
        (draw(2, 2, 5, 6),),
        over(UNEVEN, lambda cells: oracle.quantile(cells, 0.3)),
    ),
    Case(
        "quantile_pool",
        lambda: nn.QuantilePool3d(CUBE[0], 0.8, *CUBE[1:], interpolation="nearest"),
        (draw(1, 2, 3, 4, 2),),
        over(CUBE, lambda cells: oracle.quantile(cells, 0.8, "nearest")),
        label="nearest",
    ),
    Case(
        "topk_mean_pool",
        lambda: nn.TopKMeanPool2d(BORDER[0], 4, *BORDER[1:]),
        (draw(2, 2, 5, 6),),
        over(BORDER, lambda cells: oracle.topk_mean(cells, 4)),
        others=((draw(1, 1, 7, 3),),),
    ),
    Case(
        "topk_mean_pool",
        lambda: nn.TopKMeanPool1d(LINE[0], 0.7, *LINE[1:]),
        (draw(2, 2, 9),),
        over(LINE, lambda cells: oracle.topk_mean(cells, 0.7)),
        label="share",
    ),
    Case(
        "rank_mean_pool",
        lambda: nn.RankPool2d(*BORDER),
        (draw(2, 2, 5, 6),),
        over(BORDER, lambda cells: oracle.topk_mean(cells, 0.5)),
        label="average",
    ),
    Case(
        "rank_mean_pool",
        lambda: nn.RankPool2d(*BORDER, mode="weighted", alpha=0.3),
        (draw(2, 2, 5, 6),),
        over(BORDER, lambda cells: oracle.rank_weighted(cells, 0.3)),
        label="weighted",
    ),
    Case(
        "rank_mean_pool",
        lambda: nn.RankPool3d(*CUBE, mode="weighted", alpha=0.5, normalize=False),
        (draw(1, 2, 3, 4, 2),),
        over(CUBE, lambda cells: oracle.rank_weighted(cells, 0.5, normalize=False)),
        label="paper",
    ),
    Case(
        "ordinal_pool",
        taught(lambda: nn.OrdinalPool2d(*BORDER), 1, 1),
        (draw(2, 2, 5, 6),),
        ordinal(BORDER, "softmax"),
        others=((draw(1, 3, 3, 4),),),
        label="softmax",
    ),
    Case(
        "ordinal_pool",
        taught(lambda: nn.OrdinalPool2d(*UNEVEN, channels=2, constraint="none"), 2, 2),
        (draw(2, 2, 5, 6),),
        ordinal(UNEVEN, "none"),
        label="channels",
    ),
    Case(
        "ordinal_pool",
        taught(lambda: nn.OrdinalPool1d(*LINE, channels=3), 3, 3),
        (draw(1, 3, 8),),
        ordinal(LINE, "softmax"),
        label="line",
    ),
]
