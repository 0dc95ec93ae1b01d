"""Windows: which inputs each output sees. A window knows no framework and no data, only sizes.

`Sliding`, `Adaptive`, `Fractional` and `Global` are frozen records, checked when they are made. ``plan(sizes)`` gives
the `Plan` of one input size, cached per window and sizes.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from poolkit.errors import PoolError, PoolTypeError, entries, flag, integer, integers, number, show
from poolkit.fractional import (
    Tiles,
    check_lots,
    check_samples,
    fractional_starts,
    fractional_starts_shape,
    tiled_lots,
    tiled_starts,
)
from poolkit.plan import AxisPlan, Plan, check_cells, check_sizes, sliding_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

Padding = int | str | tuple[int | tuple[int, int], ...]
SAME_NAMES = ("same", "same_lower", "valid")
Style = Literal["torch", "tensorflow"]
STYLES: tuple[Style, ...] = get_args(Style)


@runtime_checkable
class Window(Protocol):
    """What `poolkit.pool` asks of a window."""

    @property
    def rank(self) -> int | None:
        """Number of pooled axes, or None if the window fits any."""
        ...

    @property
    def blame(self) -> str:
        """The argument that sets the number of windows, named when they are too many."""
        ...

    def plan(self, sizes: Sequence[int]) -> Plan:
        """The plan for these sizes of the pooled axes."""
        ...


@dataclass(frozen=True)
class Sliding:
    """Windows of `kernel_size` cells, `stride` apart.

    Args:
        kernel_size: cells of a window; an int, or one per axis.
        stride: distance between windows; None means `kernel_size`.
        padding: cells added on both sides; an int, one per axis, a ``(before, after)`` pair per axis, ``"same"``
            (``ceil(size / stride)`` windows, the odd cell at the end), ``"same_lower"`` (at the beginning) or
            ``"valid"`` (none). Padding is never a candidate of a maximum. Before and after together are at most the
            effective kernel ``dilation * (kernel_size - 1) + 1`` and each is smaller than it.
        dilation: distance between the cells of a window.
        ceil_mode: keep a last window that overhangs the end, if it starts inside the input or its left padding.

    Raises:
        PoolTypeError: an argument is not an integer (bools, floats and strings are refused).
        PoolError: an argument is out of range, lengths differ, or (in `plan`) the window does not fit the input.

    >>> Sliding(3, stride=2, padding=1).plan((7, 8)).out_shape
    (4, 4)
    """

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: Padding = 0
    dilation: int | tuple[int, ...] = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "kernel_size", integers(self.kernel_size, "kernel_size", 1))
        if self.stride is not None:
            put(self, "stride", integers(self.stride, "stride", 1))
        put(self, "padding", _padding(self.padding))
        put(self, "dilation", integers(self.dilation, "dilation", 1))
        put(self, "ceil_mode", flag(self.ceil_mode, "ceil_mode"))
        if isinstance(self.padding, str) and self.ceil_mode:
            raise PoolError(
                f"ceil_mode=True with padding={self.padding!r}",
                "padding='same', 'same_lower' and 'valid' already fix the number of windows, so ceil_mode is False",
                "drop ceil_mode, or give the padding in cells",
            )
        lengths = {
            name: len(value)
            for name in ("kernel_size", "stride", "padding", "dilation")
            if (value := entries(getattr(self, name))) is not None
        }
        if len(set(lengths.values())) > 1:
            raise PoolError(
                ", ".join(f"{name}={show(getattr(self, name))}" for name in lengths),
                "arguments given per axis have one value for each pooled axis, here "
                + ", ".join(f"{count} for {name}" for name, count in lengths.items()),
                "give every tuple the same length, or an int for all axes",
            )

    @property
    def rank(self) -> int | None:
        """Number of pooled axes if an argument is given per axis, else None."""
        for value in (self.kernel_size, self.stride, self.padding, self.dilation):
            if isinstance(value, tuple):
                return len(value)
        return None

    @property
    def blame(self) -> str:
        """The input: a sliding window never makes many more windows than there are cells."""
        return "input x"

    def plan(self, sizes: Sequence[int]) -> Plan:
        """The plan for these sizes of the pooled axes."""
        return _cached_plan(self, tuple(sizes))

    def _axes(self, sizes: tuple[int, ...]) -> tuple[AxisPlan, ...]:
        rank = len(sizes)
        kernels, dilations = spread(self.kernel_size, rank), spread(self.dilation, rank)
        strides = kernels if self.stride is None else spread(self.stride, rank)
        padding = self.padding
        pads: Sequence[str | int | tuple[int, int]] = padding if isinstance(padding, tuple) else (padding,) * rank
        return tuple(
            sliding_axis(size, kernel, stride, (pad, pad) if isinstance(pad, int) else pad, dilation, self.ceil_mode, i)
            for i, (size, kernel, stride, pad, dilation) in enumerate(
                zip(sizes, kernels, strides, pads, dilations, strict=True)
            )
        )


@dataclass(frozen=True)
class Adaptive:
    """`output_size` windows that share out the input: window ``i`` is ``[floor(i I / O), ceil((i + 1) I / O))``.

    Neighbours overlap where ``O`` does not divide ``I``; ``O`` may exceed ``I``.

    Args:
        output_size: windows per axis, an int or one per axis; None keeps the size of an axis.

    Raises:
        PoolTypeError: an entry is neither an integer nor None.
        PoolError: an entry is below 1.

    >>> [a.tolist() for a in (Adaptive(3).plan((10,)).axes[0].start, Adaptive(3).plan((10,)).axes[0].stop)]
    [[0, 3, 6], [4, 7, 10]]
    """

    output_size: int | tuple[int | None, ...] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_size", _output_sizes(self.output_size))

    @property
    def rank(self) -> int | None:
        """Number of pooled axes if `output_size` is given per axis, else None."""
        return len(self.output_size) if isinstance(self.output_size, tuple) else None

    @property
    def blame(self) -> str:
        """The argument that sets the number of windows."""
        return f"output_size={self.output_size}"

    def plan(self, sizes: Sequence[int]) -> Plan:
        """The plan for these sizes of the pooled axes."""
        return _cached_plan(self, tuple(sizes))

    def _axes(self, sizes: tuple[int, ...]) -> tuple[AxisPlan, ...]:
        wanted = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * len(sizes)
        check_cells([size if out is None else out for size, out in zip(sizes, wanted, strict=True)], 1, 1, self.blame)
        return tuple(
            AxisPlan("adaptive", size, size if out is None else out) for size, out in zip(sizes, wanted, strict=True)
        )


@dataclass(frozen=True)
class Global:
    """One window that covers every pooled axis.

    Args:
        keepdims: keep the pooled axes with size 1; False drops them from the result.

    >>> Global().plan((5, 6)).out_shape
    (1, 1)
    """

    keepdims: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "keepdims", flag(self.keepdims, "keepdims"))

    @property
    def rank(self) -> int | None:
        """None: fits any number of pooled axes."""
        return None

    @property
    def blame(self) -> str:
        """The input alone sets the number of windows."""
        return "input x"

    def plan(self, sizes: Sequence[int]) -> Plan:
        """The plan for these sizes of the pooled axes."""
        return _cached_plan(self, tuple(sizes))

    def _axes(self, sizes: tuple[int, ...]) -> tuple[AxisPlan, ...]:
        return tuple(AxisPlan("adaptive", size, 1) for size in sizes)


@dataclass(frozen=True)
class Fractional:
    """Windows at pseudo-random places, about ``size / output_size`` apart (Graham, 2014), in one of two styles.

    In torch's style windows have `kernel_size` cells. With ``a = (size - kernel) / (out - 1)`` and a uniform ``u`` in
    [0, 1) for every sample, channel and axis, window ``i`` starts at ``floor((i + u) a) - floor(u a)`` and the last one
    ends the input. Windows may overlap or leave cells out.

    In TensorFlow's style windows tile the input, the same for all samples and channels. Their widths are
    ``k = floor(size / out)`` or k + 1: in an order that is drawn, or, with `pseudo_random`, so that window ``i > 0``
    starts at ``ceil((i + u) size / out) - 1`` with one uniform ``u`` an axis, scaled to what leaves no other width.

    Args:
        kernel_size: cells of a window; an int, or one per axis. Torch's style only.
        output_size: windows per axis, or
        output_ratio: windows as a fraction of the input, in (0, 1], or
        pooling_ratio: how many times smaller the output is, at least 1, as TensorFlow gives it; exactly one of the
            three is given, `pooling_ratio` in TensorFlow's style only.
        random_samples: the uniforms. Torch's style: ``[N, C, axes]``; the first column drives the last axis in 2-D and
            the first axis in 3-D, as in torch. TensorFlow's: one for each window of each axis in turn (the lowest make
            the wide windows), or with `pseudo_random` one an axis. None: drawn from the seed given to `poolkit.pool`.
        style: "torch" or "tensorflow".
        pseudo_random: TensorFlow's style: evenly spread widths.
        overlapping: TensorFlow's style: each window also has the first cell of the next one.

    Raises:
        PoolTypeError: an argument has a wrong type.
        PoolError: a value is out of range, does not belong to the style, not exactly one of the sizes is given, or (in
            `plan`) the windows do not fit: ``kernel_size + output_size - 1 <= size``, or ``output_size <= size``.

    >>> Fractional(2, output_ratio=0.5).plan((10, 10)).out_shape
    (5, 5)
    >>> tiles = Fractional(pooling_ratio=1.5, style="tensorflow", random_samples=[0.9, 0.1, 0.5, 0.2])
    >>> tiles.plan((6,)).axes[0].count
    array([[1, 2, 1, 2]])
    """

    kernel_size: int | tuple[int, ...] | None = None
    output_size: int | tuple[int, ...] | None = None
    output_ratio: float | tuple[float, ...] | None = None
    random_samples: Any = field(default=None, compare=False, repr=False)
    _: KW_ONLY
    style: Style = "torch"
    pooling_ratio: float | tuple[float, ...] | None = None
    pseudo_random: bool = False
    overlapping: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        if self.style not in STYLES:
            raise (PoolError if isinstance(cast(object, self.style), str) else PoolTypeError)(
                f"style={show(self.style)}", "style is 'torch' or 'tensorflow'", "pass one of these two words"
            )
        put(self, "pseudo_random", flag(self.pseudo_random, "pseudo_random"))
        put(self, "overlapping", flag(self.overlapping, "overlapping"))
        strange = (
            {"pooling_ratio": None, "pseudo_random": False, "overlapping": False}
            if self.style == "torch"
            else {"kernel_size": None}
        )
        for name, usual in strange.items():
            if getattr(self, name) != usual:
                raise PoolError(
                    f"{name}={show(getattr(self, name))} with style={self.style!r}",
                    f"{name} belongs to the other style",
                    f"drop {name}, or pass style={'tensorflow' if self.style == 'torch' else 'torch'!r}",
                )
        if self.style == "torch":
            put(self, "kernel_size", integers(self.kernel_size, "kernel_size", 1))
        name = self._wanted()
        wanted = getattr(self, name)
        wanted = integers(wanted, name, 1) if name == "output_size" else _ratios(wanted, name)
        put(self, name, wanted)
        if isinstance(wanted, tuple) and isinstance(self.kernel_size, tuple) and len(wanted) != len(self.kernel_size):
            raise PoolError(
                f"kernel_size={self.kernel_size}, {name}={wanted}",
                f"arguments given per axis have one value for each pooled axis, here {len(self.kernel_size)} for "
                f"kernel_size, {len(wanted)} for {name}",
                "give both the same length, or a single value for all axes",
            )

    def _wanted(self) -> str:
        """The argument that says how many windows there are; exactly one does."""
        names = ("output_size", "output_ratio", *(() if self.style == "torch" else ("pooling_ratio",)))
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            among = " and ".join(names) if len(names) == 2 else "output_size, output_ratio and pooling_ratio"
            raise PoolError(
                ", ".join(f"{name}={show(getattr(self, name))}" for name in names),
                f"exactly one of {among} is given",
                "pass output_size=... for a fixed size, or output_ratio=0.5 for half the input's",
            )
        return given[0]

    @property
    def rank(self) -> int | None:
        """Number of pooled axes if an argument is given per axis, else None."""
        for value in (self.kernel_size, self.output_size, self.output_ratio, self.pooling_ratio):
            if isinstance(value, tuple):
                return len(value)
        return None

    @property
    def blame(self) -> str:
        """The input: there are never more windows than cells."""
        return "input x"

    @property
    def tiles(self) -> Tiles | None:
        """How TensorFlow's windows are laid out; None in torch's style."""
        if self.style == "torch":
            return None
        return "pseudo" if self.pseudo_random else "random"

    def plan(self, sizes: Sequence[int], *, samples: npt.NDArray[Any] | None = None) -> Plan:
        """The plan for these sizes; `samples` holds the uniforms, as `random_samples` or ``[planes or 1, axes]``.

        Without samples (here or in the record) every ``u`` is 0: enough for shapes.
        """
        base = _cached_plan(self, tuple(sizes))
        samples = self.random_samples if samples is None else samples
        if samples is None:
            return base
        made: list[AxisPlan] = []
        if self.tiles is not None:
            lots = check_lots(samples, tiled_lots([axis.out for axis in base.axes], self.tiles), "random_samples")
            for axis in base.axes:
                count = tiled_lots([axis.out], self.tiles)
                made.append(replace(axis, starts=tiled_starts(axis.size, axis.out, lots[:count], self.tiles)))
                lots = lots[count:]
            return Plan(tuple(made))
        columns = check_samples(samples, len(sizes), "random_samples")
        # torch keeps its samples in the order W, H for images, but T, H, W for volumes
        order = (1, 0) if len(sizes) == 2 else range(len(sizes))
        for axis, column in zip(base.axes, order, strict=True):
            made.append(replace(axis, starts=fractional_starts(axis, columns[:, column])))
        return Plan(tuple(made))

    def draw(
        self, planes: int, sizes: Sequence[int], seed: int | None, dtype: npt.DTypeLike = np.float32
    ) -> npt.NDArray[Any]:
        """Uniforms from NumPy's default generator, for `planes` planes (samples times channels): ``[planes, axes]``.

        TensorFlow's style shares them between planes.
        """
        if seed is not None:
            seed = integer(seed, "seed", 0)
        source = np.random.default_rng(seed)
        if self.tiles is not None:
            return source.random(tiled_lots(_cached_plan(self, tuple(sizes)).out_shape, self.tiles))
        kind = np.float64 if np.dtype(dtype) == np.float64 else np.float32
        return source.random((planes, len(sizes)), dtype=kind)

    def _axes(self, sizes: tuple[int, ...]) -> tuple[AxisPlan, ...]:
        rank = len(sizes)
        name = self._wanted()
        given = f"{name}={getattr(self, name)}"
        wanted: Any = spread(getattr(self, name), rank)
        if name == "output_ratio":
            wanted = [int(size * ratio) for size, ratio in zip(sizes, wanted, strict=True)]
        elif name == "pooling_ratio":
            wanted = [int(size / ratio) for size, ratio in zip(sizes, wanted, strict=True)]
        outs = cast("Sequence[int]", wanted)
        for axis, (size, out) in enumerate(zip(sizes, outs, strict=True)):
            if out < 1:
                rule, do = "floor(size * output_ratio)", f"use an output_ratio of at least {1 / size:.6g}"
                if name == "pooling_ratio":
                    rule, do = "floor(size / pooling_ratio)", f"use a pooling_ratio of at most {size}"
                raise PoolError(
                    f"{given} on an axis of size {size} (pooled axis {axis})",
                    f"the ratio leaves at least one window: {rule} >= 1, here {out}",
                    do,
                )
        if self.kernel_size is None:
            return tuple(self._tiled(size, out, given) for size, out in zip(sizes, outs, strict=True))
        kernels = spread(self.kernel_size, rank)
        for axis, (size, kernel, out) in enumerate(zip(sizes, kernels, outs, strict=True)):
            if kernel + out - 1 > size:
                raise PoolError(
                    f"kernel_size={kernel} with {given} on an axis of size {size} (pooled axis {axis})",
                    f"the windows fit: kernel_size + output_size - 1 <= size, here {kernel} + {out} - 1 <= {size}",
                    f"use a kernel_size of at most {max(size - out + 1, 1)} or fewer outputs",
                )
        return tuple(
            AxisPlan("starts", size, out, kernel, starts=fractional_starts_shape(size, out, kernel))
            for size, kernel, out in zip(sizes, kernels, outs, strict=True)
        )

    def _tiled(self, size: int, out: int, given: str) -> AxisPlan:
        if out > size:
            raise PoolError(
                f"{given} on an axis of size {size}",
                f"every window has a cell of its own: output_size <= size, here {out} <= {size}",
                f"use an output_size of at most {size}",
            )
        tiles = self.tiles or "random"
        longest = min(-(-size // out) + self.overlapping, size)
        starts = tiled_starts(size, out, np.zeros(tiled_lots([out], tiles)), tiles)
        return AxisPlan("starts", size, out, longest, after=1 + self.overlapping, starts=starts)


WINDOWS = (Sliding, Adaptive, Fractional, Global)


def sliding_or_everything(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any) -> Window:
    """The `Sliding` window of these settings; without a kernel_size the whole input."""
    if kernel_size is not None:
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode)
    given = (("stride", stride, None), ("padding", padding, 0), ("dilation", dilation, 1))
    for name, value, default in (*given, ("ceil_mode", ceil_mode, False)):
        if value != default:
            raise PoolError(
                f"{name}={show(value)} without kernel_size",
                f"kernel_size=None is one window over everything, which has no {name}",
                f"pass a kernel_size, or drop {name}",
            )
    return Global()


def spread(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """One value for each of `rank` axes."""
    return value if isinstance(value, tuple) else (value,) * rank


def per_axis(value: Any, name: str, minimum: int, rank: int) -> tuple[int, ...]:
    """One int for each of `rank` axes; a single value, also in a tuple of one, is for all."""
    checked = integers(value, name, minimum)
    if isinstance(checked, tuple):
        if len(checked) == 1:
            return checked * rank
        if len(checked) != rank:
            raise wrong_length(name, value, len(checked), rank)
    return spread(checked, rank)


def wrong_length(name: str, value: object, length: int, rank: int) -> PoolError:
    """The error for an argument with neither one value nor `rank` of them."""
    return PoolError(
        f"{name}={show(value)}",
        f"{name} holds one value, or one for each of the {rank} pooled axes, here {length}",
        f"pass an int or {rank} values",
    )


def plan_for(window: Window, shape: Sequence[int], rank: int, *, samples: Any = None, itemsize: int = 8) -> Plan:
    """The plan for an input of logical shape ``(N, C, *sizes)`` or ``(C, *sizes)``: the validator of every front end.

    Raises `PoolError` if the shape does not suit the window, has an empty axis other than the batch, or if the output
    (of `itemsize` bytes a cell) could not be held by any address space.
    """
    shape = tuple(shape)
    if len(shape) not in (rank + 1, rank + 2):
        raise PoolError(
            f"input x of shape {shape}",
            f"{rank}-D pooling takes an input of {rank + 2} axes (N, C, {rank} pooled) or {rank + 1} (C, {rank} "
            f"pooled), here {len(shape)}",
            "add or drop axes, or use the pooling of another rank",
        )
    channels, sizes = shape[-rank - 1], shape[-rank:]
    if channels < 1:
        raise PoolError(
            f"input x of shape {shape}",
            f"every axis except the batch has at least one cell, here there are {channels} channels",
            "drop the empty input before pooling",
        )
    if window.rank not in (None, rank):
        raise PoolError(
            f"{_given_per_axis(window)} for an input x of shape {shape}",
            f"arguments given per axis have one value for each pooled axis: expected {rank}, here {window.rank}",
            f"give {rank} values, or a single one for all axes",
        )
    planes = channels * (shape[0] if len(shape) == rank + 2 else 1)
    try:
        check_sizes(sizes)
        plan = window.plan(sizes, samples=samples) if isinstance(window, Fractional) else window.plan(sizes)
        check_cells(plan.out_shape, planes, itemsize, window.blame)
        if plan.starts is not None and plan.starts.shape[0] not in (1, planes):
            raise PoolError(
                f"random_samples for {plan.starts.shape[0]} planes",
                f"random_samples has one row for each sample and channel: {planes} here, or one for all",
                "pass random_samples of shape (N, C, axes)",
            )
    except PoolError as error:
        raise error.on(shape) from None
    return plan


def _given_per_axis(window: Window) -> str:
    names = ("kernel_size", "stride", "padding", "dilation", "output_size", "output_ratio", "pooling_ratio")
    given = ((name, getattr(window, name, None)) for name in names)
    return ", ".join(f"{name}={show(value)}" for name, value in given if entries(value)) or show(window)


@lru_cache(maxsize=4096)
def _cached_plan(window: Any, sizes: tuple[int, ...]) -> Plan:
    check_sizes(sizes)
    if window.rank not in (None, len(sizes)):
        raise PoolError(
            f"{_given_per_axis(window)} for {len(sizes)} pooled axes",
            f"arguments given per axis have one value for each pooled axis: expected {len(sizes)}, here {window.rank}",
            f"give {len(sizes)} values, or a single one for all axes",
        )
    return Plan(window._axes(sizes))


def _padding(padding: object) -> Padding:
    if isinstance(padding, str):
        if padding not in SAME_NAMES:
            raise PoolError(
                f"padding={show(padding)}",
                f"padding as a word is one of {', '.join(map(repr, SAME_NAMES))}, here {show(padding)}",
                "use one of these words, or cells as integers",
            )
        return padding
    items = entries(padding)
    if items is None:
        return integer(padding, "padding", 0)
    if not 1 <= len(items) <= 3:
        raise PoolError(
            f"padding={show(padding)}",
            f"padding holds one entry for each of 1 to 3 pooled axes, here {len(items)}",
            "pass an int, one int per axis, or a (before, after) pair per axis",
        )
    return tuple(_padding_of_axis(item, padding) for item in items)


def _padding_of_axis(item: object, padding: object) -> int | tuple[int, int]:
    pair = entries(item)
    if pair is None:
        return integer(item, "padding", 0, given=padding)
    if len(pair) != 2:
        raise PoolError(
            f"padding={show(padding)}",
            f"padding of an axis is an int or a (before, after) pair, here {len(pair)} values",
            "pass padding such as ((1, 0), (1, 0))",
        )
    before, after = (integer(value, "padding", 0, given=padding) for value in pair)
    return before, after


def _output_sizes(value: object) -> int | tuple[int | None, ...] | None:
    if value is None:
        return None
    items = entries(value)
    if items is not None and 1 <= len(items) <= 3:
        return tuple(None if item is None else integer(item, "output_size", 1, given=value) for item in items)
    return integers(value, "output_size", 1)


def _ratios(value: object, name: str) -> float | tuple[float, ...]:
    given = entries(value)
    items = (value,) if given is None else given
    example = 0.5 if name == "output_ratio" else 1.4
    if not 1 <= len(items) <= 3:
        raise PoolError(
            f"{name}={show(value)}",
            f"{name} holds one number, or one for each of 1 to 3 pooled axes, here {len(items)}",
            f"pass a number such as {name}={example}",
        )
    ratios = tuple(number(item, name, low=0.0) for item in items)
    if name == "output_ratio" and max(ratios) > 1:
        raise PoolError(
            f"output_ratio={show(value)}",
            f"0 < output_ratio <= 1, here {max(ratios)}",
            "pooling never makes more windows than there are cells: use a ratio of at most 1",
        )
    if name == "pooling_ratio" and min(ratios) < 1:
        raise PoolError(
            f"pooling_ratio={show(value)}",
            f"pooling_ratio >= 1, here {min(ratios)}",
            "pooling never makes more windows than there are cells: use a ratio of at least 1",
        )
    return ratios if given is not None else ratios[0]
