"""Cases of learned powers, sharpnesses, likenesses and filters."""

from __future__ import annotations

import numpy as np
from cases import Case
from cases_mixed import filled

from poolkit import nn
from poolkit.reference import weighted as oracle

_rng = np.random.default_rng(43)
MASK = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]], bool)
GAPS = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 1]], bool)


def draw(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def _auto(state, x, real=None, lengths=None):
    mask = real if lengths is None else np.arange(x.shape[-1]) < lengths[:, None]
    return oracle.auto_pool(x, state["alpha"], mask)


CASES = [
    Case(
        "gem_pool",
        lambda: filled(nn.GeMPool2d(channels=3)),
        (np.abs(draw(2, 3, 4, 3)) + 0.1,),
        lambda state, x: oracle.gem_pool(x, state["p"], None),
        others=((np.abs(draw(1, 3, 5, 7)),),),
        label="global",
    ),
    Case(
        "gem_pool",
        lambda: filled(nn.GeMPool2d(3, stride=2, padding=1, eps=0.25)),
        (draw(2, 3, 5, 4),),
        lambda state, x: oracle.gem_pool(x, state["p"], (3, 3), stride=2, padding=1, eps=0.25),
        others=((draw(1, 2, 3, 6),),),
        label="window",
    ),
    Case(
        "gem_pool",
        lambda: nn.GeMPool1d(2, p=4.0, learned=False),
        (np.abs(draw(2, 3, 6)) + 0.1,),
        lambda state, x: oracle.gem_pool(x, np.array([4.0]), (2,), stride=2),
        label="fixed",
    ),
    Case(
        "boltzmann_pool",
        lambda: filled(nn.BoltzmannPool2d(2, stride=1, channels=3)),
        (draw(2, 3, 3, 4),),
        lambda state, x: oracle.boltzmann_pool(x, state["beta"], (2, 2)),
        others=((draw(1, 3, 5, 2),),),
        label="channel",
    ),
    Case(
        "boltzmann_pool",
        lambda: filled(nn.BoltzmannPool3d(beta=-1.0)),
        (draw(2, 2, 3, 2, 4),),
        lambda state, x: oracle.boltzmann_pool(x, state["beta"], None),
        others=((draw(1, 3, 5, 2, 2),),),
        label="global",
    ),
    Case(
        "boltzmann_pool",
        lambda: nn.BoltzmannPool1d(3, beta=2.0, learned=False),
        (draw(2, 2, 7),),
        lambda state, x: oracle.boltzmann_pool(x, np.array([2.0]), (3,), stride=3),
        label="fixed",
    ),
    Case(
        "ada_pool",
        lambda: filled(nn.AdaPool2d(2), scale=0.1),
        (draw(2, 3, 4, 6),),
        lambda state, x: oracle.ada_pool(x, state["beta"], (2, 2), stride=2),
        others=((draw(1, 2, 7, 3),),),
    ),
    Case(
        "ada_pool",
        lambda: filled(nn.AdaPool1d(3, stride=1, padding=1, weighting="idw", eps=0.1, channels=3, clamp=False)),
        (draw(2, 3, 6),),
        lambda state, x: oracle.ada_pool(x, state["beta"], (3,), weighting="idw", eps=0.1, padding=1),
        others=((draw(1, 3, 4),),),
        label="idw",
    ),
    Case(
        "ada_pool",
        lambda: nn.AdaPool3d(beta=0.25, learned=False),
        (draw(2, 2, 3, 2, 2),),
        lambda state, x: oracle.ada_pool(x, np.array([0.25]), None),
        label="fixed",
    ),
    Case(
        "filter_pool",
        lambda: filled(nn.FilterPool2d((2, 3), stride=2, padding=1, channels=3)),
        (draw(2, 3, 4, 5),),
        lambda state, x: oracle.filter_pool(x, state["weight"], stride=2, padding=1),
        others=((draw(1, 3, 6, 3),),),
        label="channel",
    ),
    Case(
        "filter_pool",
        lambda: filled(nn.FilterPool1d(3, stride=1, dilation=2)),
        (draw(2, 3, 8),),
        lambda state, x: oracle.filter_pool(x, state["weight"], dilation=2),
        others=((draw(1, 2, 5),),),
    ),
    Case(
        "auto_pool",
        lambda: filled(nn.AutoPool1d(2), scale=2.0),
        (draw(3, 2, 5), MASK),
        _auto,
        others=((draw(1, 2, 9),), (draw(3, 2, 4), GAPS), (draw(2, 2, 1),)),
    ),
    Case(
        "auto_pool",
        lambda: filled(nn.AutoPool1d(2)),
        (draw(3, 2, 5),),
        _auto,
        others=((draw(3, 2, 4),),),
        keywords={"lengths": np.array([2, 4, 0])},
        label="lengths",
    ),
]
