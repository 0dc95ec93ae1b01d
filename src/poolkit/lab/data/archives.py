"""The files of a data set, from a folder or straight from its archive: nothing is ever unpacked to disk."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from poolkit.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST = 2**30
"""Bytes a single file may have: the largest of these sets stay far below, and a bomb does not fill the memory."""

_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def read_files(gave: str, path: Path, names: Iterable[str], where: str) -> dict[str, bytes]:
    """The contents of those of `names` that are in the folder or archive at `path`, whatever folder they lie in there.

    Args:
        gave: begins the message of an error.
        path: a folder, searched itself and one level down; or a .tar, .tar.gz, .tar.bz2 or .tar.xz file.
        names: file names without folders.
        where: the official address of the set, for the message where `path` is missing.

    Raises:
        PoolError: there is nothing at `path`, it cannot be read, or it ends early.
    """
    wanted = set(names)
    try:
        if path.is_dir():
            return _from_folder(path, wanted)
        if path.is_file():
            return _from_archive(path, wanted)
    except _BROKEN as error:
        rule = f"a whole archive, here it is broken or ends early ({str(error) or type(error).__name__})"
        raise PoolError(gave, rule, f"get it again from {where}") from None
    except OSError as error:
        rule = f"files that can be read, here {error.strerror or error}"
        raise PoolError(gave, rule, "look at their permissions and at the disk") from None
    raise PoolError(gave, f"the data set lies at this path, here nothing is at {path}", f"get it from {where}")


def gunzip(gave: str, data: bytes) -> bytes:
    """`data` decompressed, if it is gzip; as it is otherwise."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        whole = zlib.decompressobj(wbits=31)
        made = whole.decompress(data, LARGEST)
    except zlib.error as error:
        raise PoolError(gave, f"a whole gzip file, here {error}", "get the file again") from None
    if not whole.eof:
        raise PoolError(gave, "a whole gzip file, here it ends early or is too large", "get the file again")
    return made


def _from_folder(path: Path, wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for folder in (path, *sorted(entry for entry in path.iterdir() if entry.is_dir())):
        for name in wanted - found.keys():
            if (folder / name).is_file():
                found[name] = _bounded((folder / name).read_bytes(), name)
    return found


def _from_archive(path: Path, wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            # Links are left out: what they point to may lie outside.
            if name in wanted and name not in found and member.isfile():
                if member.size > LARGEST:
                    raise tarfile.TarError(f"{name} claims {member.size} bytes")
                stream = archive.extractfile(member)
                assert stream is not None
                data = stream.read()
                if len(data) != member.size:
                    raise EOFError(f"{name} has {len(data)} of {member.size} bytes")
                found[name] = data
        # The end of the compressed stream holds its checksum, which nobody has looked at yet.
        while archive.fileobj.read(2**20):
            pass
    return found


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > LARGEST:
        raise tarfile.TarError(f"{name} has {len(data)} bytes")
    return data
