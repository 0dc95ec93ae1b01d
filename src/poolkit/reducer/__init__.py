"""Reducers: what becomes of the cells a window sees. This is the only place where one is declared.

A reducer is a frozen record of its parameters plus the row of facts every part of the library reads: the number the
compiled core knows it by, the fold it runs on, what its backward pass keeps, the dtypes it takes, and what it promises
about NaN, ties, empty windows and precision.
"""

from poolkit.reducer.base import Params, Reducer
from poolkit.reducer.fold import RMS, LogSumExp, Lp, Max, Mean, Min, PowerMean, Soft, Sum
from poolkit.reducer.moments import Std, Var
from poolkit.reducer.order import Median, Ordinal, Quantile, RankMean, TopKMean
from poolkit.reducer.random import MaxDrop, RankStochastic, Stochastic
from poolkit.reducer.weighted import Ada, Boltzmann, Filter, GeM, Mixed

# In the order of their codes.
REDUCERS: tuple[type[Reducer], ...] = (
    Max,
    Min,
    Sum,
    Mean,
    Lp,
    PowerMean,
    RMS,
    LogSumExp,
    Soft,
    Median,
    Quantile,
    TopKMean,
    RankMean,
    Ordinal,
    Stochastic,
    RankStochastic,
    MaxDrop,
    Mixed,
    Var,
    Std,
    Ada,
    Boltzmann,
    GeM,
    Filter,
)

__all__ = [
    "REDUCERS",
    "RMS",
    "Ada",
    "Boltzmann",
    "Filter",
    "GeM",
    "LogSumExp",
    "Lp",
    "Max",
    "MaxDrop",
    "Mean",
    "Median",
    "Min",
    "Mixed",
    "Ordinal",
    "Params",
    "PowerMean",
    "Quantile",
    "RankMean",
    "RankStochastic",
    "Reducer",
    "Soft",
    "Std",
    "Stochastic",
    "Sum",
    "TopKMean",
    "Var",
]
