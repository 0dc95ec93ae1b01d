"""Every pooling that a model runs: which module or line of code, on what, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from poolkit.errors import flag, integer
from poolkit.surgery.acceleration import check_model
from poolkit.surgery.choice import cells
from poolkit.surgery.tables import print_table
from poolkit.surgery.trial import call, undisturbed
from poolkit.surgery.watch import Site, Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.nn import Module


@dataclass(frozen=True)
class PoolSite:
    """One pooling of a model, as `find_pools` saw it run.

    Attributes:
        kind: ``"module"``, ``"call"`` of a function, or ``"strided convolution"``, which shrinks maps too.
        name: of the module in the model; for a call, of the module whose forward makes it.
        pooling: ``"torch.nn.MaxPool2d"``, ``"torch.nn.functional.max_pool2d"``, ``"torch.Tensor.mean"``.
        place: file and line of a call, ``"net.py:12"``; empty for a module.
        geometry: kernel_size, stride and the other arguments that place the windows.
        input_shape: of the first argument.
        output_shape: of the result; of the values, where indices come with them.
        calls: how often it runs in one forward pass.
        ms: milliseconds in one forward pass.
        time_share: of the whole forward pass's time, between 0 and 1.
        kept_bytes: bytes that the backward pass needs because of it: storages it saved that nothing before it had.
        memory_share: of all such bytes of the forward pass, between 0 and 1.
    """

    kind: str
    name: str
    pooling: str
    place: str
    geometry: dict[str, Any]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    calls: int
    ms: float
    time_share: float
    kept_bytes: int
    memory_share: float


def find_pools(model: Module, example: Any, *, rounds: int = 5, show: bool = False) -> tuple[PoolSite, ...]:
    """Lists every pooling that a model runs on an example: modules, function calls, and strided convolutions.

    The model runs as it stands (training or evaluation), once to see what is kept for the backward pass and `rounds`
    times for the times; gradients are on in the timed runs if it is in training. Buffers and torch's random numbers are
    afterwards as before, no gradient is computed. Calls inside of a pooling module belong to it.

    Args:
        model: any module.
        example: an input: a tensor, a tuple of positional or a dict of keyword arguments.
        rounds: timed forward passes, of which the medians are taken.
        show: also print the list as a table.

    Returns:
        One record for each module or line of code and each shape, in the order in which they first ran.

    Raises:
        PoolError: the model does not take the example.
        PoolTypeError: an argument has a wrong type.

    >>> import torch, poolkit as pk
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(2))
    >>> [(site.kind, site.name, site.output_shape) for site in pk.find_pools(model, torch.rand(1, 3, 17, 17))]
    [('strided convolution', '0', (1, 8, 8, 8)), ('module', '1', (1, 8, 4, 4))]
    """
    check_model(model)
    rounds = integer(rounds, "rounds", 1)
    flag(show, "show")
    watch = Watch(model)
    with undisturbed(model, evaluate=False):
        with torch.enable_grad(), watch.keeping():
            call(model, example)
        kept, every = dict(watch.kept), watch.kept_in_all
        passes: list[dict[Site, float]] = []
        totals: list[float] = []
        for _ in range(rounds):
            with torch.set_grad_enabled(model.training), watch.timing():
                call(model, example)
            passes.append(dict(watch.ms))
            totals.append(watch.ms_in_all)
    whole = median(totals)
    found: list[PoolSite] = []
    for site, count in watch.calls.items():
        ms = median([one.get(site, 0.0) for one in passes])
        mine = kept.get(site, 0)
        found.append(
            PoolSite(
                site.kind,
                site.name,
                site.pooling,
                site.place,
                dict(site.geometry),
                site.input_shape,
                site.output_shape,
                count,
                ms,
                min(ms / whole, 1.0) if whole else 0.0,
                mine,
                mine / every if every else 0.0,
            )
        )
    if show:
        print_pools(type(model).__name__, found, whole, every)
    return tuple(found)


def print_pools(model: str, sites: Sequence[PoolSite], ms: float, kept: int) -> None:
    """The list as a table, with what the whole forward pass takes above it."""
    if not any(site.kind != "strided convolution" for site in sites):
        title = f"{model} runs no pooling"
    else:
        title = f"{model}: forward {ms:.2f} ms, {kept / 1e6:.2f} MB kept for the backward pass"
    rows = [
        (
            f"{site.name or '(the model)'}{f' {site.place}' if site.place else ''}",
            f"{_short(site)}{f' ×{site.calls}' if site.calls > 1 else ''}",
            f"{_shape(site.input_shape)} → {_shape(site.output_shape)}",
            f"{100 * site.time_share:.1f} %",
            f"{100 * site.memory_share:.1f} %",
        )
        for site in sites
    ]
    print_table(title, ("where", "pooling", "shapes", "time", "memory"), rows, numbers=2)


_SILENT: dict[str, Any] = {"padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False, "groups": 1}


def _short(site: PoolSite) -> str:
    """The call, without what says nothing."""
    parts: list[str] = []
    for name, value in site.geometry.items():
        different = set(cells(value))
        shown = different.pop() if len(different) == 1 else value
        if name in _SILENT and shown == _SILENT[name]:
            continue
        if name == "count_include_pad" or (name == "stride" and value == site.geometry.get("kernel_size")):
            continue
        parts.append(f"{shown}" if name in ("kernel_size", "output_size") else f"{name}={shown}")
    return f"{site.pooling.removeprefix('torch.nn.')}({', '.join(parts)})"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
