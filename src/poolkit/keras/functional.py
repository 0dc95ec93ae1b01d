"""Pooling of a Keras back end's tensors: by the compiled kernels where they can read them, else by keras.ops."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from poolkit.errors import PoolError, PoolTypeError, show
from poolkit.keras import kernels
from poolkit.keras.cells import Layout, Pick, constant, dtype_of, everything, ops, outer, pick_of, wide
from poolkit.keras.draws import Seed, check_seed, fractional_picks, moved_extra, samples_of, uniforms
from poolkit.keras.folds import choose, mean, total
from poolkit.keras.graphs import picks_of_sizes
from poolkit.keras.whole import reduce, windows_of
from poolkit.pooling import check_parts
from poolkit.reducer import Lp, Max, Mean, Min, Mixed, Reducer, Sum
from poolkit.window import Adaptive, Fractional, Global, Sliding, Window, plan_for

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from poolkit.keras.cells import Tensor
    from poolkit.plan import Plan

_compiled: ContextVar[bool] = ContextVar("compiled", default=True)


@contextmanager
def keras_ops_only() -> Generator[None]:
    """Within it nothing is pooled by poolkit's kernels: for graphs that have to run where poolkit is not installed.

    Models that Keras exports know of it by themselves.

    >>> import numpy as np, poolkit as pk
    >>> from poolkit.keras import keras_ops_only, pool
    >>> with keras_ops_only():
    ...     y = pool(np.ones((1, 4, 1), "float32"), pk.Sliding(2), pk.Max())
    """
    token = _compiled.set(False)
    try:
        yield
    finally:
        _compiled.reset(token)


def pool(
    x: Tensor,
    window: Window,
    reducer: Reducer,
    *,
    data_format: str | None = None,
    seed: Seed = None,
    extra: Tensor | None = None,
    return_indices: bool = False,
) -> Any:
    """Pools a batch of the Keras back end's tensors, eagerly or within a graph.

    Args:
        x: ``(batch, sizes..., channels)``, or with ``"channels_first"`` ``(batch, channels, sizes...)``, 1 to 3 pooled
            sizes; floating, or integers for reducers that choose a cell.
        window: which cells each output sees.
        reducer: what becomes of them.
        data_format: ``"channels_last"`` or ``"channels_first"``; None is Keras's ``image_data_format()``.
        seed: for `Fractional` windows without samples and reducers that draw: an int, the same for the same draws, a
            `keras.random.SeedGenerator`, which goes on, or None for Keras's own.
        extra: what the reducer takes beside x, in place of what its record says, with gradients: for `Mixed`, `Ada`,
            `Boltzmann` and `GeM` what broadcasts to the output and has as many axes, for `Filter` weights
            ``[1 or channels, K]``, for reducers that draw uniforms in [0, 1) of the output's shape.
        return_indices: also give the int32 positions of the chosen cells, flat over the pooled axes.

    Returns:
        A tensor of x's dtype, or the pair of it and the positions.

    Raises:
        PoolTypeError: an argument has a wrong type. PoolError: one breaks a rule.

    >>> import numpy as np, poolkit as pk
    >>> from keras import ops
    >>> from poolkit.keras import pool
    >>> x = np.arange(6.0, dtype="float32").reshape(1, 6, 1)
    >>> ops.convert_to_numpy(pool(x, pk.Sliding(2), pk.Mean())).ravel().tolist()
    [0.5, 2.5, 4.5]
    """
    check_parts(window, reducer, return_indices)
    x = _tensor(x)
    ndim = len(x.shape)
    rank = window.rank or ndim - 2
    if not 1 <= rank <= 3 or ndim != rank + 2:
        raise PoolError(
            f"input x of shape {tuple(x.shape)} with {window}",
            f"{f'{rank}-D ' if window.rank else ''}pooling takes a batch, channels and "
            f"{window.rank or '1 to 3'} pooled axes, here {ndim} axes",
            "add or drop axes, or use the pooling of another rank",
        )
    layout = layout_of(data_format, rank)
    if extra is not None:
        extra = _beside(extra, reducer, rank)
    return run(x, window, reducer, layout, seed=seed, extra=extra, return_indices=return_indices)


def _beside(extra: Any, reducer: Reducer, rank: int) -> Tensor | None:
    """The array beside x, if the reducer takes one."""
    if reducer.extra == "none":
        return None
    extra = _tensor(extra, "extra")
    axes = 2 if reducer.extra == "kernel" else rank + 2
    if len(extra.shape) != axes:
        raise PoolError(
            f"extra of shape {tuple(extra.shape)} with {reducer.name}",
            "weights of a kernel have the shape (1, K) or (channels, K)"
            if reducer.extra == "kernel"
            else f"extra broadcasts to the output and has as many axes: {axes}",
            "add axes of size 1",
        )
    return extra


def layout_of(data_format: str | None, rank: int) -> Layout:
    """The layout of this name; None is Keras's own."""
    name = data_format.lower() if isinstance(data_format, str) else data_format
    if name is None:
        name = keras.config.image_data_format()
    if name not in ("channels_last", "channels_first"):
        raise PoolError(
            f"data_format={show(data_format)}",
            "data_format is 'channels_first' or 'channels_last'",
            "pass one of these two words, or None for Keras's image_data_format()",
        )
    return Layout(rank, name == "channels_last")


def run(
    x: Tensor,
    window: Window,
    reducer: Reducer,
    layout: Layout,
    *,
    seed: Seed = None,
    extra: Tensor | None = None,
    return_indices: bool = False,
    mask: Tensor | None = None,
) -> Any:
    """As `pool`, of parts that were checked; the mask ``[batch, size]`` is for one pooled axis under `Global`."""
    reducer = reducer.on(window)
    check_dtype(dtype_of(x), reducer)
    seed, sizes = check_seed(seed), layout.sizes(x.shape)
    # No assignment within the condition: TensorFlow's AutoGraph reads this.
    backend = kernels.of(x) if mask is None and _compiled.get() else None
    unknown = any(size is None for size in sizes)
    drawn = isinstance(window, Fractional) or (reducer.draws and extra is None)
    if backend is not None and not unknown and not drawn:  # which plans, and remembers plans, itself
        return backend(x, window, reducer, layout, extra, return_indices)
    if unknown:
        plan, picks = None, _picks_at_run(x, window, layout)
    else:
        plan = plan_for(window, _known(layout.logical(x.shape)), layout.rank)
        reducer.check(plan)
        picks = [pick_of(axis) for axis in plan.axes]
    if isinstance(window, Fractional) and window.random_samples is None and plan is not None:
        window = replace(window, random_samples=samples_of(x, window, plan, layout, seed))
    if reducer.draws and extra is None:
        outs: Any = plan.out_shape if plan is not None else [ops.shape(pick.count)[0] for pick in picks]
        extra = uniforms(x, outs, layout, seed)
    if backend is not None:
        return backend(x, window, reducer, layout, extra, return_indices)
    if isinstance(window, Fractional) and plan is not None:
        return _drawn_places(x, window, reducer, layout, plan, extra, return_indices)
    empty = None
    if mask is not None:
        x, picks, empty = _masked(x, mask, layout)
    y = _by_ops(x, picks, reducer, layout, extra, return_indices)
    if empty is not None:
        y = ops.where(ops.reshape(empty, (-1, 1, 1)), ops.zeros_like(y), y)
    return _finished(y, window, layout, return_indices)


def _finished(y: Any, window: Window, layout: Layout, return_indices: bool) -> Any:
    if isinstance(window, Global) and not window.keepdims:
        return tuple(_dropped(one, layout) for one in y) if return_indices else _dropped(y, layout)
    return y


def _dropped(y: Tensor, layout: Layout) -> Tensor:
    """Without the pooled axes; one by one, since torch writes no other to ONNX files."""
    for _ in range(layout.rank):
        y = ops.squeeze(y, layout.spatial)
    return y


def _by_ops(
    x: Tensor, picks: Sequence[Pick], reducer: Reducer, layout: Layout, extra: Any, return_indices: bool
) -> Any:
    """The windows reduced by keras.ops alone."""
    if isinstance(reducer, Max | Min):
        y, places = choose(x, picks, layout, least=isinstance(reducer, Min), places=return_indices)
        return (y, places) if return_indices else y
    if return_indices:
        raise PoolError(
            f"return_indices=True with {reducer}",
            "keras.ops finds the places of maxima and minima only",
            "use Max() or Min(), or the torch back end on the CPU",
        )
    kind, x = x.dtype, wide(x)
    if extra is None and reducer.values is not None:
        extra = _values(reducer, x, layout)
    elif extra is not None:
        extra = ops.cast(extra, x.dtype)
    return ops.cast(_wide_by_ops(x, picks, reducer, layout, extra), kind)


def _wide_by_ops(x: Tensor, picks: Sequence[Pick], reducer: Reducer, layout: Layout, extra: Any) -> Tensor:
    if isinstance(reducer, Lp) and np.isinf(reducer.p):
        return choose(ops.abs(x), picks, layout)[0]
    if isinstance(reducer, Sum):
        return total(x, picks, layout)
    if isinstance(reducer, Mean):
        return mean(x, picks, layout, reducer.divisor or _counts(picks, layout, padded=reducer.count_include_pad))
    if isinstance(reducer, Mixed):
        share = reducer.weight if extra is None else extra
        most = choose(x, picks, layout)[0]
        return share * most + (1 - share) * mean(x, picks, layout, _counts(picks, layout))
    if extra is not None:
        extra = moved_extra(reducer.extra, extra, layout)
    return reduce(windows_of(x, picks, layout), reducer, extra)


def _counts(picks: Sequence[Pick], layout: Layout, *, padded: bool = False) -> Any:
    counts = [pick.count_padded if padded else pick.count for pick in picks]
    return outer(counts, layout.spatial, layout.rank + 2)


def _values(reducer: Reducer, x: Tensor, layout: Layout) -> Tensor:
    """What a record says of the array beside x."""
    values = constant(np.array(reducer.values), x)
    return ops.reshape(values, (1, -1) if reducer.extra == "kernel" else (1,) * (layout.rank + 2))


def _drawn_places(
    x: Tensor, window: Fractional, reducer: Reducer, layout: Layout, plan: Plan, extra: Any, return_indices: bool
) -> Any:
    """Fractional windows; those in torch's style differ from plane to plane, which lie together channels first."""
    picks = fractional_picks(window, plan, window.random_samples)
    if window.tiles is not None or not layout.last:
        return _by_ops(x, picks, reducer, layout, extra, return_indices)
    first = Layout(layout.rank, last=False)
    if extra is not None and reducer.extra == "outputs":
        extra = ops.moveaxis(extra, -1, 1)
    y = _by_ops(ops.moveaxis(x, -1, 1), picks, reducer, first, extra, return_indices)
    return tuple(layout.moved(one) for one in y) if return_indices else layout.moved(y)


def _masked(x: Tensor, mask: Tensor, layout: Layout) -> tuple[Tensor, list[Pick], Tensor]:
    """One pooled axis under a mask ``[batch, size]``: masked cells stand for one that is not, and do not count."""
    real = ops.cast(mask, "bool")
    first = ops.argmax(ops.cast(real, "int32"), 1)
    axis = layout.spatial
    place = ops.reshape(first, (-1, 1, 1))
    shape = list(ops.shape(x))
    shape[axis] = 1
    instead = ops.take_along_axis(x, ops.broadcast_to(place, shape), axis=axis)
    seen = ops.expand_dims(real, layout.channels)
    count = ops.sum(ops.cast(real, "int32"), 1)
    some = ops.reshape(ops.maximum(count, 1), (-1, 1, 1))
    exists = ops.expand_dims(seen, axis)
    pick = Pick(None, exists, some, some)
    return ops.where(seen, x, instead), [pick], ops.equal(count, 0)


def _picks_at_run(x: Tensor, window: Window, layout: Layout) -> list[Pick]:
    """Windows over sizes that only a run of the graph knows."""
    if isinstance(window, Global):
        return [everything(size) for size in layout.sizes(ops.shape(x))]
    if isinstance(window, Sliding | Adaptive) and _compiled.get() and not kernels.exporting():
        return picks_of_sizes(window, layout.sizes(ops.shape(x)))
    raise PoolError(
        f"input x of shape {tuple(x.shape)} with {window}",
        "the pooled sizes are known when a graph is exported, or its windows fractional; only global pooling takes any",
        "give keras.Input its sizes, or resize the inputs to one size",
    )


def output_shape(shape: Sequence[int | None], window: Window, layout: Layout) -> tuple[int | None, ...]:
    """The shape that `run` gives for an input of this one; unknown sizes are None."""
    if len(shape) != layout.rank + 2:
        raise PoolError(
            f"input x of shape {tuple(shape)}",
            f"{layout.rank}-D pooling takes a batch, channels and {layout.rank} pooled axes, here {len(shape)} axes",
            "add or drop axes, or use the layer of another rank",
        )
    found: list[tuple[int, ...]] = []
    # An output that is the same whatever the unknown sizes is known.
    large = 2**16 if layout.rank < 3 else 2**12
    for instead in (large, large + large // 8):
        logical = [instead if size is None else size for size in layout.logical(shape)[2:]]
        channels = 1 if shape[layout.channels] is None or None in layout.sizes(shape) else shape[layout.channels]
        plan = plan_for(window, (1, channels or 0, *logical), layout.rank)
        found.append(plan.out_shape)
    outs = [one if one == other else None for one, other in zip(*found, strict=True)]
    if isinstance(window, Global) and not window.keepdims:
        return shape[0], shape[layout.channels]
    return layout.own((shape[0], shape[layout.channels], *outs))


def check_dtype(dtype: str, reducer: Reducer) -> None:
    """Integers are for reducers that choose one of the cells: the layers of Keras have a floating dtype policy."""
    if "float" not in dtype and (not reducer.selects or not reducer.integers or "int" not in dtype):
        raise PoolTypeError(
            f"{reducer} on an input x of dtype {dtype}",
            f"{reducer.name} takes {'integers and ' if reducer.integers and reducer.selects else ''}floats, "
            f"here {dtype}",
            "convert the input first: keras.ops.cast(x, 'float32')",
        )


def _tensor(x: Any, name: str = "input x") -> Tensor:
    if isinstance(x, keras.KerasTensor):
        raise PoolTypeError(
            f"{name}={show(x)}",
            "pool takes tensors; the symbolic ones of a functional model are for layers",
            "use poolkit.keras.layers, for example Pooling2D(window, reducer)",
        )
    try:
        if isinstance(x, str):  # a tensor of text in TensorFlow
            raise TypeError
        return ops.convert_to_tensor(x)
    except (TypeError, ValueError):
        raise PoolTypeError(
            f"{name}={show(x)}", f"{name} is an array or a tensor, here {type(x).__name__}", "pass such a one"
        ) from None


def _known(shape: Sequence[Any]) -> tuple[int, ...]:
    """A shape whose unknown batch or channels count as one; where torch traces, sizes are tensors."""
    return (*(size if isinstance(size, int) else 1 for size in shape[:2]), *(int(size) for size in shape[2:]))
