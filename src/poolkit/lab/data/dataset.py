"""What every reader gives: two splits of images with their labels, checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poolkit.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Task = Literal["classification", "segmentation"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    `x` is uint8 (0 to 255) or float32, [N, C, H, W]. `y` is int64: a class for each image [N], or for each pixel
    [N, H, W].
    """

    x: NDArray[Any]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def first(self, count: int) -> Split:
        """The first `count` images, or all where there are fewer."""
        return Split(self.x[:count], self.y[:count])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to learn from and images to be judged by. Made by `checked`, which all readers end with."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def task(self) -> Task:
        """Whether a class belongs to an image or to each of its pixels."""
        return "classification" if self.train.y.ndim == 1 else "segmentation"

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return int(self.train.x.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image."""
        return int(self.train.x.shape[2]), int(self.train.x.shape[3])

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of all images and labels, their shapes and dtypes."""
        state = hashlib.sha256()
        for array in (self.train.x, self.train.y, self.test.x, self.test.y):
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()[:16]

    def limited(self, count: int | None) -> Dataset:
        """The same with at most `count` training images; readers have shuffled those whose order is not random."""
        return self if count is None else Dataset(self.name, self.train.first(count), self.test, self.classes)


def checked(gave: str, name: str, train: Split, test: Split, classes: Sequence[str] | None) -> Dataset:
    """A `Dataset`, if the parts fit together; `gave` begins the message where they do not.

    Without `classes` they are the numbers from 0 to the largest label.
    """
    for part, split in (("training", train), ("test", test)):
        if len(split.x) != len(split.y):
            raise PoolError(
                gave,
                f"every image has a label, here {len(split.x)} {part} images and {len(split.y)} labels",
                "give files that belong together",
            )
        if len(split.x) == 0 or split.x.ndim != 4 or 0 in split.x.shape:
            raise PoolError(
                gave, f"{part} images have the shape [N, C, H, W] and no axis is 0, here {split.x.shape}", "look inside"
            )
        if split.y.ndim not in (1, 3) or (split.y.ndim == 3 and split.y.shape[1:] != split.x.shape[2:]):
            raise PoolError(
                gave,
                f"labels are [N], or [N, H, W] of the images' size {split.x.shape[2:]}, here {split.y.shape}",
                "give one class for each image, or one for each pixel",
            )
        if split.x.dtype.kind == "f" and not bool(np.isfinite(split.x).all()):
            raise PoolError(gave, f"pixels are finite, here the {part} images hold NaN or infinity", "clean them first")
    if train.x.shape[1:] != test.x.shape[1:] or train.y.shape[1:] != test.y.shape[1:]:
        raise PoolError(
            gave,
            f"training and test images have one shape, here {train.x.shape[1:]} and {test.x.shape[1:]}",
            "give both in the same size and with the same channels",
        )
    labels = np.concatenate([np.unique(train.y), np.unique(test.y)])
    count = len(classes) if classes is not None else int(labels.max()) + 1
    if labels.min() < 0 or labels.max() >= count:
        bad = int(labels.min() if labels.min() < 0 else labels.max())
        raise PoolError(
            gave,
            f"labels are 0 to {count - 1}, one of {count} classes, here {bad}",
            "correct the labels",
        )
    if count < 2:
        raise PoolError(gave, f"there are at least two classes to tell apart, here {count}", "give data with more")
    named = tuple(classes) if classes is not None else tuple(str(number) for number in range(count))
    return Dataset(name, train, test, named)


def labels_of(gave: str, values: Any) -> NDArray[np.int64]:
    """`values` as int64 labels; floats, objects and texts are no labels."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise PoolError(gave, f"labels are integers, here {array.dtype}", "number the classes from 0 on")
    return array.astype(np.int64)


def split_off(x: NDArray[Any], y: NDArray[np.int64], share: float = 0.2) -> tuple[Split, Split]:
    """A fifth of every class for the test, the rest to train; the same split for the same labels, shuffled.

    For segmentation, whose images hold several classes, a fifth of the images.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    held = np.zeros(len(x), dtype=bool)
    groups = [order] if y.ndim > 1 else [order[y[order] == label] for label in np.unique(y)]
    for group in groups:
        held[group[: max(1, round(share * len(group)))]] = True
    keep, out = order[~held[order]], order[held[order]]
    return Split(x[keep], y[keep]), Split(x[out], y[out])
