"""The folder of a study: what was asked, and a journal to which every finished trial is added at once."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from poolkit.errors import PoolError
from poolkit.lab.spec import StudySpec
from poolkit.show.files import check_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Generator

SPEC, TRIALS, LOCK = "study.json", "trials.jsonl", ".lock"


class Journal:
    """A study on disk. `records` are its finished trials, in the order in which they ended.

    A trial is one line of JSON, written with one call and followed by fsync. A line that a crash left unfinished has
    no line end; it is cut off before the next one is written, and its trial runs again.
    """

    def __init__(self, folder: Path, spec: StudySpec, records: list[dict[str, Any]], size: int) -> None:
        self.folder, self.spec, self.records = folder, spec, records
        self._size = size  # bytes of whole lines

    @property
    def done(self) -> frozenset[str]:
        """Keys of the finished trials."""
        return frozenset(record["key"] for record in self.records)

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """The study in `folder`, as far as it came.

        Raises:
            PoolError: there is none, or its files are damaged.
        """
        gave = f"the study {folder}"
        try:
            text = (folder / SPEC).read_text("utf-8")
            lines = (folder / TRIALS).read_bytes() if (folder / TRIALS).exists() else b""
        except FileNotFoundError:
            rule = f"it is a folder that poolkit compare made, here without {SPEC}"
            raise PoolError(gave, rule, "name the folder given to compare as --out") from None
        except OSError as error:
            raise PoolError(gave, f"its files can be read, here {error.strerror}", "look at its permissions") from None
        try:
            spec = StudySpec.model_validate_json(text)
        except ValidationError as error:
            raise PoolError(
                gave, f"{SPEC} describes a study, here {error.errors()[0]['msg']}", "run compare anew"
            ) from None
        whole = lines[: lines.rfind(b"\n") + 1]
        records: list[dict[str, Any]] = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                assert {"key", "pool", "seed"} <= record.keys()
            except (ValueError, AssertionError, AttributeError):
                raise PoolError(
                    gave, f"every line of {TRIALS} is a trial, here line {number} is not", f"delete line {number}"
                ) from None
            records.append(record)
        return cls(folder, spec, records, len(whole))

    @classmethod
    def begin(cls, folder: Path, spec: StudySpec) -> Journal:
        """The study in `folder`, made if there is none; one that is there goes on, with more poolings or seeds.

        Raises:
            PoolError: another study is there already, or the folder cannot be written.
        """
        if (folder / SPEC).exists():
            old = cls.read(folder)
            changed = [
                name
                for name, value in spec.training.model_dump().items()
                if value != old.spec.training.model_dump()[name]
            ]
            if changed:
                was = ", ".join(f"{name}={getattr(old.spec.training, name)}" for name in changed)
                raise PoolError(
                    f"--out {folder}", f"a study trains all networks in one way, here it began with {was}",
                    "give the same values, or another folder",
                )  # fmt: skip
            union = {
                "pools": tuple(dict.fromkeys((*old.spec.pools, *spec.pools))),
                "seeds": tuple(dict.fromkeys((*old.spec.seeds, *spec.seeds))),
            }
            spec = spec.model_copy(update=union)
            records, size = old.records, old._size
        else:
            records, size = [], 0
        made = not folder.exists()
        try:
            check_folder(folder)
            write_whole(folder / SPEC, (spec.model_dump_json(indent=2) + "\n").encode())
        except OSError as error:
            if made and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            raise unwritable(folder, error) from None
        return cls(folder, spec, records, size)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Only one process at a time goes on with a study.

        Raises:
            PoolError: another does.
        """
        with (self.folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PoolError(
                    f"--out {self.folder}", "one process works on a study, here another does", "wait for it, or stop it"
                ) from None
            yield

    def append(self, record: dict[str, Any]) -> None:
        """Add a finished trial; when this returns, it is on disk. One that is there already is not added again.

        Raises:
            PoolError: the disk is full or the file cannot be written; the journal is as before.
        """
        if record["key"] in self.done:
            return
        line = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        path = self.folder / TRIALS
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                os.ftruncate(handle, self._size)
                os.lseek(handle, self._size, os.SEEK_SET)
                try:
                    written = os.write(handle, line)
                    if written != len(line):
                        raise OSError(28, "No space left on device")
                    os.fsync(handle)
                except OSError:
                    os.ftruncate(handle, self._size)
                    raise
            finally:
                os.close(handle)
        except OSError as error:
            raise unwritable(self.folder, error) from None
        self._size += len(line)
        self.records.append(record)


def unwritable(folder: Path, error: OSError) -> PoolError:
    """What is said where a study's folder cannot be written."""
    return PoolError(
        f"--out {folder}",
        f"files can be written there, here: {error.strerror or error}",
        "free some space or name another folder; the trials that ended are kept, and the same command goes on",
    )
