"""Blur before the stride: poolings that keep a shift of the input a shift of the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poolkit.blur import CONVENTIONS, blur_row, blur_sides, check_blur
from poolkit.errors import PoolError, show
from poolkit.keras.cells import Pick, along, dtype_of, ops, spread, wide
from poolkit.keras.layers.base import PoolingLayer, family
from poolkit.reducer import Max, Reducer
from poolkit.reducer.order import check_word
from poolkit.window import Sliding, per_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.keras.cells import Tensor
    from poolkit.window import Window

# How numpy.pad calls what stands outside of the input.
_MODES: dict[str, Literal["reflect", "edge", "wrap"] | None] = {
    "reflect": "reflect",
    "replicate": "edge",
    "zeros": None,
    "circular": "wrap",
}


class _BlurPooling(PoolingLayer):
    settings = ("filter_size", "strides", "padding", "data_format", "convention")

    def __init__(
        self,
        filter_size: Any = None,
        strides: Any = 2,
        padding: str | None = None,
        data_format: str | None = None,
        *,
        convention: str = "timm",
        **options: Any,
    ) -> None:
        super().__init__(data_format, **options)
        check_word(convention, "convention", tuple(CONVENTIONS))
        self.convention = convention
        size, mode = CONVENTIONS[convention]
        if padding is not None:
            check_word(padding, "padding", tuple(_MODES))
        self.filter_size = per_axis(size if filter_size is None else filter_size, "filter_size", 1, self.rank)
        self.strides = per_axis(strides, "strides", 1, self.rank)
        self.padding = padding or mode

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The windows before the blur: every cell is one."""
        return Sliding(1, 1), Max()

    def call(self, inputs: Tensor) -> Any:
        """Blurs and subsamples a batch."""
        return self._blurred(self.pooled(inputs))

    def _blurred(self, x: Tensor) -> Tensor:
        sizes = self._layout.sizes(x.shape)
        if any(size is None for size in sizes):
            raise PoolError(
                f"input x of shape {tuple(x.shape)}",
                "the pooled sizes are known when the graph is made",
                "give keras.Input its sizes, or resize the inputs to one size",
            )
        self._check(x.shape, sizes)
        y = wide(x)
        for i, (size, kernel, stride, side) in enumerate(
            zip(sizes, self.filter_size, self.strides, self._sides(), strict=True)
        ):
            axis = self._layout.spatial + i
            y = spread(y, axis, _windows(size, kernel, stride, side, _MODES[self.padding]))
            weights = np.array(blur_row(kernel))[None]
            if _MODES[self.padding] is None:
                weights = weights * _inside(size, kernel, stride, side)
            y = ops.sum(y * ops.convert_to_tensor(along(weights, axis, len(y.shape)), dtype=y.dtype), axis + 1)
        return ops.cast(y, dtype_of(x))

    def _sides(self) -> list[tuple[int, int]]:
        return blur_sides(self.filter_size, self.strides, self.convention)

    def _check(self, shape: Any, sizes: Sequence[int]) -> None:
        try:
            check_blur(shape, sizes, self.filter_size, self._sides(), self.padding)
        except PoolError as error:
            raise error.renamed({"kernel_size": "filter_size"}) from None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for an input's, either with None for sizes that are not known."""
        return self._blurred_shape(super().compute_output_shape(input_shape))

    def _blurred_shape(self, shape: Any) -> Any:
        sizes = self._layout.sizes(shape)
        # A size that is not known is taken to be large enough; the call checks it.
        self._check(shape, [2**30 if size is None else size for size in sizes])
        outs = [
            None if size is None else (size + sum(side) - kernel) // stride + 1
            for size, kernel, stride, side in zip(sizes, self.filter_size, self.strides, self._sides(), strict=True)
        ]
        return self._layout.own((shape[0], shape[self._layout.channels], *outs))


def _places(size: int, kernel: int, stride: int, side: tuple[int, int]) -> Any:
    """Each tap's place in the padded axis."""
    out = (size + sum(side) - kernel) // stride + 1
    return np.arange(out)[:, None] * stride + np.arange(kernel)


def _windows(size: int, kernel: int, stride: int, side: tuple[int, int], mode: Any) -> Pick:
    """The windows of a padded axis as cells of the axis itself."""
    padded = np.pad(np.arange(size), side, mode=mode or "edge")
    cells = padded[_places(size, kernel, stride, side)]
    count = np.full(len(cells), kernel)
    return Pick(cells.astype(np.int32), None, count, count)


def _inside(size: int, kernel: int, stride: int, side: tuple[int, int]) -> Any:
    places = _places(size, kernel, stride, side) - side[0]
    return (places >= 0) & (places < size)


class _MaxBlurPooling(_BlurPooling):
    settings = ("pool_size", "strides", "filter_size", "padding", "data_format", "convention", "max_padding")

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = 2,
        filter_size: Any = None,
        padding: str | None = None,
        data_format: str | None = None,
        *,
        convention: str = "timm",
        max_padding: Any = 0,
        **options: Any,
    ) -> None:
        super().__init__(filter_size, strides, padding, data_format, convention=convention, **options)
        self.pool_size = per_axis(pool_size, "pool_size", 1, self.rank)
        self.max_padding = per_axis(max_padding, "max_padding", 0, self.rank)
        for cells, sides in zip(self.pool_size, self.max_padding, strict=True):
            if 2 * sides > cells:
                raise PoolError(
                    f"max_padding={show(max_padding)}",
                    f"max_padding is at most half of pool_size, here {sides} <= {cells} // 2",
                    f"use a max_padding of at most {cells // 2}",
                )

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The windows of the maximum, before the blur."""
        return Sliding(self.pool_size, 1, self.max_padding), Max()


_ARGUMENTS = """    strides: distance between the outputs.
    {filter}padding: what stands outside of the blur's input: ``"reflect"``, ``"replicate"``, ``"zeros"`` or
        ``"circular"``; None is the convention's.
    data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
    convention: whose sizes and defaults: ``"timm"``, ``"adobe"`` (the paper's) or ``"kornia"``, as for
        `poolkit.nn.BlurPool{n}d`.{more}
    **options: of every Keras layer, such as dtype.

Shape:
    ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to the same with pooled sizes.

Raises:
    PoolError: an argument breaks a rule, or the input is too small for the padding.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> tuple(layers.{name}{n}D()(np.zeros((2, {sizes}, 3), "float32")).shape)
(2, {halves}, 3)
"""
_FILTER = "filter_size: numbers of the filter, an int or one per axis; None is the convention's.\n    "

BlurPooling1D, BlurPooling2D, BlurPooling3D = family(
    _BlurPooling,
    "BlurPooling",
    "Binomial filter, then every `strides`-th cell: what `poolkit.nn.BlurPool{n}d` does.\n\n"
    "Source: Zhang, 2019 (arXiv:1904.11486), section 3.\n\nArgs:\n    "
    + _FILTER.rstrip(" ")
    + _ARGUMENTS.replace("{filter}", "").replace("{more}", "").replace("{name}", "BlurPooling"),
)
MaxBlurPooling1D, MaxBlurPooling2D, MaxBlurPooling3D = family(
    _MaxBlurPooling,
    "MaxBlurPooling",
    "Maximum over windows one cell apart, then a blur with the stride: what `poolkit.nn.MaxBlurPool{n}d` does.\n\n"
    "Source: Zhang, 2019 (arXiv:1904.11486), section 3.2.\n\nArgs:\n"
    "    pool_size: cells of the maximum, an int or one per axis.\n"
    + _ARGUMENTS.replace("{filter}", _FILTER)
    .replace("{more}", "\n    max_padding: cells added on both sides for the maximum; at most half of `pool_size`.")
    .replace("{name}", "MaxBlurPooling"),
)
