"""The named functions of reducers that no other library names: made from their records, one line each.

Each takes a NumPy array or a torch tensor, the window's size, what the record cannot do without, then the rest of the
window as `poolkit.functional` has it, and by name alone what has a default: `std_pool2d(x, 3, 1)` is a stride.
"""

from __future__ import annotations

import dataclasses
import inspect
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from poolkit.functional import by_rank, sliding_of
from poolkit.pooling import Array, pool
from poolkit.reducer import (
    Ada,
    Boltzmann,
    Filter,
    GeM,
    MaxDrop,
    Median,
    Mixed,
    Ordinal,
    Quantile,
    RankMean,
    RankStochastic,
    Reducer,
    Std,
    Stochastic,
    TopKMean,
    Var,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BEFORE = ("rank", "input", "kernel_size")
_WINDOW: tuple[tuple[str, Any], ...] = (("stride", None), ("padding", 0), ("dilation", 1), ("ceil_mode", False))


def _of(kind: type[Reducer], name: str, example: str = "") -> tuple[Callable[..., Array], ...]:
    """The 1-D, 2-D and 3-D functions over sliding windows with this reducer."""
    fields = [field for field in dataclasses.fields(kind) if field.init]
    seeded = any(field.name == "sample" for field in fields)
    chooses = seeded or isinstance(inspect.getattr_static(kind, "selects"), property)
    plain = [Parameter(one, Parameter.POSITIONAL_OR_KEYWORD) for one in _BEFORE]
    needed = [field for field in fields if field.default is dataclasses.MISSING]
    chosen = [field for field in fields if field.default is not dataclasses.MISSING]
    plain += [Parameter(field.name, Parameter.POSITIONAL_OR_KEYWORD) for field in needed]
    plain += [Parameter(one, Parameter.POSITIONAL_OR_KEYWORD, default=default) for one, default in _WINDOW]
    last = [Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default) for field in chosen]
    last += [Parameter("return_indices", Parameter.KEYWORD_ONLY, default=False)] * chooses
    last.append(Parameter("data_format", Parameter.KEYWORD_ONLY, default="channels_first"))
    last += [Parameter("seed", Parameter.KEYWORD_ONLY, default=None)] * seeded
    last.append(Parameter("out", Parameter.KEYWORD_ONLY, default=None))
    signature = inspect.Signature([*plain, *last], return_annotation=Array)

    def function(*args: Any, **kwargs: Any) -> Array:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        values = given.arguments
        window = sliding_of(values["rank"], values["kernel_size"], *(values[one] for one, _ in _WINDOW))
        reducer = kind(**{field.name: values[field.name] for field in fields})
        return pool(
            values["input"],
            window,
            reducer,
            return_indices=values.get("return_indices", False),
            data_format=values["data_format"],
            seed=values.get("seed"),
            out=values["out"],
        )

    function.__name__ = function.__qualname__ = name
    function.__dict__["__signature__"] = signature
    record = inspect.cleandoc(kind.__doc__ or "").split("\n")[0]
    function.__doc__ = (
        f"{record}\n\nThe reducer `poolkit.{kind.__name__}` over sliding windows of {{n}} axes: its arguments, and "
        "those of `poolkit.Sliding`;\nerrors and dtypes are those of `poolkit.pool`.\n\n"
        ">>> import numpy as np, poolkit as pk\n"
        f">>> pk.{name}{{n}}d(np.zeros((2, 3{{in}})), 2{example}).shape\n(2, 3{{out}})\n"
    )
    return by_rank(function)


median_pool1d, median_pool2d, median_pool3d = _of(Median, "median_pool")
quantile_pool1d, quantile_pool2d, quantile_pool3d = _of(Quantile, "quantile_pool", ", q=0.9")
topk_mean_pool1d, topk_mean_pool2d, topk_mean_pool3d = _of(TopKMean, "topk_mean_pool", ", k=2")
rank_mean_pool1d, rank_mean_pool2d, rank_mean_pool3d = _of(RankMean, "rank_mean_pool")
ordinal_pool1d, ordinal_pool2d, ordinal_pool3d = _of(Ordinal, "ordinal_pool", ", weights=(0.7, 0.3)")
stochastic_pool1d, stochastic_pool2d, stochastic_pool3d = _of(Stochastic, "stochastic_pool", ", seed=0")
rank_stochastic_pool1d, rank_stochastic_pool2d, rank_stochastic_pool3d = _of(
    RankStochastic, "rank_stochastic_pool", ", seed=0"
)
max_drop_pool1d, max_drop_pool2d, max_drop_pool3d = _of(MaxDrop, "max_drop_pool", ", seed=0")
mixed_pool1d, mixed_pool2d, mixed_pool3d = _of(Mixed, "mixed_pool")
var_pool1d, var_pool2d, var_pool3d = _of(Var, "var_pool")
std_pool1d, std_pool2d, std_pool3d = _of(Std, "std_pool")
ada_pool1d, ada_pool2d, ada_pool3d = _of(Ada, "ada_pool")
boltzmann_pool1d, boltzmann_pool2d, boltzmann_pool3d = _of(Boltzmann, "boltzmann_pool")
gem_pool1d, gem_pool2d, gem_pool3d = _of(GeM, "gem_pool")
filter_pool1d, filter_pool2d, filter_pool3d = _of(Filter, "filter_pool", ", weights=(0.25,) * 2**{n}")
