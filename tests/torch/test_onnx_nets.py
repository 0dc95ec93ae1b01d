"""Whole networks through the export: ONNX Runtime gives what torch gives, for batches of any size."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import nn

from poolkit import nn as pool
from poolkit.torch.export import export_onnx
from poolkit.torch.onnx.check import run_onnx

TOLERANCE = 2e-5  # of the largest output; a dozen convolutions lie between


def conv(inside, outside, kernel=3, stride=1):
    layers = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    return nn.Sequential(*layers)


class Residual(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.body = nn.Sequential(conv(inside, outside, 3, stride), nn.Conv2d(outside, outside, 3, 1, 1))
        self.way = nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x):
        return torch.relu(self.body(x) + self.way(x))


def resnet():
    stem = conv(3, 8, 7, 2), pool.MaxPool2d(3, 2, 1)
    head = pool.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 10)
    return nn.Sequential(*stem, Residual(8, 8, 1), Residual(8, 16, 2), *head)


def vgg():
    stages = [conv(3, 6), pool.MaxPool2d(2), conv(6, 8), conv(8, 8), pool.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*stages, pool.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 10), nn.Dropout())


class SegNet(nn.Module):
    """Places of the maxima travel to the decoder."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv(3, 6), conv(6, 8)
        self.down, self.up = pool.MaxPool2d(2, return_indices=True), pool.MaxUnpool2d(2)
        self.back, self.out = conv(8, 6), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x):
        one = self.first(x)
        small, places = self.down(one)
        two = self.second(small)
        smaller, more = self.down(two)
        y = self.back(self.up(smaller, more, output_size=two.shape))
        return self.out(self.up(y, places, output_size=one.shape))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.low, self.right = conv(3, 6), conv(6, 8), conv(14, 6)
        self.down, self.blur = pool.MaxPool2d(2), pool.BlurPool2d(3, 2)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        left = self.left(x)
        low = self.low(self.down(left) + self.blur(left))
        low = nn.functional.interpolate(low, scale_factor=2, mode="nearest")
        return self.out(self.right(torch.cat([left, low], 1)))


def spp():
    mixing = pool.SoftPool2d(2), conv(8, 8), pool.GeMPool2d(3, stride=1, padding=1)
    return nn.Sequential(conv(3, 8), *mixing, pool.SpatialPyramidPool2d([1, 2, 3]), nn.Flatten(), nn.Linear(112, 10))


@pytest.mark.parametrize("make", [resnet, vgg, SegNet, UNet, spp], ids=lambda make: make.__name__)
def test_networks(make, tmp_path):
    torch.manual_seed(0)
    model = make().eval()
    file = export_onnx(
        model, torch.rand(1, 3, 20, 28), tmp_path / "net.onnx", dynamic_batch=True, input_names=["image"], verify=False
    )
    for batch in (1, 3):
        x = torch.rand(batch, 3, 20, 28)
        with torch.no_grad():
            wanted = model(x)
        (found,) = run_onnx(file, [x])[1]
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()
    graph = onnx.load(file).graph
    assert graph.input[0].name == "image"
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_finite_network_has_one_operator_for_each_pooling(tmp_path):
    file = export_onnx(vgg().eval(), torch.rand(2, 3, 20, 28), tmp_path / "net.onnx", assume_finite=True)
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("MaxPool") == 2
    assert kinds.count("MatMul") == 2
    assert set(kinds) <= {"Conv", "Relu", "MaxPool", "MatMul", "Reshape", "Gemm"}
