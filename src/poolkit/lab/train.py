"""Trains one network, in plain torch; alone or as one process of several under DistributedDataParallel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from poolkit.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.lab.data import Dataset, Split
    from poolkit.lab.spec import Training


@dataclass(frozen=True)
class Tensors:
    """A split as the network takes it: normalised float32 images [N, C, H, W] and int64 labels, on its device."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


def prepared(data: Dataset, device: str = "cpu") -> tuple[Tensors, Tensors]:
    """Training and test images, each channel with mean 0 and deviation 1 over the training images."""
    mean, deviation = moments(data.train)
    made: list[Tensors] = []
    for split in (data.train, data.test):
        x = (split.x.astype(np.float32) - mean) / deviation
        made.append(Tensors(torch.from_numpy(x).to(device), torch.from_numpy(split.y).to(device)))
    return made[0], made[1]


def moments(split: Split) -> tuple[Any, Any]:
    """Mean and standard deviation of each channel, float32 [C, 1, 1]; a constant channel has deviation 1."""
    mean = split.x.mean(axis=(0, 2, 3), dtype=np.float64)[:, None, None]
    deviation = split.x.std(axis=(0, 2, 3), dtype=np.float64)[:, None, None]
    return mean.astype(np.float32), np.where(deviation > 0, deviation, 1.0).astype(np.float32)


def train(
    model: nn.Module, data: Tensors, settings: Training, seed: int, step: Callable[[int, float], None] | None = None
) -> list[float]:
    """Trains `model` in place; gives the mean loss of each epoch.

    AdamW with a learning rate that rises over a tenth of the steps and falls as a cosine. The order of the images
    depends on `seed` alone, not on the model. Under torch.distributed each process takes its part of every batch.

    Args:
        model: on the device of `data`.
        data: what it learns from.
        settings: epochs, batch size, rates, augmentation.
        seed: of the order and the augmentation.
        step: called after each epoch with its number and its loss.

    Raises:
        PoolError: the loss is no longer finite.
    """
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    learner = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    batches = math.ceil(len(data) / settings.batch_size)
    total = settings.epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, total))
    order = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    learner.train()
    for epoch in range(settings.epochs):
        summed = 0.0
        for chosen in torch.split(torch.randperm(len(data), generator=order), settings.batch_size):
            # Every process draws the same augmentation for the whole batch, so that their number changes nothing.
            x, y = _augmented(data.x[chosen], data.y[chosen], settings.augment, order)
            mine = slice(rank, None, world) if len(chosen) >= world else slice(None)
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(learner(x[mine]), y[mine])
            loss.backward()
            optimizer.step()
            schedule.step()
            summed += float(loss.detach()) * len(chosen)
        losses.append(summed / len(data))
        if not math.isfinite(losses[-1]):
            raise PoolError(
                f"--lr {settings.lr:g}, seed {seed}", f"the loss stays finite, here {losses[-1]} in epoch {epoch + 1}",
                "train with a smaller learning rate, such as --lr 0.0005",
            )  # fmt: skip
        if step is not None:
            step(epoch, losses[-1])
    return losses


def _rate(done: int, total: int) -> float:
    warm = max(1, total // 10)
    if done < warm:
        return (done + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, total - warm)))


def drawn_moves(low: int, high: int, count: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Pixels down and to the right for each of `count` images, both from `low` to `high` inclusive."""
    drawn = cast("list[list[int]]", torch.randint(low, high + 1, (count, 2), generator=generator).tolist())
    return [(down, right) for down, right in drawn]


def _augmented(x: Tensor, y: Tensor, kind: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The batch moved by up to an eighth of its side, or mirrored, together with masks; one draw for each image."""
    if "shift" in kind:
        reach = max(1, x.shape[-1] // 8)
        moves = drawn_moves(-reach, reach, len(x), generator)
        x = torch.stack([image.roll(move, (-2, -1)) for image, move in zip(x, moves, strict=True)])
        if y.ndim == 3:
            y = torch.stack([mask.roll(move, (-2, -1)) for mask, move in zip(y, moves, strict=True)])
    if "flip" in kind:
        mirror = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
        x = torch.where(mirror[:, None, None, None], x.flip(-1), x)
        if y.ndim == 3:
            y = torch.where(mirror[:, None, None], y.flip(-1), y)
    return x, y
