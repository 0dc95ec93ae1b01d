"""Any window with any reducer as a layer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import keras

from poolkit.errors import PoolError, PoolTypeError, entries, show
from poolkit.keras.draws import check_seed
from poolkit.keras.layers.base import PoolingLayer, family
from poolkit.pooling import check_parts
from poolkit.reducer import REDUCERS
from poolkit.window import WINDOWS, Fractional

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor
    from poolkit.reducer import Reducer
    from poolkit.window import Window

_RECORDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*WINDOWS, *REDUCERS)}


class _Pooling(PoolingLayer):
    settings = ("window", "reducer", "data_format", "seed")

    def __init__(
        self, window: Any, reducer: Any, data_format: str | None = None, *, seed: Any = None, **options: Any
    ) -> None:
        super().__init__(data_format, **options)
        self.window: Window = _record(window, "window")
        self.reducer: Reducer = _record(reducer, "reducer")
        check_parts(self.window, self.reducer, False)
        if self.window.rank not in (None, self.rank):
            raise PoolError(
                f"window={self.window}",
                f"arguments given per axis have one value for each pooled axis: expected {self.rank}, here "
                f"{self.window.rank}",
                f"give {self.rank} values, or a single one for all axes",
            )
        self.seed = check_seed(seed)
        given = isinstance(self.seed, keras.random.SeedGenerator)
        self.seed_generator = self.seed if given else keras.random.SeedGenerator(self.seed)

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:
        """The window and the reducer; a random one draws in training alone, if its record says that it draws."""
        if any(field.name == "sample" for field in dataclasses.fields(self.reducer)):
            drawing = cast(Any, self.reducer)
            return self.window, dataclasses.replace(drawing, sample=drawing.sample and bool(training))
        return self.window, self.reducer

    def call(self, inputs: Tensor, training: bool = False) -> Any:
        """Pools a batch."""
        draws = isinstance(self.window, Fractional) or self.reducer.draws
        return self.pooled(inputs, training, **({"seed": self.seed_generator} if draws else {}))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same layer of: records as their names and arguments."""
        seed = None if isinstance(self.seed, keras.random.SeedGenerator) else self.seed
        own = {"window": _plain(self.window), "reducer": _plain(self.reducer), "seed": seed}
        return {**super().get_config(), **own}


def _plain(record: Any) -> dict[str, Any]:
    fields = [field for field in dataclasses.fields(record) if field.init and field.compare]
    return {"name": type(record).__name__, **{field.name: getattr(record, field.name) for field in fields}}


def _record(given: Any, name: str) -> Any:
    """A record as it is, or made again of what `_plain` gave."""
    if not isinstance(given, dict):
        return given
    given = cast("dict[str, Any]", given)
    values = dict(given)
    kind = _RECORDS.get(values.pop("name", ""))
    if kind is None:
        raise PoolTypeError(f"{name}={show(given)}", f"{name} is a record of poolkit", "pass poolkit.Sliding(2) or so")
    return kind(**{key: value if entries(value) is None else entries(value) for key, value in values.items()})


Pooling1D, Pooling2D, Pooling3D = family(
    _Pooling,
    "Pooling",
    """Any window of poolkit with any reducer, over {n} axes.

    Args:
        window: `poolkit.Sliding`, `Adaptive`, `Fractional` or `Global`.
        reducer: one of the records such as `poolkit.Lp(3)`. A random one draws in training and else gives the mean over
            all draws; with ``sample=False`` it never draws.
        data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
        seed: an int, or a `keras.random.SeedGenerator`, for what is drawn.
        **options: of every Keras layer, such as dtype.

    Shape:
        ``(batch, {n} sizes, channels)``, or with the channels before the sizes, to the same with pooled sizes.

    Raises:
        PoolError: an argument breaks a rule, or the windows do not fit the input.

    >>> import numpy as np, poolkit as pk
    >>> from poolkit.keras import layers
    >>> layer = layers.Pooling{n}D(pk.Adaptive(4), pk.Lp(3))
    >>> tuple(layer(np.zeros((2, {sizes}, 3), "float32")).shape)
    (2, {halves}, 3)
    """,
)
