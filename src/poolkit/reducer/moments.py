"""Spread instead of position: variance and standard deviation of the cells."""

from __future__ import annotations

from dataclasses import dataclass

from poolkit.errors import flag
from poolkit.reducer.base import Params, Reducer


@dataclass(frozen=True)
class Var(Reducer):
    """The variance of the cells that exist, from their differences to the mean.

    Args:
        unbiased: divide by ``n - 1`` instead of n (Bessel's correction). The variance of one cell alone is 0.

    Raises:
        PoolTypeError: `unbiased` is no bool.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 3.0]]]), pk.Sliding(2), pk.Var())
    array([[[1.]]])
    """

    unbiased: bool = False

    code = 18
    core = "whole"
    delicate = True
    keeps = ("x",)
    formula = "mean (x - mean x)^2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "unbiased", flag(self.unbiased, "unbiased"))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(mode=float(self.unbiased))


@dataclass(frozen=True)
class Std(Var):
    """The standard deviation of the cells that exist; where it is 0 its gradient is 0, too.

    Args:
        unbiased: divide by ``n - 1`` instead of n (Bessel's correction). The deviation of one cell alone is 0.

    Raises:
        PoolTypeError: `unbiased` is no bool.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 5.0]]]), pk.Sliding(2), pk.Std())
    array([[[2.]]])
    """

    code = 19
    formula = "sqrt(mean (x - mean x)^2)"
