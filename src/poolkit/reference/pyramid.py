"""Direct NumPy formulas of the global, adaptive and pyramid poolings, in float64."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Floats = npt.NDArray[np.float64]


def _max(v: Floats) -> float:
    return float(v.max())


def _min(v: Floats) -> float:
    return float(v.min())


def _avg(v: Floats) -> float:
    return float(v.sum()) / len(v)


def _sum(v: Floats) -> float:
    return float(v.sum())


def _rms(v: Floats) -> float:
    return math.sqrt(float((v * v).sum()) / len(v))


def _lse(v: Floats, beta: float = 1.0, mean: bool = True) -> float:
    top = (beta * v).max()
    total = np.exp(beta * v - top).sum() / (len(v) if mean else 1)
    return (top + math.log(total)) / beta


def _soft(v: Floats, beta: float = 1.0) -> float:
    weights = np.exp(beta * v - (beta * v).max())
    return float((weights * v).sum() / weights.sum())


def _lp(v: Floats, p: float = 2.0) -> float:
    return float(abs(v).max()) if math.isinf(p) else float((abs(v) ** p).sum() ** (1 / p))


def _power_mean(v: Floats, p: float = 3.0, eps: float = 1e-6) -> float:
    return float((np.maximum(v, eps) ** p).mean() ** (1 / p))


REDUCERS: dict[str, Callable[..., float]] = {
    "max": _max,
    "min": _min,
    "avg": _avg,
    "sum": _sum,
    "rms": _rms,
    "lp": _lp,
    "power_mean": _power_mean,
    "soft": _soft,
    "lse": _lse,
}


def global_pool(x: Floats, reducer: str, rank: int, keepdims: bool = False, **parameters: Any) -> Floats:
    """The reducer over all cells of every plane."""
    planes = x.reshape(*x.shape[:-rank], -1)
    y = np.apply_along_axis(lambda v: REDUCERS[reducer](v, **parameters), -1, planes)
    return y.reshape(*y.shape, *[1] * rank) if keepdims else y


def adaptive_pool(x: Floats, output_size: Sequence[int | None], reducer: str, **parameters: Any) -> Floats:
    """The reducer over the cells ``floor(i I / O) .. ceil((i + 1) I / O)`` of every axis."""
    rank = len(output_size)
    sizes = x.shape[-rank:]
    outs = [size if out is None else out for size, out in zip(sizes, output_size, strict=True)]
    y = np.zeros((*x.shape[:-rank], *outs))
    for plane in np.ndindex(*x.shape[:-rank]):
        for place in np.ndindex(*outs):
            cells = tuple(
                slice(i * size // out, -(-(i + 1) * size // out))
                for i, size, out in zip(place, sizes, outs, strict=True)
            )
            y[*plane, *place] = REDUCERS[reducer](x[plane][cells].reshape(-1), **parameters)
    return y


def spatial_pyramid_pool(x: Floats, levels: Sequence[tuple[int, int]], mode: str, flatten: bool = True) -> Floats:
    """He et al., 2014: the levels' windows one after the other."""
    parts = [adaptive_pool(x, level, mode) for level in levels]
    lead = x.shape[:-3] if flatten else x.shape[:-2]
    return np.concatenate([part.reshape(*lead, -1) for part in parts], axis=-1)


def chained_max_pool(x: Floats, kernel_size: int, repeats: int) -> Floats:
    """The input and its maxima over 1 x, 2 x, ... the reach of the kernel, each computed from the input alone."""
    height, width = x.shape[-2:]
    parts = [x]
    for count in range(1, repeats + 1):
        reach = count * (kernel_size // 2)
        y = np.zeros_like(x)
        for i, j in np.ndindex(height, width):
            near = x[..., max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1]
            y[..., i, j] = near.max(axis=(-2, -1))
        parts.append(y)
    return np.concatenate(parts, axis=-3)


def sppf(state: Mapping[str, Floats], x: Floats, kernel_size: int, training: bool = False) -> Floats:
    """1x1 convolution, the chained maxima, 1x1 convolution; SiLU after both."""
    hidden = _block(state, "reduce", x, _silu, training)
    return _block(state, "merge", chained_max_pool(hidden, kernel_size, 3), _silu, training)


def pyramid_pooling_module(
    state: Mapping[str, Floats],
    x: Floats,
    bins: Sequence[int],
    align_corners: bool = False,
    training: bool = False,
) -> Floats:
    """Zhao et al., 2017, section 3.2."""
    parts = [x]
    for i, size in enumerate(bins):
        picture = _block(state, f"branches.{i}", adaptive_pool(x, (size, size), "avg"), _relu, training)
        parts.append(_resize(picture, x.shape[-2], x.shape[-1], align_corners))
    y = np.concatenate(parts, axis=1)
    return _block(state, "merge", y, _relu, training) if "merge.0.weight" in state else y


def strip_pool(state: Mapping[str, Floats], x: Floats) -> Floats:
    """Hou et al., 2020, equations 1 to 5."""
    height, width = x.shape[-2:]
    down = _conv2d(x.mean(axis=3)[..., None], state["rows.weight"][..., None], state["rows.bias"])
    across = _conv2d(x.mean(axis=2)[:, :, None], state["columns.weight"][:, :, None], state["columns.bias"])
    y = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        both = down[:, :, i, 0] + across[:, :, 0, j]
        gate = both @ state["fuse.weight"][:, :, 0, 0].T + state["fuse.bias"]
        y[:, :, i, j] = x[:, :, i, j] / (1 + np.exp(-gate))
    return y


def rmac(x: Floats, levels: int, eps: float = 1e-6, whole: bool = False) -> Floats:
    """Tolias et al., 2016, section 3.2: the number of regions on the long side by trial, then their sum."""
    height, width = x.shape[-2:]
    short, long = min(height, width), max(height, width)
    m = 1
    if long > short:
        overlaps = {count: 1 - (long - short) / (count - 1) / short for count in range(2, 3 * long)}
        m = min(overlaps, key=lambda count: abs(overlaps[count] - 0.4))
    regions = [(0, 0, height, width)] if whole else []
    for level in range(1, levels + 1):
        side = max(math.floor(2 * short / (level + 1)), 1)
        along = {short: level, long: level + m - 1}
        tops, lefts = (_even(size, side, along[size]) for size in (height, width))
        regions += [(top, left, side, side) for top, left in itertools.product(tops, lefts)]
    total = np.zeros(x.shape[:-2])
    for top, left, rows, columns in regions:
        peaks = x[..., top : top + rows, left : left + columns].max(axis=(-2, -1))
        total += peaks / np.maximum(np.sqrt((peaks**2).sum(axis=-1, keepdims=True)), eps)
    return total


def wildcat(x: Floats, kmax: int, kmin: int, alpha: float) -> Floats:
    """Durand et al., 2017, with counts of cells."""
    ranked = np.sort(x.reshape(*x.shape[:-2], -1), axis=-1)
    top = ranked[..., ranked.shape[-1] - kmax :].mean(axis=-1)
    return (top + alpha * ranked[..., :kmin].mean(axis=-1)) / 2 if kmin else top


def _even(size: int, side: int, count: int) -> list[int]:
    if count == 1:
        return [0]
    return [math.floor(i * (size - side) / (count - 1) + 1e-9) for i in range(count)]


def _silu(x: Floats) -> Floats:
    return x / (1 + np.exp(-x))


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def _block(
    state: Mapping[str, Floats], name: str, x: Floats, activation: Callable[[Floats], Floats], training: bool
) -> Floats:
    """Convolution, batch normalisation where there is one, activation."""
    y = _conv2d(x, state[f"{name}.0.weight"], state.get(f"{name}.0.bias"))
    if f"{name}.1.weight" in state:
        mean, var = state[f"{name}.1.running_mean"], state[f"{name}.1.running_var"]
        if training:
            mean, var = y.mean(axis=(0, 2, 3)), y.var(axis=(0, 2, 3))
        scale = state[f"{name}.1.weight"] / np.sqrt(var + 1e-5)
        y = (y - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.1.bias"][:, None, None]
    return activation(y)


def _conv2d(x: Floats, weight: Floats, bias: Floats | None) -> Floats:
    """Stride 1, odd kernels, zeros around."""
    rows, columns = weight.shape[-2:]
    padded = np.pad(x, ((0, 0), (0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2)))
    y = np.zeros((len(x), len(weight), *x.shape[-2:]))
    for a, b in np.ndindex(rows, columns):
        part = padded[:, :, a : a + x.shape[-2], b : b + x.shape[-1]]
        y += np.einsum("oc,nchw->nohw", weight[:, :, a, b], part)
    return y if bias is None else y + bias[:, None, None]


def _resize(x: Floats, height: int, width: int, align_corners: bool) -> Floats:
    """Bilinear interpolation, cell by cell."""
    y = np.zeros((*x.shape[:-2], height, width))

    def place(i: int, size: int, out: int) -> tuple[int, int, float]:
        where = i * (size - 1) / max(out - 1, 1) if align_corners else max((i + 0.5) * size / out - 0.5, 0)
        low = min(math.floor(where), size - 1)
        return low, min(low + 1, size - 1), where - low

    for i, j in np.ndindex(height, width):
        top, bottom, v = place(i, x.shape[-2], height)
        left, right, u = place(j, x.shape[-1], width)
        y[..., i, j] = (1 - v) * ((1 - u) * x[..., top, left] + u * x[..., top, right]) + v * (
            (1 - u) * x[..., bottom, left] + u * x[..., bottom, right]
        )
    return y
