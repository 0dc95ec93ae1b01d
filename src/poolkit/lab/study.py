"""Runs what is missing of a study, and keeps what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolkit.errors import PoolError
from poolkit.lab.backends import Backend, check_backend, results
from poolkit.lab.journal import Journal
from poolkit.lab.trial import data_of, network

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.lab.spec import StudySpec


def check(spec: StudySpec) -> str:
    """Reads the data and builds one network of each kind; gives the hash of the data.

    Raises:
        PoolError: data, model and poolings do not fit together; nothing has been written.
    """
    training = spec.training
    if training.device != "cpu":
        _check_device(training.device)
    data = data_of(training.data, training.size, training.limit)
    for pool in spec.pools:
        network(training, pool, data, seed=0)
    return data.digest


def compare(
    spec: StudySpec,
    folder: Path,
    backend: Backend | None = None,
    command: str = "",
    step: Callable[[dict[str, Any], int, int], None] | None = None,
) -> Journal:
    """Runs every trial that `folder` has not seen yet.

    Args:
        spec: poolings, seeds, and how to train.
        folder: of the study; one that is there goes on where it stopped.
        backend: where trials run; by default one after another in this process.
        command: what the user typed, for the records.
        step: called with each new record, the number of finished trials and that of all.

    Returns:
        The journal with all records.

    Raises:
        PoolError: something does not fit, or cannot be read, written or reached.
    """
    digest = check(spec)
    backend = backend or Backend()
    check_backend(backend)
    journal = Journal.begin(folder, spec)
    with journal.locked():
        others = {record["data_hash"] for record in journal.records} - {digest}
        if others:
            raise PoolError(
                f"--data {spec.training.data}", f"a study has one set of data, here {folder} began with {others.pop()}",
                "give the same files, or another folder",
            )  # fmt: skip
        every = journal.spec.trials(digest)
        todo = [trial for trial in every if trial.key not in journal.done]
        for record in results(todo, backend, command):
            journal.append(record)
            if step is not None:
                step(record, len(every) - len(todo) + _count(journal, todo), len(every))
    return journal


def _count(journal: Journal, todo: list[Any]) -> int:
    return len(journal.done & {trial.key for trial in todo})


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise PoolError(f"--device {device}", f"torch has this device, here: {reason}", "give cpu or cuda") from None
