"""The way back: values to where max pooling found them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from keras import KerasTensor

from poolkit.errors import PoolError, PoolTypeError, entries, show
from poolkit.keras.cells import dtype_of, ops
from poolkit.keras.functional import layout_of
from poolkit.keras.layers.base import KERAS_NAMES, PoolingLayer, family
from poolkit.unpooling import check_unpool
from poolkit.window import per_axis

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor


class _MaxUnpooling(PoolingLayer):
    settings = ("pool_size", "strides", "padding", "data_format", "output_size")

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        *,
        output_size: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(data_format, **options)
        self.pool_size = per_axis(pool_size, "pool_size", 1, self.rank)
        self.strides = self.pool_size if strides is None else per_axis(strides, "strides", 1, self.rank)
        self.padding = padding.lower() if isinstance(padding, str) else per_axis(padding, "padding", 0, self.rank)
        if isinstance(self.padding, str) and self.padding not in ("valid", "same"):
            raise PoolError(
                f"padding={show(padding)}", "padding is 'valid', 'same' or an int", "pass that of the max pooling"
            )
        self.output_size = None if output_size is None else per_axis(output_size, "output_size", 1, self.rank)

    def call(self, inputs: tuple[Tensor, Tensor]) -> Any:
        """Un-pools the pair of values and places that max pooling with `return_indices` gave."""
        values, places = self._pair(inputs)
        sizes = self._sizes(values.shape, places.shape)
        if any(size is None for size in sizes):
            raise PoolError(
                f"input x of shape {tuple(values.shape)}",
                "the sizes are known when the graph is made",
                "pass output_size, or give keras.Input its sizes",
            )
        cells = math.prod(cast("tuple[int, ...]", sizes))
        first = layout_of("channels_first", self.rank)
        x, at = (ops.moveaxis(one, -1, 1) if self._layout.last else one for one in (values, places))
        shape = ops.shape(x)
        y = _unpooled(x, ops.cast(at, "int32"), cells)
        y = ops.reshape(y, (-1, shape[first.channels], *sizes))
        return self._layout.moved(y)

    def _pair(self, inputs: Any) -> tuple[Any, Any]:
        pair = entries(inputs)
        if pair is None or len(pair) != 2:
            raise PoolTypeError(
                f"inputs={show(inputs)}",
                "un-pooling takes the pair of values and places",
                "pass what max pooling with return_indices=True gave",
            )
        values, places = pair
        if not dtype_of(places).startswith("int"):
            raise PoolTypeError(
                f"indices of dtype {dtype_of(places)}", "indices are integers", "pass the indices of max pooling"
            )
        return values, places

    def _sizes(self, shape: Any, places: Any) -> tuple[int | None, ...]:
        one, other = (
            tuple(1 if size is None else size for size in self._layout.logical(given))
            if len(given) == self.rank + 2
            else tuple(given)
            for given in (shape, places)
        )
        known = [None if size is None else size for size in self._layout.sizes(shape)]
        try:
            if self.padding == "same":
                # Of all sizes that pool to this one the largest, without a cell that no window saw.
                sizes = self.output_size or tuple(
                    size * stride for size, stride in zip(one[2:], self.strides, strict=True)
                )
                check_unpool(one, other, 1, 1, 0, one[2:], self.rank)
            else:
                padding = 0 if self.padding == "valid" else self.padding
                sizes = check_unpool(one, other, self.pool_size, self.strides, padding, self.output_size, self.rank)
        except PoolError as error:
            raise error.renamed(KERAS_NAMES) from None
        if self.output_size is not None:
            return tuple(sizes)
        return tuple(None if was is None else size for was, size in zip(known, sizes, strict=True))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for the pair of shapes."""
        values, places = input_shape
        sizes = self._sizes(values, places)
        return self._layout.own((values[0], values[self._layout.channels], *sizes))

    def compute_output_spec(self, inputs: Any, **_: Any) -> Any:
        """The output's shape and dtype."""
        values, places = self._pair(inputs)
        dtype = dtype_of(values)
        shape = self.compute_output_shape((values.shape, places.shape))
        return KerasTensor(shape, dtype=self.out_dtype(dtype))


def _unpooled(x: Tensor, places: Tensor, cells: int) -> Tensor:
    """``(N, C, *sizes)`` into flat planes ``(N * C, cells)``; of equal places the last in row-major order wins."""
    flat = ops.reshape(x, (-1,))
    shape = ops.shape(x)
    planes = shape[0] * shape[1]
    per_plane = ops.shape(ops.reshape(x[:1, :1], (-1,)))[0]
    number = ops.arange(planes * per_plane, dtype="int32")
    target = ops.reshape(places, (-1,)) + number // per_plane * cells
    # Which value a cell gets, as its number: of several the largest. Then the gradient goes to that one alone.
    source = ops.segment_max(number, target, num_segments=planes * cells)
    some = source >= 0
    y = ops.where(some, ops.take(flat, ops.where(some, source, 0), axis=0), ops.zeros((), dtype=flat.dtype))
    return ops.reshape(y, (-1, cells))


MaxUnpooling1D, MaxUnpooling2D, MaxUnpooling3D = family(
    _MaxUnpooling,
    "MaxUnpooling",
    """Puts values where max pooling found them and zero elsewhere, as `poolkit.nn.MaxUnpool{n}d`.

    Of equal places the last in row-major order wins. Places outside of the output are dropped.

    Args:
        pool_size: that of the max pooling.
        strides: that of the max pooling; None means `pool_size`.
        padding: that of the max pooling: ``"valid"``, ``"same"`` or cells on both sides.
        data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
        output_size: the sizes wanted; None means ``(size - 1) * strides - 2 * padding + pool_size``, with ``"same"``
            ``size * strides``.
        **options: of every Keras layer, such as dtype.

    Shape:
        A pair of values and integer places, each ``(batch, {n} sizes, channels)``, or with the channels before the
        sizes, to the same with larger sizes.

    Raises:
        PoolError: an argument breaks a rule, or values and places do not fit together.

    >>> import numpy as np
    >>> from poolkit.keras import layers
    >>> pair = layers.MaxPooling{n}D(return_indices=True)(np.ones((2, {sizes}, 3), "float32"))
    >>> tuple(layers.MaxUnpooling{n}D()(pair).shape)
    (2, {sizes}, 3)
    """,
)
