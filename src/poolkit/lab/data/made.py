"""Data that needs no file: scikit-learn's digits, and shapes with their masks, drawn from a seed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from poolkit.errors import PoolError
from poolkit.lab.data.dataset import Dataset, Split, checked, split_off

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPES = ("background", "disc", "square", "triangle")
_SIDE = 32


def digits() -> Dataset:
    """The 1797 handwritten digits, 8 x 8 pixels, that come with scikit-learn (Alpaydin and Kaynak, 1998).

    Raises:
        PoolError: scikit-learn is not installed.
    """
    try:
        library = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise PoolError(
            "--data digits", "they come with scikit-learn, which is not installed", "pip install 'poolkit[lab]'"
        ) from None
    bunch = library.load_digits()
    # They are given as 0 to 16; as bytes they are treated like all other pictures.
    x = np.round(np.asarray(bunch.images) / 16 * 255).astype(np.uint8)[:, None]
    return checked("--data digits", "digits", *split_off(x, np.asarray(bunch.target, np.int64)), [*"0123456789"])


def shapes(seed: int = 0, train: int = 512, test: int = 128) -> Dataset:
    """Discs, squares and triangles on a noisy ground, 32 x 32 pixels, with a class for each pixel.

    Args:
        seed: two calls with one seed give the same pictures.
        train: training images.
        test: test images.
    """
    rng = np.random.default_rng(seed)
    drawn = [_scene(rng) for _ in range(train + test)]
    x, y = (np.stack(part) for part in zip(*drawn, strict=True))
    return checked("--data shapes", "shapes", Split(x[:train], y[:train]), Split(x[train:], y[train:]), SHAPES)


def _scene(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One picture [3, side, side] with one to three shapes, the later over the earlier, and its mask [side, side]."""
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE]
    tilt = rng.uniform(-30, 30, size=(3, 2))
    ground = rng.uniform(60, 190, size=3)[:, None, None]
    picture = ground + (tilt[:, 0, None, None] * rows + tilt[:, 1, None, None] * columns) / _SIDE
    mask = np.zeros((_SIDE, _SIDE), dtype=np.int64)
    for _ in range(rng.integers(1, 4)):
        kind = int(rng.integers(1, len(SHAPES)))
        across, down = rng.uniform(5, _SIDE - 5, size=2)
        radius = rng.uniform(4, 9)
        turn = rng.uniform(0, 2 * np.pi)
        u = (columns - across) * np.cos(turn) + (rows - down) * np.sin(turn)
        v = (rows - down) * np.cos(turn) - (columns - across) * np.sin(turn)
        if kind == 1:
            inside = u**2 + v**2 <= radius**2
        elif kind == 2:
            inside = np.maximum(np.abs(u), np.abs(v)) <= 0.8 * radius
        else:
            inside = (v <= 0.6 * radius) & (v >= 1.75 * np.abs(u) - 1.1 * radius)
        colour = rng.uniform(0, 255, size=3)
        picture = np.where(inside, colour[:, None, None], picture)
        mask[inside] = kind
    noisy = picture + rng.normal(0, 18, size=picture.shape)
    return noisy.clip(0, 255).astype(np.uint8), mask
