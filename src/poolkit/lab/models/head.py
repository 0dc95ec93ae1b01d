"""How wide a classifier's head has to be, found by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


def flattened(features: nn.Module, shape: tuple[int, int, int]) -> int:
    """Numbers that `features` gives for one image of `shape` [C, H, W]; leaves its mode and torch's generator alone."""
    training = features.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        width = int(features.eval()(torch.zeros(1, *shape)).shape[1])
    features.train(training)
    return width
