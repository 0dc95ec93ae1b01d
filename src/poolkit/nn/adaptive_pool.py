"""A fixed number of windows that share the input out, with the reducers that torch.nn does not have for them.

Window ``i`` of ``O`` along an axis of ``I`` cells takes the cells ``floor(i I / O) .. ceil((i + 1) I / O)``, as
torch's adaptive poolings do; neighbours overlap by a cell where ``O`` does not divide ``I``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from poolkit.errors import number
from poolkit.nn._base import RankedPool
from poolkit.reducer import RMS, LogSumExp, Lp, Min, PowerMean, Reducer, Soft, Sum
from poolkit.torch.functional import Parts, Result, run
from poolkit.window import Adaptive

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _shared_out(reducer: Callable[..., Reducer]) -> Callable[..., Parts]:
    """The ``build`` of modules whose settings are output_size, then the reducer's."""

    def build(output_size: Any, *rest: Any) -> Parts:
        return Adaptive(output_size), reducer(*rest)

    return staticmethod(build)


def _norm(norm_type: Any) -> Lp:
    return Lp(number(norm_type, "norm_type", low=0.0, allow_inf=True))


class _AdaptivePool(RankedPool):
    fields = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size
        self._check()


class _AdaptiveMinPool(RankedPool):
    """Minimum over {n}-D windows that share the input out.

    ``y = min x``; of equal cells the first in row-major order is chosen and alone receives the gradient.

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.
        return_indices: also give the int64 positions of the chosen cells in the flat plane.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes of any real dtype, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveMinPool{n}d(3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(Min)
    fields = ("output_size",)
    extras: ClassVar = {"return_indices": False}

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices
        self._check()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        return run(input, type(self).build, self._values(), self.rank, self.return_indices)


class AdaptiveMinPool1d(_AdaptiveMinPool):
    rank = 1


class AdaptiveMinPool2d(_AdaptiveMinPool):
    rank = 2


class AdaptiveMinPool3d(_AdaptiveMinPool):
    rank = 3


class _AdaptiveSumPool(_AdaptivePool):
    """Sum over {n}-D windows that share the input out.

    ``y = sum x``; integers give int64.

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes of any real dtype, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveSumPool{n}d(3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(Sum)


class AdaptiveSumPool1d(_AdaptiveSumPool):
    rank = 1


class AdaptiveSumPool2d(_AdaptiveSumPool):
    rank = 2


class AdaptiveSumPool3d(_AdaptiveSumPool):
    rank = 3


class _AdaptiveRMSPool(_AdaptivePool):
    """Root mean square over {n}-D windows that share the input out.

    ``y = sqrt(mean x**2)``

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveRMSPool{n}d(3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(RMS)


class AdaptiveRMSPool1d(_AdaptiveRMSPool):
    rank = 1


class AdaptiveRMSPool2d(_AdaptiveRMSPool):
    rank = 2


class AdaptiveRMSPool3d(_AdaptiveRMSPool):
    rank = 3


class _AdaptiveLpPool(RankedPool):
    """p-norm over {n}-D windows that share the input out.

    ``y = (sum |x|**p) ** (1 / p)``

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.
        norm_type: p, above 0 or infinity; first, as in `LPPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveLpPool{n}d(2, 3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(_norm)
    fields = ("output_size", "norm_type")

    def __init__(self, norm_type: float, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size
        self.norm_type = norm_type
        self._check()


class AdaptiveLpPool1d(_AdaptiveLpPool):
    rank = 1


class AdaptiveLpPool2d(_AdaptiveLpPool):
    rank = 2


class AdaptiveLpPool3d(_AdaptiveLpPool):
    rank = 3


class _AdaptivePowerMeanPool(RankedPool):
    """Generalized mean over {n}-D windows that share the input out (GeM: Radenovic et al., 2018).

    ``y = (mean max(x, eps)**p) ** (1 / p)``

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.
        p: above 0 and finite; 1 is the mean, large values approach the maximum.
        eps: cells below it count as it.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptivePowerMeanPool{n}d(3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(PowerMean)
    fields = ("output_size", "p", "eps")

    def __init__(self, output_size: Any, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.output_size = output_size
        self.p = p
        self.eps = eps
        self._check()


class AdaptivePowerMeanPool1d(_AdaptivePowerMeanPool):
    rank = 1


class AdaptivePowerMeanPool2d(_AdaptivePowerMeanPool):
    rank = 2


class AdaptivePowerMeanPool3d(_AdaptivePowerMeanPool):
    rank = 3


class _AdaptiveSoftPool(RankedPool):
    """Softmax-weighted mean over {n}-D windows that share the input out (Stergiou et al., 2021).

    ``y = sum x e**(beta x) / sum e**(beta x)``

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.
        beta: sharpness; finite and not 0, large values approach the maximum.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveSoftPool{n}d(3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(Soft)
    fields = ("output_size", "beta")

    def __init__(self, output_size: Any, *, beta: float = 1.0) -> None:
        super().__init__()
        self.output_size = output_size
        self.beta = beta
        self._check()


class AdaptiveSoftPool1d(_AdaptiveSoftPool):
    rank = 1


class AdaptiveSoftPool2d(_AdaptiveSoftPool):
    rank = 2


class AdaptiveSoftPool3d(_AdaptiveSoftPool):
    rank = 3


class _AdaptiveLogSumExpPool(RankedPool):
    """Smooth maximum over {n}-D windows that share the input out (Pinheiro and Collobert, 2015).

    ``y = log(mean e**(beta x)) / beta``

    Args:
        output_size: windows per axis, an int or one per axis; None keeps an axis as it is. May exceed the input's size.
        beta: sharpness; finite and not 0, large values approach the maximum.
        mean: logarithm of the mean (True) or of the sum.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` with {n} sizes, floating, to the same with sizes `output_size`.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.AdaptiveLogSumExpPool{n}d(3)(torch.ones(2, 3, {sizes})).shape[2:] == (3,) * {n}
    True
    """

    build = _shared_out(LogSumExp)
    fields = ("output_size", "beta", "mean")

    def __init__(self, output_size: Any, *, beta: float = 1.0, mean: bool = True) -> None:
        super().__init__()
        self.output_size = output_size
        self.beta = beta
        self.mean = mean
        self._check()


class AdaptiveLogSumExpPool1d(_AdaptiveLogSumExpPool):
    rank = 1


class AdaptiveLogSumExpPool2d(_AdaptiveLogSumExpPool):
    rank = 2


class AdaptiveLogSumExpPool3d(_AdaptiveLogSumExpPool):
    rank = 3
