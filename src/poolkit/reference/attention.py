"""The oracle of poolings by attention, bags, sets and capsules: one sample, head and element after the other.

Weights are arrays in torch's layout, ``y = W x + b``; a mask is an array of bools or None.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_] | None
Linear = tuple[Floats, Floats | None]  # weight, bias

_erf = np.vectorize(math.erf, otypes=[float])


def _linear(x: Floats, layer: Linear) -> Floats:
    weight, bias = layer
    return x @ weight.T + (0.0 if bias is None else bias)


def _layer_norm(x: Floats, weight: Floats, bias: Floats, eps: float) -> Floats:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps) * weight + bias


def _softmax(scores: Floats) -> Floats:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def _real(mask: Mask, sample: int, size: int) -> list[int]:
    return [i for i in range(size) if mask is None or mask[sample, i]]


def _multi_head(query: Floats, key: Floats, value: Floats, heads: int, scale: float) -> Floats:
    """One set: queries ``(S, D)`` over keys and values ``(L, D)``; zeros where L is 0."""
    out = np.zeros_like(query)
    size = query.shape[1] // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(query)):
            if len(key):
                scores = np.array([scale * (query[row, part] * one[part]).sum() for one in key])
                out[row, part] = _softmax(scores) @ value[:, part]
    return out


def _cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def _resize_matrix(size: int, out: int, mode: str) -> Floats:
    """Interpolation along one axis, half-pixel centres, the edge repeated."""
    matrix = np.zeros((out, size))
    for i in range(out):
        centre = (i + 0.5) * size / out - 0.5
        if mode == "bilinear":
            centre = max(centre, 0.0)
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            weight = _cubic(centre - tap) if mode == "bicubic" else max(0.0, 1 - abs(centre - tap))
            matrix[i, min(max(tap, 0), size - 1)] += weight
    return matrix


def attention_pool2d(
    x: Floats,
    positions: Floats,
    feat_size: tuple[int, int],
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    num_heads: int,
    interpolation: str = "bicubic",
) -> Floats:
    """``(N, C, H, W)`` to ``(N, D)``: the mean attends to itself and the map."""
    channels, height, width = x.shape[1:]
    grid = positions[1:].reshape(*feat_size, channels)
    rows = _resize_matrix(feat_size[0], height, interpolation)
    columns = _resize_matrix(feat_size[1], width, interpolation)
    grid = np.einsum("ia,jb,abc->ijc", rows, columns, grid).reshape(-1, channels)
    results: list[Floats] = []
    for sample in x:
        cells = sample.reshape(channels, -1).T
        tokens = np.vstack([cells.mean(0), cells]) + np.vstack([positions[:1], grid])
        attended = _multi_head(
            _linear(tokens[:1], query),
            _linear(tokens, key),
            _linear(tokens, value),
            num_heads,
            (channels / num_heads) ** -0.5,
        )
        results.append(_linear(attended[0], out))
    return np.array(results)


def attention_pool_latent(
    x: Floats,
    mask: Mask,
    latent: Floats,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm: tuple[Floats, Floats],
    mlp: tuple[Linear, Linear],
    num_heads: int,
    pool_type: str = "token",
    eps: float = 1e-6,
) -> Floats:
    """``(N, L, D)`` to ``(N, D)``, or all latents; latent is ``(latents, width)``."""
    results: list[Floats] = []
    for n, sample in enumerate(x):
        tokens = sample[_real(mask, n, len(sample))]
        attended = _multi_head(
            _linear(latent, query),
            _linear(tokens, key),
            _linear(tokens, value),
            num_heads,
            (latent.shape[1] / num_heads) ** -0.5,
        )
        z = _linear(attended, out)
        hidden = _linear(_layer_norm(z, *norm, eps), mlp[0])
        y = z + _linear(hidden * 0.5 * (1 + _erf(hidden / math.sqrt(2))), mlp[1])
        results.append({"token": y[0], "avg": y.mean(0), "none": y}[pool_type])
    return np.array(results)


def simpool(
    x: Floats,
    mask: Mask,
    query: Linear,
    key: Linear,
    norm: tuple[Floats, Floats],
    num_heads: int = 1,
    gamma: float | None = None,
    eps: float = 1e-6,
) -> tuple[Floats, Floats]:
    """Tokens ``(N, L, D)`` to ``(N, D)`` and the weights ``(N, heads, L)``."""
    samples, length, features = x.shape
    size = features // num_heads
    y, attention = np.zeros((samples, features)), np.zeros((samples, num_heads, length))
    for n in range(samples):
        real = _real(mask, n, length)
        if not real:
            continue
        tokens = x[n, real]
        q = _linear(tokens.mean(0), query)
        values = _layer_norm(tokens, *norm, eps)
        keys = _linear(values, key)
        if gamma is not None:
            values = (values - values.min() + eps) ** gamma
        for head in range(num_heads):
            part = slice(head * size, (head + 1) * size)
            weights = _softmax(keys[:, part] @ q[part] / math.sqrt(size))
            attention[n, head, real] = weights
            y[n, part] = weights @ values[:, part]
        if gamma is not None:
            y[n] = y[n] ** (1 / gamma)
    return y, attention


def abmil(x: Floats, mask: Mask, v: Linear, w: Linear, u: Linear | None = None) -> tuple[Floats, Floats]:
    """Bags ``(N, L, D)`` to ``(N, D)`` and weights ``(N, L)``; with a gate `u` the gated form."""
    y, attention = np.zeros((len(x), x.shape[2])), np.zeros(x.shape[:2])
    for n, bag in enumerate(x):
        real = _real(mask, n, len(bag))
        if not real:
            continue
        scores: list[float] = []
        for k in real:
            hidden = np.tanh(_linear(bag[k], v))
            if u is not None:
                hidden = hidden / (1 + np.exp(-_linear(bag[k], u)))
            scores.append(_linear(hidden, w).item())
        attention[n, real] = _softmax(np.array(scores))
        y[n] = sum(attention[n, k] * bag[k] for k in real)
    return y, attention


def self_attentive(x: Floats, mask: Mask, w1: Floats, w2: Floats) -> tuple[Floats, Floats, Floats]:
    """``(N, L, D)`` to means ``(N, hops, D)``, weights ``(N, hops, L)`` and penalties ``(N,)``."""
    hops = len(w2)
    means, weights = np.zeros((len(x), hops, x.shape[2])), np.zeros((len(x), hops, x.shape[1]))
    penalties = np.zeros(len(x))
    for n, sequence in enumerate(x):
        real = _real(mask, n, len(sequence))
        for hop in range(hops if real else 0):
            a = _softmax(np.array([w2[hop] @ np.tanh(w1 @ sequence[i]) for i in real]))
            weights[n, hop, real] = a
            means[n, hop] = a @ sequence[real]
        penalties[n] = ((weights[n] @ weights[n].T - np.eye(hops)) ** 2).sum()
    return means, weights, penalties


def pma(
    x: Floats,
    mask: Mask,
    seeds: Floats,
    rff: Linear,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    rff_out: Linear,
    num_heads: int,
    scale: float,
    norms: tuple[tuple[Floats, Floats], tuple[Floats, Floats]] | None = None,
) -> Floats:
    """Sets ``(N, L, D)`` to ``(N, seeds, D)``."""
    results: list[Floats] = []
    for n, sample in enumerate(x):
        z = np.maximum(_linear(sample[_real(mask, n, len(sample))], rff), 0.0)
        attended = _multi_head(_linear(seeds, query), _linear(z, key), _linear(z, value), num_heads, scale)
        h = seeds + _linear(attended, out)
        h = h if norms is None else _layer_norm(h, *norms[0], 1e-5)
        y = h + np.maximum(_linear(h, rff_out), 0.0)
        results.append(y if norms is None else _layer_norm(y, *norms[1], 1e-5))
    return np.array(results)


def squash(s: Floats) -> Floats:
    """Sabour et al., equation 1; 0 at 0."""
    length = math.sqrt(sum(float(v) ** 2 for v in s))
    return np.zeros_like(s) if length == 0 else length**2 / (1 + length**2) * s / length


def capsule_routing(x: Floats, mask: Mask, weight: Floats, num_iterations: int = 3) -> Floats:
    """Capsules ``(N, I, D)`` to ``(N, J, O)``; weight is ``(J, I, O, D)``."""
    outs, _, size, _ = weight.shape
    y = np.zeros((len(x), outs, size))
    for n, capsules in enumerate(x):
        real = _real(mask, n, len(capsules))
        votes: Any = {(i, j): weight[j, i] @ capsules[i] for i in real for j in range(outs)}
        logits = {i: np.zeros(outs) for i in real}
        for _ in range(num_iterations):
            couplings = {i: _softmax(logits[i]) for i in real}
            for j in range(outs):
                y[n, j] = squash(sum((couplings[i][j] * votes[i, j] for i in real), np.zeros(size)))
            for i in real:
                logits[i] = logits[i] + np.array([votes[i, j] @ y[n, j] for j in range(outs)])
    return y
