"""Pooling for neural networks: a pooling is a window times a reducer.

>>> import numpy as np, poolkit as pk
>>> x = np.arange(16.0).reshape(1, 1, 4, 4)
>>> pk.pool(x, pk.Sliding(2), pk.Max())
array([[[[ 5.,  7.],
         [13., 15.]]]])

The named functions (`max_pool2d` and the rest) are one line over `pool`. NumPy arrays, torch tensors and JAX arrays go
in, the same kind comes out; `poolkit.dask` pools images larger than memory. `poolkit.nn` holds torch modules; it and
the other front ends load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from poolkit.errors import PoolError, PoolTypeError
from poolkit.functional import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    fractional_avg_pool1d,
    fractional_avg_pool2d,
    fractional_avg_pool3d,
    fractional_max_pool1d,
    fractional_max_pool2d,
    fractional_max_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    lse_pool1d,
    lse_pool2d,
    lse_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    min_pool1d,
    min_pool2d,
    min_pool3d,
    power_mean_pool1d,
    power_mean_pool2d,
    power_mean_pool3d,
    rms_pool1d,
    rms_pool2d,
    rms_pool3d,
    soft_pool1d,
    soft_pool2d,
    soft_pool3d,
    sum_pool1d,
    sum_pool2d,
    sum_pool3d,
)
from poolkit.named import (
    ada_pool1d,
    ada_pool2d,
    ada_pool3d,
    boltzmann_pool1d,
    boltzmann_pool2d,
    boltzmann_pool3d,
    filter_pool1d,
    filter_pool2d,
    filter_pool3d,
    gem_pool1d,
    gem_pool2d,
    gem_pool3d,
    max_drop_pool1d,
    max_drop_pool2d,
    max_drop_pool3d,
    median_pool1d,
    median_pool2d,
    median_pool3d,
    mixed_pool1d,
    mixed_pool2d,
    mixed_pool3d,
    ordinal_pool1d,
    ordinal_pool2d,
    ordinal_pool3d,
    quantile_pool1d,
    quantile_pool2d,
    quantile_pool3d,
    rank_mean_pool1d,
    rank_mean_pool2d,
    rank_mean_pool3d,
    rank_stochastic_pool1d,
    rank_stochastic_pool2d,
    rank_stochastic_pool3d,
    std_pool1d,
    std_pool2d,
    std_pool3d,
    stochastic_pool1d,
    stochastic_pool2d,
    stochastic_pool3d,
    topk_mean_pool1d,
    topk_mean_pool2d,
    topk_mean_pool3d,
    var_pool1d,
    var_pool2d,
    var_pool3d,
)
from poolkit.pooling import pool, pool_vjp
from poolkit.reducer import (
    RMS,
    Ada,
    Boltzmann,
    Filter,
    GeM,
    LogSumExp,
    Lp,
    Max,
    MaxDrop,
    Mean,
    Median,
    Min,
    Mixed,
    Ordinal,
    PowerMean,
    Quantile,
    RankMean,
    RankStochastic,
    Reducer,
    Soft,
    Std,
    Stochastic,
    Sum,
    TopKMean,
    Var,
)
from poolkit.threads import get_num_threads, set_num_threads
from poolkit.window import Adaptive, Fractional, Global, Sliding

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "RMS",
    "Ada",
    "Adaptive",
    "Boltzmann",
    "Filter",
    "Fractional",
    "GeM",
    "Global",
    "LogSumExp",
    "Lp",
    "Max",
    "MaxDrop",
    "Mean",
    "Median",
    "Min",
    "Mixed",
    "Ordinal",
    "PoolError",
    "PoolTypeError",
    "PowerMean",
    "Quantile",
    "RankMean",
    "RankStochastic",
    "Reducer",
    "Sliding",
    "Soft",
    "Std",
    "Stochastic",
    "Sum",
    "TopKMean",
    "Var",
    "ada_pool1d",
    "ada_pool2d",
    "ada_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "boltzmann_pool1d",
    "boltzmann_pool2d",
    "boltzmann_pool3d",
    "filter_pool1d",
    "filter_pool2d",
    "filter_pool3d",
    "fractional_avg_pool1d",
    "fractional_avg_pool2d",
    "fractional_avg_pool3d",
    "fractional_max_pool1d",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "gem_pool1d",
    "gem_pool2d",
    "gem_pool3d",
    "get_num_threads",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "lse_pool1d",
    "lse_pool2d",
    "lse_pool3d",
    "max_drop_pool1d",
    "max_drop_pool2d",
    "max_drop_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "median_pool1d",
    "median_pool2d",
    "median_pool3d",
    "min_pool1d",
    "min_pool2d",
    "min_pool3d",
    "mixed_pool1d",
    "mixed_pool2d",
    "mixed_pool3d",
    "ordinal_pool1d",
    "ordinal_pool2d",
    "ordinal_pool3d",
    "pool",
    "pool_vjp",
    "power_mean_pool1d",
    "power_mean_pool2d",
    "power_mean_pool3d",
    "quantile_pool1d",
    "quantile_pool2d",
    "quantile_pool3d",
    "rank_mean_pool1d",
    "rank_mean_pool2d",
    "rank_mean_pool3d",
    "rank_stochastic_pool1d",
    "rank_stochastic_pool2d",
    "rank_stochastic_pool3d",
    "rms_pool1d",
    "rms_pool2d",
    "rms_pool3d",
    "set_num_threads",
    "soft_pool1d",
    "soft_pool2d",
    "soft_pool3d",
    "std_pool1d",
    "std_pool2d",
    "std_pool3d",
    "stochastic_pool1d",
    "stochastic_pool2d",
    "stochastic_pool3d",
    "sum_pool1d",
    "sum_pool2d",
    "sum_pool3d",
    "topk_mean_pool1d",
    "topk_mean_pool2d",
    "topk_mean_pool3d",
    "var_pool1d",
    "var_pool2d",
    "var_pool3d",
]

# Loaded on first use: each pulls in a framework, or data that a pooling does not need.
_LAZY = frozenset({"catalog", "dask", "jax", "keras", "lab", "nn", "reference", "surgery", "torch"})
# Functions about models, and the module of each.
_LAZY_FUNCTIONS = {"export_onnx": "poolkit.torch.export"} | dict.fromkeys(
    ("accelerate", "accelerated", "find_pools", "restore", "swap"), "poolkit.surgery"
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"poolkit.{name}")
    if name in _LAZY_FUNCTIONS:
        return getattr(importlib.import_module(_LAZY_FUNCTIONS[name]), name)
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        try:
            return metadata.version("poolkit")
        except metadata.PackageNotFoundError:
            return "0+unknown"
    raise AttributeError(f"module 'poolkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_LAZY, *_LAZY_FUNCTIONS, "__version__"})
