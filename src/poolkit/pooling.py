"""`pool`: one call for every window, reducer, rank, layout and front end."""

from __future__ import annotations

import importlib
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from poolkit import arrays
from poolkit.errors import PoolError, PoolTypeError, entries, show
from poolkit.reducer import Reducer
from poolkit.window import WINDOWS, Fractional, Global, Window, plan_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = Any
"""A NumPy array, a torch tensor or a JAX array; results are of the argument's kind."""


class Parts(NamedTuple):
    """What a call of `pool` says besides its input: what `pool` answers when the input is `PARTS`."""

    window: Window
    reducer: Reducer
    return_indices: bool
    data_format: str
    seed: int | None


PARTS: Any = object()


def pool(
    x: Array,
    window: Window,
    reducer: Reducer,
    *,
    return_indices: bool = False,
    data_format: str = "channels_first",
    seed: int | None = None,
    out: Any = None,
) -> Array:
    """Pools `x`: one reduced value for every window.

    Args:
        x: ``(N, C, spatial...)`` or ``(C, spatial...)`` with 1 to 3 pooled axes; float16, bfloat16, float32, float64,
            or for Max, Min, Sum and Mean also int8, uint8, int16, int32, int64. Any strides, any byte order. A NumPy
            array, a torch tensor, a JAX array, or any object with the buffer protocol or ``__dlpack__``, of which the
            result is a NumPy array.
        window: `Sliding`, `Adaptive`, `Fractional` or `Global`.
        reducer: one of the records of `poolkit.reducer`: `Max`, `Mean`, `Soft`, `Median`, `Stochastic` ...
        return_indices: for reducers that choose a cell, such as Max and Median, also give the int64 position of the
            chosen cell, flat over the unpadded spatial axes of its plane.
        data_format: ``"channels_first"`` or ``"channels_last"``.
        seed: for `Fractional`, the seed of the window places, and for reducers that draw, of the draws; None draws anew
            each time. For torch tensors also a `torch.Generator`; for JAX arrays also a key of `jax.random`.
        out: a NumPy array of the result's shape and dtype to write to; with `return_indices` a pair of arrays. It must
            not lie in the memory of `x`.

    Returns:
        The pooled array with the dtype of `x` (Sum of integers: int64), or the pair of it and the indices; `out`, if
        that was given.

    Raises:
        PoolTypeError: `x`, its dtype or an option has a wrong type.
        PoolError: the window does not fit, an axis other than the batch is empty, or `out` cannot take the result.

    A NaN in a window gives NaN. The first of equal cells wins. Half precision accumulates in float32.

    >>> import numpy as np, poolkit as pk
    >>> x = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> pk.pool(x, pk.Sliding(2, stride=1), pk.Mean())
    array([[[[2.5, 3.5, 4.5],
             [6.5, 7.5, 8.5]]]])
    >>> pk.pool(x, pk.Adaptive((1, 2)), pk.Max(), return_indices=True)
    (array([[[[ 9., 11.]]]]), array([[[[ 9, 11]]]]))
    """
    check_parts(window, reducer, return_indices)
    front = front_end(x)
    if x is PARTS or front is not None:
        check_no_out(out)
        if x is PARTS:
            return Parts(window, reducer, return_indices, data_format, seed)
        rank = pooled_rank(window, x.ndim)
        options = {"return_indices": return_indices, "rank": rank, "data_format": data_format, "seed": seed}
        return front.pool(x, window, reducer, **options)
    x = arrays.check_array(x)
    rank = pooled_rank(window, x.ndim)
    logical = to_channels_first(x, data_format, rank)
    reducer = reducer.on(window)
    targets: list[Any] = []
    if out is not None:
        found = _check_out(out, logical, window, reducer, rank, return_indices, data_format)
        targets = [_to_logical(array, window, data_format, rank) for array in found]
    y, indices, _ = run(logical, window, reducer, rank, return_indices=return_indices, seed=seed, out=targets)
    if out is not None:
        return out
    y = finish(y, window, data_format, rank)
    return (y, finish(indices, window, data_format, rank)) if return_indices else y


def check_no_out(out: object) -> None:
    """Nobody asked to write into an array where the result is a framework's."""
    if out is not None:
        raise PoolError(
            "out for an input x of a framework",
            "out is for NumPy arrays: results of tensors and JAX arrays are always new",
            "drop out, or pass a NumPy array",
        )


def _check_out(
    out: Any, x: Any, window: Window, reducer: Reducer, rank: int, return_indices: bool, data_format: str
) -> list[npt.NDArray[Any]]:
    """The arrays that `out` holds, checked before any work."""
    given = entries(out) if return_indices else (out,)
    if given is None or len(given) != 1 + return_indices:
        raise PoolTypeError(
            f"out={show(out)} with return_indices=True", "out is a pair, of values and indices", "pass two arrays"
        )
    arrays.check_reducer(reducer, x.dtype)
    plan = plan_for(window, x.shape, rank)
    # What becomes of a result's shape becomes of that of one cell repeated, which takes no memory.
    cell = np.broadcast_to(np.zeros((), np.int8), (*x.shape[:-rank], *plan.out_shape))
    shape = finish(cell, window, data_format, rank).shape
    dtypes = (arrays.y_dtype(reducer, x.dtype), np.dtype(np.int64))
    names = ("out", "out[1]") if return_indices else ("out",)
    found = [arrays.check_out(a, shape, kind, x, name) for a, kind, name in zip(given, dtypes, names, strict=False)]
    if return_indices and np.may_share_memory(found[0], found[1]):
        raise PoolError("out with values and indices in one memory", "both are arrays of their own", "pass two arrays")
    return found


def _to_logical(array: Array, window: Window, data_format: str, rank: int) -> Array:
    """Undoes `finish`: a view (N, C, spatial...) of an array in the caller's layout."""
    if _drops(window):
        return array.reshape(*array.shape, *(1,) * rank)
    return to_channels_first(array, data_format, rank)


def pool_vjp(
    x: npt.NDArray[Any],
    window: Window,
    reducer: Reducer,
    *,
    data_format: str = "channels_first",
    seed: int | None = None,
) -> tuple[npt.NDArray[Any], Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]:
    """Pools a NumPy array and gives a function from the output's gradient to the input's.

    Arguments and errors are those of `pool`; the input is floating. What is kept between the passes is what the reducer
    says: for Max and Min one byte or two for every output, never the input.

    >>> import numpy as np, poolkit as pk
    >>> y, back = pk.pool_vjp(np.array([[[1.0, 5.0, 2.0, 4.0]]]), pk.Sliding(2), pk.Max())
    >>> back(np.ones_like(y))
    array([[[0., 1., 0., 1.]]])
    """
    x = arrays.check_array(x)
    if x.dtype.kind in "iu":
        raise PoolTypeError(
            f"input x of dtype {x.dtype}", "only floating-point inputs have a gradient", "convert it to float32 first"
        )
    rank = pooled_rank(window, x.ndim)
    logical = to_channels_first(x, data_format, rank)
    y, _, saved = run(logical, window, reducer.on(window), rank, seed=seed, save=True)
    kept = cast(arrays.Saved, saved)
    result = finish(y, window, data_format, rank)

    def back(grad: npt.NDArray[Any]) -> npt.NDArray[Any]:
        grad = arrays.check_array(grad, "grad")
        if grad.shape != result.shape:
            raise PoolError(
                f"grad of shape {grad.shape}",
                f"grad has the shape of the pooled output, here {result.shape}",
                "pass the gradient of that output",
            )
        grad = _to_logical(grad, window, data_format, rank)
        batched = logical.ndim == rank + 2
        dx = arrays.backward(grad if batched else grad[None], kept)
        return to_channels_last(dx if batched else dx[0], data_format, rank)

    return result, back


def run(
    x: npt.NDArray[Any],
    window: Window,
    reducer: Reducer,
    rank: int,
    *,
    return_indices: bool = False,
    seed: int | None = None,
    save: bool = False,
    out: Sequence[npt.NDArray[Any]] = (),
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None, arrays.Saved | None]:
    """Pools a NumPy array of logical shape (N, C, spatial...) or (C, spatial...)."""
    batched = x.ndim == rank + 2
    samples = None
    if isinstance(window, Fractional) and window.random_samples is None:
        planes = math.prod(x.shape[:-rank])
        samples = window.draw(max(planes, 1), x.shape[-rank:], seed, x.dtype)
    itemsize = max(x.dtype.itemsize, 8 if return_indices or reducer.widens else 1)
    plan = plan_for(window, x.shape, rank, samples=samples, itemsize=itemsize)
    y, indices, saved = arrays.forward(
        x if batched else x[None],
        plan,
        reducer,
        return_indices=return_indices,
        save=save,
        seed=seed,
        out=out if batched else [array[None] for array in out],
    )
    if batched:
        return y, indices, saved
    return y[0], None if indices is None else indices[0], saved


def check_parts(window: object, reducer: object, return_indices: bool) -> None:
    """Window and reducer are what they should be, and go together with `return_indices`."""
    if not isinstance(window, WINDOWS):
        *names, last = (kind.__name__ for kind in WINDOWS)
        raise PoolTypeError(
            f"window={show(window)}",
            f"window is {', '.join(names)} or {last}, here {type(window).__name__}",
            "pass for example poolkit.Sliding(2)",
        )
    if not isinstance(reducer, Reducer):
        raise PoolTypeError(
            f"reducer={show(reducer)}",
            f"reducer is one of the records such as Max() or Mean(), here {show(reducer)}",
            "pass an instance: poolkit.Max(), not its name or class",
        )
    if return_indices and not reducer.selects:
        raise PoolError(
            f"return_indices=True with {reducer}",
            f"return_indices asks which cell was chosen, and {reducer.name} chooses none",
            "drop return_indices, or use Max() or Min()",
        )


# The array types of frameworks, and the front end of each.
_FRONT_ENDS = (("torch", "Tensor"), ("jax", "Array"))


def _load(framework: str) -> bool:
    # By name, since imports go down only.
    name = f"poolkit.{framework}.functional"
    return name in sys.modules or bool(importlib.import_module(name))


# torch.compile cannot trace an import. So marked it runs this while it traces, as torch.compiler.assume_constant_result
# asks it to; torch itself is not imported here.
_load._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def front_end(x: object) -> Any:
    """The front end of the framework that `x` is an array of, or None; a NumPy caller never imports a framework."""
    if type(x) is np.ndarray:
        return None
    for framework, array in _FRONT_ENDS:
        loaded = sys.modules.get(framework)
        if loaded is not None and isinstance(x, getattr(loaded, array, ())):
            # Not sys.modules[the module's name]: torch.compile remembers what that held before the import.
            return getattr(sys.modules["poolkit"], framework).functional if _load(framework) else None
    return None


def pooled_rank(window: Window, ndim: int) -> int:
    """How many trailing axes of an `ndim`-dimensional input the window pools.

    A window given per axis says so itself. Otherwise every axis after batch and channels is pooled; two axes are an
    unbatched ``(C, L)``.
    """
    if window.rank is not None:
        rank = window.rank
        if ndim not in (rank + 1, rank + 2):
            raise PoolError(
                f"an input x of {ndim} axes with {window}",
                f"a window with {rank} values per argument takes {rank + 2} axes (N, C, {rank} pooled) or {rank + 1}, "
                f"here {ndim}",
                "match the lengths of the window's arguments to the input's pooled axes",
            )
        return rank
    if not 2 <= ndim <= 5:
        raise PoolError(
            f"an input x of {ndim} axes",
            f"pooling takes (N, C, spatial...) with 1 to 3 pooled axes, or (C, length): 2 to 5 axes, here {ndim}",
            "add axes for batch and channels: x[None, None]",
        )
    return max(ndim - 2, 1)


def check_format(data_format: object) -> None:
    """`data_format` is one of the two words."""
    if data_format not in ("channels_first", "channels_last"):
        raise PoolError(
            f"data_format={show(data_format)}",
            f"data_format is 'channels_first' or 'channels_last', here {show(data_format)}",
            "pass one of the two",
        )


def to_channels_first(x: Array, data_format: str, rank: int) -> Array:
    """A view with the channels before the pooled axes."""
    if data_format == "channels_first":
        return x
    check_format(data_format)
    return _move(x, -1, -rank - 1)


def to_channels_last(x: Array, data_format: str, rank: int) -> Array:
    """Undoes `to_channels_first`."""
    return x if data_format == "channels_first" else _move(x, -rank - 1, -1)


def finish(y: Array, window: Window, data_format: str, rank: int) -> Array:
    """A pooled array in the caller's layout, without the axes that `Global` drops."""
    if _drops(window):
        return y.reshape(y.shape[:-rank])
    return to_channels_last(y, data_format, rank)


def _drops(window: Window) -> bool:
    return isinstance(window, Global) and not window.keepdims


def _move(x: Array, source: int, target: int) -> Array:
    if hasattr(x, "movedim"):  # a torch tensor
        return x.movedim(source, target)
    order = list(range(x.ndim))  # what numpy.moveaxis does, at a fifth of its time
    order.insert(target % x.ndim, order.pop(source))
    return x.transpose(order)
