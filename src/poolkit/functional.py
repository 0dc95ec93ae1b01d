"""The named functions: one line each over `pool`, with torch.nn.functional's signatures.

Every function takes a NumPy array and gives one, or takes a torch tensor and gives one (with autograd). Inputs are
``(N, C, spatial...)`` or, unbatched, ``(C, spatial...)``; with ``data_format="channels_last"`` the channels come last.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from poolkit.errors import entries, integer, number
from poolkit.fractional import check_samples
from poolkit.pooling import Array, front_end, pool
from poolkit.reducer import RMS, LogSumExp, Lp, Max, Mean, Min, PowerMean, Soft, Sum
from poolkit.unpooling import unpool
from poolkit.window import Adaptive, Fractional, Padding, Sliding, Style, per_axis, wrong_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Ints: TypeAlias = int | tuple[int, ...]

P = ParamSpec("P")
R = TypeVar("R")


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
            front = front_end(args[0]) if args else None
            if front is not None:
                return front.named(function, rank, args, kwargs)
            return function(rank, *args, **kwargs)

        named.__name__ = named.__qualname__ = f"{function.__name__.lstrip('_')}{rank}d"
        named.__doc__ = doc.replace("{n}", str(rank)).replace("{in}", ", 8" * rank).replace("{out}", ", 4" * rank)
        named.__dict__["__signature__"] = signature.replace(parameters=parameters)
        return named

    return of(1), of(2), of(3)


def sliding_of(
    rank: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1, ceil_mode: Any = False
) -> Sliding:
    """The `Sliding` window that a named function's arguments mean."""
    kernel = per_axis(kernel_size, "kernel_size", 1, rank)
    strides = None if stride is None else per_axis(stride, "stride", 1, rank)
    pads = entries(padding)
    if pads is not None:
        if len(pads) not in (0, 1, rank):
            raise wrong_length("padding", padding, len(pads), rank)
        padding = pads * rank if len(pads) == 1 else pads
    return Sliding(kernel, strides, padding, per_axis(dilation, "dilation", 1, rank), ceil_mode)


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
    out: Any = None,
) -> Array:
    """Takes the largest cell of each window, over {n} axes; padding never wins.

    Arguments are those of torch.nn.functional.max_pool{n}d and of `poolkit.Sliding`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.max_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Max(), return_indices=return_indices, data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the smallest cell of each window, over {n} axes; padding never wins.

    Arguments are those of `max_pool{n}d`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.min_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Min(), return_indices=return_indices, data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the mean of each window, over {n} axes.

    Divides by the taps inside the input and its padding, with ``count_include_pad=False`` by those inside the input,
    or by `divisor_override`. With ``padding="same"`` or ``"same_lower"`` padding never counts. Arguments are those of
    torch.nn.functional.avg_pool{n}d, and dilation; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.avg_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    if divisor_override is not None:
        divisor_override = integer(divisor_override, "divisor_override", 1)
    return pool(input, window, Mean(count_include_pad, divisor_override), data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the sum of each window, over {n} axes; integers give int64.

    Arguments are those of `poolkit.Sliding`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.sum_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Sum(), data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the p-norm ``(sum |x|**p) ** (1 / p)`` of each window, over {n} axes; any ``norm_type`` above 0, or inf.

    Arguments are those of torch.nn.functional.lp_pool{n}d, padding and dilation; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.lp_pool{n}d(np.zeros((2, 3{in})), 2, 2).shape
    (2, 3{out})
    """
    norm = Lp(number(norm_type, "norm_type", low=0.0, allow_inf=True))
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, norm, data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the generalized mean ``(mean max(x, eps)**p) ** (1 / p)`` of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding` and `poolkit.PowerMean`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.power_mean_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, PowerMean(p, eps), data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the root of the mean square of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.rms_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, RMS(), data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the smooth maximum ``log(mean exp(beta x)) / beta`` of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding` and `poolkit.LogSumExp`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.lse_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, LogSumExp(beta, mean), data_format=data_format, out=out)


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
    out: Any = None,
) -> Array:
    """Takes the softmax-weighted mean of each window, over {n} axes.

    Arguments are those of `poolkit.Sliding` and `poolkit.Soft`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.soft_pool{n}d(np.zeros((2, 3{in})), 2).shape
    (2, 3{out})
    """
    window = sliding_of(rank, kernel_size, stride, padding, dilation, ceil_mode)
    return pool(input, window, Soft(beta), data_format=data_format, out=out)


def _adaptive(rank: int, output_size: Any) -> Adaptive:
    wanted = Adaptive(output_size).output_size
    if not isinstance(wanted, tuple):
        return Adaptive((wanted,) * rank)
    if len(wanted) not in (1, rank):
        raise wrong_length("output_size", output_size, len(wanted), rank)
    return Adaptive(wanted if len(wanted) == rank else wanted * rank)


def _adaptive_max_pool(
    rank: int,
    input: Array,
    output_size: int | tuple[int | None, ...] | None,
    return_indices: bool = False,
    *,
    data_format: str = "channels_first",
    out: Any = None,
) -> Array:
    """Takes the largest cell of each of `output_size` windows that share out the input, over {n} axes.

    Arguments are those of torch.nn.functional.adaptive_max_pool{n}d; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.adaptive_max_pool{n}d(np.zeros((2, 3{in})), 4).shape
    (2, 3{out})
    """
    window = _adaptive(rank, output_size)
    return pool(input, window, Max(), return_indices=return_indices, data_format=data_format, out=out)


def _adaptive_avg_pool(
    rank: int,
    input: Array,
    output_size: int | tuple[int | None, ...] | None,
    *,
    data_format: str = "channels_first",
    out: Any = None,
) -> Array:
    """Takes the mean of each of `output_size` windows that share out the input, over {n} axes.

    Arguments are those of torch.nn.functional.adaptive_avg_pool{n}d; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.adaptive_avg_pool{n}d(np.zeros((2, 3{in})), 4).shape
    (2, 3{out})
    """
    return pool(input, _adaptive(rank, output_size), Mean(), data_format=data_format, out=out)


def _fractional(
    rank: int,
    input: Array,
    kernel_size: Ints | None,
    output_size: Ints | None,
    output_ratio: float | tuple[float, ...] | None,
    samples: Array | None,
    style: Style,
    pooling_ratio: float | tuple[float, ...] | None,
    pseudo_random: bool,
    overlapping: bool,
) -> Fractional:
    if kernel_size is not None or style == "torch":
        kernel_size = per_axis(kernel_size, "kernel_size", 1, rank)
    if output_size is not None:
        output_size = per_axis(output_size, "output_size", 1, rank)
    ratios = [output_ratio, pooling_ratio]
    for place, name in enumerate(("output_ratio", "pooling_ratio")):
        given = entries(ratios[place])
        if given is not None and len(given) != rank:
            if len(given) != 1:
                raise wrong_length(name, given, len(given), rank)
            ratios[place] = given[0]
    if samples is not None and style == "torch" and front_end(input) is None:
        check_samples(samples, rank, "_random_samples")
    return Fractional(
        kernel_size,
        output_size,
        ratios[0],
        samples,
        style=style,
        pooling_ratio=ratios[1],
        pseudo_random=pseudo_random,
        overlapping=overlapping,
    )


def _fractional_max_pool(
    rank: int,
    input: Array,
    kernel_size: Ints | None,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    style: Style = "torch",
    pooling_ratio: float | tuple[float, ...] | None = None,
    pseudo_random: bool = False,
    overlapping: bool = False,
    data_format: str = "channels_first",
    seed: int | None = None,
    out: Any = None,
) -> Array:
    """Takes the largest cell of windows at pseudo-random places, over {n} axes (Graham, 2014).

    Arguments are those of torch.nn.functional.fractional_max_pool{n}d, then those of tf.nn.fractional_max_pool for its
    style, and a seed; for the places see `poolkit.Fractional`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.fractional_max_pool{n}d(np.zeros((2, 3{in})), 2, output_ratio=0.5, seed=0).shape
    (2, 3{out})
    """
    layout = (style, pooling_ratio, pseudo_random, overlapping)
    window = _fractional(rank, input, kernel_size, output_size, output_ratio, _random_samples, *layout)
    return pool(input, window, Max(), return_indices=return_indices, data_format=data_format, seed=seed, out=out)


def _fractional_avg_pool(
    rank: int,
    input: Array,
    kernel_size: Ints | None,
    output_size: Ints | None = None,
    output_ratio: float | tuple[float, ...] | None = None,
    _random_samples: Array | None = None,
    *,
    style: Style = "torch",
    pooling_ratio: float | tuple[float, ...] | None = None,
    pseudo_random: bool = False,
    overlapping: bool = False,
    data_format: str = "channels_first",
    seed: int | None = None,
    out: Any = None,
) -> Array:
    """Takes the mean of windows at pseudo-random places, over {n} axes.

    Arguments are those of `fractional_max_pool{n}d`; errors and dtypes those of `pool`.

    >>> import numpy as np, poolkit as pk
    >>> pk.fractional_avg_pool{n}d(np.zeros((2, 3{in})), None, style="tensorflow", pooling_ratio=2, seed=0).shape
    (2, 3{out})
    """
    layout = (style, pooling_ratio, pseudo_random, overlapping)
    window = _fractional(rank, input, kernel_size, output_size, output_ratio, _random_samples, *layout)
    return pool(input, window, Mean(), data_format=data_format, seed=seed, out=out)


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
    out: Any = None,
) -> Array:
    """Puts pooled values back where `max_pool{n}d` found them, zeros elsewhere.

    Arguments are those of torch.nn.functional.max_unpool{n}d. `indices` has int64 positions in the input's shape, flat
    over the unpadded output plane; of equal ones the last in row-major order wins. `output_size` gives the pooled
    axes of the result, or its whole shape, each less than a stride away from the default
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
    return unpool(input, indices, kernel_size, stride, padding, output_size, rank, data_format, out)


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
fractional_avg_pool1d, fractional_avg_pool2d, fractional_avg_pool3d = by_rank(_fractional_avg_pool)
max_unpool1d, max_unpool2d, max_unpool3d = by_rank(_max_unpool)
