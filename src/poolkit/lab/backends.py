"""Where trials run: processes of this machine, or a cluster, through joblib."""

from __future__ import annotations

import importlib
import logging
import queue
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlparse

import joblib

from poolkit.errors import PoolError
from poolkit.lab import trial as trials
from poolkit.lab.spec import Trial

Kind = Literal["processes", "ray", "dask"]
Run = Callable[[Trial, str, str], dict[str, Any]]

_PATIENCE = 5.0  # seconds for a cluster to answer


@dataclass(frozen=True)
class Backend:
    """Where, and how many trials at a time. `address` is that of a cluster; without one, one of this machine starts."""

    kind: Kind = "processes"
    workers: int = 1
    address: str | None = None


def results(todo: Sequence[Trial], backend: Backend, command: str = "") -> Generator[dict[str, Any]]:
    """The records of all trials, each as soon as it is there.

    Raises:
        PoolError: the cluster cannot be reached, or its library is not installed.
    """
    if backend.kind == "processes" and backend.workers == 1:
        yield from (trials.run(trial, command, backend.kind) for trial in todo)
        return
    calls: list[Any] = [joblib.delayed(trials.run)(trial, command, backend.kind) for trial in todo]
    settings: dict[str, Any] = {"n_jobs": backend.workers, "batch_size": 1, "pre_dispatch": "n_jobs"}
    if backend.kind == "processes":
        yield from _parallel(calls, backend="loky", return_as="generator_unordered", **settings)
        return
    with connected(backend):
        if backend.kind == "dask":
            yield from _parallel(calls, return_as="generator_unordered", **settings)
        else:
            yield from _through_ray(todo, settings, command)


def _parallel(calls: list[Any], **settings: Any) -> Iterator[dict[str, Any]]:
    """What joblib gives for `calls`, one by one; its own types allow None, which `trials.run` never returns."""
    return cast("Iterator[dict[str, Any]]", joblib.Parallel(**settings)(calls))


@contextmanager
def connected(backend: Backend) -> Generator[None]:
    """A cluster that joblib uses within the block. One that was started for it ends with it.

    Raises:
        PoolError: it cannot be reached, or its library is not installed.
    """
    if backend.kind == "processes":
        yield
        return
    library = check_backend(backend)
    with _ray(library, backend) if backend.kind == "ray" else _dask(library, backend):
        yield


def check_backend(backend: Backend) -> Any:
    """The library of a cluster; None for processes. Tries its address for a few seconds, not for their minutes.

    Raises:
        PoolError: the library is not installed, or nobody answers at the address.
    """
    if backend.kind == "processes":
        return None
    _check_reachable(backend)
    name = "ray" if backend.kind == "ray" else "distributed"
    try:
        return importlib.import_module(name)
    except ImportError:
        raise PoolError(
            f"--backend {backend.kind}",
            f"it needs {name}, which is not installed",
            "pip install 'poolkit[cluster]'",
        ) from None


@contextmanager
def _ray(ray: Any, backend: Backend) -> Generator[None]:
    mine = not ray.is_initialized()
    if mine:
        given: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        given |= (
            {"address": backend.address}
            if backend.address
            else {"num_cpus": backend.workers, "include_dashboard": False}
        )
        try:
            ray.init(**given)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            raise _unreachable(backend, error) from None
    importlib.import_module("ray.util.joblib").register_ray()
    try:
        with joblib.parallel_config("ray"):
            yield
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _dask(distributed: Any, backend: Backend) -> Generator[None]:
    try:
        if backend.address:
            client = distributed.Client(backend.address, timeout=_PATIENCE, set_as_default=False)
        else:
            cluster = distributed.LocalCluster(
                n_workers=backend.workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
            client = distributed.Client(cluster, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise _unreachable(backend, error) from None
    try:
        with joblib.parallel_config("dask", client=client):
            yield
    finally:
        cluster = None if backend.address else client.cluster
        client.close()
        if cluster is not None:
            cluster.close()


def _check_reachable(backend: Backend) -> None:
    """A few seconds instead of the minutes that the libraries try for."""
    if backend.address is None or backend.address in {"auto", "local"}:
        return
    text = backend.address if "//" in backend.address else f"//{backend.address}"
    try:
        parts = urlparse(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _unreachable(backend, error) from None
    if not host or not port:
        raise _unreachable(backend, ValueError("it has no host and port"))
    try:
        socket.create_connection((host, port), timeout=_PATIENCE).close()
    except OSError as error:
        raise _unreachable(backend, error) from None


def _unreachable(backend: Backend, error: BaseException) -> PoolError:
    example = "ray://host:10001 or host:6379" if backend.kind == "ray" else "tcp://host:8786"
    return PoolError(
        f"--backend {backend.kind} --address {backend.address or '(none)'}",
        f"the cluster answers, here: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        f"look whether it runs and give its address, such as {example}; without --address one starts on this machine",
    )


def _through_ray(todo: Sequence[Trial], settings: dict[str, Any], command: str) -> Iterator[dict[str, Any]]:
    """Ray's joblib backend gives its answers only all together at the end, so each worker posts its own at once."""
    mailbox: Any = importlib.import_module("ray.util.queue").Queue()
    ended = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with joblib.parallel_config("ray"):
                joblib.Parallel(**settings)(joblib.delayed(_posted)(trial, command, mailbox) for trial in todo)
        except BaseException as error:  # noqa: BLE001  it is raised again where the records are read
            failed.append(error)
        finally:
            ended.set()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    missing = len(todo)
    while missing:
        over = ended.is_set()
        try:
            yield mailbox.get(timeout=0.2)
        except queue.Empty:
            if over:
                break
        else:
            missing -= 1
    worker.join()
    mailbox.shutdown()
    if failed:
        raise failed[0]


def _posted(trial: Trial, command: str, mailbox: Any) -> None:
    mailbox.put(trials.run(trial, command, "ray"))
