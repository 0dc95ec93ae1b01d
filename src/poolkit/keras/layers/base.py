"""What every layer shares: its layout, shapes and dtypes, and how one family becomes a layer for each rank."""

from __future__ import annotations

import dataclasses
import inspect
from inspect import Parameter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import keras
from keras import KerasTensor

from poolkit.errors import PoolError, entries, flag
from poolkit.keras.cells import dtype_of
from poolkit.keras.draws import check_seed
from poolkit.keras.functional import check_dtype, layout_of, output_shape, run
from poolkit.window import Sliding, per_axis

if TYPE_CHECKING:
    from poolkit.keras.cells import Tensor
    from poolkit.reducer import Reducer
    from poolkit.window import Window

Layer = TypeVar("Layer", bound="PoolingLayer")
Shape = "Sequence[int | None]"

# What a record calls its arguments, and what Keras does.
KERAS_NAMES = {"kernel_size": "pool_size", "stride": "strides", "dilation": "dilation_rate"}


# Arguments whose names mean something else in every Keras layer.
_ATTRIBUTES = {"weights": "rank_weights"}


class PoolingLayer(keras.layers.Layer):
    """A window and a reducer over the pooled axes of a batch.

    The attributes named in `settings` are the arguments of the constructor, by which a layer is saved and made again.
    """

    rank: ClassVar[int]
    settings: ClassVar[tuple[str, ...]] = ("data_format",)

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._layout = layout_of(data_format, self.rank)
        self.data_format = "channels_last" if self._layout.last else "channels_first"

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:
        """The window and the reducer of these settings."""
        raise NotImplementedError

    def checked(self, training: bool = False) -> tuple[Window, Reducer]:
        """`parts`, where an error names arguments as Keras does."""
        try:
            return self.parts(training)
        except PoolError as error:
            raise error.renamed(KERAS_NAMES) from None

    def pooled(self, inputs: Tensor, training: bool = False, **given: Any) -> Any:
        """The inputs pooled by these parts."""
        try:
            return run(inputs, *self.parts(training), self._layout, **given)
        except PoolError as error:
            raise error.renamed(KERAS_NAMES) from None

    def call(self, inputs: Tensor) -> Any:
        """Pools a batch."""
        return self.pooled(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for an input's, either with None for sizes that are not known."""
        window, _ = self.checked()
        try:
            return output_shape(input_shape, window, self._layout)
        except PoolError as error:
            raise error.renamed(KERAS_NAMES) from None

    def compute_output_spec(self, inputs: Any, **_: Any) -> Any:
        """The output's shape and dtype: the inputs' if they are integers, else that of the dtype policy."""
        dtype = dtype_of(inputs)
        check_dtype(dtype, self.checked()[1])
        return self._spec(self.compute_output_shape(inputs.shape), self.out_dtype(dtype))

    def out_dtype(self, dtype: str) -> str:
        """The dtype of the output for an input's."""
        return str(cast(Any, self).compute_dtype) if "float" in dtype else dtype

    def _spec(self, shape: Any, dtype: str) -> Any:
        return KerasTensor(shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same layer of."""
        own = {name: getattr(self, _ATTRIBUTES.get(name, name)) for name in self.settings}
        return {**super().get_config(), **own}


class RecordLayer(PoolingLayer):
    """A layer whose reducer is a record of `poolkit.reducer`, with the record's fields among its arguments."""

    kind: ClassVar[type[Reducer]]
    own: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False
    first: ClassVar[tuple[Parameter, ...]] = ()
    defaults: ClassVar[dict[str, Any]] = {}  # where they are not the record's
    hidden: ClassVar[tuple[str, ...]] = ()  # fields that mean nothing here

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "kind" not in cls.__dict__:
            return
        fields = [field for field in dataclasses.fields(cls.kind) if field.init]
        cls.draws = any(field.name == "sample" for field in fields)
        fields = [field for field in fields if field.name not in ("sample", *cls.hidden)]
        cls.own = tuple(field.name for field in fields)
        own = [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=cls.defaults.get(
                    field.name, Parameter.empty if field.default is dataclasses.MISSING else field.default
                ),
            )
            for field in fields
        ]
        seed = [Parameter("seed", Parameter.KEYWORD_ONLY, default=None)] * cls.draws
        options = Parameter("options", Parameter.VAR_KEYWORD)
        cls.__signature__ = inspect.Signature([*cls.first, *own, *seed, options])  # pyright: ignore[reportAttributeAccessIssue]
        names = [one.name for one in cls.first if one.name != "name"]
        cls.settings = (*names, *cls.own, *(["seed"] * cls.draws))

    def bound(self, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name; those of every Keras layer under ``options``."""
        signature: inspect.Signature = cast(Any, type(self)).__signature__
        try:
            given = signature.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        given.apply_defaults()
        return given.arguments

    def keep(self, values: dict[str, Any]) -> None:
        """The record's fields and the seed as attributes."""
        for name in self.own:
            value = values[name]
            items = entries(value)
            setattr(self, _ATTRIBUTES.get(name, name), value if items is None else items)
        if self.draws:
            self.seed = check_seed(values["seed"])
            given = isinstance(self.seed, keras.random.SeedGenerator)
            self.seed_generator = self.seed if given else keras.random.SeedGenerator(self.seed)

    def reducer(self, training: bool = False) -> Reducer:
        """The record of these settings; training draws."""
        sample = {"sample": bool(training)} if self.draws else {}
        return self.kind(**{name: getattr(self, _ATTRIBUTES.get(name, name)) for name in self.own}, **sample)

    def call(self, inputs: Tensor, training: bool = False) -> Any:
        """Pools a batch; random poolings draw in training and else give the mean over all draws."""
        return self.pooled(inputs, training, seed=self.seed_generator) if self.draws else self.pooled(inputs)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same layer of."""
        config = super().get_config()
        if self.draws and isinstance(self.seed, keras.random.SeedGenerator):
            config["seed"] = None
        return config


def plain(name: str, default: Any = Parameter.empty, *, keyword: bool = False) -> Parameter:
    """A parameter of a constructor."""
    kind = Parameter.KEYWORD_ONLY if keyword else Parameter.POSITIONAL_OR_KEYWORD
    return Parameter(name, kind, default=default)


class SlidingLayer(RecordLayer):
    """Windows of `pool_size` cells, `strides` apart."""

    first = (
        plain("pool_size", 2),
        plain("strides", None),
        plain("padding", "valid"),
        plain("data_format", None),
        plain("name", None),
        plain("dilation_rate", 1, keyword=True),
        plain("ceil_mode", False, keyword=True),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        values = self.bound(args, options)
        super().__init__(values["data_format"], name=values["name"], **values.get("options", {}))
        self.keep_window(values)
        self.keep(values)
        self.checked()

    def keep_window(self, values: dict[str, Any]) -> None:
        """The window's settings as attributes."""
        try:
            self.pool_size = per_axis(values["pool_size"], "kernel_size", 1, self.rank)
            strides = values["strides"]
            self.strides = self.pool_size if strides is None else per_axis(strides, "stride", 1, self.rank)
            self.padding = padding_of(values["padding"], self.rank)
            self.dilation_rate = per_axis(values["dilation_rate"], "dilation", 1, self.rank)
            self.ceil_mode = flag(values["ceil_mode"], "ceil_mode")
        except PoolError as error:
            raise error.renamed(KERAS_NAMES) from None

    def parts(self, training: bool = False) -> tuple[Window, Reducer]:
        """The window and the reducer of these settings."""
        window = Sliding(self.pool_size, self.strides, self.padding, self.dilation_rate, self.ceil_mode)
        return window, self.reducer(training)


def padding_of(padding: Any, rank: int) -> Any:
    """A padding as `Sliding` takes it: Keras's words in any case, lists as tuples, one entry for all axes."""
    if isinstance(padding, str):
        return padding.lower()
    items = entries(padding)
    if items is None:
        return padding
    pairs = tuple(one if entries(one) is None else entries(one) for one in items)
    return pairs * rank if len(pairs) == 1 else pairs


def family(base: type[Layer], name: str, doc: str) -> tuple[type[Layer], ...]:
    """The layers of one family for one, two and three pooled axes, registered with Keras.

    In `doc` ``{n}`` is the rank, ``{sizes}`` an example of as many sizes, ``{halves}`` and ``{ones}`` of smaller ones.
    """
    made: list[type[Layer]] = []
    for rank in (1, 2, 3):
        text = doc.replace("{n}", str(rank))
        for key, size in (("{sizes}", "8"), ("{halves}", "4"), ("{ones}", "1")):
            text = text.replace(key, ", ".join([size] * rank))
        values = {"rank": rank, "__doc__": inspect.cleandoc(text), "__module__": "poolkit.keras.layers"}
        kind = cast("type[Layer]", type(f"{name}{rank}D", (base,), values))
        made.append(keras.saving.register_keras_serializable(package="poolkit")(kind))
    return tuple(made)
