"""The string that names a data set, and the reader it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from poolkit.errors import PoolError, show
from poolkit.lab.data.dataset import Dataset

KINDS = {
    "digits": "scikit-learn's handwritten digits; needs no file",
    "shapes": "shapes with masks, drawn from a seed: shapes, shapes:7",
    "cifar10": "a folder or archive, python or binary: cifar10:cifar-10-python.tar.gz",
    "cifar100": "the same for CIFAR-100",
    "mnist": "a folder with the four idx files",
    "fashion": "the same for Fashion-MNIST",
    "folder": "pictures in train/CLASS and test/CLASS, or in CLASS",
    "npz": "arrays x_train, y_train, x_test, y_test, or x and y",
    "hf": "a folder that the library datasets saved",
}
"""Every kind of data set, with one line about it."""

_WITHOUT_PATH = {"digits", "shapes"}


@dataclass(frozen=True)
class DataSpec:
    """A kind of `KINDS`, and the path or seed after the colon."""

    kind: str
    rest: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.rest}" if self.rest else self.kind

    @property
    def path(self) -> Path:
        """The path that follows the colon."""
        return Path(self.rest).expanduser()


def parse(text: str) -> DataSpec:
    """The parts of ``KIND`` or ``KIND:PATH``; touches no file.

    Raises:
        PoolError: the kind is unknown, a path is missing, or there is one where none belongs.

    >>> parse("cifar10:data/cifar-10-batches-py").path.name
    'cifar-10-batches-py'
    """
    from poolkit.lab.data import cifar, mnist

    kind, _, rest = text.partition(":")
    gave = f"--data {show(text)[1:-1]}"
    if kind not in KINDS:
        raise PoolError(gave, f"the data is one of {', '.join(KINDS)}, here {show(kind)}", "give digits, or KIND:PATH")
    if kind == "digits" and rest:
        raise PoolError(gave, "digits come with scikit-learn and have no path", "give digits alone")
    if kind == "shapes" and rest and not (rest.isdecimal() and len(rest) <= 9):
        raise PoolError(gave, "after shapes: comes a seed, a whole number", "give shapes, or shapes:7")
    if kind not in _WITHOUT_PATH and not rest:
        address = {**mnist.ADDRESSES, **{name: row.address for name, row in cifar.FLAVOURS.items()}}.get(kind)
        hint = f"; get it from {address}" if address else ""
        raise PoolError(gave, f"{kind} is read from a path, here none is given", f"give {kind}:PATH{hint}")
    return DataSpec(kind, rest)


def load(spec: str | DataSpec, *, size: int | None = None, download: bool = False) -> Dataset:
    """The data set that `spec` names.

    Args:
        spec: ``digits``, ``cifar10:PATH`` and so on; see `KINDS`.
        size: the side in pixels that pictures of ``folder`` and ``hf`` are scaled to.
        download: let torchvision fetch CIFAR or MNIST to the path first, where it is missing and torchvision works.

    Raises:
        PoolError: nothing is there, or something there is broken; the message says what to do.

    >>> load("shapes:3").task
    'segmentation'
    """
    from poolkit.lab.data import arrays, cifar, folder, huggingface, made, mnist

    spec = parse(spec) if isinstance(spec, str) else spec
    if download and spec.kind in cifar.FLAVOURS.keys() | mnist.ADDRESSES.keys() and not spec.path.exists():
        from poolkit.lab.data.download import fetch

        fetch(spec.kind, spec.path)
    if size is not None and spec.kind not in {"folder", "hf"}:
        raise PoolError(f"--size {size} with --data {spec}", "folder and hf alone are scaled", "leave it out")
    match spec.kind:
        case "digits":
            return made.digits()
        case "shapes":
            return made.shapes(int(spec.rest or 0))
        case "cifar10" | "cifar100":
            return cifar.read(spec.kind, spec.path)
        case "mnist" | "fashion":
            return mnist.read(spec.kind, spec.path)
        case "folder":
            return folder.read(spec.path, size)
        case "npz":
            return arrays.read(spec.path)
        case _:
            return huggingface.read(spec.path, size)
