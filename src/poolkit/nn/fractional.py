"""Fractional windows, in torch's and in TensorFlow's style, with maximum and mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolkit.errors import entries
from poolkit.nn._base import PoolModule
from poolkit.reducer import Max, Mean
from poolkit.torch.functional import Parts, Result, run
from poolkit.window import Fractional, Style, spread

if TYPE_CHECKING:
    from torch import Tensor


class _FractionalPool(PoolModule):
    """What both share: a window's settings, and the uniforms, which are a buffer."""

    fields = ("kernel_size", "output_size", "output_ratio", "style", "pooling_ratio", "pseudo_random", "overlapping")
    _random_samples: Tensor | None

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any,
        output_ratio: Any,
        samples: Tensor | None,
        style: Style,
        pooling_ratio: Any,
        pseudo_random: bool,
        overlapping: bool,
    ) -> None:
        super().__init__()
        self.kernel_size = self._spread(kernel_size) if style == "torch" else kernel_size
        self.output_size = None if output_size is None else self._spread(output_size)
        self.output_ratio = None if output_ratio is None else self._spread(output_ratio)
        self.style = style
        self.pooling_ratio = None if pooling_ratio is None else self._spread(pooling_ratio)
        self.pseudo_random = pseudo_random
        self.overlapping = overlapping
        self.register_buffer("_random_samples", samples)
        self._check()

    def _spread(self, value: Any) -> Any:
        items = entries(value)
        return spread(value, self.rank) if items is None else items

    @staticmethod
    def _window(
        kernel_size: Any,
        output_size: Any,
        output_ratio: Any,
        style: Any,
        pooling_ratio: Any,
        pseudo_random: Any,
        overlapping: Any,
    ) -> Fractional:
        return Fractional(
            kernel_size,
            output_size,
            output_ratio,
            style=style,
            pooling_ratio=pooling_ratio,
            pseudo_random=pseudo_random,
            overlapping=overlapping,
        )

    def extra_repr(self) -> str:
        """Nothing in torch's style, as there; else the settings of the other one."""
        if self.style == "torch":
            return ""
        names = ("output_size", "output_ratio", "pooling_ratio", "style", "pseudo_random", "overlapping")
        given = [(name, getattr(self, name)) for name in names]
        return ", ".join(f"{name}={value!r}" for name, value in given if value is not None)


class _FractionalMaxPool(_FractionalPool):
    """Maximum over windows at pseudo-random places (Graham, 2014), as torch.nn's module of the same name.

    With the same torch seed it gives the same result as torch.nn's. Like there, training and evaluation both draw.
    ``style="tensorflow"`` lays the windows out as tf.nn.fractional_max_pool does: they tile the input, the same for all
    samples and channels; see `poolkit.Fractional` for the rules.

    Args:
        kernel_size: cells of a window; None in TensorFlow's style.
        output_size: windows per axis, or
        output_ratio: windows as a fraction of the input; exactly one of the sizes is given.
        return_indices: also return the int64 positions of the maxima in the flat plane.
        _random_samples: the uniforms ``[N, C, axes]`` to use instead of drawing them; in TensorFlow's style one for
            each window of each axis, or with `pseudo_random` one an axis.
        style: "torch" or "tensorflow".
        pooling_ratio: TensorFlow's style: how many times smaller the output is.
        pseudo_random: TensorFlow's style: evenly spread widths.
        overlapping: TensorFlow's style: each window also has the first cell of the next one.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.FractionalMaxPool2d(2, output_ratio=0.5)(torch.rand(1, 3, 8, 8)).shape
    torch.Size([1, 3, 4, 4])
    >>> nn.FractionalMaxPool2d(None, style="tensorflow", pooling_ratio=1.5)(torch.rand(1, 3, 8, 8)).shape
    torch.Size([1, 3, 5, 5])
    """

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
        *,
        style: Style = "torch",
        pooling_ratio: Any = None,
        pseudo_random: bool = False,
        overlapping: bool = False,
    ) -> None:
        layout = (style, pooling_ratio, pseudo_random, overlapping)
        super().__init__(kernel_size, output_size, output_ratio, _random_samples, *layout)
        self.return_indices = return_indices

    @staticmethod
    def build(*settings: Any) -> Parts:
        """The window and reducer of these settings."""
        return _FractionalPool._window(*settings), Max()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`; with ``return_indices`` gives (values, indices)."""
        settings = self._values()
        return run(input, type(self).build, settings, self.rank, self.return_indices, self._random_samples)


class FractionalMaxPool1d(_FractionalMaxPool):
    rank = 1


class FractionalMaxPool2d(_FractionalMaxPool):
    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    rank = 3


class _FractionalAvgPool(_FractionalPool):
    """Mean over windows at pseudo-random places: the places of `FractionalMaxPool2d`, in both styles.

    Source: the places: Graham, "Fractional Max-Pooling", 2014 (arXiv:1412.6071); the mean over them is TensorFlow's.

    Args:
        kernel_size, output_size, output_ratio, _random_samples: as for `FractionalMaxPool2d`.
        style, pooling_ratio, pseudo_random, overlapping: as for `FractionalMaxPool2d`.

    Shape:
        ``(N, C, *sizes)`` or ``(C, *sizes)`` to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule.

    >>> import torch, poolkit.nn as nn
    >>> nn.FractionalAvgPool2d(2, output_size=5)(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 3, 5, 5])
    """

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        _random_samples: Tensor | None = None,
        *,
        style: Style = "torch",
        pooling_ratio: Any = None,
        pseudo_random: bool = False,
        overlapping: bool = False,
    ) -> None:
        layout = (style, pooling_ratio, pseudo_random, overlapping)
        super().__init__(kernel_size, output_size, output_ratio, _random_samples, *layout)

    @staticmethod
    def build(*settings: Any) -> Parts:
        """The window and reducer of these settings."""
        return _FractionalPool._window(*settings), Mean()

    def forward(self, input: Tensor) -> Result:
        """Pools `input`."""
        return run(input, type(self).build, self._values(), self.rank, samples=self._random_samples)


class FractionalAvgPool1d(_FractionalAvgPool):
    rank = 1


class FractionalAvgPool2d(_FractionalAvgPool):
    rank = 2


class FractionalAvgPool3d(_FractionalAvgPool):
    rank = 3
