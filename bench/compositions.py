"""Local reducers composed in torch from unfold: what somebody writes who has torch alone."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

import poolkit as pk

# ruff: noqa: D103  one composition for each reducer, under its own name

EDGE = 1e30  # what fills the padding of taps


def taps(x: Tensor, kernel: int, stride: int, padding: int, fill: float) -> Tensor:
    """``[N, C, windows, taps]`` by unfold, padding filled with `fill`."""
    n, c = x.shape[:2]
    padded = functional.pad(x, [padding] * 4, value=fill) if padding else x
    columns = functional.unfold(padded, kernel, stride=stride)
    return columns.view(n, c, kernel * kernel, -1).transpose(2, 3)


def ranked(weights: Callable[[int], list[float]]) -> Callable[[Tensor], Tensor]:
    """A weighted sum of the sorted taps; windows without padding only."""

    def reduce(t: Tensor) -> Tensor:
        w = torch.tensor(weights(t.shape[-1]), dtype=t.dtype)
        return (t.sort(-1, descending=True).values * w).sum(-1)

    return reduce


def inside(t: Tensor) -> Tensor:
    """Taps that are no padding."""
    return t.abs() < EDGE


def mean(t: Tensor) -> Tensor:
    return torch.where(inside(t), t, 0).sum(-1) / inside(t).sum(-1)


def variance(t: Tensor) -> Tensor:
    return mean(torch.where(inside(t), (t - mean(t).unsqueeze(-1)).square(), -EDGE))


def softmax_mean(t: Tensor, beta: float = 1.0) -> Tensor:
    weights = (torch.where(inside(t), t, -EDGE) * beta).softmax(-1)
    return (weights * t.clamp(-100)).sum(-1)


def ada(t: Tensor) -> Tensor:
    m = mean(t).unsqueeze(-1)
    like = torch.where(inside(t), 2 * (t * m).abs() / (t.square() + m.square()), -EDGE).softmax(-1)
    return 0.5 * (like * t.clamp(-100)).sum(-1) + 0.5 * softmax_mean(t)


def stochastic(t: Tensor) -> Tensor:
    w = t.clamp(min=0)
    flat = (w + 1e-30).flatten(0, -2)
    chosen = torch.multinomial(flat, 1).view(*t.shape[:-1], 1)
    return t.gather(-1, chosen).squeeze(-1)


def filtered(t: Tensor) -> Tensor:
    return torch.where(inside(t), t, 0).mean(-1)


FILTERS = {k: pk.Filter((1 / k**2,) * k**2) for k in (2, 3)}
# reducer, composition, whether padding may be there, whether the two can be compared
ROWS: dict[str, tuple[Callable[[int], pk.Reducer], Callable[[Tensor], Tensor], bool, bool]] = {
    "Max": (lambda _: pk.Max(), lambda t: t.amax(-1), True, True),
    "Mean": (lambda _: pk.Mean(count_include_pad=False), mean, True, True),
    "Lp": (lambda _: pk.Lp(3), lambda t: torch.where(inside(t), t.abs() ** 3, 0).sum(-1) ** (1 / 3), True, True),
    "PowerMean": (lambda _: pk.PowerMean(), lambda t: mean(t.clamp(min=1e-6) ** 3) ** (1 / 3), False, True),
    "RMS": (lambda _: pk.RMS(), lambda t: t.square().mean(-1).sqrt(), False, True),
    "LogSumExp": (lambda _: pk.LogSumExp(), lambda t: t.logsumexp(-1) - math.log(t.shape[-1]), False, True),
    "Soft": (lambda _: pk.Soft(), softmax_mean, True, True),
    "Median": (lambda _: pk.Median(), lambda t: t.median(-1).values, False, True),
    "Quantile": (lambda _: pk.Quantile(0.3), lambda t: t.quantile(0.3, dim=-1), False, True),
    "TopKMean": (lambda _: pk.TopKMean(2), lambda t: t.topk(2, -1).values.mean(-1), True, True),
    "RankMean": (
        lambda _: pk.RankMean(0.5, normalize=False),
        ranked(lambda n: [0.5 ** (r + 1) for r in range(n)]),
        False,
        True,
    ),
    "Ordinal": (
        lambda k: pk.Ordinal(tuple(1 / (r + 1) for r in range(k * k))),
        ranked(lambda n: [1 / (r + 1) for r in range(n)]),
        False,
        True,
    ),
    "Stochastic": (lambda _: pk.Stochastic(), stochastic, True, False),
    "Mixed": (lambda _: pk.Mixed(), lambda t: 0.5 * t.amax(-1) + 0.5 * mean(t), True, True),
    "Var": (lambda _: pk.Var(), variance, True, True),
    "Std": (lambda _: pk.Std(), lambda t: variance(t).sqrt(), True, True),
    "Ada": (lambda _: pk.Ada(), ada, True, True),
    "Boltzmann": (lambda _: pk.Boltzmann(2.0), lambda t: softmax_mean(t, 2.0), True, True),
    "GeM": (lambda _: pk.GeM(), lambda t: mean(t.clamp(min=1e-6) ** 3) ** (1 / 3), False, True),
    "Filter": (lambda k: FILTERS[k], filtered, True, True),
}
