import math

import numpy as np
import pytest
import torch
from torch import nn

from poolkit.errors import PoolError
from poolkit.lab import metrics
from poolkit.lab.cost import costs, peak_bytes
from poolkit.lab.data import load
from poolkit.lab.models import build
from poolkit.lab.poolings import parse
from poolkit.lab.spec import Training
from poolkit.lab.train import Tensors, _augmented, prepared, train


class Sum(nn.Module):
    """Says class 1 where the sum over the map is positive: the same for any circular shift."""

    def forward(self, x):
        total = x.sum((1, 2, 3))
        return torch.stack([-total, total], 1)


class Corner(nn.Module):
    """Looks at one pixel."""

    def forward(self, x):
        return torch.stack([-x[:, 0, 0, 0], x[:, 0, 0, 0]], 1)


class Pixel(nn.Module):
    """Says of each pixel whether it is bright."""

    def forward(self, x):
        return torch.cat([-x, x], 1)


def images(count=40, side=16):
    x = torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(1))
    return Tensors(x, (x.sum((1, 2, 3)) > 0).long())


def test_shift_measures_know_an_invariant_network_from_one_that_is_not():
    data = images()
    assert metrics.shift_consistency(Sum(), data) == 1.0
    assert 0.3 < metrics.shift_consistency(Corner(), data) < 0.8
    curve = metrics.shift_curve(Sum(), data, 2)
    assert curve["pixels"] == list(range(9))
    assert curve["agreement"] == [1.0] * 9
    assert curve["score"] == [1.0] * 9
    assert metrics.shift_curve(Corner(), data, 2)["agreement"][0] == 1.0
    assert max(metrics.shift_curve(Corner(), data, 2)["agreement"][1:]) < 0.9
    assert metrics.shift_curve(Sum(), images(side=8), 2)["pixels"] == [0, 1, 2, 3, 4]


def test_masks_are_moved_back_before_they_are_compared():
    x = images().x
    data = Tensors(x, (x[:, 0] > 0).long())
    assert metrics.shift_consistency(Pixel(), data) == 1.0
    curve = metrics.shift_curve(Pixel(), data, 2)
    assert curve["agreement"] == [1.0] * 9
    assert metrics.score(metrics.predict(Pixel(), data.x), data.y, 2) == 1.0
    assert metrics.robustness(Pixel(), data, 2)["noise 0.25"] > 0.7


def test_turning_and_scaling_move_the_picture_as_they_say():
    x = torch.zeros(1, 1, 33, 33)
    x[..., 16, 26] = 1.0  # ten to the right of the centre
    turned = metrics._warped(x, 30.0, 1.0, nearest=False)[0, 0]
    row, column = divmod(int(turned.argmax()), 33)
    assert (row, column) == (16 - round(10 * math.sin(math.radians(30))), 16 + round(10 * math.cos(math.radians(30))))
    small = metrics._warped(x, 0.0, 0.8, nearest=False)[0, 0]
    assert divmod(int(small.argmax()), 33) == (16, 24)


def test_peak_memory_is_counted_to_the_byte():
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x + 1) == 4000
    assert peak_bytes(lambda: (x + 1) + 1) == 8000
    assert peak_bytes(lambda: (x + 1).add_(1)) == 4000
    assert peak_bytes(lambda: x[10:].view(2, -1)) == 0
    assert peak_bytes(lambda: [x + 1 for _ in range(5)]) == 20000


def test_costs_leave_the_network_as_it_was_and_count_what_is_known():
    data, _ = prepared(load("digits"))
    model = build("lenet", 1, 10, (8, 8), parse("max"))
    norm = nn.Sequential(nn.BatchNorm2d(1), model)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    found = costs(norm, Tensors(data.x[:8], data.y[:8]))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    assert found["parameters"] == sum(p.numel() for p in norm.parameters())
    convolutions = 8 * 8 * 12 * 25 * 1 + 4 * 4 * 32 * 25 * 12
    linear = 128 * 120 + 120 * 84 + 84 * 10
    pooling = 2 * 2 * (4 * 4 * 12 + 2 * 2 * 32)  # one comparison for each cell
    assert found["flops"] == 2 * (convolutions + linear) + pooling
    assert found["inference_ms_1"] > 0
    assert found["inference_bytes_1"] < found["training_bytes_1"] < found["training_bytes_32"]


def test_training_learns_and_depends_on_its_seed_alone():
    data, _ = prepared(load("digits").limited(300))
    settings = Training(epochs=3)

    def once(seed):
        torch.manual_seed(seed)
        model = build("lenet", 1, 10, (8, 8), parse("stochastic"))
        torch.manual_seed(seed)
        return train(model, data, settings, seed), model

    (first, model), (again, same), (other, _) = once(0), once(0), once(1)
    assert first == again != other
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert first[-1] < first[0]


def test_a_loss_that_is_no_longer_finite_is_reported():
    data, _ = prepared(load("digits").limited(100))
    model = build("lenet", 1, 10, (8, 8), parse("max"))
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(PoolError, match="loss stays finite"):
        train(model, data, Training(epochs=1), 0)


def test_augmentation_moves_masks_with_their_images():
    x = torch.rand(6, 1, 16, 16)
    y = (x[:, 0] > 0.5).long()
    for kind in ("shift", "flip", "shift-flip"):
        moved, masks = _augmented(x, y, kind, torch.Generator().manual_seed(0))
        assert not torch.equal(moved, x)
        assert torch.equal((moved[:, 0] > 0.5).long(), masks)


def test_images_are_normalised_by_the_training_part():
    train_part, test_part = prepared(load("shapes"))
    np.testing.assert_allclose(train_part.x.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(train_part.x.std((0, 2, 3)), 1, atol=1e-3)
    assert abs(float(test_part.x.mean())) > 1e-4
