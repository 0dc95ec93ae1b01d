"""Direct NumPy formulas of the learned poolings made of several steps, in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = npt.NDArray[np.float64]


def lip_pool(
    state: Mapping[str, Floats], x: Floats, kernel_size: int, stride: int, padding: int, logits: Floats | None = None
) -> Floats:
    """Gao et al., 2019: window by window; the logits are the network's unless they are given."""
    importance = _importance(state, x) if logits is None else logits
    height, width = ((size + 2 * padding - kernel_size) // stride + 1 for size in x.shape[-2:])
    y = np.zeros((*x.shape[:-2], height, width))
    for i, j in np.ndindex(height, width):
        top, left = i * stride - padding, j * stride - padding
        window = (..., slice(max(top, 0), top + kernel_size), slice(max(left, 0), left + kernel_size))
        weights = np.exp(importance[window] - importance[window].max(axis=(-2, -1), keepdims=True))
        y[..., i, j] = (weights * x[window]).sum(axis=(-2, -1)) / weights.sum(axis=(-2, -1))
    return y


def _importance(state: Mapping[str, Floats], x: Floats) -> Floats:
    """12 sigmoid(instance norm(convolution))."""
    weight = state["logit.convolution.weight"]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    raw = np.zeros_like(x)
    for i, j in np.ndindex(*x.shape[-2:]):
        raw[:, :, i, j] = np.tensordot(padded[:, :, i : i + 3, j : j + 3], weight, axes=([1, 2, 3], [1, 2, 3]))
    mean, var = raw.mean(axis=(-2, -1), keepdims=True), raw.var(axis=(-2, -1), keepdims=True)
    normal = (raw - mean) / np.sqrt(var + 1e-5) * state["logit.weight"] + state["logit.bias"]
    return 12 / (1 + np.exp(-normal))


def detail_preserving_pool(
    state: Mapping[str, Floats], x: Floats, symmetric: bool = True, kernel_size: int = 2, eps: float = 1e-3
) -> Floats:
    """Saeedan et al., 2018: window by window; the full variant where there is a filter."""
    k = kernel_size
    height, width = x.shape[-2] // k, x.shape[-1] // k
    alpha, power = np.exp(state["log_alpha"])[:, 0, 0], np.exp(state["log_lambda"])[:, 0, 0]
    means = np.zeros((*x.shape[:-2], height, width))
    for i, j in np.ndindex(height, width):
        means[..., i, j] = x[..., i * k : (i + 1) * k, j * k : (j + 1) * k].mean(axis=(-2, -1))
    y = np.zeros_like(means)
    for i, j in np.ndindex(height, width):
        base = means[..., i, j]
        if "filter" in state:
            base = np.zeros_like(base)
            for a, b in np.ndindex(3, 3):
                row, column = min(max(i + a - 1, 0), height - 1), min(max(j + b - 1, 0), width - 1)
                base += state["filter"][:, 0, a, b] * means[..., row, column]
        window = x[..., i * k : (i + 1) * k, j * k : (j + 1) * k]
        difference = window - base[..., None, None]
        if not symmetric:
            difference = np.maximum(difference, 0)
        weights = alpha[:, None, None] + np.sqrt(difference**2 + eps**2) ** power[:, None, None]
        y[..., i, j] = (weights * window).sum(axis=(-2, -1)) / weights.sum(axis=(-2, -1))
    return y


def gaussian_pool(
    state: Mapping[str, Floats],
    x: Floats,
    kernel_size: int,
    stride: int,
    padding: int = 0,
    eps: float = 1e-6,
    noise: Floats | None = None,
) -> Floats:
    """Kobayashi, 2019; without noise as in evaluation, half-Gaussian where there is no location layer."""

    def linear(name: str, v: Floats) -> Floats:
        return v @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    hidden = np.maximum(linear("hidden", x.mean(axis=(-2, -1))), 0)
    scale = 1 / (1 + np.exp(-linear("scale", hidden)))
    if "location.weight" in state:
        share = np.log1p(np.exp(linear("location", hidden) + (0 if noise is None else scale * noise)))
    else:
        share = scale * (math.sqrt(2 / math.pi) if noise is None else abs(noise))
    height, width = ((size + 2 * padding - kernel_size) // stride + 1 for size in x.shape[-2:])
    y = np.zeros((*x.shape[:-2], height, width))
    for i, j in np.ndindex(height, width):
        top, left = i * stride - padding, j * stride - padding
        window = x[..., max(top, 0) : top + kernel_size, max(left, 0) : left + kernel_size]
        deviation = np.sqrt(np.maximum(window.var(axis=(-2, -1)), eps))
        y[..., i, j] = window.mean(axis=(-2, -1)) + share * deviation
    return y


def alpha_pool(state: Mapping[str, Floats], x: Floats, eps: float = 1e-5, flatten: bool = True) -> Floats:
    """Simon et al., 2017: cell by cell."""
    n, channels = x.shape[:2]
    cells = x.reshape(n, channels, -1)
    y = np.zeros((n, channels, channels))
    for sample, place in np.ndindex(n, cells.shape[-1]):
        v = cells[sample, :, place]
        y[sample] += np.outer(np.sign(v) * np.maximum(abs(v), eps) ** (float(state["alpha"]) - 1), v)
    y /= cells.shape[-1]
    return y.reshape(n, -1) if flatten else y


def power_pool(state: Mapping[str, Floats], x: Floats, eps: float = 1e-7) -> Floats:
    """Liu et al., 2020: class by class."""
    y = np.zeros(x.shape[:2])
    for sample, kind in np.ndindex(*y.shape):
        v = x[sample, kind].reshape(-1)
        weights = np.maximum(v, eps) ** float(state["n"][kind, 0])
        y[sample, kind] = (v * weights).sum() / weights.sum()
    return y
