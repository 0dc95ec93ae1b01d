"""MNIST, Fashion-MNIST and other sets in the idx format of LeCun, Cortes and Burges, plain or gzipped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.errors import PoolError
from poolkit.lab.data.archives import gunzip, read_files
from poolkit.lab.data.dataset import Dataset, Split, checked, labels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ADDRESSES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion": "https://github.com/zalandoresearch/fashion-mnist",
}
_STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def read(kind: str, path: Path) -> Dataset:
    """The four idx files in the folder at `path` (or a folder inside it, such as ``raw``).

    Args:
        kind: ``mnist`` or ``fashion``; they differ in the names of their classes alone.
        path: the folder; files may end in ``.gz``.

    Raises:
        PoolError: files are missing, are no idx files, or end early.
    """
    gave = f"--data {kind}:{path}"
    files = read_files(gave, path, [name for stem in _STEMS for name in (stem, f"{stem}.gz")], ADDRESSES[kind])
    missing = [stem for stem in _STEMS if not files.keys() & {stem, f"{stem}.gz"}]
    if missing:
        raise PoolError(
            gave,
            f"the four idx files are there, here {', '.join(missing)} are missing",
            f"get them from {ADDRESSES[kind]}",
        )
    arrays: list[NDArray[Any]] = []
    for stem in _STEMS:
        name = stem if stem in files else f"{stem}.gz"
        arrays.append(idx(f"{gave}, {name}", gunzip(f"{gave}, {name}", files[name])))
    images_and_labels = zip(arrays[::2], arrays[1::2], strict=True)
    train, test = (Split(_images(gave, images), labels_of(gave, labels)) for images, labels in images_and_labels)
    return checked(gave, kind, train, test, _CLOTHES if kind == "fashion" else [str(digit) for digit in range(10)])


def idx(gave: str, data: bytes) -> NDArray[Any]:
    """The array in an idx file: two zero bytes, a dtype, the number of axes, sizes as big-endian int32, the values.

    Raises:
        PoolError: it is none, or its length is not what its head says.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES:
        raise PoolError(gave, "an idx file begins with 0, 0 and a known dtype, here it does not", "get the file again")
    dtype, axes = np.dtype(_DTYPES[data[2]]), data[3]
    head = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(data[4:head].ljust(4 * axes, b"\0"), ">u4"))
    expected = head + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise PoolError(
            gave, f"sizes {shape} make {expected} bytes, here {len(data)}: it is cut or damaged", "get the file again"
        )
    return np.frombuffer(data, dtype, offset=head).reshape(shape)


def _images(gave: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype != np.uint8 or array.ndim != 3:
        raise PoolError(
            gave, f"images are uint8 with three axes, here {array.dtype} with {array.ndim}", "give image files"
        )
    return array[:, None]
