"""Cases of statistics over time, and of the spread of sliding windows."""

from __future__ import annotations

import numpy as np
from cases import Case

from poolkit import nn
from poolkit.reference import moments as oracle
from poolkit.reference.sliding import slide

_rng = np.random.default_rng(13)
MASK = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]], bool)
GAPS = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 1]], bool)


def draw(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


def _mask(x: np.ndarray, real, lengths) -> np.ndarray | None:
    return real if lengths is None else np.arange(x.shape[-1]) < lengths[:, None]


def _statistics(unbiased: bool = False):
    def run(state, x, real=None, lengths=None):
        return oracle.statistics_pool(x, _mask(x, real, lengths), unbiased=unbiased)

    return run


def _attentive(state, x, real=None, lengths=None):
    hidden, scores = ((state[f"{name}.weight"][:, :, 0], state[f"{name}.bias"]) for name in ("W", "V"))
    return oracle.attentive_statistics_pool(x, _mask(x, real, lengths), hidden, state.get("W_context.weight"), scores)


# kernel, stride, padding, dilation
_BORDER = ((3, 3), (2, 2), (1, 1), (1, 1))
_LINE = ((3,), (1,), (1,), (2,))


def _spread(window, unbiased: bool, power: float):
    return lambda state, x: slide(x, lambda cells, channel: oracle.variance(cells, unbiased=unbiased) ** power, *window)


CASES = [
    Case(
        "statistics_pool",
        nn.StatisticsPool1d,
        (draw(3, 2, 5), MASK),
        _statistics(),
        others=((draw(1, 4, 9),), (draw(3, 1, 4), GAPS), (draw(2, 2, 1),)),
    ),
    Case(
        "statistics_pool",
        lambda: nn.StatisticsPool1d(True),
        (draw(3, 2, 5),),
        _statistics(True),
        others=((draw(3, 3, 4),),),
        keywords={"lengths": np.array([2, 4, 0])},
        label="lengths",
    ),
    Case(
        "attentive_statistics_pool",
        lambda: nn.AttentiveStatisticsPool1d(3, 4),
        (draw(3, 3, 5), MASK),
        _attentive,
        others=((draw(2, 3, 9),), (draw(3, 3, 4), GAPS)),
    ),
    Case(
        "attentive_statistics_pool",
        lambda: nn.AttentiveStatisticsPool1d(3, 4, global_context=False),
        (draw(3, 3, 5),),
        _attentive,
        keywords={"lengths": np.array([2, 5, 0])},
        label="own-frame",
    ),
    Case(
        "var_pool",
        lambda: nn.VarPool2d(*_BORDER),
        (draw(2, 2, 5, 6),),
        _spread(_BORDER, False, 1.0),
        others=((draw(1, 3, 3, 4),),),
    ),
    Case(
        "var_pool",
        lambda: nn.VarPool1d(*_LINE, unbiased=True),
        (draw(2, 2, 9),),
        _spread(_LINE, True, 1.0),
        label="unbiased",
    ),
    Case("std_pool", lambda: nn.StdPool2d(*_BORDER), (draw(2, 2, 5, 6),), _spread(_BORDER, False, 0.5)),
    Case(
        "std_pool",
        lambda: nn.StdPool3d(2, unbiased=True),
        (draw(1, 2, 4, 4, 5),),
        _spread(((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)), True, 0.5),
        label="volumes",
    ),
]
