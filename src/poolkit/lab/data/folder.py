"""A folder with one folder for each class, of pictures of any kind that Pillow reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.errors import PoolError
from poolkit.lab.data.dataset import Dataset, Split, checked, split_off

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_TRAIN, _TEST = ("train",), ("test", "val", "valid", "validation")


def read(path: Path, size: int | None) -> Dataset:
    """Pictures in ``train/CLASS/`` and ``test/CLASS/`` (or ``val``); or in ``CLASS/``, a fifth held back for the test.

    Args:
        path: the folder.
        size: every picture is scaled, and cut to a square, to this side in pixels; None takes them as they are, and
            then all must have one size.

    Raises:
        PoolError: there is no such folder, a picture cannot be read, or sizes differ and `size` is None.
    """
    gave = f"--data folder:{path}"
    if not path.is_dir():
        raise PoolError(gave, f"a folder of pictures, here no folder is at {path}", "look at the path's spelling")
    train, test = (next((path / name for name in names if (path / name).is_dir()), None) for names in (_TRAIN, _TEST))
    if train is not None and test is not None:
        classes = _classes(gave, train)
        unknown = set(_classes(gave, test)) - set(classes)
        if unknown:
            raise PoolError(
                gave,
                f"test classes are training classes, here {', '.join(sorted(unknown))} are not",
                "give both folders the same classes",
            )
        splits = _split(gave, train, classes, size), _split(gave, test, classes, size)
    else:
        classes = _classes(gave, path)
        every = _split(gave, path, classes, size)
        splits = split_off(every.x, every.y)
    return checked(gave, "folder", *splits, classes)


def _classes(gave: str, path: Path) -> list[str]:
    names = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise PoolError(
            gave,
            f"{path} holds a folder for each of at least two classes, here {len(names)}",
            "put the pictures of each class in a folder of its own",
        )
    return names


def _split(gave: str, path: Path, classes: Sequence[str], size: int | None) -> Split:
    pictures: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for file in sorted((path / name).iterdir()) if (path / name).is_dir() else []:
            if file.suffix.lower() in SUFFIXES:
                pictures.append(_picture(gave, file, size))
                labels.append(label)
    if not pictures:
        raise PoolError(gave, f"there are pictures in {path}, here none", "give PNG, JPEG, WebP or the like")
    return Split(stacked(gave, pictures), np.array(labels, dtype=np.int64))


def _picture(gave: str, file: Path, size: int | None) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return pixels(image, size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PoolError(
            f"{gave}, {file.name}", f"a picture that can be decoded to its end, here {error}", "remove or replace it"
        ) from None


def pixels(image: Image.Image, size: int | None) -> NDArray[np.uint8]:
    """One picture as uint8 [C, H, W]: grey ones have one channel, all others three."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    grey = upright.mode in {"1", "L", "LA", "I", "I;16", "F"}
    plain = upright.convert("L" if grey else "RGB")
    if size is not None:
        plain = ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(plain, dtype=np.uint8)
    return array[None] if grey else array.transpose(2, 0, 1)


def stacked(gave: str, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[Any]:
    """All pictures as one array; grey ones among coloured ones get three equal channels."""
    sizes = {picture.shape[1:] for picture in pictures}
    if len(sizes) > 1:
        some = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:3])
        raise PoolError(
            gave, f"all pictures have one size, here {some} and more", "name a size they are scaled to: --size 32"
        )
    channels = max(picture.shape[0] for picture in pictures)
    return np.stack([np.repeat(p, channels, axis=0) if p.shape[0] < channels else p for p in pictures])
