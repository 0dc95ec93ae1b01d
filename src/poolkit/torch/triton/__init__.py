"""The operators as Triton kernels, for tensors on a GPU: the loops of csrc/ under the same names.

The modules stand beside those of csrc/: `plan`, `grid`, `cores`, `fold`, `merge`, `slide`, `whole`, `order`, `locals`,
`back`, `kernels`; `split`, `moments` and `filters` are of GPUs only. None of them is imported before a tensor on a GPU
is pooled: poolkit does not depend on Triton, which comes with torch's builds for GPUs. Without it, and for what has no
kernel, the compositions of `poolkit.torch.composite` do the work, and a line of the log says why, once.
"""

from __future__ import annotations

import importlib
import logging
import math
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from poolkit.reducer import (
    RMS,
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
    Soft,
    Std,
    Stochastic,
    Sum,
    TopKMean,
    Var,
)
from poolkit.torch import composite
from poolkit.torch.shapes import axes_of, chooses, decode, reducer_of

if TYPE_CHECKING:
    from collections.abc import Callable

# The dispatch keys of devices that Triton compiles for; ROCm's is CUDA, too.
KEYS = ("CUDA", "XPU")
# Those with a kernel that folds, whatever the window, and those that hold a small one in registers.
FOLDED = (Max, Min, Sum, Mean, Lp, PowerMean, RMS, LogSumExp, Soft, Mixed, Var, Std, Boltzmann, GeM, Filter, Stochastic)
SORTED = (Median, Quantile, TopKMean, RankMean, Ordinal, RankStochastic, MaxDrop)
MOST_WHOLE = 32  # cells of a window in registers
_LEARNED = (Mixed, GeM, Boltzmann, Filter)

_log = logging.getLogger("poolkit.triton")


class Path(NamedTuple):
    """What serves a call on a GPU: "triton" or "composite", and why."""

    way: str
    why: str


@lru_cache(maxsize=1)
def missing() -> str | None:
    """Why the kernels cannot be had; None where they can. Imports Triton, where it is installed."""
    if find_spec("triton") is None:
        return "Triton is not installed; it comes with torch's builds for GPUs"
    try:
        importlib.import_module("poolkit.torch.triton.kernels")
    except (ImportError, AttributeError) as error:  # what the kernels are written in has other names there
        return f"the installed Triton does not suit: {error}"
    return None


@lru_cache(maxsize=4096)
def path(operator: str, plan: str, dtype: torch.dtype) -> Path:
    """Which way a call of this operator takes on a GPU, from what is known before it runs.

    >>> from poolkit.torch import ops
    >>> import poolkit as pk, torch
    >>> plan = pk.Sliding(3, 2, 1).plan((9, 9))
    >>> text = ops.encode(pk.Ada.code, pk.Ada().params, plan.spec)
    >>> path("pool", text, torch.float32)
    Path(way='composite', why='Ada has no kernel')
    """
    what = decode(plan)
    kind, params = reducer_of(what), what.params
    if not dtype.is_floating_point:
        return Path("composite", f"{str(dtype).removeprefix('torch.')} tensors have no kernel")
    if kind not in (*FOLDED, *SORTED):
        return Path("composite", f"{kind.__name__} has no kernel")
    if operator == "pool_backward_extra" and kind not in _LEARNED:
        return Path("composite", f"the gradient of what stands beside x has no kernel for {kind.__name__}")
    axes = axes_of(plan)
    if max(max(axis.spec) for axis in axes) >= 2**31 or math.prod(axis.size for axis in axes) >= 2**31:
        return Path("composite", "sizes of 2**31 and more in one plane have no kernel")
    taps = math.prod(axis.kernel if axis.kind == "starts" else int(axis.count.max()) for axis in axes)
    # Offsets say all that a backward pass of a choice needs.
    routed = operator == "pool_backward" and chooses(kind, params)
    whole = kind in SORTED
    if whole and not routed and taps > MOST_WHOLE:
        return Path("composite", f"{kind.__name__} has a kernel for windows of at most {MOST_WHOLE} cells, here {taps}")
    return Path("triton", "a kernel folds its windows" if not whole else "a kernel holds its windows in registers")


@lru_cache(maxsize=256)
def _tell(why: str) -> None:
    _log.warning("composed of torch's own operations instead of a Triton kernel: %s", why)


def _operator(name: str) -> Callable[..., Any]:
    """The operator of this name: a kernel, or the composition."""
    compose = composite.OPERATORS[name]

    def call(x: Tensor, plan: str, *arguments: Any, **options: Any) -> Any:
        why = missing()
        if why is None:
            served = path(name, plan, x.dtype)
            if served.way == "triton":
                kernels: Any = importlib.import_module("poolkit.torch.triton.kernels")
                return getattr(kernels, name)(x, plan, *arguments, **options)
            why = served.why
        _tell(why)
        return compose(x, plan, *arguments, **options)

    return call


OPERATORS: dict[str, Callable[..., Any]] = {
    name: _operator(name) for name in composite.OPERATORS if name.startswith("pool")
}


class Forced(TorchDispatchMode):
    """Within it CPU tensors, too, go through these kernels, in Triton's interpreter: a way to test them without a GPU.

    The interpreter is chosen when Triton is imported: by the environment variable TRITON_INTERPRET=1.

    Raises:
        RuntimeError: the interpreter is not on.
    """

    def __init__(self) -> None:
        super().__init__()
        why = missing()
        if why is None:
            knobs: Any = importlib.import_module("triton.knobs")
            why = None if knobs.runtime.interpret else "TRITON_INTERPRET=1 was not set when Python started"
        if why is not None:
            raise RuntimeError(f"poolkit: Triton's interpreter cannot run: {why}")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        function = OPERATORS.get(cast(str, func._opname)) if func.namespace == "poolkit" else None
        return (function or func)(*args, **(kwargs or {}))
