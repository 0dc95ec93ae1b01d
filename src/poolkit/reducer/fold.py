"""The reducers that fold: maxima, sums, norms and exponentials, which join what two halves of a window hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from poolkit.errors import PoolError, flag, integer, number
from poolkit.reducer.base import FLOAT_SUM, Params, Reducer

_INT_SUM = "Integers accumulate in int64."


@dataclass(frozen=True)
class Max(Reducer):
    """The largest cell.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 5.0, 2.0, 4.0]]]), pk.Sliding(2), pk.Max())
    array([[[5., 4.]]])
    """

    code = 0
    core = "select"
    keeps = ("offsets",)
    integers = True
    selects = True
    formula = "max x"
    nan = "A NaN in a window makes its output NaN, and the reported index is that of the first NaN."
    ties = "The first of equal cells in row-major order is chosen, and alone receives the gradient."
    precision = "Exact: the result is one of the cells. Padding is never a candidate."


@dataclass(frozen=True)
class Min(Reducer):
    """The smallest cell.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 5.0, 2.0, 4.0]]]), pk.Sliding(2), pk.Min())
    array([[[1., 2.]]])
    """

    code = 1
    core = "select"
    keeps = ("offsets",)
    integers = True
    selects = True
    formula = "min x"
    nan = Max.nan
    ties = Max.ties
    precision = Max.precision


@dataclass(frozen=True)
class Sum(Reducer):
    """The sum of the cells; integers give int64.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1, 5, 2, 4]]], np.uint8), pk.Sliding(2), pk.Sum())
    array([[[6, 6]]])
    """

    code = 2
    core = "add"
    integers = True
    widens = True
    formula = "sum x"
    precision = f"{FLOAT_SUM} {_INT_SUM}"


@dataclass(frozen=True)
class Mean(Reducer):
    """The mean of the cells.

    Args:
        count_include_pad: divide by the taps inside the input and its padding, else by the taps inside the input. Taps
            that overhang the padding (ceil_mode) never count, nor does padding that the word "same" asked for.
        divisor: divide by this number instead.

    Raises:
        PoolTypeError, PoolError: `divisor` is not an integer of at least 1.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 5.0, 2.0, 4.0]]]), pk.Sliding(2), pk.Mean())
    array([[[3., 3.]]])
    """

    count_include_pad: bool = True
    divisor: int | None = None

    code = 3
    core = "add"
    integers = True
    formula = "sum x / n"
    precision = f"{FLOAT_SUM} {_INT_SUM} An integer mean keeps its dtype, rounded to nearest, ties to even."

    def __post_init__(self) -> None:
        object.__setattr__(self, "count_include_pad", flag(self.count_include_pad, "count_include_pad"))
        if self.divisor is not None:
            divisor = integer(self.divisor, "divisor", 1)
            if divisor > 2**53:
                raise PoolError(
                    f"divisor={divisor}", f"divisor <= 2**53, here {divisor}", "divide the result yourself instead"
                )
            object.__setattr__(self, "divisor", divisor)

    def on(self, window: object) -> Mean:
        """Padding that the word "same" asked for never counts, as in TensorFlow and Keras."""
        same = getattr(window, "padding", None) in ("same", "same_lower")
        return replace(self, count_include_pad=False) if same and self.count_include_pad else self

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(divisor=float(self.divisor or 0), include_pad=float(self.count_include_pad))


@dataclass(frozen=True)
class Lp(Reducer):
    """The p-norm of the cells, ``(sum |x|**p) ** (1 / p)``; ``p = inf`` is the largest magnitude.

    Sermanet et al., 2012 (arXiv:1204.3968).

    Args:
        p: above 0, or infinity.

    Raises:
        PoolTypeError, PoolError: `p` is not a number above 0.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[3.0, -4.0, 0.0, 2.0]]]), pk.Sliding(2), pk.Lp(2))
    array([[[5., 2.]]])
    """

    p: float = field(default=2.0)

    code = 4
    core = "add"
    formula = "(sum |x|^p)^(1/p)"
    precision = f"{FLOAT_SUM} Scaled, so that no power overflows or vanishes on the way."

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", number(self.p, "p", low=0.0, allow_inf=True))

    @property
    def keeps(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The maximum norm routes its gradient to one cell; every other one needs x and y."""
        return ("x", "offsets") if math.isinf(self.p) else ("x", "y")

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(p=self.p)


@dataclass(frozen=True)
class PowerMean(Reducer):
    """The generalized mean ``(mean max(x, eps)**p) ** (1 / p)`` over the cells that exist (GeM).

    Radenovic et al., 2018 (arXiv:1711.02512).

    Args:
        p: above 0 and finite; 1 is the mean, large values approach the maximum.
        eps: cells below it count as it.

    Raises:
        PoolTypeError, PoolError: `p` is not a finite number above 0, `eps` not one of at least 0.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 7.0, 3.0, 3.0]]]), pk.Sliding(2), pk.PowerMean(p=2)).round(6)
    array([[[5., 3.]]])
    """

    p: float = 3.0
    eps: float = 1e-6

    code = 5
    core = "add"
    keeps = ("x", "y")
    formula = "(mean max(x, eps)^p)^(1/p)"
    precision = Lp.precision

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", number(self.p, "p", low=0.0))
        object.__setattr__(self, "eps", number(self.eps, "eps", low=0.0, open_low=False))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(p=self.p, eps=self.eps)


@dataclass(frozen=True)
class RMS(Reducer):
    """The root of the mean square of the cells that exist.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, -7.0, 3.0, 3.0]]]), pk.Sliding(2), pk.RMS())
    array([[[5., 3.]]])
    """

    code = 6
    core = "add"
    keeps = ("x", "y")
    formula = "sqrt(mean x^2)"
    precision = Lp.precision


@dataclass(frozen=True)
class LogSumExp(Reducer):
    """The smooth maximum ``log(mean exp(beta x)) / beta``, from the mean (beta near 0) to the maximum (large beta).

    Pinheiro and Collobert, 2015 (arXiv:1411.6228).

    Args:
        beta: sharpness; finite and not 0, negative values lean to the minimum.
        mean: log of the mean (True) or of the sum over the cells that exist.

    Raises:
        PoolTypeError, PoolError: `beta` is not a finite number other than 0.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 1.0, 0.0, 100.0]]]), pk.Sliding(2), pk.LogSumExp()).round(3)
    array([[[ 1.   , 99.307]]])
    """

    beta: float = 1.0
    mean: bool = True

    code = 7
    core = "softmax"
    keeps = ("x",)
    formula = "log(mean exp(beta x)) / beta"
    precision = "The largest exponent is taken out first, so nothing overflows; half precision accumulates in float32."

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", _beta(self.beta))
        object.__setattr__(self, "mean", flag(self.mean, "mean"))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(beta=self.beta, mean=float(self.mean))


@dataclass(frozen=True)
class Soft(Reducer):
    """The softmax-weighted mean ``sum x exp(beta x) / sum exp(beta x)``.

    Stergiou et al., 2021 (arXiv:2101.00440).

    Args:
        beta: sharpness; finite and not 0, large values approach the maximum.

    Raises:
        PoolTypeError, PoolError: `beta` is not a finite number other than 0.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[2.0, 2.0, 0.0, 100.0]]]), pk.Sliding(2), pk.Soft())
    array([[[  2., 100.]]])
    """

    beta: float = 1.0

    code = 8
    core = "softmax"
    keeps = ("x", "y")
    formula = "sum x exp(beta x) / sum exp(beta x)"
    precision = LogSumExp.precision

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", _beta(self.beta))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(beta=self.beta)


def _beta(value: object) -> float:
    beta = number(value, "beta", low=-math.inf)
    if beta == 0:
        raise PoolError("beta=0", "beta is not 0 (the limit there is the mean)", "use Mean(), or a small beta")
    return beta
