"""The command `poolkit bench`."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolkit.show.commands import app, refuse, shorten

if TYPE_CHECKING:
    from poolkit.bench.measure import Result, Settings
    from poolkit.bench.rows import Row


class Dtype(StrEnum):
    """The dtypes the bench knows."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


class Layout(StrEnum):
    """Where the channels lie in memory."""

    both = "both"
    first = "first"
    last = "last"


@app.command()
def bench(
    filter_: Annotated[str, typer.Option("--filter", help="Only layers whose network/layer contains this text.")] = "",
    threads: Annotated[int, typer.Option(help="Threads of every contestant.", min=1, max=256)] = 1,
    dtype: Annotated[Dtype, typer.Option(help="Type of the cells.")] = Dtype.float32,
    backward: Annotated[bool, typer.Option("--backward", help="Forward and backward, not forward alone.")] = False,
    layout: Annotated[Layout, typer.Option(help="Channels first, last, or both.")] = Layout.both,
    peers: Annotated[
        str | None,
        typer.Option(help="Contestants beside poolkit, comma-separated; '' for none. Default: all installed."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A cross-section of the layers, in about a minute.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for bench.json, bench.csv and bench.png.")] = Path(
        "poolkit-bench"
    ),
) -> None:
    """Time pooling layers of real networks on this machine, against the copy floor and other libraries."""
    if find_spec("matplotlib") is None:
        refuse("you gave  bench, without matplotlib installed\ndo this   pip install 'poolkit[show]'")
    from poolkit.bench.clock import recycle_memory, set_threads
    from poolkit.bench.contestants import PEERS
    from poolkit.bench.machine import busy, circumstances
    from poolkit.bench.measure import Settings
    from poolkit.bench.report import save
    from poolkit.bench.selection import QUICK_SECONDS, contestants, layers
    from poolkit.show.files import check_folder, write_whole

    rows = layers(filter_, quick=quick, dtype=dtype.value)
    if not rows:
        refuse(
            f"you gave  --filter {shorten(filter_)}\nthe rule  a part of a layer's name, here no layer has it\n"
            "do this   try resnet, vgg, yolo, unet, audio, tiny or none at all"
        )
    try:
        names = contestants(layout.value, peers)
    except KeyError as error:
        refuse(
            f"you gave  --peers {shorten(peers or '')}\nthe rule  names of contestants, here unknown: "
            f"{shorten(error.args[0])}\ndo this   choose from {', '.join(PEERS)}"
        )
    try:
        check_folder(out)
    except OSError as error:
        refuse(_unwritable(out, error))
    recycled = recycle_memory()
    if warning := busy(threads):
        typer.echo(f"warning: {warning}", err=True)
    seconds = QUICK_SECONDS if quick else Settings.seconds
    settings = Settings(threads, seconds=seconds, peers=names, dtype=dtype.value, backward=backward)
    set_threads(threads)
    results = _timed(rows, settings)
    if not results:
        refuse(f"you gave  --dtype {dtype.value}\nthe rule  NumPy arrays of it\ndo this   pip install ml_dtypes")

    from poolkit.bench.plot import png
    from poolkit.bench.tables import show

    show(results, {}, settings)
    facts = circumstances(settings, recycled=recycled)
    try:
        saved = save(out.resolve() / "bench", results, {}, facts, [])
        picture = out.resolve() / "bench.png"
        write_whole(picture, png(results, facts))
    except OSError as error:
        refuse(_unwritable(out, error))
    typer.echo("\n".join(map(str, [*saved, picture])))


def _unwritable(out: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"you gave  --out {out}\nthe rule  files can be written there, here: {reason}\ndo this   name another folder"


def _timed(rows: list[Row], settings: Settings) -> list[Result]:
    """Every row, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from poolkit.bench.measure import DiffersError, measure
    from poolkit.bench.task import Unavailable

    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn())
    columns += (TimeElapsedColumn(), TimeRemainingColumn())
    results: list[Result] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(rows))
        for row in rows:
            progress.update(task, description=row.name)
            try:
                results.append(measure(row, settings))
            except DiffersError as error:
                typer.echo(f"poolkit: {error}", err=True)
                raise typer.Exit(1) from None
            except Unavailable:
                return []
            progress.advance(task)
    return results
