"""How good a trained network is, and how much its answers change when its images do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poolkit.lab.train import Tensors, drawn_moves

if TYPE_CHECKING:
    from collections.abc import Callable

SHIFTS = range(9)
"""Pixels by which images are moved for the curve, as far as half of their side."""

SCALES, ANGLES, NOISES = (0.8, 1.25), (-15, 15, 30), (0.25, 0.5)


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """The class of each image [N], or of each pixel [N, H, W]; in evaluation mode, which is left as it was."""
    training = model.training
    model.eval()
    answers = torch.cat([model(part).argmax(1) for part in torch.split(x, batch)])
    model.train(training)
    return answers


@torch.no_grad()
def mean_loss(model: nn.Module, data: Tensors, batch: int = 256) -> float:
    """Cross-entropy in nats over all images."""
    training = model.training
    model.eval()
    pairs = zip(torch.split(data.x, batch), torch.split(data.y, batch), strict=True)
    summed = sum(float(F.cross_entropy(model(x), y)) * len(x) for x, y in pairs)
    model.train(training)
    return summed / len(data)


def score(answers: Tensor, y: Tensor, classes: int) -> float:
    """Share of right answers for classes of images; mean intersection over union for classes of pixels.

    Classes that neither the answers nor the masks hold are left out of the mean.

    >>> import torch
    >>> score(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 1, 0]), 2)
    0.75
    >>> masks = torch.tensor([[[0, 0], [1, 1]]])
    >>> score(torch.tensor([[[0, 1], [1, 1]]]), masks, 3)  # (1/2 + 2/3) / 2
    0.5833333333333333
    """
    if y.ndim == 1:
        return int((answers == y).sum()) / len(y)
    table = torch.bincount(y.flatten() * classes + answers.flatten(), minlength=classes**2).view(classes, classes)
    both = table.diagonal().double()
    either = table.sum(0).double() + table.sum(1).double() - both
    return float((both[either > 0] / either[either > 0]).mean())


def shift_consistency(model: nn.Module, data: Tensors, seed: int = 0) -> float:
    """How often a network says the same of two shifted copies of an image (Zhang, 2019).

    "Making Convolutional Networks Shift-Invariant Again" (arXiv:1904.11486), section 4.2: both copies are moved around
    the edges, each by its own random number of pixels along both axes. Here by up to a quarter of the side, at most 8:
    the images of this lab are small. For classes of pixels the answers are moved back first, and pixels are counted.

    Args:
        model: the network.
        data: the images; their labels are not looked at.
        seed: of the shifts, so that all networks see the same.

    Returns:
        A share between 0 and 1.
    """
    reach = min(8, min(data.x.shape[-2:]) // 4)
    generator = torch.Generator().manual_seed(seed)
    copies: list[Tensor] = []
    for _ in range(2):
        moves = drawn_moves(0, reach, len(data), generator)
        moved = torch.stack([image.roll(move, (-2, -1)) for image, move in zip(data.x, moves, strict=True)])
        answers = predict(model, moved)
        if answers.ndim == 3:
            pairs = zip(answers, moves, strict=True)
            answers = torch.stack([mask.roll((-down, -right), (-2, -1)) for mask, (down, right) in pairs])
        copies.append(answers)
    return float((copies[0] == copies[1]).double().mean())


def shift_curve(model: nn.Module, data: Tensors, classes: int) -> dict[str, list[float]]:
    """For each number of pixels in `SHIFTS`: the agreement with the answer to the image in place, and the score.

    Images are moved around their edges, down and to the right, and the two are averaged.
    """
    still = predict(model, data.x)
    curve: dict[str, list[float]] = {"pixels": [], "agreement": [], "score": []}
    for pixels in SHIFTS:
        if pixels > min(data.x.shape[-2:]) // 2:
            break
        agreed, scored = 0.0, 0.0
        for axis in (-2, -1):
            answers = predict(model, data.x.roll(pixels, axis)) if pixels else still
            answers = answers.roll(-pixels, axis) if answers.ndim == 3 else answers
            agreed += float((answers == still).double().mean()) / 2
            scored += score(answers, data.y, classes) / 2
        curve["pixels"].append(pixels)
        curve["agreement"].append(agreed)
        curve["score"].append(scored)
    return curve


def robustness(model: nn.Module, data: Tensors, classes: int, seed: int = 0) -> dict[str, float]:
    """The score on images scaled, turned and with Gaussian noise (in units of the training images' deviation)."""
    generator = torch.Generator().manual_seed(seed)
    changes: dict[str, Callable[[Tensor, bool], Tensor]] = {}
    for scale in SCALES:
        changes[f"scale {scale:g}"] = lambda x, mask, scale=scale: _warped(x, 0.0, scale, nearest=mask)
    for angle in ANGLES:
        changes[f"turn {angle}°"] = lambda x, mask, angle=angle: _warped(x, float(angle), 1.0, nearest=mask)
    for level in NOISES:
        noise = torch.randn(data.x.shape, generator=generator).to(data.x.device)
        changes[f"noise {level:g}"] = lambda x, mask, noise=noise, level=level: x if mask else x + level * noise
    found: dict[str, float] = {}
    for name, change in changes.items():
        y = change(data.y[:, None].float(), True)[:, 0].long() if data.y.ndim == 3 else data.y
        found[name] = score(predict(model, change(data.x, False)), y, classes)
    return found


def _warped(x: Tensor, degrees: float, scale: float, *, nearest: bool) -> Tensor:
    """Images turned counter-clockwise and scaled about their centre; what enters continues the edge."""
    turn = torch.deg2rad(torch.tensor(degrees))
    cosine, sine = float(turn.cos()) / scale, float(turn.sin()) / scale
    # affine_grid works in a square from -1 to 1, whatever the sides are.
    ratio = x.shape[-2] / x.shape[-1]
    matrix = torch.tensor([[cosine, -sine * ratio, 0.0], [sine / ratio, cosine, 0.0]], device=x.device)
    grid = F.affine_grid(matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)
