"""The reducers over sliding, global and adaptive windows: made from their records, one line each."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, cast

from keras import KerasTensor

from poolkit.errors import PoolError, entries, flag, show
from poolkit.keras.layers.base import RecordLayer, SlidingLayer, family, plain
from poolkit.reducer import (
    RMS,
    LogSumExp,
    Lp,
    Max,
    MaxDrop,
    Mean,
    Median,
    Min,
    Ordinal,
    PowerMean,
    Quantile,
    RankMean,
    RankStochastic,
    Soft,
    Std,
    Stochastic,
    Sum,
    TopKMean,
    Var,
)
from poolkit.window import Adaptive, Global

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor
    from poolkit.reducer import Reducer
    from poolkit.window import Window

_SLIDING = """{what}

{source}

Args:
    pool_size: cells of a window; an int, or one per axis.
    strides: distance between windows; None means `pool_size`.
    padding: ``"valid"`` (none), ``"same"`` (``ceil(size / strides)`` outputs), or cells added on both sides: an int,
        one per axis, or (before, after) pairs. Padding is no cell of any window.
    data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
    name: of the layer.
    dilation_rate: distance between the cells of a window.
    ceil_mode: keep a last window that overhangs the end.{own}
    **options: of every Keras layer, such as dtype.

Shape:
    ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to the same with pooled sizes.

Raises:
    PoolError: an argument breaks a rule, or the windows do not fit the input.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> tuple(layers.{name}{n}D({example})(np.zeros((2, {sizes}, 3), "float32")).shape)
(2, {halves}, 3)
"""

_GLOBAL = """{what} over all cells of a map.

{source}

Args:
    data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
    keepdims: keep the pooled axes with size 1.{own}
    **options: of every Keras layer, such as dtype.

Shape:
    ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to ``(batch, channels)``, with `keepdims`
    to the input's axes. In 1-D masked steps do not count; where all are masked the result is 0.

Raises:
    PoolError: an argument breaks a rule.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> tuple(layers.{name}{n}D()(np.zeros((2, {sizes}, 3), "float32")).shape)
(2, 3)
"""

_ADAPTIVE = """{what} over windows ``floor(i I / O) .. ceil((i + 1) I / O)``.

{source}

Args:
    output_size: windows per axis, an int or one per axis; None keeps an axis as it is.
    data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.{own}
    **options: of every Keras layer, such as dtype.

Shape:
    ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to the same with sizes `output_size`.

Raises:
    PoolError: an argument breaks a rule.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> tuple(layers.{name}{n}D(4)(np.zeros((2, {sizes}, 3), "float32")).shape)
(2, {halves}, 3)
"""


def _filled(template: str, kind: type[Reducer], name: str, example: str = "", hidden: tuple[str, ...] = ()) -> str:
    """A family's docstring from its record's: the first sentences say what and whose, ``Args`` what is set."""
    lines = inspect.cleandoc(kind.__doc__ or "").split("\n")
    end = next(
        (i for i, line in enumerate(lines) if line in {"Args:", "Raises:"} or line.startswith(">>>")), len(lines)
    )
    source = "\n".join(lines[2:end]).strip()
    own: list[str] = []
    if "Args:" in lines and not hidden:
        for line in lines[lines.index("Args:") + 1 :]:
            if not line.startswith(" "):
                break
            own.append(line)
    if any(field.name == "sample" for field in dataclasses.fields(kind)):
        while own and not own[-1].strip().startswith("sample:"):
            own.pop()
        own = own[:-1] if own else own
        own.append(
            "    seed: an int, or a `keras.random.SeedGenerator`, for the draws of training; else the mean over all"
        )
        own.append("        draws is given.")
    what = lines[0] if template is _SLIDING else lines[0].rstrip(".")
    text = template.replace("{what}", what).replace("{source}\n\n", f"{source}\n\n" if source else "")
    text = text.replace("{own}", "".join(f"\n{line}" for line in own))
    return text.replace("{name}", name).replace("{example}", example)


class ChoosingLayer(SlidingLayer):
    """Max and Min, which can also tell where."""

    first = (*SlidingLayer.first, plain("return_indices", False, keyword=True))

    def keep_window(self, values: dict[str, Any]) -> None:
        """The window's settings as attributes."""
        super().keep_window(values)
        self.return_indices = flag(values["return_indices"], "return_indices")

    def call(self, inputs: Tensor, training: bool = False) -> Any:  # noqa: ARG002  nothing is drawn
        """Pools a batch; with `return_indices` also gives int32 places in the flat plane."""
        return self.pooled(inputs, return_indices=self.return_indices)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape; with `return_indices` twice."""
        shape = super().compute_output_shape(input_shape)
        return (shape, shape) if self.return_indices else shape

    def _spec(self, shape: Any, dtype: str) -> Any:
        if not self.return_indices:
            return KerasTensor(shape, dtype=dtype)
        return KerasTensor(shape[0], dtype=dtype), KerasTensor(shape[1], dtype="int32")


class GlobalLayer(RecordLayer):
    """One window over everything."""

    first = (plain("data_format", None), plain("keepdims", False))

    def __init__(self, *args: Any, **options: Any) -> None:
        values = self.bound(args, options)
        super().__init__(values["data_format"], **values.get("options", {}))
        self.keepdims = flag(values["keepdims"], "keepdims")
        self.supports_masking = self.rank == 1
        self.keep(values)
        self.checked()

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:
        """The window and the reducer of these settings."""
        return Global(self.keepdims), self.reducer(training)

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Pools a batch; in 1-D without the steps that the mask ``(batch, steps)`` leaves out."""
        if mask is not None and self.rank > 1:
            mask = None
        return self.pooled(inputs, mask=mask)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        """None: no steps are left."""


class AdaptiveLayer(RecordLayer):
    """Windows that share out the input."""

    first = (plain("output_size"), plain("data_format", None))

    def __init__(self, *args: Any, **options: Any) -> None:
        values = self.bound(args, options)
        super().__init__(values["data_format"], **values.get("options", {}))
        wanted = Adaptive(values["output_size"]).output_size
        self.output_size = wanted if isinstance(wanted, tuple) and len(wanted) > 1 else _each(wanted, self.rank)
        if len(self.output_size) != self.rank:
            raise PoolError(
                f"output_size={show(values['output_size'])}",
                f"output_size holds one value, or one for each of {self.rank} pooled axes, here "
                f"{len(self.output_size)}",
                f"pass an int or {self.rank} values",
            )
        self.keep(values)
        self.checked()

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:
        """The window and the reducer of these settings."""
        return Adaptive(self.output_size), self.reducer(training)


def _each(wanted: Any, rank: int) -> tuple[int | None, ...]:
    items = entries(wanted)
    return (wanted if items is None else items[0],) * rank


def _sliding(kind: type[Reducer], name: str, example: str = "", **defaults: Any) -> tuple[type[SlidingLayer], ...]:
    over = ChoosingLayer if kind in (Max, Min) else SlidingLayer
    base = cast("type[SlidingLayer]", type(f"_{name}", (over,), {"kind": kind, "defaults": defaults}))
    return family(base, name, _filled(_SLIDING, kind, name, example))


def _global(kind: type[Reducer], name: str, hidden: tuple[str, ...] = ()) -> tuple[type[GlobalLayer], ...]:
    base = cast("type[GlobalLayer]", type(f"_{name}", (GlobalLayer,), {"kind": kind, "hidden": hidden}))
    return family(base, name, _filled(_GLOBAL, kind, name, hidden=hidden))


def _adaptive(kind: type[Reducer], name: str, hidden: tuple[str, ...] = ()) -> tuple[type[AdaptiveLayer], ...]:
    base = cast("type[AdaptiveLayer]", type(f"_{name}", (AdaptiveLayer,), {"kind": kind, "hidden": hidden}))
    return family(base, name, _filled(_ADAPTIVE, kind, name, hidden=hidden))


# Without padding there is nothing to choose.
_DIVISORS = ("count_include_pad", "divisor")

MaxPooling1D, MaxPooling2D, MaxPooling3D = _sliding(Max, "MaxPooling")
AveragePooling1D, AveragePooling2D, AveragePooling3D = _sliding(Mean, "AveragePooling", count_include_pad=False)
MinPooling1D, MinPooling2D, MinPooling3D = _sliding(Min, "MinPooling")
SumPooling1D, SumPooling2D, SumPooling3D = _sliding(Sum, "SumPooling")
LpPooling1D, LpPooling2D, LpPooling3D = _sliding(Lp, "LpPooling")
RMSPooling1D, RMSPooling2D, RMSPooling3D = _sliding(RMS, "RMSPooling")
PowerMeanPooling1D, PowerMeanPooling2D, PowerMeanPooling3D = _sliding(PowerMean, "PowerMeanPooling")
LogSumExpPooling1D, LogSumExpPooling2D, LogSumExpPooling3D = _sliding(LogSumExp, "LogSumExpPooling")
SoftPooling1D, SoftPooling2D, SoftPooling3D = _sliding(Soft, "SoftPooling")
MedianPooling1D, MedianPooling2D, MedianPooling3D = _sliding(Median, "MedianPooling")
QuantilePooling1D, QuantilePooling2D, QuantilePooling3D = _sliding(Quantile, "QuantilePooling", "q=0.9")
TopKMeanPooling1D, TopKMeanPooling2D, TopKMeanPooling3D = _sliding(TopKMean, "TopKMeanPooling", "k=2")
RankMeanPooling1D, RankMeanPooling2D, RankMeanPooling3D = _sliding(RankMean, "RankMeanPooling")
OrdinalPooling1D, OrdinalPooling2D, OrdinalPooling3D = _sliding(Ordinal, "OrdinalPooling", "weights=(0.7, 0.3)")
StochasticPooling1D, StochasticPooling2D, StochasticPooling3D = _sliding(Stochastic, "StochasticPooling")
RankStochasticPooling1D, RankStochasticPooling2D, RankStochasticPooling3D = _sliding(
    RankStochastic, "RankStochasticPooling"
)
MaxDropPooling1D, MaxDropPooling2D, MaxDropPooling3D = _sliding(MaxDrop, "MaxDropPooling")
VarPooling1D, VarPooling2D, VarPooling3D = _sliding(Var, "VarPooling")
StdPooling1D, StdPooling2D, StdPooling3D = _sliding(Std, "StdPooling")

GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D = _global(Max, "GlobalMaxPooling")
GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D = _global(
    Mean, "GlobalAveragePooling", _DIVISORS
)
GlobalMinPooling1D, GlobalMinPooling2D, GlobalMinPooling3D = _global(Min, "GlobalMinPooling")
GlobalSumPooling1D, GlobalSumPooling2D, GlobalSumPooling3D = _global(Sum, "GlobalSumPooling")
GlobalLpPooling1D, GlobalLpPooling2D, GlobalLpPooling3D = _global(Lp, "GlobalLpPooling")
GlobalRMSPooling1D, GlobalRMSPooling2D, GlobalRMSPooling3D = _global(RMS, "GlobalRMSPooling")
GlobalPowerMeanPooling1D, GlobalPowerMeanPooling2D, GlobalPowerMeanPooling3D = _global(
    PowerMean, "GlobalPowerMeanPooling"
)
GlobalLogSumExpPooling1D, GlobalLogSumExpPooling2D, GlobalLogSumExpPooling3D = _global(
    LogSumExp, "GlobalLogSumExpPooling"
)
GlobalSoftPooling1D, GlobalSoftPooling2D, GlobalSoftPooling3D = _global(Soft, "GlobalSoftPooling")

AdaptiveMaxPooling1D, AdaptiveMaxPooling2D, AdaptiveMaxPooling3D = _adaptive(Max, "AdaptiveMaxPooling")
AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D = _adaptive(
    Mean, "AdaptiveAveragePooling", _DIVISORS
)
AdaptiveMinPooling1D, AdaptiveMinPooling2D, AdaptiveMinPooling3D = _adaptive(Min, "AdaptiveMinPooling")
AdaptiveSumPooling1D, AdaptiveSumPooling2D, AdaptiveSumPooling3D = _adaptive(Sum, "AdaptiveSumPooling")
AdaptiveLpPooling1D, AdaptiveLpPooling2D, AdaptiveLpPooling3D = _adaptive(Lp, "AdaptiveLpPooling")
AdaptiveRMSPooling1D, AdaptiveRMSPooling2D, AdaptiveRMSPooling3D = _adaptive(RMS, "AdaptiveRMSPooling")
AdaptivePowerMeanPooling1D, AdaptivePowerMeanPooling2D, AdaptivePowerMeanPooling3D = _adaptive(
    PowerMean, "AdaptivePowerMeanPooling"
)
AdaptiveLogSumExpPooling1D, AdaptiveLogSumExpPooling2D, AdaptiveLogSumExpPooling3D = _adaptive(
    LogSumExp, "AdaptiveLogSumExpPooling"
)
AdaptiveSoftPooling1D, AdaptiveSoftPooling2D, AdaptiveSoftPooling3D = _adaptive(Soft, "AdaptiveSoftPooling")

MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
)
