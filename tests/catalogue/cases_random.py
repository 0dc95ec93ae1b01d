"""Cases of random poolings: the means over all draws, and draws that a seed fixes in every precision."""

from __future__ import annotations

import numpy as np
import torch
from cases import Case
from cases_order import BORDER, CUBE, LINE, UNEVEN, draw, over

from poolkit import nn
from poolkit.reference import random as oracle
from poolkit.reference.order import rank_weighted
from poolkit.reference.sliding import slide

SEED = {"generator": 5}


def mixed(window, rows: int, columns: int, prob: float):
    """`rows` by `columns` of the table (N, C) draw."""

    def run(state, x, generator=None):
        lots = torch.rand(rows, columns, generator=torch.Generator().manual_seed(generator)).numpy()
        most, mean = (slide(x, lambda cells, channel, f=f: float(f(cells)), *window) for f in (np.max, np.mean))
        chosen = np.broadcast_to(lots < prob, x.shape[:2])
        return np.where(chosen.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)), most, mean)

    return run


def s3(kernel, grid, stride):
    def run(state, x, generator=None):
        lots = None
        if generator is not None:
            source = torch.Generator().manual_seed(generator)
            lots = []
            for size, side in zip(x.shape[2:], grid, strict=True):
                drawn = torch.rand(size // side, side, generator=source).tolist() if size >= side else []
                lots.append(drawn + (torch.rand(1, size % side, generator=source).tolist() if size % side else []))
        return oracle.s3_pool(x, kernel, grid, stride, lots)

    return run


CASES = [
    Case(
        "stochastic_pool",
        lambda: nn.StochasticPool2d(*BORDER),
        (draw(2, 2, 5, 6),),
        over(BORDER, oracle.stochastic),
        others=((draw(1, 3, 3, 4),),),
    ),
    Case(
        "stochastic_pool",
        lambda: nn.StochasticPool1d(*LINE, activation="softmax", temperature=2.0),
        (draw(2, 2, 9),),
        over(LINE, lambda cells: oracle.stochastic(cells, "softmax", 2.0)),
        label="softmax",
    ),
    Case(
        "rank_stochastic_pool",
        lambda: nn.RankStochasticPool2d(*UNEVEN, alpha=0.3),
        (draw(2, 2, 5, 6),),
        over(UNEVEN, lambda cells: oracle.rank_drawn(cells, 0.3)),
    ),
    Case(
        "rank_stochastic_pool",
        lambda: nn.RankStochasticPool3d(*CUBE, alpha=0.6),
        (draw(1, 2, 3, 4, 2),),
        over(CUBE, lambda cells: rank_weighted(cells, 0.6)),
        label="volumes",
    ),
    Case(
        "max_drop_pool",
        lambda: nn.MaxDropPool2d(*BORDER, drop_prob=0.3),
        (draw(2, 2, 5, 6),),
        over(BORDER, lambda cells: oracle.max_drop(cells, 0.3)),
    ),
    Case(
        "random_mixed_pool",
        lambda: nn.RandomMixedPool2d(*BORDER, prob=0.3),
        (draw(2, 2, 5, 6),),
        over(BORDER, lambda cells: 0.3 * float(cells.max()) + 0.7 * float(cells.mean())),
        others=((draw(1, 3, 3, 4),),),
        label="evaluation",
    ),
    Case(
        "random_mixed_pool",
        lambda: nn.RandomMixedPool2d(*BORDER),
        (draw(2, 3, 5, 6),),
        mixed(BORDER, 1, 1, 0.5),
        training=True,
        keywords=SEED,
        label="layer",
    ),
    Case(
        "random_mixed_pool",
        lambda: nn.RandomMixedPool2d(*UNEVEN, per="channel"),
        (draw(2, 3, 5, 6),),
        mixed(UNEVEN, 1, 3, 0.5),
        training=True,
        keywords=SEED,
        label="channel",
    ),
    Case(
        "random_mixed_pool",
        lambda: nn.RandomMixedPool1d(*LINE, per="sample"),
        (draw(4, 2, 9),),
        mixed(LINE, 4, 1, 0.5),
        training=True,
        keywords=SEED,
        label="sample",
    ),
    Case(
        "random_mixed_pool",
        lambda: nn.RandomMixedPool3d(*CUBE, prob=0.7, per="plane"),
        (draw(3, 2, 3, 4, 2),),
        mixed(CUBE, 3, 2, 0.7),
        training=True,
        keywords=SEED,
        label="plane",
    ),
    Case(
        "s3_pool",
        lambda: nn.S3Pool2d(2),
        (draw(2, 2, 5, 6),),
        s3((2, 2), (2, 2), (2, 2)),
        others=((draw(1, 3, 3, 8),),),
        label="evaluation",
    ),
    Case(
        "s3_pool",
        lambda: nn.S3Pool2d((3, 2), (4, 6), stride=2),
        (draw(2, 2, 7, 13),),
        s3((3, 2), (4, 6), (2, 2)),
        others=((draw(1, 1, 4, 5),),),
        training=True,
        keywords=SEED,
        label="training",
    ),
    Case(
        "s3_pool",
        lambda: nn.S3Pool1d(3, stride=2),
        (draw(2, 2, 9),),
        s3((3,), (2,), (2,)),
        training=True,
        keywords=SEED,
        label="line",
    ),
    Case(
        "s3_pool",
        lambda: nn.S3Pool3d(2, 4),
        (draw(1, 2, 4, 5, 3),),
        s3((2, 2, 2), (4, 4, 4), (2, 2, 2)),
        training=True,
        keywords=SEED,
        label="volumes",
    ),
]
