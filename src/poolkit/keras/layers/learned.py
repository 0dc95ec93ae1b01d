"""Windows whose mixture, power, sharpness or gate is learned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from poolkit.errors import PoolError, flag, number, show
from poolkit.keras.cells import ops, wide
from poolkit.keras.functional import run
from poolkit.keras.layers.base import KERAS_NAMES, PoolingLayer, family, padding_of
from poolkit.reducer import Ada, Boltzmann, Filter, GeM, Mixed, Reducer
from poolkit.reducer.order import check_word
from poolkit.reducer.weighted import LEAST_POWER, region_places
from poolkit.window import per_axis, sliding_or_everything

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor
    from poolkit.window import Window

_WINDOW = ("pool_size", "strides", "padding", "data_format", "dilation_rate", "ceil_mode")

_DOC = """{what}

Args:
    pool_size: cells of a window, an int or one per axis{everything}.
    strides: distance between windows; None means `pool_size`.
    padding: ``"valid"``, ``"same"``, or cells added on both sides: an int, one per axis, or (before, after) pairs.
        Padding is no cell of any window.
    data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
    dilation_rate: distance between the cells of a window.
    ceil_mode: keep a last window that overhangs the end.
{own}
    **options: of every Keras layer, such as dtype.

Shape:
    ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to the same with pooled sizes{alone}.

Raises:
    PoolError: an argument breaks a rule, or the windows do not fit the input.

>>> import numpy as np
>>> from poolkit.keras import layers
>>> tuple(layers.{name}{n}D(2)(np.zeros((2, {sizes}, 3), "float32")).shape)
(2, {halves}, 3)
"""


class _LearnedPooling(PoolingLayer):
    """A window, and a number that is learned for the layer or for each channel."""

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        *,
        dilation_rate: Any = 1,
        ceil_mode: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(data_format, **options)
        try:
            self.pool_size = None if pool_size is None else per_axis(pool_size, "kernel_size", 1, self.rank)
            self.strides = self.pool_size if strides is None else per_axis(strides, "stride", 1, self.rank)
            self.padding = padding_of(padding, self.rank)
            self.dilation_rate = (
                dilation_rate if pool_size is None else per_axis(dilation_rate, "dilation", 1, self.rank)
            )
            self.ceil_mode = flag(ceil_mode, "ceil_mode")
            self._window()
        except PoolError as error:
            raise error.renamed(KERAS_NAMES) from None

    def _window(self) -> Window:
        padding = 0 if self.pool_size is None and self.padding == "valid" else self.padding
        return sliding_or_everything(self.pool_size, self.strides, padding, self.dilation_rate, self.ceil_mode)

    def _channels(self, shape: Any) -> int:
        channels = shape[self._layout.channels] if len(shape) == self.rank + 2 else None
        if channels is None:
            raise PoolError(
                f"input x of shape {tuple(shape)}",
                f"values for each channel need a batch, {self.rank} sizes and a known number of channels",
                "give keras.Input its channels",
            )
        return int(channels)

    def _spread(self, values: Tensor) -> Tensor:
        """``(1,)`` or ``(channels,)`` as what broadcasts to the output."""
        shape = [1] * (self.rank + 2)
        shape[self._layout.channels] = -1
        return ops.reshape(values, shape)


class _SwitchedPooling(_LearnedPooling):
    """A number that is learned, or fixed with ``learned=False``."""

    kind: ClassVar[type[Reducer]]
    value: ClassVar[str]

    def __init__(self, *window: Any, per_channel: bool = False, learned: bool = True, **options: Any) -> None:
        super().__init__(*window, **options)
        self.per_channel = flag(per_channel, "per_channel")
        self.learned = flag(learned, "learned")
        if self.per_channel and not self.learned:
            raise PoolError(
                "per_channel=True with learned=False",
                "per_channel says that each channel learns a value of its own",
                "drop per_channel, or learned=False",
            )

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        if self.learned:
            size = self._channels(input_shape) if self.per_channel else 1
            start = float(getattr(self, self.value))
            self.values = self.add_weight(
                shape=(size,),
                initializer=keras.initializers.Constant(start),
                name=self.value,
            )

    def call(self, inputs: Tensor) -> Any:
        """Pools a batch."""
        return self.pooled(inputs, extra=self._spread(self._limited(wide(self.values))) if self.learned else None)

    def _limited(self, values: Tensor) -> Tensor:
        return values


class _GeMPooling(_SwitchedPooling):
    value = "p"
    settings = (*_WINDOW, "p", "eps", "per_channel", "learned")

    def __init__(self, pool_size: Any = None, *window: Any, p: float = 3.0, eps: float = 1e-6, **options: Any) -> None:
        super().__init__(pool_size, *window, **options)
        self.p, self.eps = number(p, "p", low=LEAST_POWER, open_low=False), eps
        self.parts()

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The window, and the power mean."""
        return self._window(), GeM(self.p, self.eps)

    def _limited(self, values: Tensor) -> Tensor:
        return ops.maximum(values, LEAST_POWER)


class _BoltzmannPooling(_SwitchedPooling):
    value = "beta"
    settings = (*_WINDOW, "beta", "per_channel", "learned")

    def __init__(self, pool_size: Any = None, *window: Any, beta: float = 1.0, **options: Any) -> None:
        super().__init__(pool_size, *window, **options)
        self.beta = number(beta, "beta", low=-math.inf)
        self.parts()

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The window, and the weighted mean."""
        return self._window(), Boltzmann(self.beta)


class _AdaPooling(_SwitchedPooling):
    value = "beta"
    settings = (*_WINDOW, "weighting", "beta", "eps", "per_channel", "learned", "clamp")

    def __init__(
        self,
        pool_size: Any = None,
        *window: Any,
        weighting: Any = "edscw",
        beta: float = 0.5,
        eps: float = 1e-6,
        clamp: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(pool_size, *window, **options)
        self.weighting, self.beta, self.eps, self.clamp = weighting, beta, eps, flag(clamp, "clamp")
        self.parts()

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The window, and the mixture."""
        return self._window(), Ada(self.beta, self.weighting, self.eps)

    def _limited(self, values: Tensor) -> Tensor:
        return ops.clip(values, 0.0, 1.0) if self.clamp else values


class _MixedPooling(_LearnedPooling):
    settings = (*_WINDOW, "weight", "regions", "initial", "clamp")

    def __init__(
        self,
        *window: Any,
        weight: str = "layer",
        regions: Any = None,
        initial: float = 0.5,
        clamp: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*window, **options)
        check_word(weight, "weight", ("layer", "channel", "region"))
        self.weight = weight
        if (self.weight == "region") != (regions is not None):
            raise PoolError(
                f"regions={show(regions)} with weight={self.weight!r}",
                "regions is given where each region has a weight of its own",
                "pass weight='region' with regions=4, for example, or neither",
            )
        self.regions = None if regions is None else per_axis(regions, "regions", 1, self.rank)
        self.initial, self.clamp = number(initial, "initial", low=-math.inf), flag(clamp, "clamp")

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The window, and a mixture whose weight comes beside the input."""
        return self._window(), Mixed()

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        shape = self.regions or (self._channels(input_shape) if self.weight == "channel" else 1,)
        self.share = self.add_weight(
            shape=shape,
            initializer=keras.initializers.Constant(self.initial),
            name="weight",
        )

    def call(self, inputs: Tensor) -> Any:
        """Pools a batch."""
        share = wide(self.share)
        if self.clamp:
            share = ops.clip(share, 0.0, 1.0)
        return self.pooled(inputs, extra=self._spread(share) if self.regions is None else self._laid(share, inputs))

    def _laid(self, share: Tensor, inputs: Tensor) -> Tensor:
        """The grid of weights over the windows of this input."""
        sizes = self._layout.sizes(self.compute_output_shape(inputs.shape))
        for axis, size in enumerate(sizes):
            if size is None:
                raise PoolError(
                    f"input x of shape {tuple(inputs.shape)}",
                    "weights for each region are laid over sizes that are known when the graph is made",
                    "give keras.Input its sizes",
                )
            share = ops.take(share, np.array(region_places(size, share.shape[axis])), axis=axis)
        return ops.expand_dims(share, (0, self._layout.channels))


class _GatedPooling(_LearnedPooling):
    settings = (*_WINDOW, "per_channel")

    def __init__(self, *window: Any, per_channel: bool = False, **options: Any) -> None:
        super().__init__(*window, **options)
        self.per_channel = flag(per_channel, "per_channel")
        if self.pool_size is None:
            raise PoolError("pool_size=None", "a gate has a weight for each cell of a kernel", "pass pool_size=2")
        self._cells = math.prod(self.pool_size)

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:  # noqa: ARG002  nothing is drawn
        """The window, and a mixture whose weight comes beside the input."""
        return self._window(), Mixed()

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        rows = self._channels(input_shape) if self.per_channel else 1
        self.gate = self.add_weight(shape=(rows, *(self.pool_size or ())), initializer="zeros", name="weight")

    def call(self, inputs: Tensor) -> Any:
        """Pools a batch."""
        weights = ops.reshape(wide(self.gate), (-1, self._cells))
        seen = run(inputs, self._window(), Filter((1.0,) * self._cells), self._layout, extra=weights)
        return self.pooled(inputs, extra=ops.sigmoid(wide(seen)))


_CHANNELS = "    per_channel: each channel has {what} of its own; else all share one."
_LEARNED = "    learned: False keeps {what} as it is."


def _doc(name: str, what: str, own: str, *, everything: bool = False) -> str:
    text = _DOC.replace("{name}", name).replace("{what}", what).replace("{own}", own)
    text = text.replace("{everything}", "; None for one window over everything" if everything else "")
    return text.replace("{alone}", ": 1 each without a pool_size" if everything else "")


MixedPooling1D, MixedPooling2D, MixedPooling3D = family(
    _MixedPooling,
    "MixedPooling",
    _doc(
        "MixedPooling",
        "Maximum and mean in a learned mixture, ``y = a max x + (1 - a) mean x``.\n\n"
        "Source: Lee, Gallagher and Tu, 2016 (arXiv:1509.08985), section 3.1; the same as `poolkit.nn.MixedPool{n}d`.",
        '    weight: what has a weight of its own: ``"layer"`` (one for all), ``"channel"`` or ``"region"``.\n'
        '    regions: weights along each axis of a grid laid over the output; needed for ``"region"``.\n'
        "    initial: every weight before training.\n"
        "    clamp: weights outside of [0, 1] count as the nearer end.",
    ),
)
GatedPooling1D, GatedPooling2D, GatedPooling3D = family(
    _GatedPooling,
    "GatedPooling",
    _doc(
        "GatedPooling",
        "Maximum and mean mixed by a gate that looks into the window, ``y = s max x + (1 - s) mean x``.\n\n"
        "``s = sigmoid(sum_i w_i x_i)``, without bias; weights start at 0 and cells outside the input count as 0.\n\n"
        "Source: Lee, Gallagher and Tu, 2016 (arXiv:1509.08985), section 3.2; the same as `poolkit.nn.GatedPool{n}d`.",
        _CHANNELS.replace("{what}", "a filter"),
    ),
)
GeMPooling1D, GeMPooling2D, GeMPooling3D = family(
    _GeMPooling,
    "GeMPooling",
    _doc(
        "GeMPooling",
        "Generalized-mean pooling with a learned power, ``y = (mean max(x, eps)**p) ** (1 / p)``.\n\n"
        "Source: Radenovic, Tolias and Chum, 2018 (arXiv:1711.02512); the same as `poolkit.nn.GeMPool{n}d`.",
        "    p: every power before training; at least 0.01.\n"
        "    eps: cells below it count as it.\n"
        f"{_CHANNELS.replace('{what}', 'a power')}\n{_LEARNED.replace('{what}', 'p')}",
        everything=True,
    ),
)
BoltzmannPooling1D, BoltzmannPooling2D, BoltzmannPooling3D = family(
    _BoltzmannPooling,
    "BoltzmannPooling",
    _doc(
        "BoltzmannPooling",
        "Softmax-weighted mean with a learned sharpness, ``y = sum x e**(beta x) / sum e**(beta x)``.\n\n"
        "Source: McFee, Salamon and Bello, 2018 (arXiv:1804.10070); the same as `poolkit.nn.BoltzmannPool{n}d`.",
        "    beta: every sharpness before training; finite.\n"
        f"{_CHANNELS.replace('{what}', 'a sharpness')}\n{_LEARNED.replace('{what}', 'beta')}",
        everything=True,
    ),
)
AdaPooling1D, AdaPooling2D, AdaPooling3D = family(
    _AdaPooling,
    "AdaPooling",
    _doc(
        "AdaPooling",
        "Weights by likeness to the window's mean, mixed with soft pooling.\n\n"
        "Source: Stergiou and Poppe, 2022 (arXiv:2111.00772); the same as `poolkit.nn.AdaPool{n}d`.",
        '    weighting: ``"edscw"`` or ``"idw"``.\n'
        "    beta: every share of the likeness before training, in [0, 1].\n"
        '    eps: for ``"idw"``.\n'
        "    clamp: shares that training drives out of [0, 1] count as the nearer end.\n"
        f"{_CHANNELS.replace('{what}', 'a share')}\n{_LEARNED.replace('{what}', 'beta')}",
        everything=True,
    ),
)
