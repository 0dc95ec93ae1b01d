"""`pool`, and the named functions: one line each over it, with torch.nn.functional's signatures.

Every function takes a NumPy array and gives one, or takes a torch tensor and gives one (with autograd). Inputs are
``(N, C, spatial...)`` or, unbatched, ``(C, spatial...)``; with ``data_format="channels_last"`` the channels come last.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from poolkit import arrays
from poolkit.errors import PoolError, PoolTypeError, integer, integers, number, show
from poolkit.plan import check_cells
from poolkit.reducer import RMS, LogSumExp, Lp, Max, Mean, Min, PowerMean, Reducer, Soft, Sum
from poolkit.window import Adaptive, Fractional, Global, Padding, Sliding, Window, check_samples, plan_for, spread

Array: TypeAlias = Any
"""A NumPy array or a torch tensor; results are of the argument's kind."""

Ints: TypeAlias = int | tuple[int, ...]

P = ParamSpec("P")
R = TypeVar("R")


def pool(
    x: Array,
    window: Window,
    reducer: Reducer,
    *,
    return_indices: bool = False,
    data_format: str = "channels_first",
    seed: int | None = None,
) -> Array:
    """Pools `x`: one reduced value for every window.

    Args:
        x: ``(N, C, spatial...)`` or ``(C, spatial...)`` with 1 to 3 pooled axes; float16, bfloat16, float32, float64,
            or for Max, Min, Sum and Mean also int8, uint8, int16, int32, int64. Any strides.
        window: `Sliding`, `Adaptive`, `Fractional` or `Global`.
        reducer: `Max`, `Min`, `Mean`, `Sum`, `Lp`, `PowerMean`, `RMS`, `LogSumExp` or `Soft`.
        return_indices: for Max and Min, also give the int64 position of the chosen cell, flat over the unpadded
            spatial axes of its plane.
        data_format: ``"channels_first"`` or ``"channels_last"``.
        seed: for `Fractional`, the seed of the window places.

    Returns:
        The pooled array with the dtype of `x` (Sum of integers: int64), or the pair of it and the indices.

    Raises:
        PoolTypeError: `x`, its dtype or an option has a wrong type.
        PoolError: the window does not fit, or an axis other than the batch is empty.

    A NaN in a window gives NaN. The first of equal cells wins. Half precision accumulates in float32.

    >>> import numpy as np, poolkit as pk
    >>> x = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> pk.pool(x, pk.Sliding(2, stride=1), pk.Mean())
    array([[[[2.5, 3.5, 4.5],
             [6.5, 7.5, 8.5]]]])
    >>> pk.pool(x, pk.Adaptive((1, 2)), pk.Max(), return_indices=True)
    (array([[[[ 9., 11.]]]]), array([[[[ 9, 11]]]]))
    """
    if not isinstance(cast(object, window), Sliding | Adaptive | Fractional | Global):
        raise PoolTypeError(
            f"window={show(window)}",
            f"window is Sliding, Adaptive, Fractional or Global, here {type(window).__name__}",
            "pass for example poolkit.Sliding(2)",
        )
    if not isinstance(cast(object, reducer), Reducer):
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
    reducer = reducer.on(window)
    torch = torch_backend(x)
    if torch is None:
        x = arrays.check_array(x)
    rank = pooled_rank(window, x.ndim)
    logical = to_channels_first(x, data_format, rank)
    if torch is not None:
        result = torch.pool(logical, window, reducer, return_indices=return_indices, rank=rank, seed=seed)
        y, indices = result if return_indices else (result, None)
    else:
        y, indices, _ = run(logical, window, reducer, rank, return_indices=return_indices, seed=seed)
    y = finish(y, window, data_format, rank)
    return (y, finish(indices, window, data_format, rank)) if return_indices else y


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
        if _drops(window):
            grad = grad.reshape(*grad.shape, *(1,) * rank)
        else:
            grad = to_channels_first(grad, data_format, rank)
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
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None, arrays.Saved | None]:
    """Pools a NumPy array of logical shape (N, C, spatial...) or (C, spatial...)."""
    batched = x.ndim == rank + 2
    samples = None
    if isinstance(window, Fractional) and window.random_samples is None:
        planes = math.prod(x.shape[:-rank])
        samples = window.draw(max(planes, 1), rank, seed, x.dtype)
    itemsize = max(x.dtype.itemsize, 8 if return_indices or reducer.widens else 1)
    plan = plan_for(window, x.shape, rank, samples=samples, itemsize=itemsize)
    y, indices, saved = arrays.forward(
        x if batched else x[None], plan, reducer, return_indices=return_indices, save=save
    )
    if batched:
        return y, indices, saved
    return y[0], None if indices is None else indices[0], saved


def torch_backend(x: object) -> Any:
    """The torch front end if `x` is a torch tensor, else None; a NumPy caller never imports torch."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return None
    return importlib.import_module("poolkit.torch.functional")


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


def to_channels_first(x: Array, data_format: str, rank: int) -> Array:
    """A view with the channels before the pooled axes."""
    if data_format == "channels_first":
        return x
    if data_format != "channels_last":
        raise PoolError(
            f"data_format={show(data_format)}",
            f"data_format is 'channels_first' or 'channels_last', here {show(data_format)}",
            "pass one of the two",
        )
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
    return np.moveaxis(x, source, target) if isinstance(x, np.ndarray) else x.movedim(source, target)


def by_rank(
    function: Callable[Concatenate[int, P], R],
) -> tuple[Callable[P, R], Callable[P, R], Callable[P, R]]:
    """The 1-D, 2-D and 3-D functions of one whose first argument is the rank.

    In its docstring ``{n}`` stands for the rank, ``{in}`` and ``{out}`` for the example's pooled axes.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1:]
    doc = inspect.cleandoc(function.__doc__ or "")
    function.__doc__ = None  # a template is no documentation

    def of(rank: int) -> Callable[P, R]:
        def named(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(rank, *args, **kwargs)

        named.__name__ = named.__qualname__ = f"{function.__name__.lstrip('_')}{rank}d"
        named.__doc__ = doc.replace("{n}", str(rank)).replace("{in}", ", 8" * rank).replace("{out}", ", 4" * rank)
        named.__dict__["__signature__"] = signature.replace(parameters=parameters)
        return named

    return of(1), of(2), of(3)


def _per_axis(value: Any, name: str, minimum: int, rank: int) -> tuple[int, ...]:
    """One int for each of `rank` axes; a single value, also in a tuple of one, is for all."""
    checked = integers(value, name, minimum)
    if isinstance(checked, tuple):
        if len(checked) == 1:
            return checked * rank
        if len(checked) != rank:
            raise _wrong_length(name, value, len(checked), rank)
    return spread(checked, rank)


def _wrong_length(name: str, value: object, length: int, rank: int) -> PoolError:
    return PoolError(
        f"{name}={show(value)}",
        f"{name} holds one value, or one for each of the {rank} pooled axes, here {length}",
        f"pass an int or {rank} values",
    )


def _sliding(
    rank: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1, ceil_mode: Any = False
) -> Sliding:
    kernel = _per_axis(kernel_size, "kernel_size", 1, rank)
    strides = None if stride is None else _per_axis(stride, "stride", 1, rank)
    if isinstance(padding, list | tuple):
        entries = cast("Sequence[Any]", padding)
        if len(entries) == 1:
            padding = tuple(entries) * rank
        elif len(entries) != rank and entries:
            raise _wrong_length("padding", padding, len(entries), rank)
    return Sliding(kernel, strides, padding, _per_axis(dilation, "dilation", 1, rank), ceil_mode)


def _max_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: str = "channels_first",
) -> Array:
    """Takes the largest cell of each window, over {n} axes; padding never wins.

    Arguments are those of torch.nn.functional.max_pool{n}d and of `poolkit.Sliding`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.max_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Max(), return_indices=return_indices, data_format=data_format)


def _min_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: str = "channels_first",
) -> Array:
    """Takes the smallest cell of each window, over {n} axes; padding never wins.

    Arguments are those of `max_pool{n}d`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.min_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Min(), return_indices=return_indices, data_format=data_format)


def _avg_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    data_format: str = "channels_first",
) -> Array:
    """Takes the mean of each window, over {n} axes.

    Divides by the taps inside the input and its padding, with ``count_include_pad=False`` by those inside the input,
    or by `divisor_override`. With ``padding="same"`` or ``"same_lower"`` padding never counts. Arguments are those of
    torch.nn.functional.avg_pool{n}d, and dilation; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.avg_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    if divisor_override is not None:
        divisor_override = integer(divisor_override, "divisor_override", 1)
    return pool(input, window, Mean(count_include_pad, divisor_override), data_format=data_format)


def _sum_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    data_format: str = "channels_first",
) -> Array:
    """Takes the sum of each window, over {n} axes; integers give int64.

    Arguments are those of `poolkit.Sliding`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.sum_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Sum(), data_format=data_format)


def _lp_pool(
    rank: int,
    input: Array,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    data_format: str = "channels_first",
) -> Array:
    """Takes the p-norm ``(sum |x|**p) ** (1 / p)`` of each window, over {n} axes; any ``norm_type`` above 0, or inf.

    Arguments are those of torch.nn.functional.lp_pool{n}d, padding and dilation; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.lp_pool{n}d(np.zeros((2, 3{in})), 2, 2).shape
    (2, 3{out})
    """
    norm = Lp(number(norm_type, "norm_type", low=0.0, allow_inf=True))
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, norm, data_format=data_format)


def _power_mean_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    p: float = 3.0,
    eps: float = 1e-6,
    data_format: str = "channels_first",
) -> Array:
    """Takes the generalized mean ``(mean max(x, eps)**p) ** (1 / p)`` of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding` and `poolkit.PowerMean`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.power_mean_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, PowerMean(p, eps), data_format=data_format)


def _rms_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    data_format: str = "channels_first",
) -> Array:
    """Takes the root of the mean square of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.rms_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, RMS(), data_format=data_format)


def _lse_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    beta: float = 1.0,
    mean: bool = True,
    data_format: str = "channels_first",
) -> Array:
    """Takes the smooth maximum ``log(mean exp(beta x)) / beta`` of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding` and `poolkit.LogSumExp`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.lse_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, LogSumExp(beta, mean), data_format=data_format)


def _soft_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    beta: float = 1.0,
    data_format: str = "channels_first",
) -> Array:
    """Takes the softmax-weighted mean of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding` and `poolkit.Soft`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.soft_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = _sliding(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Soft(beta), data_format=data_format)


def _adaptive(rank: int, output_size: Any) -> Adaptive:
    wanted = Adaptive(output_size).output_size
    if not isinstance(wanted, tuple):
        return Adaptive((wanted,) * rank)
    if len(wanted) not in (1, rank):
        raise _wrong_length("output_size", output_size, len(wanted), rank)
    return Adaptive(wanted if len(wanted) == rank else wanted * rank)


def _adaptive_max_pool(
    rank: int,
    input: Array,
    output_size: int | None | tuple[int | None, ...],
    return_indices: bool = False,
    *,
    data_format: str = "channels_first",
) -> Array:
    """Takes the largest cell of each of `output_size` windows that share out the input, over {n} axes.

    Arguments are those of torch.nn.functional.adaptive_max_pool{n}d; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.adaptive_max_pool{n}d(np.zeros((2, 3{in})), 4).shape
    (2, 3{out})
    """
    window = _adaptive(rank, output_size)
    return pool(input, window, Max(), return_indices=return_indices, data_format=data_format)


def _adaptive_avg_pool(
    rank: int,
    input: Array,
    output_size: int | None | tuple[int | None, ...],
    *,
    data_format: str = "channels_first",
) -> Array:
    """Takes the mean of each of `output_size` windows that share out the input, over {n} axes.

    Arguments are those of torch.nn.functional.adaptive_avg_pool{n}d; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.adaptive_avg_pool{n}d(np.zeros((2, 3{in})), 4).shape
    (2, 3{out})
    """
    return pool(input, _adaptive(rank, output_size), Mean(), data_format=data_format)


def _fractional_max_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    data_format: str = "channels_first",
    seed: int | None = None,
) -> Array:
    """Takes the largest cell of windows at pseudo-random places, over {n} axes (Graham, 2014).

    Arguments are those of torch.nn.functional.fractional_max_pool{n}d and a seed; for the places see
    `poolkit.Fractional`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.fractional_max_pool{n}d(np.zeros((2, 3{in})), 2, output_ratio=0.5, seed=0).shape
    (2, 3{out})
    """
    kernel = _per_axis(kernel_size, "kernel_size", 1, rank)
    if output_size is not None:
        output_size = _per_axis(output_size, "output_size", 1, rank)
    if isinstance(output_ratio, list | tuple) and len(output_ratio) not in (0, 1, rank):
        raise _wrong_length("output_ratio", output_ratio, len(output_ratio), rank)
    if isinstance(output_ratio, list | tuple) and len(output_ratio) == 1:
        output_ratio = output_ratio[0]
    if _random_samples is not None and torch_backend(input) is None:
        check_samples(_random_samples, rank, "_random_samples")
    window = Fractional(kernel, output_size, output_ratio, _random_samples)
    return pool(input, window, Max(), return_indices=return_indices, data_format=data_format, seed=seed)


def _max_unpool(
    rank: int,
    input: Array,
    indices: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    data_format: str = "channels_first",
) -> Array:
    """Puts pooled values back where `max_pool{n}d` found them, zeros elsewhere.

    Args:
        input: the pooled values.
        indices: int64 positions of the same shape, flat over the unpadded output plane; of equal ones the last in
            row-major order wins.
        kernel_size, stride, padding: those of the pooling.
        output_size: the pooled axes of the result, or its whole shape; less than a stride away from the default
            ``(size - 1) * stride - 2 * padding + kernel_size``.

    Raises:
        PoolTypeError: an argument has a wrong type, or `indices` is not int64.
        PoolError: an index lies outside the plane, the shapes differ, or `output_size` is out of reach.

    >>> import numpy as np, poolkit as pk
    >>> x = np.random.default_rng(0).random((2, 3{in}))
    >>> y, indices = pk.max_pool{n}d(x, 2, return_indices=True)
    >>> pk.max_unpool{n}d(y, indices, 2).shape == x.shape
    True
    """
    torch = torch_backend(input)
    if torch is None:
        input = arrays.check_array(input)
    given = f"input x of shape {tuple(input.shape)} with indices of shape {tuple(getattr(indices, 'shape', ()))}"
    if input.ndim not in (rank + 1, rank + 2):
        raise PoolError(
            given,
            f"max_unpool{rank}d takes an input of {rank + 2} axes (N, C, {rank} pooled) or {rank + 1}, "
            f"here {input.ndim}",
            "pass what max pooling of the same rank returned",
        )
    if torch is None:
        indices = _check_indices(indices)
    if tuple(input.shape) != tuple(indices.shape):
        raise PoolError(given, "indices has the shape of the input x", "pass the values and indices of one max pooling")
    kernel = _per_axis(kernel_size, "kernel_size", 1, rank)
    strides = kernel if stride is None else _per_axis(stride, "stride", 1, rank)
    paddings = _per_axis(padding, "padding", 0, rank)
    x, places = (to_channels_first(a, data_format, rank) for a in (input, indices))
    if min(x.shape[-rank - 1 :]) < 1:
        raise PoolError(
            given, "every axis except the batch has at least one cell", "drop the empty input before unpooling"
        )
    sizes = _unpooled_sizes(tuple(x.shape), kernel, strides, paddings, output_size, rank)
    check_cells(sizes, max(math.prod(x.shape[:-rank]), 1), 8, f"output_size={sizes}")
    if torch is not None:
        return to_channels_last(torch.unpool(x, places, sizes, rank=rank), data_format, rank)
    batched = x.ndim == rank + 2
    y = arrays.unpool(x if batched else x[None], places if batched else places[None], sizes)
    return to_channels_last(y if batched else y[0], data_format, rank)


def _check_indices(indices: Any) -> npt.NDArray[np.int64]:
    if not isinstance(indices, np.ndarray) or cast("npt.NDArray[Any]", indices).dtype.name != "int64":
        kind = getattr(indices, "dtype", type(indices).__name__)
        raise PoolTypeError(
            f"indices of type {kind}", f"indices is an int64 array, here {kind}", "pass the indices of max pooling"
        )
    return arrays.check_array(cast(object, indices), "indices")


def _unpooled_sizes(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_size: Any,
    rank: int,
) -> tuple[int, ...]:
    default = tuple(
        (size - 1) * s - 2 * p + k for size, k, s, p in zip(shape[-rank:], kernel, stride, padding, strict=True)
    )
    low = tuple(max(d - s + 1, 1) for d, s in zip(default, stride, strict=True))
    high = tuple(d + s - 1 for d, s in zip(default, stride, strict=True))
    legal = " x ".join(f"{a}..{b}" for a, b in zip(low, high, strict=True))
    if output_size is None:
        wanted, gave = default, f"output_size=None, which means {default}"
    else:
        values = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,)
        wanted, gave = values[-rank:], f"output_size={show(output_size)}"
        if len(values) not in (rank, rank + 1, rank + 2) or values[: len(values) - rank] not in (
            (),
            shape[:-rank],
            shape[-rank - 1 : -rank],
        ):
            raise PoolError(
                gave,
                f"output_size holds the {rank} pooled axes, or the whole shape of the result",
                f"pass {rank} values, each in {legal}",
            )
        wanted = tuple(integer(value, "output_size", 1, given=output_size) for value in wanted)
    if any(not a <= w <= b for a, w, b in zip(low, wanted, high, strict=True)):
        raise PoolError(
            f"{gave}, for an input x of shape {shape}",
            f"output_size is less than a stride away from (size - 1) * stride - 2 * padding + kernel_size, "
            f"here {legal}",
            f"pass an output_size in {legal}",
        )
    return wanted


max_pool1d, max_pool2d, max_pool3d = by_rank(_max_pool)
min_pool1d, min_pool2d, min_pool3d = by_rank(_min_pool)
avg_pool1d, avg_pool2d, avg_pool3d = by_rank(_avg_pool)
sum_pool1d, sum_pool2d, sum_pool3d = by_rank(_sum_pool)
lp_pool1d, lp_pool2d, lp_pool3d = by_rank(_lp_pool)
power_mean_pool1d, power_mean_pool2d, power_mean_pool3d = by_rank(_power_mean_pool)
rms_pool1d, rms_pool2d, rms_pool3d = by_rank(_rms_pool)
lse_pool1d, lse_pool2d, lse_pool3d = by_rank(_lse_pool)
soft_pool1d, soft_pool2d, soft_pool3d = by_rank(_soft_pool)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = by_rank(_adaptive_max_pool)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = by_rank(_adaptive_avg_pool)
fractional_max_pool1d, fractional_max_pool2d, fractional_max_pool3d = by_rank(_fractional_max_pool)
max_unpool1d, max_unpool2d, max_unpool3d = by_rank(_max_unpool)
