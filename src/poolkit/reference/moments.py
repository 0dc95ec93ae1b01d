"""The oracle of moments: statistics over time, one sequence and channel after the other; the spread of one window."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_] | None


def _real(mask: Mask, sample: int, size: int) -> list[int]:
    return [t for t in range(size) if mask is None or mask[sample, t]]


def statistics_pool(x: Floats, mask: Mask, *, unbiased: bool = False, eps: float = 1e-12) -> Floats:
    """``(N, C, L)`` to ``(N, 2 C)``: means, then standard deviations."""
    samples, channels, length = x.shape
    y = np.zeros((samples, 2 * channels))
    for n in range(samples):
        real = _real(mask, n, length)
        for c in range(channels if real else 0):
            values = x[n, c, real]
            mean = math.fsum(values) / len(real)
            squares = math.fsum((v - mean) ** 2 for v in values)
            y[n, c] = mean
            y[n, channels + c] = math.sqrt(max(squares / max(len(real) - unbiased, 1), eps))
    return y


def attentive_statistics_pool(
    x: Floats,
    mask: Mask,
    hidden: tuple[Floats, Floats],
    context: Floats | None,
    scores: tuple[Floats, Floats],
    eps: float = 1e-12,
) -> Floats:
    """``(N, C, L)`` to ``(N, 2 C)``.

    `hidden` is (W, b) with W ``(A, C)``, `context` the part ``(A, 2 C)`` of W for mean and standard deviation or None,
    `scores` (V, k) with V ``(C, A)``.
    """
    samples, channels, length = x.shape
    plain = statistics_pool(x, mask, eps=eps)
    y = np.zeros((samples, 2 * channels))
    for n in range(samples):
        real = _real(mask, n, length)
        if not real:
            continue
        energies: list[Floats] = []
        for t in real:
            before = hidden[0] @ x[n, :, t] + hidden[1]
            if context is not None:
                before = before + context @ plain[n]
            energies.append(scores[0] @ np.tanh(before) + scores[1])
        weights = np.exp(np.array(energies) - np.max(energies, axis=0))
        weights = weights / weights.sum(0)
        for c in range(channels):
            values, alpha = x[n, c, real], weights[:, c]
            mean = (alpha * values).sum()
            y[n, c] = mean
            y[n, channels + c] = math.sqrt(max((alpha * values**2).sum() - mean**2, eps))
    return y


def variance(cells: Floats, *, unbiased: bool = False) -> float:
    """The variance of one window's cells; 0 for one cell alone."""
    mean = math.fsum(cells) / len(cells)
    return math.fsum((cell - mean) ** 2 for cell in cells) / max(len(cells) - unbiased, 1)
