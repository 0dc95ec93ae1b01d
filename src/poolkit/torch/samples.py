"""Uniforms of random poolings as tensors, and the starts of fractional windows that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from poolkit.errors import PoolError, PoolTypeError, integer, show
from poolkit.fractional import Tiles, tiled_lots, tiled_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

Seed = int | torch.Generator | None

_SAMPLES = "_random_samples"
_compiling = torch.compiler.is_compiling


def check_tensor(x: object, name: str = "input x") -> Tensor:
    """`x` itself, or the error that says what it is instead of a tensor."""
    if isinstance(x, Tensor):
        return x
    raise PoolTypeError(
        f"{name}={show(x)}", f"{name} is a torch.Tensor, here {type(x).__name__}", "convert it with torch.as_tensor"
    )


def uniforms(x: Tensor, shape: Sequence[int], dtype: torch.dtype, seed: Seed) -> Tensor:
    """Uniforms in [0, 1) on x's device."""
    if seed is None:  # torch.compile knows no symbolic shapes together with a generator, be it None
        return torch.rand(shape, dtype=dtype, device=x.device)
    if not isinstance(seed, torch.Generator):
        seed = torch.Generator(x.device).manual_seed(integer(seed, "seed", 0))
    return torch.rand(shape, dtype=dtype, device=x.device, generator=seed)


def fractional_samples(x: Tensor, rank: int, seed: Seed = None) -> Tensor:
    """Uniforms ``[N, C, rank]`` for fractional windows, drawn as torch.nn draws them: same seed, same windows."""
    batch = x.shape[0] if x.dim() == rank + 2 else 1
    shape = (batch, x.shape[-rank - 1], rank)
    dtype = x.dtype if x.dtype.is_floating_point else torch.float32
    return uniforms(x, shape, dtype, seed)


def fractional_starts(x: Tensor, axes: tuple[tuple[int, int, int], ...], samples: Any, seed: Seed) -> Tensor:
    """Starts ``[planes, sum of outs]``: `poolkit.fractional.fractional_starts` as tensor operations."""
    rank = len(axes)
    samples = fractional_samples(x, rank, seed) if samples is None else _check_samples(samples, x, rank)
    columns = samples.reshape(-1, rank)
    parts: list[Tensor] = []
    for (size, out, kernel), column in zip(axes, (1, 0) if rank == 2 else range(rank), strict=True):
        u, room = columns[:, column : column + 1], size - kernel
        last = u.new_full((columns.shape[0], 1), room, dtype=torch.int64)
        if out > 1:
            alpha = u.new_full((), room) / u.new_full((), out - 1)
            windows = torch.arange(out - 1, device=u.device).to(u.dtype)
            first = ((windows + u) * alpha).long() - (u * alpha).long()
            parts.append(first.clamp(0, room))
        parts.append(last)
    return torch.cat(parts, 1)


def tiled_starts(x: Tensor, axes: tuple[tuple[int, int, int], ...], tiles: Tiles, samples: Any, seed: Seed) -> Tensor:
    """Starts ``[1, sum of outs]``: `poolkit.fractional.tiled_starts` as tensor operations."""
    counts = [tiled_lots([out], tiles) for _, out, _ in axes]
    if samples is None:
        lots = uniforms(x, (sum(counts),), torch.float64, seed)
    else:
        lots = _floats(samples)
        if tuple(lots.shape) != (sum(counts),):
            raise PoolError(
                f"{_SAMPLES} of shape {tuple(lots.shape)}",
                f"{_SAMPLES} of TensorFlow's style has one uniform for each window, or with pseudo_random for each "
                f"axis: {(sum(counts),)}",
                f"draw them with torch.rand({sum(counts)})",
            )
        lots = _uniform(lots).double()
    parts: list[Tensor] = []
    shares: tuple[Tensor, ...] = torch.split(lots, counts)
    for (size, out, _), mine in zip(axes, shares, strict=True):
        windows = torch.arange(out, device=x.device)
        k, rest = divmod(size, out)
        if tiles == "random":
            widths = k + (mine.argsort(stable=True).argsort() < rest).long()
            parts.append(widths.cumsum(0) - widths)
        else:
            u = mine.clamp(min=2.0**-24) * tiled_scale(size, out)
            first = ((windows + u) * (size / out)).ceil().long() - 1
            low = (windows * k).maximum(size - (out - windows) * (k + 1))
            parts.append(first.clamp(low, (windows * (k + 1)).minimum(size - (out - windows) * k)))
    return torch.cat(parts).unsqueeze(0)


def _floats(samples: Any) -> Tensor:
    samples = check_tensor(torch.as_tensor(samples), _SAMPLES)
    if not samples.dtype.is_floating_point:
        raise PoolTypeError(
            f"{_SAMPLES} of dtype {samples.dtype}", f"{_SAMPLES} holds floats in [0, 1)", "draw them with torch.rand"
        )
    return samples


def _uniform(samples: Tensor) -> Tensor:
    # Compiled code cannot look at values; there the operator refuses starts outside the input.
    if not _compiling() and not bool(((samples >= 0) & (samples < 1)).all()):
        raise PoolError(
            f"{_SAMPLES} from {samples.min().item()} to {samples.max().item()}",
            f"values of {_SAMPLES} lie in [0, 1)",
            "draw them with torch.rand",
        )
    return samples


def _check_samples(samples: Any, x: Tensor, rank: int) -> Tensor:
    name = _SAMPLES
    samples = _floats(samples)
    batch = x.shape[0] if x.dim() == rank + 2 else 1
    if samples.dim() != 3 or samples.shape[0] < batch or tuple(samples.shape[1:]) != (x.shape[-rank - 1], rank):
        raise PoolError(
            f"{name} of shape {tuple(samples.shape)} for an input x of shape {tuple(x.shape)}",
            f"{name} has one uniform for each sample, channel and pooled axis: {(batch, x.shape[-rank - 1], rank)}",
            f"draw them with torch.rand{(batch, x.shape[-rank - 1], rank)}",
        )
    return _uniform(samples[:batch])
