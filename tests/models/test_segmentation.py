"""Encoders that pool and decoders that unpool learn to segment, with every pair of the two."""

from itertools import count

import pytest
import torch
from torch import nn

import poolkit.nn as pool
from poolkit.lab.models.segnet import SegNet
from poolkit.lab.models.unet import UNet

SIDE = 32


def shapes(number, generator):
    """Images ``[N, 1, 32, 32]`` of one disc or square on noise, and masks: 0 outside, 1 in a disc, 2 in a square."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    centres = torch.randint(9, SIDE - 9, (number, 2, 1, 1), generator=generator)
    radii = torch.randint(5, 9, (number, 1, 1), generator=generator)
    kinds = torch.randint(1, 3, (number, 1, 1), generator=generator)
    dy, dx = (rows - centres[:, 0]).abs(), (columns - centres[:, 1]).abs()
    inside = torch.where(kinds == 1, dy**2 + dx**2 <= radii**2, torch.maximum(dy, dx) <= radii)
    images = inside + 0.3 * torch.randn(number, SIDE, SIDE, generator=generator)
    return images[:, None], inside * kinds


def adaptive():
    """Makes adaptive poolings to half the size, level by level."""
    level = count(1)
    return lambda channels: pool.AdaptiveMaxPool2d(SIDE >> next(level), return_indices=True)


PAIRS = {
    "max": lambda: (lambda c: pool.MaxPool2d(2, return_indices=True), lambda c: pool.MaxUnpool2d(2)),
    "average": lambda: (lambda c: pool.AvgPool2d(2), lambda c: pool.AvgUnpool2d(2, divisor_override=1)),
    "adaptive": lambda: (adaptive(), lambda c: pool.IndexUnpool2d()),
    "fractional": lambda: (
        lambda c: pool.FractionalMaxPool2d(2, output_ratio=0.6, return_indices=True),
        lambda c: pool.IndexUnpool2d(),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("network", [SegNet, UNet])
def test_the_loss_goes_down(network, pair):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    down, up = PAIRS[pair]()
    model = network(1, 3, width=8, depth=2, pool=down, unpool=up)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        images, masks = shapes(8, generator)
        loss = nn.functional.cross_entropy(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) / 4 < 0.4 * losses[0], losses
    images, masks = shapes(16, generator)
    with torch.no_grad():
        found = model(images).softmax(1)[:, 0] < 0.5  # a thing, be it a disc or a square
    assert (found == (masks > 0)).float().mean() > 0.95
