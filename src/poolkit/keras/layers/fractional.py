"""Maximum and mean over windows at random places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import keras

from poolkit.errors import PoolError, entries
from poolkit.keras.draws import check_seed
from poolkit.keras.layers.base import KERAS_NAMES, PoolingLayer, family
from poolkit.reducer import Max, Mean, Reducer
from poolkit.window import Fractional, spread

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor
    from poolkit.window import Window

_DOC = """{what} over windows at pseudo-random places, as `poolkit.nn.{torch}{n}d`.

{source}
Training and evaluation both draw. ``style="torch"`` places windows of `pool_size` cells anew for each sample and
channel; ``style="tensorflow"`` tiles the input, the same for all of them. `poolkit.Fractional` has the rules.

Args:
    pool_size: cells of a window; None in TensorFlow's style.
    output_size: windows per axis, or
    output_ratio: windows as a fraction of the input, or
    pooling_ratio: TensorFlow's style: how many times smaller the output is; exactly one of the three is given.
    data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
    style: "torch" or "tensorflow".
    pseudo_random: TensorFlow's style: evenly spread widths.
    overlapping: TensorFlow's style: each window also has the first cell of the next one.
    seed: an int, or a `keras.random.SeedGenerator`.
    **options: of every Keras layer, such as dtype.

Shape:
    ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to the same with pooled sizes.

Raises:
    PoolError: an argument breaks a rule, or the windows do not fit the input.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> tuple(layers.{name}{n}D(2, output_ratio=0.5)(np.zeros((2, {sizes}, 3), "float32")).shape)
(2, {halves}, 3)
"""


class _FractionalPooling(PoolingLayer):
    reduces: ClassVar[Reducer]
    settings = (
        "pool_size",
        "output_size",
        "output_ratio",
        "data_format",
        "pooling_ratio",
        "style",
        "pseudo_random",
        "overlapping",
        "seed",
    )

    def __init__(
        self,
        pool_size: Any = None,
        output_size: Any = None,
        output_ratio: Any = None,
        data_format: str | None = None,
        *,
        pooling_ratio: Any = None,
        style: Any = "torch",
        pseudo_random: bool = False,
        overlapping: bool = False,
        seed: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(data_format, **options)
        self.pool_size = self._each(pool_size)
        self.output_size = self._each(output_size)
        self.output_ratio = self._each(output_ratio)
        self.pooling_ratio = self._each(pooling_ratio)
        self.style, self.pseudo_random, self.overlapping = style, pseudo_random, overlapping
        self.seed = check_seed(seed)
        given = isinstance(self.seed, keras.random.SeedGenerator)
        self.seed_generator = self.seed if given else keras.random.SeedGenerator(self.seed)
        window, _ = self.checked()
        if window.rank != self.rank:
            raise PoolError(
                f"pool_size={pool_size}, output_size={output_size}, output_ratio={output_ratio}",
                f"arguments given per axis have one value for each pooled axis: {self.rank}, here {window.rank}",
                f"give {self.rank} values, or a single one for all axes",
            ).renamed(KERAS_NAMES)

    def _each(self, value: Any) -> Any:
        items = entries(value)
        if value is None or items is not None:
            return items
        return spread(value, self.rank)

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  both draw
        """The window and the reducer of these settings."""
        window = Fractional(
            self.pool_size,
            self.output_size,
            self.output_ratio,
            style=self.style,
            pooling_ratio=self.pooling_ratio,
            pseudo_random=self.pseudo_random,
            overlapping=self.overlapping,
        )
        return window, self.reduces

    def call(self, inputs: Tensor) -> Any:
        """Pools a batch."""
        return self.pooled(inputs, seed=self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same layer of."""
        given = isinstance(self.seed, keras.random.SeedGenerator)
        return {**super().get_config(), "seed": None if given else self.seed}


def _of(reducer: Reducer, name: str, torch: str, what: str, source: str) -> tuple[type[_FractionalPooling], ...]:
    doc = _DOC.replace("{name}", name).replace("{torch}", torch).replace("{what}", what).replace("{source}", source)
    return family(type(f"_{name}", (_FractionalPooling,), {"reduces": reducer}), name, doc)


FractionalMaxPooling1D, FractionalMaxPooling2D, FractionalMaxPooling3D = _of(
    Max(), "FractionalMaxPooling", "FractionalMaxPool", "Maximum", "Source: Graham, 2014 (arXiv:1412.6071).\n"
)
FractionalAveragePooling1D, FractionalAveragePooling2D, FractionalAveragePooling3D = _of(
    Mean(),
    "FractionalAveragePooling",
    "FractionalAvgPool",
    "Mean",
    "Source: the places Graham, 2014 (arXiv:1412.6071).\n",
)
