"""The models by name, and the check that one fits its data before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

import poolkit.nn as pn
from poolkit.errors import PoolError, show
from poolkit.lab.models.convnext import convnext_atto
from poolkit.lab.models.lenet import lenet
from poolkit.lab.models.own import own
from poolkit.lab.models.resnet_cifar import resnet20
from poolkit.lab.models.segnet import SegNet
from poolkit.lab.models.unet import UNet
from poolkit.lab.models.vgg_small import vgg_small
from poolkit.lab.poolings import Pooling

if TYPE_CHECKING:
    from poolkit.lab.data.dataset import Task

Builder = Callable[[int, int, tuple[int, int], Pooling], nn.Module]


@dataclass(frozen=True)
class Model:
    """How to build a network from channels, classes, image size and pooling, and what it is for."""

    builder: Builder
    task: Task


def _unet(channels: int, classes: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    del size
    return UNet(channels, classes, width=12, depth=2, pool=pool)


def _segnet(channels: int, classes: int, size: tuple[int, int], pool: Pooling) -> nn.Module:
    del size
    if pool.name == "max":
        indexed = replace(pool, settings=(*pool.settings, ("return_indices", True)))
        return SegNet(channels, classes, width=12, depth=2, pool=indexed)
    # Other poolings have no indices to return by: each value is laid over its window instead.
    return SegNet(channels, classes, width=12, depth=2, pool=pool, unpool=lambda _: pn.AvgUnpool2d(2))


MODELS: dict[str, Model] = {
    "lenet": Model(lenet, "classification"),
    "vgg_small": Model(vgg_small, "classification"),
    "resnet20": Model(resnet20, "classification"),
    "convnext_atto": Model(convnext_atto, "classification"),
    "unet": Model(_unet, "segmentation"),
    "segnet": Model(_segnet, "segmentation"),
}
"""The networks that come with poolkit."""


def build(
    name: str, channels: int, classes: int, size: tuple[int, int], pool: Pooling, task: Task = "classification"
) -> nn.Module:
    """The network `name` with this pooling, checked on two black images.

    Args:
        name: a name in `MODELS`, or ``module:factory`` of your own.
        channels: channels of an image.
        classes: classes to tell apart.
        size: height and width of an image.
        pool: what shrinks the maps.
        task: what its answers have to be: scores [N, classes], or [N, classes, H, W].

    Raises:
        PoolError: the name is unknown, the model is for another task, or images of this size do not fit.

    >>> from poolkit.lab.poolings import parse
    >>> sum(p.numel() for p in build("lenet", 1, 10, (8, 8), parse("max")).parameters())
    36438
    """
    gave = f"--model {show(name)[1:-1]}"
    if name not in MODELS and ":" not in name:
        raise PoolError(gave, "a model of the lab, here unknown", f"give {', '.join(MODELS)}, or module:factory")
    if name in MODELS and MODELS[name].task != task:
        fitting = ", ".join(key for key, model in MODELS.items() if model.task == task)
        raise PoolError(gave, f"the data needs a model for {task}, here one for {MODELS[name].task}", f"give {fitting}")
    images = f"images of {channels} x {size[0]} x {size[1]}"
    try:
        made = MODELS[name].builder(channels, classes, size, pool) if name in MODELS else None
        model = made or own(name, channels, size, pool)
        answers = _tried(model, (channels, *size))
    except PoolError as error:
        raise PoolError(
            f"{gave} --pool {pool}, {images}",
            f"the model fits them, here: {error.rule}",
            "larger images, fewer poolings",
        ) from None
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise PoolError(
            f"{gave} --pool {pool}, {images}", f"the model fits them, here torch says: {reason}", "take another model"
        ) from None
    expected = (2, classes) if task == "classification" else (2, classes, *size)
    if answers != expected:
        raise PoolError(
            f"{gave} --pool {pool}, {images}", f"the model answers {expected}, here {answers}", "take another model"
        )
    return model


def _tried(model: nn.Module, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The shape of what `model` says to two images."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        answers = model.eval()(torch.zeros(2, *shape))
    model.train()
    return tuple(answers.shape)
