"""Random reducers: a cell is drawn, or, without drawing, the mean over all draws is given.

The uniforms are drawn outside of the compiled core, one for each output in the order (N, C, spatial...), whatever the
layout: the same seed gives the same cells on every instruction set and number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from poolkit.errors import PoolError, flag, number, show
from poolkit.reducer.base import Params, Reducer
from poolkit.reducer.order import check_word, share

Activation = Literal["relu", "softmax"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

_NAN = "A NaN in a window makes its output NaN, and the reported index is that of the first NaN."


@dataclass(frozen=True)
class _Random(Reducer):
    """What the random reducers share: `sample` draws, else the result is the mean over all draws."""

    sample: bool = field(default=True, kw_only=True)

    core = "whole"
    extra = "outputs"
    nan = _NAN

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", flag(self.sample, "sample"))

    @property
    def draws(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether uniforms are needed."""
        return self.sample

    @property
    def selects(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A drawn cell has an index."""
        return self.sample

    @property
    def keeps(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The drawn cells' offsets, else the input."""
        return ("offsets",) if self.sample else ("x",)


@dataclass(frozen=True)
class Stochastic(_Random):
    """One cell, drawn with a probability in proportion to its activation.

    Zeiler and Fergus, 2013 (arXiv:1301.3557), equations 4 to 6: ``p = x / sum x``, and at test time ``sum p x``.

    Args:
        activation: "relu" takes ``p = max(x, 0) / sum max(x, 0)``, as the paper does after a ReLU; a window without a
            positive cell gives 0. "softmax" takes ``p = softmax(x / temperature)`` and is meant for any sign.
        temperature: of the softmax; above 0.
        sample: draw; False gives the mean over all draws, which is ``sum x^2 / sum x`` and not the plain mean.

    Raises:
        PoolTypeError, PoolError: an argument breaks its rule.

    >>> import numpy as np, poolkit as pk
    >>> x = np.array([[[1.6, 0.0, 0.0, 0.0, 0.0, 2.4]]])
    >>> pk.pool(x, pk.Global(), pk.Stochastic(sample=False)).round(2)
    array([[[2.08]]])
    """

    activation: Activation = "relu"
    temperature: float = 1.0

    code = 14
    formula = "x_i with probability x_i / sum x"
    ties = "Equal cells are equally likely."
    precision = "A drawn cell is exact. Probabilities and means accumulate in float32 or wider."

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word(self.activation, "activation", ACTIVATIONS)
        object.__setattr__(self, "temperature", number(self.temperature, "temperature", low=0.0))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        mode = float(ACTIVATIONS.index(self.activation))
        return Params(beta=1 / self.temperature, mode=mode, sample=float(self.sample))


@dataclass(frozen=True)
class RankStochastic(_Random):
    """One cell, drawn by its rank: the r-th largest with probability ``alpha (1 - alpha)**r``, made to sum to one.

    Shi, Ye and Wu, 2016 (Neural Networks 83).

    Args:
        alpha: in (0, 1]; 1 is the maximum.
        sample: draw; False gives the mean over all draws, which is `RankMean`.

    Raises:
        PoolTypeError, PoolError: an argument breaks its rule.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 4.0]]]), pk.Sliding(2), pk.RankStochastic(1.0), seed=0)
    array([[[4.]]])
    """

    alpha: float = 0.5

    code = 15
    formula = "x_(r) with probability a (1 - a)^r / sum_r a (1 - a)^r"
    ties = "Equal cells share their ranks; the first of them is reported."
    precision = Stochastic.precision

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "alpha", share(self.alpha, "alpha"))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(level=self.alpha, sample=float(self.sample))


@dataclass(frozen=True)
class MaxDrop(_Random):
    """The maximum of the cells that survive when each is dropped with probability `drop_prob`; 0 where none does.

    Wu and Gu, 2015 (arXiv:1512.01400): the r-th largest cell, r = 0, 1, ..., with probability
    ``(1 - q) q**r``; at test time the sum of the cells with these weights.

    Args:
        drop_prob: q, in [0, 1).
        sample: draw; False gives the mean over all draws.

    Raises:
        PoolTypeError, PoolError: an argument breaks its rule.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 4.0]]]), pk.Sliding(2), pk.MaxDrop(0.5, sample=False))
    array([[[2.25]]])
    """

    drop_prob: float = 0.5

    code = 16
    formula = "x_(r) with probability (1 - q) q^r, else 0"
    ties = RankStochastic.ties
    precision = Stochastic.precision

    def __post_init__(self) -> None:
        super().__post_init__()
        drop = share(self.drop_prob, "drop_prob", zero=True)
        if drop == 1:
            raise PoolError(
                f"drop_prob={show(self.drop_prob)}", "drop_prob < 1: some cell has to survive", "pass drop_prob=0.5"
            )
        object.__setattr__(self, "drop_prob", drop)

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(level=1 - self.drop_prob, mode=1.0, sample=float(self.sample))
