"""Runs one trial: builds, trains and measures a network, and gives everything about it as one record."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import poolkit
from poolkit.errors import PoolError
from poolkit.lab import metrics
from poolkit.lab.cost import costs, output_shapes
from poolkit.lab.data import Dataset, load
from poolkit.lab.models import build
from poolkit.lab.poolings import is_made, parse
from poolkit.lab.train import Tensors, prepared, train

if TYPE_CHECKING:
    from torch import nn

    from poolkit.lab.spec import Training, Trial

_DDP_SECONDS = 24 * 3600


@functools.lru_cache(maxsize=1)
def data_of(spec: str, size: int | None, limit: int | None) -> Dataset:
    """The data of a study; a worker reads it once for all of its trials."""
    return load(spec, size=size).limited(limit)


def network(training: Training, pool: str, data: Dataset, seed: int) -> nn.Module:
    """The network of a trial, with parameters drawn from `seed`.

    Raises:
        PoolError: model, pooling and data do not fit together.
    """
    torch.manual_seed(seed)
    return build(training.model, data.channels, len(data.classes), data.size, parse(pool), data.task).to(
        training.device
    )


def run(trial: Trial, command: str = "", backend: str = "processes") -> dict[str, Any]:
    """Trains and measures one network; the record holds JSON values alone.

    The same trial gives the same numbers wherever it runs, times aside, as long as torch and the processor's
    instruction set are the same. A network whose training fails gives a record with ``error``.

    Args:
        trial: what to run.
        command: what the user typed, for the record.
        backend: where it runs, for the record.

    Raises:
        PoolError: the worker finds other data than the study began with.
    """
    if trial.training.processes > 1:
        return _distributed(trial, command, backend)
    record = _head(trial, command, backend)
    begin = time.perf_counter()
    before = torch.get_num_threads()
    torch.set_num_threads(trial.training.threads)
    try:
        data = data_of(trial.training.data, trial.training.size, trial.training.limit)
        if trial.data_hash and data.digest != trial.data_hash:
            raise PoolError(
                f"--data {trial.training.data}", f"all workers have the data {trial.data_hash}, here {data.digest}",
                "give all machines the same files at the same path",
            )  # fmt: skip
        try:
            record |= _measured(trial, data)
        except DivergedError as error:
            record["error"] = str(error)
    finally:
        torch.set_num_threads(before)
    record["seconds"] = round(time.perf_counter() - begin, 3)
    return record


class DivergedError(RuntimeError):
    """The training of one network failed: a result, not a mistake of the study."""


def _measured(trial: Trial, data: Dataset) -> dict[str, Any]:
    settings = trial.training
    model = network(settings, trial.pool, data, trial.seed)
    learn, judge = prepared(data, settings.device)
    torch.manual_seed(trial.seed)
    try:
        losses = train(model, learn, settings, trial.seed)
    except PoolError as error:
        raise DivergedError(error.rule) from None
    classes = len(data.classes)
    few = Tensors(judge.x[: settings.probe], judge.y[: settings.probe])
    torch.manual_seed(trial.seed)
    scored = metrics.score(metrics.predict(model, judge.x), judge.y, classes)
    trained = metrics.score(metrics.predict(model, learn.x), learn.y, classes)
    changed = metrics.robustness(model, few, classes)
    return {
        "metrics": {
            "score": scored,
            "train_score": trained,
            "gap": trained - scored,
            "loss": metrics.mean_loss(model, judge),
            "consistency": metrics.shift_consistency(model, few),
            "robustness": float(np.mean(list(changed.values()))),
            **costs(model, few),
        },
        "curve": metrics.shift_curve(model, few, classes),
        "changes": changed,
        "losses": losses,
        "outputs": output_shapes(model, judge.x[:1], is_made),
    }


def _head(trial: Trial, command: str, backend: str) -> dict[str, Any]:
    """Everything that is known before the first step: what runs, on what, and how it was asked for."""
    from poolkit.show.about import machine

    about = machine()
    data = data_of(trial.training.data, trial.training.size, trial.training.limit)
    return {
        "key": trial.key,
        "pool": trial.pool,
        "seed": trial.seed,
        "training": trial.training.model_dump(),
        "task": data.task,
        "data_hash": data.digest,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "environment": {
            "poolkit": poolkit.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": about.processor,
            "isa": about.isa,
            "threads": trial.training.threads,
            "processes": trial.training.processes,
            "device": trial.training.device,
            "backend": backend,
        },
    }


def _distributed(trial: Trial, command: str, backend: str) -> dict[str, Any]:
    """The same in several processes of torchrun, which share every batch; the first of them measures."""
    with tempfile.TemporaryDirectory(prefix="poolkit-trial-") as folder:
        given, made = Path(folder, "trial.json"), Path(folder, "record.json")
        given.write_text(json.dumps({"trial": trial.model_dump(), "command": command, "backend": backend}), "utf-8")
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        torchrun += ["--nproc-per-node", str(trial.training.processes), "-m", "poolkit.lab.torchrun"]
        done = subprocess.run(  # noqa: S603  the command is made of our own words and two temporary paths
            [*torchrun, str(given), str(made)], capture_output=True, text=True, check=False, timeout=_DDP_SECONDS
        )
        if done.returncode != 0 or not made.is_file():
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise PoolError(
                f"--processes {trial.training.processes}", f"torchrun trains the network, here it said: {last}",
                "try --processes 1",
            )  # fmt: skip
        return json.loads(made.read_text("utf-8"))
