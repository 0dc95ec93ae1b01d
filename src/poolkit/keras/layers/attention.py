"""Pooling of a map by attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from poolkit.errors import PoolError, integer
from poolkit.keras.cells import ops, wide
from poolkit.keras.layers.base import PoolingLayer
from poolkit.reducer import Mean, Reducer
from poolkit.reducer.order import check_word
from poolkit.window import Global, per_axis

if TYPE_CHECKING:
    import numpy.typing as npt

    from poolkit.keras.cells import Tensor
    from poolkit.window import Window


@keras.saving.register_keras_serializable(package="poolkit")
class AttentionPooling2D(PoolingLayer):
    """Attention of a map's mean over the map, the head of CLIP's ResNets; as `poolkit.nn.AttentionPool2d`.

    With tokens ``t_0 = mean(x) + p_0`` and ``t_i = x_i + p_i``, ``p`` a learned position embedding:
    ``y = W_c MultiHead(W_q t_0, W_k t, W_v t) + b_c``, scaled by ``1 / sqrt(channels / num_heads)``.

    Source: Radford et al., 2021 (arXiv:2103.00020), section 2.4. Takes maps of every size: the embedding of the grid is
    resized to the map's, that of the mean stays.

    Args:
        num_heads: attention heads; divides the channels of the input.
        feat_size: sizes of the grid that the position embedding is learned on; an int, or (height, width).
        output_dim: features of the output; None means as many as channels.
        data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
        interpolation: how the embedding is resized, ``"bicubic"`` or ``"bilinear"``.
        **options: of every Keras layer, such as dtype.

    Shape:
        ``(batch, height, width, channels)``, or with the channels before the sizes, to ``(batch, output_dim)``.

    Raises:
        PoolError: an argument breaks a rule, or heads cannot share the channels.

    >>> import numpy as np
    >>> from poolkit.keras import layers
    >>> tuple(layers.AttentionPooling2D(num_heads=4, output_dim=10)(np.zeros((2, 9, 5, 64), "float32")).shape)
    (2, 10)
    """

    rank = 2
    settings = ("num_heads", "feat_size", "output_dim", "data_format", "interpolation")

    def __init__(
        self,
        num_heads: int = 8,
        feat_size: Any = 7,
        output_dim: int | None = None,
        data_format: str | None = None,
        *,
        interpolation: str = "bicubic",
        **options: Any,
    ) -> None:
        super().__init__(data_format, **options)
        self.num_heads = integer(num_heads, "num_heads", 1)
        self.feat_size = per_axis(feat_size, "feat_size", 1, 2)
        self.output_dim = None if output_dim is None else integer(output_dim, "output_dim", 1)
        check_word(interpolation, "interpolation", ("bicubic", "bilinear"))
        self.interpolation = interpolation

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The mean, which attends."""
        return Global(keepdims=False), Mean()

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        width = super().compute_output_shape(input_shape)[1]
        if width is None or width % self.num_heads:
            raise PoolError(
                f"num_heads={self.num_heads} for an input x of shape {tuple(input_shape)}",
                f"num_heads divides the channels, here {width}",
                "pass a num_heads that does",
            )
        cells = self.feat_size[0] * self.feat_size[1]
        normal = keras.initializers.RandomNormal(stddev=width**-0.5)
        self.positional_embedding = self.add_weight(
            shape=(1 + cells, width), initializer=normal, name="positional_embedding"
        )
        names = ("q_proj", "k_proj", "v_proj", "c_proj")
        outs = (width, width, width, self.output_dim or width)
        self.kernels = [self.add_weight(shape=(width, out), name=name) for name, out in zip(names, outs, strict=True)]
        self.biases = [
            self.add_weight(shape=(out,), initializer="zeros", name=f"{name}_bias")
            for name, out in zip(names, outs, strict=True)
        ]

    def call(self, inputs: Tensor) -> Any:
        """Pools a batch of maps of any size."""
        x = inputs if self._layout.last else ops.moveaxis(inputs, 1, -1)
        height, width, channels = x.shape[1:]
        if height is None or width is None:
            raise PoolError(
                f"input x of shape {tuple(x.shape)}",
                "the sizes are known when the graph is made",
                "give keras.Input its sizes, or resize the inputs to one size",
            )
        mean = ops.expand_dims(self.pooled(inputs), 1)
        x = ops.concatenate([mean, ops.reshape(x, (-1, height * width, channels))], 1)
        x = x + ops.cast(self._positions(height, width), x.dtype)
        query, key, value = (
            self._heads(ops.matmul(one, self.kernels[i]) + self.biases[i]) for i, one in enumerate((x[:, :1], x, x))
        )
        scores = ops.einsum("nqhd,nkhd->nhqk", wide(query), wide(key)) * (channels // self.num_heads) ** -0.5
        found = ops.einsum("nhqk,nkhd->nqhd", ops.softmax(scores, -1), wide(value))
        found = ops.cast(ops.reshape(found, (-1, channels)), x.dtype)
        return ops.matmul(found, self.kernels[3]) + self.biases[3]

    def _heads(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (-1, x.shape[1], self.num_heads, x.shape[2] // self.num_heads))

    def _positions(self, height: int, width: int) -> Tensor:
        """The position embedding of the mean, then of a grid of this size."""
        embedding = ops.convert_to_tensor(self.positional_embedding)
        if (height, width) == tuple(self.feat_size):
            return embedding
        grid = ops.reshape(wide(embedding[1:]), (*self.feat_size, -1))
        for axis, (old, new) in enumerate(zip(self.feat_size, (height, width), strict=True)):
            matrix = ops.convert_to_tensor(resizing(old, new, self.interpolation), dtype=grid.dtype)
            grid = ops.einsum("oi,iwc->owc" if axis == 0 else "oi,hic->hoc", matrix, grid)
        return ops.concatenate([embedding[:1], ops.cast(ops.reshape(grid, (height * width, -1)), embedding.dtype)], 0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """``(batch, output_dim)``."""
        batch, channels = super().compute_output_shape(input_shape)
        return batch, self.output_dim or channels


def resizing(size: int, out: int, mode: str) -> npt.NDArray[np.float64]:
    """Interpolation along one axis as a matrix ``[out, size]``, with half-pixel centres and the edge repeated.

    Keys' cubic kernel has a = -0.75, as torch's; Keras's own ops.image.resize has another on each back end.

    >>> resizing(2, 3, "bilinear").round(3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    centres = (np.arange(out) + 0.5) * size / out - 0.5
    if mode == "bilinear":
        centres = np.maximum(centres, 0.0)
    taps = np.floor(centres)[:, None] + np.arange(-1, 3)
    off = abs(centres[:, None] - taps)
    if mode == "bilinear":
        weights = np.maximum(1 - off, 0.0)
    else:
        a = -0.75
        near, far = ((a + 2) * off - (a + 3)) * off**2 + 1, a * (((off - 5) * off + 8) * off - 4)
        weights = np.where(off <= 1, near, np.where(off < 2, far, 0.0))
    matrix = np.zeros((out, size))
    np.add.at(matrix, (np.arange(out)[:, None], np.clip(taps, 0, size - 1).astype(int)), weights)
    return matrix
