"""A data set that the library ``datasets`` of Hugging Face saved to disk; nothing is downloaded."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from poolkit.errors import PoolError
from poolkit.lab.data.dataset import Dataset, Split, checked, labels_of, split_off
from poolkit.lab.data.folder import pixels, stacked

_LABELS = ("label", "labels", "fine_label", "target", "class")
_TESTS = ("test", "validation", "val")


def read(path: Path, size: int | None) -> Dataset:
    """What ``dataset.save_to_disk(path)`` wrote: a `DatasetDict` with train and test, or one `Dataset`, then split.

    Args:
        path: the folder.
        size: every picture is scaled to this side in pixels; None takes them as they are.

    Raises:
        PoolError: ``datasets`` is not installed, the folder is none of its own, or has no pictures with labels.
    """
    gave = f"--data hf:{path}"
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise PoolError(
            gave, "such a folder is read by the library datasets, which is not installed", "pip install datasets"
        ) from None
    try:
        found: Any = library.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise PoolError(
            gave, f"a folder that save_to_disk wrote, here {error}", "save it with dataset.save_to_disk(PATH)"
        ) from None
    tables: dict[str, Any] = dict(found) if isinstance(found, dict) else {"train": found}  # pyright: ignore[reportUnknownArgumentType]
    test = next((name for name in _TESTS if name in tables), None)
    if "train" not in tables:
        raise PoolError(gave, f"there is a split named train, here {', '.join(tables)}", "save it with such a split")
    split, classes = _split(gave, tables["train"], size)
    splits = split_off(split.x, split.y) if test is None else (split, _split(gave, tables[test], size)[0])
    return checked(gave, "hf", *splits, classes)


def _split(gave: str, table: Any, size: int | None) -> tuple[Split, list[str] | None]:
    features = dict(table.features)
    picture = next((name for name, kind in features.items() if type(kind).__name__ == "Image"), None)
    label = next((name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"), None)
    label = label or next((name for name in _LABELS if name in features), None)
    if picture is None or label is None:
        raise PoolError(
            gave,
            f"there is a column of type Image and one of labels, here {', '.join(features)}",
            "cast the columns to Image and ClassLabel first",
        )
    images = [pixels(image, size) for image in table[picture]]
    y = labels_of(gave, np.asarray(list(table[label])))
    return Split(stacked(gave, images), y), getattr(features[label], "names", None)
