"""A ``.npz`` file with the names that Keras uses: x_train, y_train, x_test, y_test; or x and y."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.errors import PoolError
from poolkit.lab.data.dataset import Dataset, Split, checked, labels_of, split_off

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLOURS = (1, 3, 4)


def read(path: Path) -> Dataset:
    """Arrays saved with `numpy.savez`: images [N, H, W], [N, C, H, W] or [N, H, W, C], and their labels.

    With ``x`` and ``y`` alone, a fifth is held back for the test. Labels [N, H, W] make it a segmentation task.

    Raises:
        PoolError: there is no such file, names are missing, or an array has another form.
    """
    gave = f"--data npz:{path}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise PoolError(gave, "there is such a file, here there is none", "look at the path's spelling") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise PoolError(
            gave, f"a whole .npz file of plain arrays, here {error}", "save it again with numpy.savez"
        ) from None
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train, test = (
            Split(_images(gave, arrays[f"x_{part}"]), _labels(gave, arrays[f"y_{part}"])) for part in ("train", "test")
        )
    elif {"x", "y"} <= arrays.keys():
        x, y = _images(gave, arrays["x"]), _labels(gave, arrays["y"])
        if len(x) != len(y):
            raise PoolError(gave, f"every image has a label, here {len(x)} images and {len(y)} labels", "save it again")
        train, test = split_off(x, y)
    else:
        raise PoolError(
            gave,
            f"it holds x_train, y_train, x_test, y_test, or x and y, here {', '.join(sorted(arrays)) or 'nothing'}",
            "save it again under these names",
        )
    return checked(gave, "npz", train, test, None)


def _labels(gave: str, array: NDArray[Any]) -> NDArray[np.int64]:
    # Keras saves the labels of CIFAR as a column.
    return labels_of(gave, array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array)


def _images(gave: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iuf" or array.ndim not in (3, 4):
        raise PoolError(
            gave,
            f"images are numbers [N, H, W], [N, C, H, W] or [N, H, W, C], here {array.dtype} {array.shape}",
            "save them so",
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[1] not in _COLOURS and array.shape[-1] in _COLOURS:
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32))
