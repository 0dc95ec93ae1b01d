"""The reducers that see a window whole: each is a value and, beside it, its slopes.

Values are written so that torch can differentiate them, as often as it likes; slopes are what `pool_backward` takes,
where torch's differentiation is not at hand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poolkit.reducer import Ada, Boltzmann, Filter, GeM, Mixed, Std, Stochastic, Var
from poolkit.reducer.random import ACTIVATIONS
from poolkit.reducer.weighted import WEIGHTINGS
from poolkit.torch.composite import ranks
from poolkit.torch.composite.block import Block, Choice, Slopes, beside
from poolkit.torch.composite.exponential import exp_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.reducer import Reducer


def value(b: Block) -> Tensor:
    """The pooled values of reducers that choose no cell."""
    return _WHOLE[b.kind][0](b) if b.kind in _WHOLE else ranks.value(b)


def slopes(b: Block, dy: Tensor) -> Slopes:
    """Their derivatives; `dy` is for those of a kernel's weights."""
    return _WHOLE[b.kind][1](b, dy) if b.kind in _WHOLE else ranks.slopes(b, dy)


def choose(b: Block) -> Choice:
    """The chosen cells of reducers that choose."""
    return _stochastic_draw(b) if b.kind is Stochastic else ranks.choose(b)


def _softmax(b: Block, logits: Tensor) -> Tensor:
    """The share of each tap; an infinite logit, or several, takes all there is."""
    logits = b.kept(logits, -math.inf)
    top = logits.detach().amax(-1, keepdim=True)
    infinite = top.isinf()
    # Taps that do not exist are no match for the top of a window that holds -inf alone.
    match = b.kept((logits == top).to(logits.dtype), 0)
    parts = torch.where(infinite, match, (torch.where(infinite, 0, logits) - torch.where(infinite, 0, top)).exp())
    return parts / parts.sum(-1, keepdim=True)


def _weighted(weights: Tensor, cells: Tensor) -> Tensor:
    """``sum w x``; a cell without weight has no part in it, even if it is infinite."""
    return (weights * torch.where(weights == 0, 0, cells)).sum(-1)


def _where_weighted(weights: Tensor, slopes: Tensor) -> Tensor:
    return torch.where(weights == 0, 0, slopes)


def _divisor(b: Block) -> Tensor | int:
    if b.params.mode == 0:
        return b.n
    # Of one cell alone there is no unbiased estimate; its variance is 0.
    return b.n.clamp(min=2) - 1 if isinstance(b.n, Tensor) else max(b.n - 1, 1)


def _var(b: Block) -> Tensor:
    apart = b.kept(b.cells - b.mean.unsqueeze(-1), 0)
    return (apart * apart).sum(-1) / _divisor(b)


def _var_slopes(b: Block, _: Tensor) -> Slopes:
    return Slopes(2 * (b.cells - b.mean.unsqueeze(-1)) / beside(_divisor(b)))


def _std(b: Block) -> Tensor:
    variance = _var(b)
    none = variance == 0  # without a slope: 0 by agreement
    return torch.where(none, 0, torch.where(none, 1, variance).sqrt())


def _std_slopes(b: Block, dy: Tensor) -> Slopes:
    y = _std(b).unsqueeze(-1)
    return Slopes(torch.where(y == 0, 0, _var_slopes(b, dy).cells / torch.where(y == 0, 1, 2 * y)))


def _largest(b: Block) -> Tensor:
    """The number of the first largest tap."""
    return b.first(b.cells == b.kept(b.cells, -math.inf).amax(-1, keepdim=True))


def _mixed(b: Block) -> Tensor:
    a, top, mean = b.per_output(b.params.level), b.at(_largest(b)), b.mean
    # Weight 0 leaves a side out altogether, however large it is.
    top = torch.where((a == 0) & top.isinf(), 0, top)
    return a * top + (1 - a) * torch.where((a == 1) & mean.isinf(), 0, mean)


def _mixed_slopes(b: Block, _: Tensor) -> Slopes:
    a, tap = b.per_output(b.params.level), _largest(b)
    slopes = ((1 - a) / b.n).unsqueeze(-1).expand(b.cells.shape)
    ours = torch.arange(b.cells.shape[-1], device=tap.device) == tap.unsqueeze(-1)
    return Slopes(slopes + torch.where(ours, a.unsqueeze(-1), 0), b.at(tap) - b.mean)


def _activation(b: Block) -> Tensor:
    """Weights of `Stochastic`; exponentials, which only draws go by, relative to the largest and without a gradient."""
    if ACTIVATIONS[int(b.params.mode)] == "relu":
        return b.kept(b.cells, 0).relu()
    cells = b.kept(b.cells, -math.inf).detach()
    top = cells.amax(-1, keepdim=True)
    return b.kept(exp_same(torch.where(cells == top, 0, (cells - top) * b.params.beta)), 0)


def _running(weights: Tensor) -> Tensor:
    """Sums up to each tap, one after the other as the kernels have them: torch's own sums have other roundings."""
    total, sums = torch.zeros_like(weights[..., 0]), list[Tensor]()
    for weight in weights.movedim(-1, 0).contiguous().unbind():
        total = total + weight
        sums.append(total)
    return torch.stack(sums).movedim(0, -1)


def _stochastic(b: Block) -> Tensor:
    if ACTIVATIONS[int(b.params.mode)] == "softmax":
        return _weighted(_softmax(b, b.cells * b.params.beta), b.cells)
    weights = _activation(b)
    total = weights.sum(-1)
    shares = weights / torch.where(total == 0, 1, total).unsqueeze(-1)
    return b.with_nan(torch.where(total.isinf(), total, _weighted(shares, b.cells)))


def _stochastic_slopes(b: Block, _: Tensor) -> Slopes:
    y = _stochastic(b).unsqueeze(-1)
    if ACTIVATIONS[int(b.params.mode)] == "softmax":
        weights = _softmax(b, b.cells * b.params.beta)
        return Slopes(_where_weighted(weights, weights * (1 + b.params.beta * (b.cells - y))))
    weights = _activation(b)
    total = weights.sum(-1, keepdim=True)
    return Slopes(torch.where(weights / total > 0, (2 * b.cells - y) / total, 0))


def _stochastic_draw(b: Block) -> Choice:
    weights = _activation(b).detach()
    sums = _running(weights)
    total = sums[..., -1]
    able = weights > 0
    here = able & ((sums > (b.per_output() * total).unsqueeze(-1)) | weights.isinf())
    # Rounding may keep the sum from passing the last cell, which is then the one.
    taps = torch.arange(weights.shape[-1], device=weights.device)
    last = taps == torch.where(able, taps, -1).amax(-1, keepdim=True)
    tap = b.first(torch.where(here.any(-1, keepdim=True), here, last))
    none = (total == 0) & ~b.nan.any(-1)
    return Choice(torch.where(none, 0, b.at(tap)), tap, none)


def _boltzmann_shares(b: Block) -> tuple[Tensor, Tensor]:
    beta = b.per_output().unsqueeze(-1)
    # An infinite cell times 0 is no logit: with sharpness 0 all weigh the same.
    return beta, _softmax(b, beta * torch.where((beta == 0) & b.cells.isinf(), 0, b.cells))


def _boltzmann(b: Block) -> Tensor:
    return _weighted(_boltzmann_shares(b)[1], b.cells)


def _boltzmann_slopes(b: Block, _: Tensor) -> Slopes:
    beta, weights = _boltzmann_shares(b)
    apart = b.cells - _weighted(weights, b.cells).unsqueeze(-1)
    cells = _where_weighted(weights, weights * (1 + beta * apart))
    return Slopes(cells, _where_weighted(weights, weights * apart * apart).sum(-1))


def _ratio(x: Tensor, m: Tensor) -> Tensor:
    """``|x / m|`` or its inverse, whichever is below one: no square overflows."""
    low, high = torch.minimum(x.abs(), m.abs()), torch.maximum(x.abs(), m.abs())
    return low / torch.where(high == 0, 1, high)


def _likeness(b: Block, x: Tensor, m: Tensor) -> Tensor:
    """How like x is to m: Dice-Soerensen ``2 |x m| / (x^2 + m^2)``, or the logarithm of ``1 / (|x - m| + eps)``."""
    if WEIGHTINGS[int(b.params.mode)] == "idw":
        return -((x - m).abs() + b.params.eps).log()
    ratio = _ratio(x, m)
    return 2 * ratio / (1 + ratio * ratio)


def _likeness_slope(b: Block, x: Tensor, m: Tensor) -> Tensor:
    """Of `_likeness` by its first argument; exchanging both gives the other one."""
    if WEIGHTINGS[int(b.params.mode)] == "idw":
        return -(x - m).sign() / ((x - m).abs() + b.params.eps)
    ratio, larger = _ratio(x, m), x.abs() > m.abs()
    high = torch.maximum(x.abs(), m.abs())
    # Of the smaller argument the likeness grows with its size, of the larger one it falls, by the ratio slower.
    slope = 2 * (1 - ratio * ratio) / ((1 + ratio * ratio) ** 2 * torch.where(high == 0, 1, high))
    slope = torch.where(larger, -slope * ratio, slope) * x.sign()
    return torch.where(m == 0, 0, slope)


def _ada_parts(b: Block) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The share of the weighting by likeness, both weights, and both means."""
    beta = b.per_output(b.params.level)
    like, soft = _softmax(b, _likeness(b, b.cells, b.mean.unsqueeze(-1))), _softmax(b, b.cells)
    return beta, like, soft, (b.kept(like, 0) * b.kept(b.cells, 0)).sum(-1), _weighted(soft, b.cells)


def _ada(b: Block) -> Tensor:
    beta, _, _, first, second = _ada_parts(b)
    return b.with_nan(beta * first + (1 - beta) * second)


def _ada_slopes(b: Block, _: Tensor) -> Slopes:
    beta, like, soft, first, second = _ada_parts(b)
    beta, mean, x = beta.unsqueeze(-1), b.mean.unsqueeze(-1), b.cells
    apart = x - first.unsqueeze(-1)
    by_mean = b.kept(like * apart * _likeness_slope(b, mean, x), 0).sum(-1, keepdim=True) / beside(b.n)
    one = like * (1 + apart * _likeness_slope(b, x, mean)) + by_mean
    other = _where_weighted(soft, soft * (1 + x - second.unsqueeze(-1)))
    return Slopes(beta * one + (1 - beta) * other, first - second)


def _filter_weights(b: Block) -> Tensor:
    """``[1 or channels, *outs or ones, taps]``."""
    weights, numbers = b.per_output(), b.windows.numbers()
    return weights.index_select(1, numbers.flatten()).reshape(weights.shape[0], *numbers.shape)


def _filter(b: Block) -> Tensor:
    return (_filter_weights(b) * b.kept(b.cells, 0)).sum(-1)


def _filter_slopes(b: Block, dy: Tensor) -> Slopes:
    weights, numbers = b.per_output(), b.windows.numbers().expand(b.cells.shape[b.windows.lead :])
    products = (b.kept(b.cells, 0) * dy.unsqueeze(-1)).flatten(0, b.windows.lead - 1).flatten(1)
    sums = products.new_zeros(products.shape[0], weights.shape[1])
    return Slopes(_filter_weights(b).expand(b.cells.shape), sums.index_add(1, numbers.flatten(), products))


def _gem_parts(b: Block) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The power, the largest cell, each cell's logarithm relative to it, its power, and the logarithm of the root."""
    p = b.per_output()
    cells = b.cells.clamp(min=b.params.eps)
    top = b.kept(cells, -math.inf).detach().amax(-1, keepdim=True)
    ratio = torch.where(cells == top, 1, cells / torch.where(top == 0, 1, top))
    ratio = torch.where((top > 0) & (top < math.inf), cells / torch.where(top == 0, 1, top), ratio)
    none = ratio == 0
    logs = torch.where(none, 1, ratio).log()
    powers = torch.where(none, torch.where(p.unsqueeze(-1) == 1, ratio, 0), (p.unsqueeze(-1) * logs).exp())
    powers = b.kept(powers, 0)
    return p, top.squeeze(-1), logs, powers, (powers.sum(-1) / b.n).log() / p


def _gem(b: Block) -> Tensor:
    _, top, _, _, root = _gem_parts(b)
    return b.with_nan(torch.where(top == 0, 0, torch.where(top.isinf(), top, top * root.exp())))


def _gem_slopes(b: Block, _: Tensor) -> Slopes:
    p, _, logs, powers, root = _gem_parts(b)
    y, power = _gem(b), p.unsqueeze(-1) - 1
    # (x / y)^(p - 1) / n, in the same terms; a cell that is nothing beside the largest has a slope only where p is 1.
    slopes = (power * (logs - root.unsqueeze(-1))).clamp(max=80).exp()
    flat = (b.cells < b.params.eps) | (y.unsqueeze(-1) == 0) | ((powers == 0) & (power != 0))
    flat, slopes = flat & ~y.isnan().unsqueeze(-1), torch.where(y.isnan().unsqueeze(-1), math.nan, slopes)
    by_p = y / p * ((powers * logs).sum(-1) / powers.sum(-1) - root)
    return Slopes(torch.where(flat, 0, slopes) / beside(b.n), torch.where(y == 0, 0, by_p))


_WHOLE: dict[type[Reducer], tuple[Callable[[Block], Tensor], Callable[[Block, Tensor], Slopes]]] = {
    Stochastic: (_stochastic, _stochastic_slopes),
    Mixed: (_mixed, _mixed_slopes),
    Var: (_var, _var_slopes),
    Std: (_std, _std_slopes),
    Ada: (_ada, _ada_slopes),
    Boltzmann: (_boltzmann, _boltzmann_slopes),
    GeM: (_gem, _gem_slopes),
    Filter: (_filter, _filter_slopes),
}
