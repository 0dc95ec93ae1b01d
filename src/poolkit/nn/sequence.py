"""Poolings of sequences: masked statistics, the k largest, parts, and the poolings of probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from poolkit.errors import PoolError, flag, integer
from poolkit.nn._tokens import (
    check_input,
    choice,
    count,
    only,
    positive_sqrt,
    tokens,
    unless_empty,
    wide,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    return wide(x).sum(1) / count(x, mask)


def _std(x: Tensor, mask: Tensor | None) -> Tensor:
    apart = only(wide(x) - _mean(x, mask).unsqueeze(1), mask)
    return positive_sqrt(apart.square().sum(1) / count(x, mask))


def _extreme(x: Tensor, mask: Tensor | None, fill: float) -> Tensor:
    if mask is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), fill)
    return x.max(1).values if fill < 0 else x.min(1).values


def _at(x: Tensor, places: Tensor) -> Tensor:
    """The element at one place of each row."""
    return x.gather(1, places[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1)


def _first(x: Tensor, mask: Tensor | None) -> Tensor:
    return x[:, 0] if mask is None else _at(x, mask.int().argmax(1))


def _last(x: Tensor, mask: Tensor | None) -> Tensor:
    return x[:, -1] if mask is None else _at(x, x.shape[1] - 1 - mask.int().flip(1).argmax(1))


def _weighted_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    x = wide(x)
    if mask is None:
        weights = torch.arange(1, x.shape[1] + 1, device=x.device).expand(x.shape[:2])
    else:
        weights = mask.cumsum(1) * mask
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1).to(x.dtype)
    return (x * weights.unsqueeze(-1)).sum(1)


def _mean_sqrt_len(x: Tensor, mask: Tensor | None) -> Tensor:
    real = count(x, mask)
    return wide(x).sum(1) / (real**0.5 if isinstance(real, int) else real.to(wide(x).dtype).sqrt())


class MaskedPool(nn.Module):
    """One vector for each sequence, from its real elements.

    Modes, with real elements ``x_1 .. x_n``: ``"mean"``; ``"max"``; ``"min"``; ``"sum"``; ``"std"``,
    ``sqrt(mean (x - mean x)^2)``; ``"cls"``, ``x_1``; ``"last"``, ``x_n``; ``"weighted_mean"``,
    ``sum i x_i / sum i``; ``"mean_sqrt_len"``, ``sum x / sqrt(n)``. Elements are counted by the mask, not by their
    place, so that padding on the left and on the right give the same.

    Source: Reimers and Gurevych, "Sentence-BERT", 2019 (arXiv:1908.10084), section 3 (cls, mean, max); Muennighoff,
    "SGPT", 2022 (arXiv:2202.08904) (weighted_mean); Cer et al., "Universal Sentence Encoder", 2018
    (arXiv:1803.11175) (mean_sqrt_len).

    Args:
        mode: one of the words above.

    Shape:
        ``(N, L, D)`` or ``(L, D)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real element) or none, to
        ``(N, D)`` or ``(D,)``. A row without a real element gives zeros, in every mode. The first of equal maxima (or
        minima) receives the gradient; a standard deviation of 0 has a gradient of 0.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> x = torch.tensor([[[9.0], [1.0], [3.0]]])
    >>> nn.MaskedPool("max")(x, torch.tensor([[False, True, True]]))
    tensor([[3.]])
    """

    modes: ClassVar[dict[str, Callable[[Tensor, Tensor | None], Tensor]]] = {
        "mean": _mean,
        "max": lambda x, mask: _extreme(x, mask, -torch.inf),
        "min": lambda x, mask: _extreme(x, mask, torch.inf),
        "sum": lambda x, mask: wide(x).sum(1),  # noqa: ARG005  what the mask leaves out is 0 already
        "std": _std,
        "cls": _first,
        "last": _last,
        "weighted_mean": _weighted_mean,
        "mean_sqrt_len": _mean_sqrt_len,
    }

    def __init__(self, mode: str = "mean") -> None:
        super().__init__()
        self.mode = choice(mode, "mode", tuple(self.modes))

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pools sequences, the elements that the mask calls real."""
        x, mask, single = tokens(input, mask)
        y = unless_empty(self.modes[self.mode](only(x, mask), mask), mask).to(x.dtype)
        return y[0] if single else y

    def extra_repr(self) -> str:
        """mode."""
        return f"{self.mode!r}"


def _whole(input: object, what: tuple[str, int]) -> tuple[Tensor, int]:
    """A signal ``(N, C, L)`` or ``(C, L)`` with at least so many elements, and that number."""
    name, least = what
    x = check_input(input, {3: "(N, C, L)", 2: "(C, L)"})
    if x.shape[-1] < least:
        raise PoolError(
            f"{name}={least}, input of shape {tuple(x.shape)}",
            f"{name} <= L, here {least} > {x.shape[-1]}",
            f"pass a longer input, or a {name} of at most {x.shape[-1]}",
        )
    return x, least


class KMaxPool1d(nn.Module):
    """The k largest values of each channel, in the order in which they stand.

    ``y = (x_i : i in the places of the k largest)``, places ascending. Of equal values the first come in; NaN counts
    as the largest.

    Source: Kalchbrenner, Grefenstette and Blunsom, "A Convolutional Neural Network for Modelling Sentences", 2014
    (arXiv:1404.2188), section 3.2.

    Args:
        k: how many values are kept.

    Shape:
        ``(N, C, L)`` or ``(C, L)`` with ``L >= k``, to ``(N, C, k)`` or ``(C, k)``.

    Raises:
        PoolError: an argument breaks a rule, or the input is shorter than k.

    >>> import torch, poolkit.nn as nn
    >>> nn.KMaxPool1d(3)(torch.tensor([[[1.0, 8.0, 2.0, 9.0, 5.0]]]))
    tensor([[[8., 9., 5.]]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = integer(k, "k", 1)

    def forward(self, input: Tensor) -> Tensor:
        """Keeps the k largest values of each channel."""
        x, k = _whole(input, ("k", self.k))
        # topk leaves open which of equal values it takes.
        order = x.detach().sort(dim=-1, descending=True, stable=True).indices
        return x.gather(-1, order[..., :k].sort(-1).values)

    def extra_repr(self) -> str:
        """k."""
        return f"{self.k}"


class ChunkMaxPool1d(nn.Module):
    """The maximum of each of several parts of a sequence: where in it a feature was is kept, coarsely.

    ``y_j = max(x_i : i in part j)``. The parts follow each other without gap or overlap and are as equal as they can
    be: the first ``L mod chunks`` of them have one element more. Adaptive pooling differs, its windows overlap.

    Source: after the dynamic and piecewise poolings of Chen et al., 2015 (ACL, "Event Extraction via Dynamic
    Multi-Pooling") and Zeng et al., 2015 (EMNLP, "Distant Supervision ... via Piecewise Convolutional Neural
    Networks"), here with equal parts.

    Args:
        chunks: number of parts.

    Shape:
        ``(N, C, L)`` or ``(C, L)`` with ``L >= chunks``, to ``(N, C, chunks)`` or ``(C, chunks)``. The first of equal
        maxima receives the gradient; a NaN gives NaN for its part.

    Raises:
        PoolError: an argument breaks a rule, or a part would be empty.

    >>> import torch, poolkit.nn as nn
    >>> nn.ChunkMaxPool1d(2)(torch.tensor([[[1.0, 8.0, 2.0, 9.0, 5.0]]]))
    tensor([[[8., 9.]]])
    """

    def __init__(self, chunks: int) -> None:
        super().__init__()
        self.chunks = integer(chunks, "chunks", 1)

    def forward(self, input: Tensor) -> Tensor:
        """Takes the maximum of each part."""
        x, chunks = _whole(input, ("chunks", self.chunks))
        return torch.stack([part.max(-1).values for part in x.tensor_split(chunks, -1)], -1)

    def extra_repr(self) -> str:
        """chunks."""
        return f"{self.chunks}"


class _ProbabilityPool(nn.Module):
    def __init__(self, from_logits: bool = False) -> None:
        super().__init__()
        self.from_logits = flag(from_logits, "from_logits")

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pools probabilities, or logits."""
        x, mask, single = tokens(input, mask)
        y = self._pool(only(wide(x), mask), mask).to(x.dtype)
        return y[0] if single else y

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """from_logits."""
        return f"from_logits={self.from_logits}"


def _unless(log_none: Tensor) -> Tensor:
    """``1 - exp(log_none)``, precise near 0; near 1 its gradient is, where that of expm1 would round to 0."""
    return torch.where(log_none > -0.5, -torch.expm1(log_none), 1 - log_none.exp())


class NoisyOrPool(_ProbabilityPool):
    """The probability that at least one of several independent causes is there.

    ``y = 1 - prod_i (1 - p_i)``, computed as ``-expm1(sum log1p(-p))``, so that small probabilities do not vanish. The
    gradient ``prod_{j != i} (1 - p_j)`` is right for all p from 0 to 1, the ends included.

    Source: Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, section 4.3.2; for bags of instances: Zhang,
    Platt and Viola, "Multiple Instance Boosting for Object Detection", 2005 (NIPS).

    Args:
        from_logits: the input holds logits z, and ``p = sigmoid(z)``; no p is then rounded to 1.

    Shape:
        ``(N, L, D)`` or ``(L, D)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a real element) or none, to
        ``(N, D)`` or ``(D,)``. Without a real element 0. A probability above 1 gives NaN.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.NoisyOrPool()(torch.tensor([[[0.5], [0.5], [0.2]]]))
    tensor([[0.8000]])
    """

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.from_logits:
            return _unless(-only(softplus(x), mask).sum(1))
        sure = x == 1
        # log1p(-1) would make the gradient 0 / 0, so certain causes are kept apart. A single one still has a gradient,
        # that of a factor 1 - p; where there are several, none of them has.
        others = torch.log1p(-x.masked_fill(sure, 0.0)).sum(1)
        number = sure.sum(1)
        factor = (1 - x).masked_fill(~sure, 0.0).sum(1)
        factor = factor.masked_fill(number > 1, 0.0)
        return torch.where(number > 0, 1 - others.exp() * factor, _unless(others))


class LinearSoftmaxPool(_ProbabilityPool):
    """A mean of probabilities weighted by themselves: confident elements count more, in proportion.

    ``y = sum p_i^2 / sum p_i``, and 0 (with a gradient of 0) where all are 0.

    Source: Wang, Li and Metze, "A Comparison of Five Multiple Instance Learning Pooling Functions for Sound Event
    Detection with Weak Labeling", 2019 (arXiv:1810.09050).

    Args:
        from_logits: the input holds logits z, and ``p = sigmoid(z)``.

    Shape:
        Values of at least 0 (or logits), ``(N, L, D)`` or ``(L, D)``, with a bool mask ``(N, L)`` or ``(L,)`` (True: a
        real element) or none, to ``(N, D)`` or ``(D,)``. Without a real element 0.

    Raises:
        PoolError: an argument breaks a rule, or the input or mask does not fit.

    >>> import torch, poolkit.nn as nn
    >>> nn.LinearSoftmaxPool()(torch.tensor([[[0.9], [0.1], [0.0]]]))
    tensor([[0.8200]])
    """

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        p = only(x.sigmoid(), mask) if self.from_logits else x
        # In units of the largest value the squares do not vanish; the result is the same in every unit.
        unit = p.detach().abs().amax(1, keepdim=True)
        unit = unit.masked_fill(unit == 0, 1.0)
        part = p / unit
        total = part.sum(1)
        return part.square().sum(1) / total.masked_fill(total == 0, 1.0) * unit[:, 0]
