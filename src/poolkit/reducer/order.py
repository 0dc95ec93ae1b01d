"""Order statistics: what the cells of a window are when they stand in line, the largest first or last."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from poolkit.errors import PoolError, PoolTypeError, entries, flag, integer, number, show
from poolkit.reducer.base import Params, Reducer

if TYPE_CHECKING:
    from poolkit.plan import Plan

Interpolation = Literal["linear", "lower", "higher", "nearest", "midpoint"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)

_NAN = "A NaN in a window makes its output NaN, and the reported index, where there is one, is that of the first NaN."
_TIES = "Of equal cells the first in row-major order counts as the larger one."
_EXACT = "Exact where one cell is taken; weighted sums accumulate in float32 or wider."


class AtRank(Reducer):
    """What quantile and median share: a place in the sorted window, and what to do between two cells."""

    q: float
    interpolation: Interpolation

    core = "whole"
    nan = _NAN
    ties = _TIES
    precision = _EXACT

    @property
    def selects(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the result is one of the cells."""
        return self.interpolation not in ("linear", "midpoint")

    @property
    def integers(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One of the cells may be an integer."""
        return self.selects

    @property
    def keeps(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One byte or two for each output where a cell was chosen, else the input."""
        return ("offsets",) if self.selects else ("x",)

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(level=self.q, mode=float(INTERPOLATIONS.index(self.interpolation)))


@dataclass(frozen=True)
class Quantile(AtRank):
    """The q-quantile of the cells that exist, as NumPy's and torch's ``quantile`` define it.

    Hyndman and Fan, 1996 (The American Statistician 50), definition 7: rank ``(n - 1) q`` of the sorted cells.

    Args:
        q: 0 (minimum) to 1 (maximum).
        interpolation: between two ranks: "linear", "lower", "higher", "nearest" (of two equally near the even one) or
            "midpoint". "lower", "higher" and "nearest" choose a cell, take integers and report indices.

    Raises:
        PoolTypeError, PoolError: `q` is no number from 0 to 1, `interpolation` not one of the words.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[4.0, 1.0, 3.0, 2.0]]]), pk.Global(), pk.Quantile(0.25))
    array([[[1.75]]])
    """

    q: float
    interpolation: Interpolation = "linear"

    code = 10
    formula = "x sorted, at rank (n - 1) q"

    def __post_init__(self) -> None:
        q = number(self.q, "q", low=0.0, open_low=False)
        if q > 1:
            raise PoolError(f"q={show(self.q)}", f"q lies in [0, 1], here {show(self.q)}", "pass a share, such as 0.9")
        object.__setattr__(self, "q", q)
        check_word(self.interpolation, "interpolation", INTERPOLATIONS)


@dataclass(frozen=True)
class Median(AtRank):
    """The middle cell; of an even number of cells the lower middle one, as torch has it.

    Tukey, 1977 (Exploratory Data Analysis, chapter 7).

    Args:
        interpolation: "lower" as torch.median; "midpoint" for the mean of the two middle cells, as numpy.median; or
            another word of `Quantile`.

    Raises:
        PoolTypeError, PoolError: `interpolation` is not one of the words.

    >>> import numpy as np, poolkit as pk
    >>> x = np.array([[[4.0, 1.0, 3.0, 2.0]]])
    >>> pk.pool(x, pk.Global(), pk.Median()), pk.pool(x, pk.Global(), pk.Median("midpoint"))
    (array([[[2.]]]), array([[[2.5]]]))
    """

    interpolation: Interpolation = "lower"

    code = 9
    formula = "the middle of x sorted"
    q = 0.5

    def __post_init__(self) -> None:
        check_word(self.interpolation, "interpolation", INTERPOLATIONS)


@dataclass(frozen=True)
class TopKMean(Reducer):
    """The mean of the k largest cells.

    Rank-based average pooling: Shi, Ye and Wu, 2016 (Neural Networks 83).

    Args:
        k: an int, the number of cells (windows with fewer, at the border, take all); or a float in (0, 1], the share
            of the window's cells, rounded to nearest and at least one.

    Raises:
        PoolTypeError, PoolError: `k` is neither, or larger than the window.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 5.0, 2.0, 4.0]]]), pk.Sliding(4), pk.TopKMean(2))
    array([[[4.5]]])
    """

    k: int | float

    code = 11
    core = "whole"
    keeps = ("x",)
    formula = "mean of the k largest x"
    nan = _NAN
    ties = _TIES
    precision = _EXACT

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", count_or_share(self.k, "k"))

    # One cell and the whole window, 1 and 1.0, are equal as numbers; calls are remembered by their records.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopKMean) and (type(self.k), self.k) == (type(other.k), other.k)

    def __hash__(self) -> int:
        return hash((TopKMean, type(self.k), self.k))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(level=float(self.k), mode=float(isinstance(self.k, float)))

    def check(self, plan: Plan) -> None:
        """`k` cells are in the window."""
        cells = math.prod(-(-axis.size // axis.out) if axis.kind == "adaptive" else axis.kernel for axis in plan.axes)
        if isinstance(self.k, int) and self.k > cells:
            raise PoolError(
                f"k={self.k} with windows of {cells} cells",
                f"k <= the cells of a window, here {cells}",
                "pass a smaller k, or a share such as k=0.5",
            )


@dataclass(frozen=True)
class RankMean(Reducer):
    """A mean weighted by rank, ``sum alpha (1 - alpha)**r x[r]`` over ranks r = 0, 1, ..., the largest cell first.

    Rank-based weighted pooling: Shi, Ye and Wu, 2016 (Neural Networks 83).

    Args:
        alpha: in (0, 1]; 1 is the maximum, small values approach the mean.
        normalize: divide by the sum of the weights. The paper does not, so that its weights sum to less than one.

    Raises:
        PoolTypeError, PoolError: `alpha` is not in (0, 1].

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 4.0]]]), pk.Sliding(2), pk.RankMean(0.5))
    array([[[3.]]])
    >>> pk.pool(np.array([[[1.0, 4.0]]]), pk.Sliding(2), pk.RankMean(0.5, normalize=False))
    array([[[2.25]]])
    """

    alpha: float = 0.5
    normalize: bool = True

    code = 12
    core = "whole"
    keeps = ("x",)
    formula = "sum_r a (1 - a)^r x_(r) / sum_r a (1 - a)^r"
    nan = _NAN
    ties = _TIES
    precision = _EXACT

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", share(self.alpha, "alpha"))
        object.__setattr__(self, "normalize", flag(self.normalize, "normalize"))

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params(level=self.alpha, mode=float(not self.normalize))


@dataclass(frozen=True)
class Ordinal(Reducer):
    """A sum of the sorted cells with a weight for each rank, the largest cell first.

    Ordered weighted averaging: Yager, 1988 (IEEE Transactions on Systems, Man and Cybernetics 18); as pooling: Kumar,
    2018 (Ordinal Pooling Networks).

    Args:
        weights: one for each rank. Windows with another number of cells, at a border or adaptive ones, share the
            weights out as a step function over the quantiles, so that their sum stays what it is.

    Raises:
        PoolTypeError, PoolError: `weights` is not a list of finite numbers.

    >>> import numpy as np, poolkit as pk
    >>> pk.pool(np.array([[[1.0, 5.0, 2.0, 4.0]]]), pk.Sliding(2), pk.Ordinal((0.75, 0.25)))
    array([[[4. , 3.5]]])
    """

    weights: tuple[float, ...]

    code = 13
    core = "whole"
    keeps = ("x",)
    extra = "kernel"
    formula = "sum_r w_r x_(r)"
    nan = _NAN
    ties = _TIES
    precision = _EXACT

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", weight_list(self.weights))

    @property
    def values(self) -> tuple[float, ...]:
        """The weights."""
        return self.weights


def check_word(value: object, name: str, words: tuple[str, ...]) -> None:
    """`value` is one of `words`."""
    if value not in words:
        kind = PoolError if isinstance(value, str) else PoolTypeError
        known = ", ".join(repr(word) for word in words)
        raise kind(
            f"{name}={show(value)}", f"{name} is one of {known}, here {show(value)}", f"pass {name}={words[0]!r}"
        )


def count_or_share(value: object, name: str) -> int | float:
    """`value` as a number of cells, or as a share of them in (0, 1] where it is a float."""
    if not isinstance(value, float):
        return integer(value, name, 1)
    result = number(value, name, low=0.0)
    if result > 1:
        raise PoolError(
            f"{name}={show(value)}",
            f"{name} is an int, or a share in (0, 1], here {show(value)}",
            f"pass {name}={int(value)} for that many cells",
        )
    return result


def share(value: object, name: str, *, zero: bool = False) -> float:
    """`value` as a float in (0, 1], or in [0, 1] where `zero` may be."""
    result = number(value, name, low=0.0, open_low=not zero)
    if result > 1:
        raise PoolError(f"{name}={show(value)}", f"{name} <= 1, here {show(value)}", f"pass {name}=0.5, for example")
    return result


def weight_list(value: object) -> tuple[float, ...]:
    """`weights` as a tuple of finite floats."""
    items = entries(value)
    if not items:
        raise PoolTypeError(
            f"weights={show(value)}", "weights is a list of numbers, at least one", "pass for example (0.5, 0.5)"
        )
    return tuple(number(item, "weights", low=-math.inf) for item in items)
