"""The networks that surgery is tried on: plain torch ones, and those of transformers from tiny configurations."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from poolkit.lab.models.inception import Inception
from poolkit.lab.models.resnet import ResNet18
from poolkit.lab.models.segnet import SegNet
from poolkit.lab.models.unet import UNet
from poolkit.lab.models.vgg import VGG16
from poolkit.lab.models.yolo_spp import YoloSPP


@dataclass(frozen=True)
class Network:
    """How to make a network and what it takes, how many operators of poolkit it runs, and what can be swapped in it."""

    make: Any
    shape: tuple[int, ...]
    ours: int
    rules: dict[Any, Any]


def _hugging(model: str, config: str, **settings: Any) -> Any:
    def make() -> nn.Module:
        import transformers

        return Logits(getattr(transformers, model)(getattr(transformers, config)(num_labels=3, **settings)))

    return make


class Logits(nn.Module):
    """A model of transformers that gives its scores alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels).logits


NETWORKS = {
    "vgg16": Network(lambda: VGG16(classes=5, width=4, size=2), (2, 3, 64, 64), 6, {"MaxPool2d": "SoftPool2d"}),
    "resnet18": Network(lambda: ResNet18(classes=5, width=4), (2, 3, 64, 64), 2, {"maxpool": "MaxBlurPool2d"}),
    "unet": Network(lambda: UNet(width=4, depth=2), (2, 1, 34, 37), 2, {"pools.*": "AvgPool2d"}),
    "segnet": Network(lambda: SegNet(width=4, depth=2), (2, 3, 34, 37), 4, {"MaxPool2d": "MinPool2d"}),
    "small_segnet": Network(lambda: SegNet(width=2, depth=1), (1, 3, 18, 18), 2, {"pools.0": "MinPool2d"}),
    "inception": Network(
        lambda: Inception(classes=5, width=4, blocks=1), (2, 3, 64, 64), 6, {"MaxPool2d": "LogSumExpPool2d"}
    ),
    "yolo_spp": Network(lambda: YoloSPP(classes=2, width=2), (2, 3, 64, 64), 3, {"spp.pools.*": "SoftPool2d"}),
    "yolo_sppf": Network(lambda: YoloSPP(classes=2, width=2, fast=True), (2, 3, 64, 64), 3, {"spp.pool": "SoftPool2d"}),
    "hf_resnet": Network(
        _hugging("ResNetForImageClassification", "ResNetConfig", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
        (2, 3, 64, 64),
        2,
        {"MaxPool2d": "MedianPool2d", "AdaptiveAvgPool2d": "GeMPool2d"},
    ),
    "hf_convnext": Network(
        _hugging("ConvNextForImageClassification", "ConvNextConfig", num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]),
        (2, 3, 64, 64),
        1,
        {},
    ),
    "hf_regnet": Network(
        _hugging(
            "RegNetForImageClassification",
            "RegNetConfig",
            embedding_size=8,
            hidden_sizes=[8, 16],
            depths=[1, 1],
            groups_width=8,
        ),
        (2, 3, 64, 64),
        3,
        {"AdaptiveAvgPool2d": "AdaptiveMaxPool2d"},
    ),
    "hf_mobilenet": Network(
        _hugging("MobileNetV2ForImageClassification", "MobileNetV2Config", depth_multiplier=0.35),
        (2, 3, 64, 64),
        1,
        {"*pooler": "GlobalMaxPool2d"},
    ),
    "hf_segformer": Network(
        _hugging(
            "SegformerForSemanticSegmentation",
            "SegformerConfig",
            hidden_sizes=[8, 16],
            depths=[1, 1],
            num_encoder_blocks=2,
            num_attention_heads=[1, 2],
            sr_ratios=[2, 1],
            patch_sizes=[7, 3],
            strides=[4, 2],
            mlp_ratios=[2, 2],
            decoder_hidden_size=16,
        ),
        (2, 3, 64, 64),
        0,
        {},
    ),
}
