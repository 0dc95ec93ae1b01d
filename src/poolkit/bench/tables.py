"""What a run prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from poolkit.bench.growth import KERNELS, SHAPE
from poolkit.bench.report import number, peer_ratio, slower, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.bench.measure import Result, Settings
    from poolkit.bench.report import Growth

NARROWEST = 190  # columns that the table of layers needs
WORST_SHOWN = 10


def show(results: Sequence[Result], growth: Growth, settings: Settings) -> None:
    """Print the tables."""
    console = Console()
    console.width = max(console.width, NARROWEST)
    if results:
        console.print(_layers(results, settings))
        console.print(_means(results, [name for name in settings.peers if not name.startswith("poolkit")]))
        losses = sorted((ratio, result.row.name, peer) for result in results for peer, ratio in slower(result))
        for ratio, name, peer in losses[:WORST_SHOWN]:
            console.print(f"[yellow]slower than {peer}: {name}, whose time is {ratio:.2f} of poolkit's")
        for result in results:
            for name, reason in result.absent.items():
                if "differ" in reason:
                    console.print(f"[yellow]{result.row.name}: {name} left out: {reason}")
    if growth:
        console.print(_growth(growth))


def _layers(results: Sequence[Result], settings: Settings) -> Any:
    threads = "one thread" if settings.threads == 1 else f"{settings.threads} threads"
    title = f"one layer {settings.direction}, {settings.dtype}, {threads}; peers: their time / poolkit's"
    mine = [name for name in settings.peers if name.startswith("poolkit")]
    peers = [name for name in settings.peers if not name.startswith("poolkit")]
    table = Table(title=title)
    for heading in ("layer", "input", "window", "kind", "floor ms"):
        table.add_column(heading, no_wrap=True)
    for name in mine:
        table.add_column(f"{name}\nms", justify="right", no_wrap=True)
        table.add_column("/floor", justify="right", no_wrap=True)
    for name in peers:
        table.add_column(name.replace("-", "-\n"), justify="right")
    for result in results:
        row = result.row
        cells = [row.name, "x".join(map(str, row.shape)), row.describe(), row.kind, number(result.floor_ms)]
        for name in mine:
            cells += [number(result.ms.get(name)), number(result.over_floor(name))]
        cells += [number(peer_ratio(result, name), "x") for name in peers]
        table.add_row(*cells)
    return table


def _means(results: Sequence[Result], peers: Sequence[str]) -> Any:
    table = Table(title="geometric means")
    for heading in ("group", "rows", "poolkit/floor", "poolkit-nhwc/floor", *peers, "slower than torch"):
        table.add_column(heading, justify="right")
    for item in summarise(results):
        ratios = [number(item.ratios.get(name), "x") for name in peers]
        means = [number(item.over_floor), number(item.over_floor_last)]
        table.add_row(item.group, str(item.rows), *means, *ratios, str(item.slower))
    return table


def _growth(growth: Growth) -> Any:
    table = Table(title=f"stride 1 on {'x'.join(map(str, SHAPE))}: ms, and the time over that of 3x3")
    table.add_column("kernel", justify="right")
    for kind in growth:
        table.add_column(kind, justify="right")
    for side in KERNELS:
        times = [f"{number(ms[side])}  {ms[side] / ms[KERNELS[0]]:.2f}" for ms in growth.values()]
        table.add_row(f"{side}x{side}", *times)
    return table
