"""Reducers with weights that a network may learn: for each output one number, or for each cell of the kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from poolkit.errors import PoolError, number
from poolkit.reducer.base import Params, Reducer
from poolkit.reducer.fold import PowerMean, Soft
from poolkit.reducer.order import check_word, share, weight_list

if TYPE_CHECKING:
    from poolkit.plan import Plan

Weighting = Literal["edscw", "idw"]
LEAST_POWER = 0.01
"""The power mean has a limit at 0, but its formula has none; learned powers stop here."""
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)


@dataclass(frozen=True)
class Mixed(Reducer):
    """A mixture of maximum and mean, ``weight max x + (1 - weight) mean x``, in one pass.

    Lee, Gallagher and Tu, 2016 (arXiv:1509.08985).

    Args:
        weight: of the maximum, in [0, 1]. The torch modules learn it, for a layer, a channel or a region.

    Raises:
        PoolTypeError, PoolError: `weight` is no number from 0 to 1.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 4.0]]]), pk.Sliding(2), pk.Mixed(0.5))
    array([[[3.25]]])
    """

    weight: float = 0.5

    code = 17
    core = "whole"
    keeps = ("x",)
    extra = "outputs"
    formula = "a max x + (1 - a) mean x"
    ties = "The maximum's share of the gradient goes to the first of equal cells."

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", share(self.weight, "weight", zero=True))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(level=self.weight)


@dataclass(frozen=True)
class Ada(Reducer):
    """Adaptive pooling by exponents: cells weighted by their likeness to the window's mean, mixed with soft pooling.

    Stergiou and Poppe, 2022 (arXiv:2111.00772).

    Args:
        beta: share of the weighting by likeness, in [0, 1]; the rest is `Soft`.
        weighting: "edscw" weighs by the softmax of the Dice-Soerensen coefficient ``2 |x m| / (x^2 + m^2)`` with the
            mean m; "idw" by the inverse distance ``1 / (|x - m| + eps)``.
        eps: for "idw".

    Raises:
        PoolTypeError, PoolError: an argument breaks its rule.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[2.0, 2.0, 0.0, 0.0]]]), pk.Sliding(2), pk.Ada())
    array([[[2., 0.]]])
    """

    beta: float = 0.5
    weighting: Weighting = "edscw"
    eps: float = 1e-6

    code = 20
    core = "whole"
    keeps = ("x",)
    extra = "outputs"
    formula = "b sum x e^(2|x m|/(x^2+m^2)) / sum e^(2|x m|/(x^2+m^2)) + (1 - b) soft x, m = mean x"
    precision = "Likenesses are at most one, so nothing overflows; half precision accumulates in float32."

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", share(self.beta, "beta", zero=True))
        check_word(self.weighting, "weighting", WEIGHTINGS)
        object.__setattr__(self, "eps", number(self.eps, "eps", low=0.0))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(eps=self.eps, level=self.beta, mode=float(WEIGHTINGS.index(self.weighting)))


@dataclass(frozen=True)
class Boltzmann(Reducer):
    """`Soft` with a sharpness that may be learned, and may be 0: ``sum x exp(beta x) / sum exp(beta x)``.

    AutoPool: McFee, Salamon and Bello, 2018 (arXiv:1804.10070).

    Args:
        beta: finite; 0 is the mean, large values approach the maximum, negative ones the minimum. The torch modules
            learn it, for a layer or a channel.

    Raises:
        PoolTypeError, PoolError: `beta` is not a finite number.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 3.0, 0.0, 100.0]]]), pk.Sliding(2), pk.Boltzmann(0.0))
    array([[[ 2., 50.]]])
    """

    beta: float = 1.0

    code = 21
    core = "whole"
    keeps = ("x",)
    extra = "outputs"
    formula = "sum x exp(beta x) / sum exp(beta x)"
    precision = Soft.precision

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", number(self.beta, "beta", low=-math.inf))

    @property
    def values(self) -> tuple[float, ...]:
        """The sharpness of all outputs."""
        return (self.beta,)


@dataclass(frozen=True)
class GeM(Reducer):
    """`PowerMean` with a power that may be learned: ``(mean max(x, eps)**p) ** (1 / p)``.

    Radenovic, Tolias and Chum, 2018 (arXiv:1711.02512).

    Args:
        p: above 0. The torch modules learn it, for a layer or a channel.
        eps: cells below it count as it.

    Raises:
        PoolTypeError, PoolError: `p` is not a finite number above 0, `eps` not one of at least 0.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 7.0, 3.0, 3.0]]]), pk.Sliding(2), pk.GeM(p=2)).round(6)
    array([[[5., 3.]]])
    """

    p: float = 3.0
    eps: float = 1e-6

    code = 22
    core = "whole"
    keeps = ("x",)
    extra = "outputs"
    formula = PowerMean.formula
    precision = PowerMean.precision

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", number(self.p, "p", low=0.0))
        object.__setattr__(self, "eps", number(self.eps, "eps", low=0.0, open_low=False))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(eps=self.eps)

    @property
    def values(self) -> tuple[float, ...]:
        """The power of all outputs."""
        return (self.p,)


@dataclass(frozen=True)
class Filter(Reducer):
    """A sum with a weight for each cell of the kernel; cells outside the input count as 0.

    What a depthwise convolution does: the inner part of blurred, gated and tree pooling.

    Args:
        weights: one for each cell of the kernel, in row-major order.

    Raises:
        PoolTypeError, PoolError: `weights` is not a list of finite numbers, one for each cell, or the window has no
            kernel of one size.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 4.0, 2.0]]]), pk.Sliding(3), pk.Filter((0.25, 0.5, 0.25)))
    array([[[2.75]]])
    """

    weights: tuple[float, ...]

    code = 23
    core = "whole"
    keeps = ("x",)
    extra = "kernel"
    formula = "sum_i w_i x_i"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", weight_list(self.weights))

    @property
    def values(self) -> tuple[float, ...]:
        """The weights."""
        return self.weights

    def check(self, plan: Plan) -> None:
        """A weight for each cell of the kernel."""
        check_kernel(plan, len(self.weights))


def check_kernel(plan: Plan, weights: int) -> None:
    """Reports windows that are no kernel of `weights` cells."""
    if any(axis.kind == "adaptive" or axis.reaches for axis in plan.axes):
        raise PoolError(
            "a filter on windows of several sizes",
            "the windows of a filter have a kernel of one size",
            "use Sliding windows, or another reducer",
        )
    cells = math.prod(axis.kernel for axis in plan.axes)
    if weights != cells:
        raise PoolError(
            f"weights of length {weights} with a kernel of {cells} cells",
            f"weights has one number for each cell of the kernel: {cells}",
            "pass that many, in row-major order",
        )


def region_places(size: int, cells: int) -> list[int]:
    """Which of a grid's `cells` weights each of `size` outputs takes.

    >>> region_places(5, 2)
    [0, 0, 1, 1, 1]
    """
    return [(2 * i + 1) * cells // (2 * size) for i in range(size)]
