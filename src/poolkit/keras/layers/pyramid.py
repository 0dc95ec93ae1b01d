"""Pooling at several scales at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from poolkit.errors import flag
from poolkit.keras.cells import ops
from poolkit.keras.functional import run
from poolkit.keras.layers.base import PoolingLayer
from poolkit.levels import pyramid_levels
from poolkit.reducer import Max, Mean, Reducer
from poolkit.reducer.order import check_word
from poolkit.window import Adaptive

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor
    from poolkit.window import Window


@keras.saving.register_keras_serializable(package="poolkit")
class SpatialPyramidPooling2D(PoolingLayer):
    """Adaptive pooling at several output sizes, side by side: a vector of one length from a map of any size.

    Level ``n`` shares the map out into ``n x n`` windows; the levels stand one after the other, each channel by channel
    in row-major order, as in `poolkit.nn.SpatialPyramidPool2d`.

    Source: He, Zhang, Ren and Sun, 2014 (arXiv:1406.4729, section 2.2).

    Args:
        levels: windows per side of each level, an int or (rows, columns); 1 is global pooling.
        mode: ``"max"`` or ``"avg"``.
        flatten: one vector per sample; False keeps the channels apart.
        data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
        **options: of every Keras layer, such as dtype.

    Shape:
        ``(batch, height, width, channels)``, or with the channels before the sizes, to ``(batch, channels * cells)``;
        without `flatten` to ``(batch, cells, channels)``, or ``(batch, channels, cells)``. ``cells`` is the sum of the
        levels' windows, 21 for ``(1, 2, 4)``.

    Raises:
        PoolError: an argument or the input breaks a rule.

    >>> import numpy as np
    >>> from poolkit.keras import layers
    >>> tuple(layers.SpatialPyramidPooling2D((1, 2))(np.zeros((2, 9, 7, 3), "float32")).shape)
    (2, 15)
    """

    rank = 2
    settings = ("levels", "mode", "flatten", "data_format")

    def __init__(
        self,
        levels: Any = (1, 2, 4),
        mode: str = "max",
        flatten: bool = True,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data_format, **options)
        self.levels = pyramid_levels(levels, "levels")
        check_word(mode, "mode", ("max", "avg"))
        self.mode, self.flatten = mode, flag(flatten, "flatten")

    @property
    def cells(self) -> int:
        """Windows of all levels together: numbers per channel."""
        return sum(rows * columns for rows, columns in self.levels)

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The first level's window, and the reducer of all."""
        return Adaptive(self.levels[0]), Max() if self.mode == "max" else Mean()

    def call(self, inputs: Tensor) -> Any:
        """The pyramid of a batch."""
        found: list[Tensor] = []
        _, reducer = self.parts()
        for rows, columns in self.levels:
            y = run(inputs, Adaptive((rows, columns)), reducer, self._layout)
            channels = inputs.shape[self._layout.channels]
            if self.flatten:
                y = ops.moveaxis(y, -1, 1) if self._layout.last else y
                found.append(ops.reshape(y, (-1, rows * columns * channels)))
            else:
                own = (rows * columns, channels) if self._layout.last else (channels, rows * columns)
                found.append(ops.reshape(y, (-1, *own)))
        return ops.concatenate(found, 1 if self.flatten or self._layout.last else 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape, whatever the sizes of the input."""
        pooled = super().compute_output_shape(input_shape)
        batch, channels = pooled[0], pooled[self._layout.channels]
        if self.flatten:
            return batch, None if channels is None else channels * self.cells
        return (batch, self.cells, channels) if self._layout.last else (batch, channels, self.cells)
