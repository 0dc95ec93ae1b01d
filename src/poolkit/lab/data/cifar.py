"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in the official python and binary formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from poolkit.errors import PoolError
from poolkit.lab.data.archives import read_files
from poolkit.lab.data.dataset import Dataset, Split, checked, labels_of
from poolkit.lab.data.pickles import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Flavour:
    """What tells the two sets apart: official addresses, file names, and how labels are stored."""

    title: str
    address: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    label_key: str
    names_key: str
    binary_train: tuple[str, ...]
    binary_test: tuple[str, ...]
    binary_meta: str
    label_bytes: int  # the last of them is the class
    classes: int


FLAVOURS = {
    "cifar10": Flavour(
        title="CIFAR-10",
        address="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        label_key="labels",
        names_key="label_names",
        binary_train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        binary_test=("test_batch.bin",),
        binary_meta="batches.meta.txt",
        label_bytes=1,
        classes=10,
    ),
    "cifar100": Flavour(
        title="CIFAR-100",
        address="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        train=("train",),
        test=("test",),
        meta="meta",
        label_key="fine_labels",
        names_key="fine_label_names",
        binary_train=("train.bin",),
        binary_test=("test.bin",),
        binary_meta="fine_label_names.txt",
        label_bytes=2,
        classes=100,
    ),
}


def read(kind: str, path: Path) -> Dataset:
    """CIFAR-10 or -100 from the folder or archive at `path`, in whichever of the two formats it has.

    Args:
        kind: ``cifar10`` or ``cifar100``.
        path: ``cifar-10-batches-py`` or what it came in, ``cifar-10-python.tar.gz``; likewise the binary version.

    Raises:
        PoolError: nothing is there, files are missing or broken, or a pickle holds more than arrays.
    """
    flavour, gave = FLAVOURS[kind], f"--data {kind}:{path}"
    pickled, binary = flavour.train + flavour.test, flavour.binary_train + flavour.binary_test
    files = read_files(gave, path, (*pickled, *binary, flavour.meta, flavour.binary_meta), flavour.address)
    if files.keys() >= set(pickled):
        parts = {name: _pickled(f"{gave}, {name}", files[name], flavour) for name in pickled}
        train, test, classes = flavour.train, flavour.test, _names(gave, files.get(flavour.meta), flavour)
    elif files.keys() >= set(binary):
        parts = {name: _binary(f"{gave}, {name}", files[name], flavour) for name in binary}
        train, test = flavour.binary_train, flavour.binary_test
        classes = files.get(flavour.binary_meta, b"").decode("utf-8", "replace").split()
    else:
        missing = sorted(set(binary if files.keys() & set(binary) else pickled) - files.keys())
        raise PoolError(
            gave,
            f"all files of {flavour.title} are there, here {', '.join(missing)} are missing",
            f"get it from {flavour.address}",
        )
    if len(classes) != flavour.classes:
        classes = [str(number) for number in range(flavour.classes)]
    return checked(gave, kind, _joined(parts[name] for name in train), _joined(parts[name] for name in test), classes)


def _joined(parts: Any) -> Split:
    pieces = list(parts)
    return Split(np.concatenate([piece.x for piece in pieces]), np.concatenate([piece.y for piece in pieces]))


def _pickled(gave: str, data: bytes, flavour: Flavour) -> Split:
    batch = _table(loads(gave, data))
    pixels, labels = batch.get("data"), batch.get(flavour.label_key)
    if not isinstance(pixels, np.ndarray) or labels is None:
        raise PoolError(
            gave,
            f"a batch is a dict with data and {flavour.label_key}, here it is not",
            f"get it again from {flavour.address}",
        )
    return _split(gave, cast("NDArray[Any]", pixels), labels_of(gave, labels), flavour)


def _binary(gave: str, data: bytes, flavour: Flavour) -> Split:
    record = flavour.label_bytes + PIXELS
    if not data or len(data) % record:
        raise PoolError(
            gave,
            f"the file is records of {record} bytes, here it has {len(data)} bytes: it ends early",
            f"get it again from {flavour.address}",
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    labels = rows[:, flavour.label_bytes - 1].astype(np.int64)
    return _split(gave, rows[:, flavour.label_bytes :], labels, flavour)


def _split(gave: str, pixels: NDArray[Any], labels: NDArray[np.int64], flavour: Flavour) -> Split:
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise PoolError(
            gave,
            f"pixels are uint8 [N, {PIXELS}], here {pixels.dtype} {pixels.shape}",
            f"get it again from {flavour.address}",
        )
    if labels.ndim != 1 or (labels.size and not 0 <= labels.min() <= labels.max() < flavour.classes):
        raise PoolError(
            gave,
            f"labels are 0 to {flavour.classes - 1}, here {labels.min() if labels.size else 'none'} to "
            f"{labels.max() if labels.size else 'none'}",
            f"get it again from {flavour.address}",
        )
    return Split(pixels.reshape(-1, 3, 32, 32), labels)


def _names(gave: str, meta: bytes | None, flavour: Flavour) -> Sequence[str]:
    if meta is None:
        return []
    names: Any = _table(loads(f"{gave}, {flavour.meta}", meta)).get(flavour.names_key, [])
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names]


def _table(thing: Any) -> dict[str, Any]:
    """The dict of a pickle with texts as keys, whichever Python wrote it; empty where it is no dict."""
    if not isinstance(thing, dict):
        return {}
    items = cast("dict[Any, Any]", thing).items()
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in items}
