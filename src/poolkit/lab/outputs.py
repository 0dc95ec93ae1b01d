"""Writes what a study gives: the report, a table of all numbers, and runs for TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from pyarrow import parquet

from poolkit.lab import report
from poolkit.lab.events import hparams_run
from poolkit.lab.journal import Journal, unwritable
from poolkit.lab.measures import measures
from poolkit.show.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

REPORT, TABLE, BOARD = "report.html", "results.parquet", "tensorboard"


def write(journal: Journal, lang: str | None = None) -> list[Path]:
    """``report.html``, ``results.parquet`` and a folder ``tensorboard`` in the study's folder; gives their paths.

    Each file is written whole or not at all.

    Raises:
        PoolError: no trial has ended yet, or the folder cannot be written.
    """
    page = report.render(journal, lang=lang).encode("utf-8")
    buffer = io.BytesIO()
    table = cast("Any", pa.Table.from_pylist([flat(record) for record in journal.records]))
    parquet.write_table(table, buffer)
    folder = journal.folder
    try:
        write_whole(folder / TABLE, buffer.getvalue())
        for record in journal.records:
            if "metrics" in record:
                _board(folder / BOARD / record["pool"].replace("/", "_") / f"seed-{record['seed']}", record)
        write_whole(folder / REPORT, page)
    except OSError as error:
        raise unwritable(folder, error) from None
    return [folder / TABLE, folder / BOARD, folder / REPORT]


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as one row: nested names are joined by dots, lists stay lists."""
    row: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            row |= {f"{key}.{name}": inner for name, inner in flat(cast("dict[str, Any]", value)).items()}
        else:
            row[key] = value
    return row


def _board(folder: Path, record: Mapping[str, Any]) -> None:
    """One run of the HParams tab; a run that is there already is complete."""
    if folder.is_dir() and any(folder.iterdir()):
        return
    known = measures(record["task"])
    found = {
        known[key].title.en: float(value)
        for key, value in record["metrics"].items()
        if key in known and value is not None
    }
    training = {key: value for key, value in record["training"].items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        folder / f"events.out.tfevents.{0:010d}.study",
        hparams_run({"pool": record["pool"], "seed": record["seed"], **training}, found),
    )
