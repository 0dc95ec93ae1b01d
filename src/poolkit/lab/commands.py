"""The lab's commands. As in `poolkit.show.commands`, nothing heavy is imported before one runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolkit.show.commands import Lang, refuse

if TYPE_CHECKING:
    from poolkit.lab.journal import Journal

app = typer.Typer()

_NEEDS = {
    "torch": "torch", "pydantic": "pydantic", "scipy": "scipy", "joblib": "joblib", "pyarrow": "pyarrow",
    "jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow", "tensorboard": "tensorboard",
}  # fmt: skip


class Augment(StrEnum):
    """What is done to training images."""

    none = "none"
    shift = "shift"
    flip = "flip"
    both = "shift-flip"


class Place(StrEnum):
    """Where trials run."""

    processes = "processes"
    ray = "ray"
    dask = "dask"


class Want(StrEnum):
    """What can be asked for."""

    accuracy = "accuracy"
    latency = "latency"
    shift = "shift"
    memory = "memory"


@app.command()
def compare(
    data: Annotated[
        str, typer.Option(help="digits, shapes, or KIND:PATH, as cifar10:cifar-10-python.tar.gz.")
    ] = "digits",
    model: Annotated[
        str | None, typer.Option(help="A model of the lab, or module:factory of your own; lenet, or unet for masks.")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="Poolings, with commas; the others are compared with the first. By default eight."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Networks for each pooling.")] = 5,
    epochs: Annotated[int, typer.Option(help="Times every training image is seen.")] = 15,
    batch_size: Annotated[int, typer.Option(help="Images of a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Largest learning rate.")] = 2e-3,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-2,
    augment: Annotated[Augment, typer.Option(help="What is done to training images.")] = Augment.none,
    limit: Annotated[int | None, typer.Option(help="Training images at most.")] = None,
    probe: Annotated[int, typer.Option(help="Test images for shifts, scales, turns and noise.")] = 500,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels that pictures of folder: and hf: are scaled to.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Let torchvision fetch CIFAR or MNIST to PATH.")] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Of one trial.")] = 1,
    processes: Annotated[int, typer.Option(help="Of one trial: DistributedDataParallel through torchrun.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at a time; by default one for each core.")] = None,
    backend: Annotated[Place, typer.Option(help="Processes of this machine, or a cluster.")] = Place.processes,
    address: Annotated[str | None, typer.Option(help="Of the Ray or Dask cluster; without it one starts here.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the study; one that is there goes on.")] = Path(
        "poolkit-study"
    ),
    lang: Annotated[Lang | None, typer.Option(help="Language of the table, and the one the report opens in.")] = None,
) -> None:
    """Train one network for each pooling and seed, and report which pooling does what, and how sure that is."""
    _needed("compare")
    from poolkit.errors import PoolError

    with _refusing():
        from poolkit.lab import poolings
        from poolkit.lab.backends import Backend
        from poolkit.lab.data import load
        from poolkit.lab.outputs import write
        from poolkit.lab.spec import study_spec
        from poolkit.lab.study import compare as run

        if address is not None and backend is Place.processes:
            raise PoolError(f"--address {address}", "an address is that of a cluster", "add --backend ray or dask")
        spec = study_spec(
            data=data, model=model or ("unet" if data.split(":")[0] == "shapes" else "lenet"),
            pools=poolings.split(pool) if pool is not None else poolings.DEFAULT, seeds=range(seeds),
            epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, augment=augment.value,
            limit=limit, probe=probe, size=size, device=device, threads=threads, processes=processes,
        )  # fmt: skip
        if download:
            load(spec.training.data, size=size, download=True)
        where = Backend(backend.value, workers or _cores(threads * processes), address)
        try:
            with _progress() as step:
                journal = run(spec, out, where, shlex.join(["poolkit", *sys.argv[1:]]), step)
        except KeyboardInterrupt:
            typer.echo(f"stopped; {out} keeps the trials that ended, and the same command goes on", err=True)
            raise typer.Exit(130) from None
        paths = write(journal, lang)
    _tell(journal, lang or Lang.en)
    typer.echo("\n".join(str(path.resolve()) for path in paths))


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study.")],
    lang: Annotated[Lang | None, typer.Option(help="Language of the table, and the one the report opens in.")] = None,
) -> None:
    """Draw the report of a study anew, finished or not."""
    _needed("report")
    with _refusing():
        from poolkit.lab.journal import Journal
        from poolkit.lab.outputs import write

        journal = Journal.read(study)
        paths = write(journal, lang)
    _tell(journal, lang or Lang.en)
    typer.echo("\n".join(str(path.resolve()) for path in paths))


@app.command()
def advise(
    study: Annotated[Path, typer.Argument(help="Folder of a study.")],
    want: Annotated[Want, typer.Option(help="What matters.")] = Want.accuracy,
    lang: Annotated[Lang, typer.Option(help="Language of the answer.")] = Lang.en,
) -> None:
    """Say which pooling a study speaks for, and how sure it is."""
    _needed("advise")
    with _refusing():
        from poolkit.lab.journal import Journal
        from poolkit.lab.verdict import advice

        words = advice(Journal.read(study), want.value)
    typer.echo(words.say(lang))


@app.command()
def tensorboard(
    data: Annotated[
        str, typer.Option(help="digits, shapes, or KIND:PATH, as cifar10:cifar-10-python.tar.gz.")
    ] = "digits",
    pool: Annotated[str, typer.Option(help="Poolings, with commas; each becomes a run.")] = "max",
    kernel: Annotated[int, typer.Option("--kernel", "-k", help="Side of the window.")] = 3,
    stride: Annotated[int | None, typer.Option(help="Distance of windows; by default the kernel.")] = None,
    padding: Annotated[int, typer.Option(help="Cells added on both sides.")] = 0,
    ceil: Annotated[bool, typer.Option("--ceil/--floor", help="Keep a last window that overhangs the end.")] = False,
    logdir: Annotated[Path, typer.Option(help="Folder for TensorBoard.")] = Path("logs"),
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step.")] = 64,
    batches: Annotated[int | None, typer.Option(min=1, help="Steps at most; by default all test images.")] = None,
    train: Annotated[bool, typer.Option("--train/--test", help="Which images.")] = False,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels that pictures of folder: and hf: are scaled to.")
    ] = None,
) -> None:
    """Show batches before and after pooling in TensorBoard, what was lost, the windows, and where gradients go."""
    _needed("tensorboard")
    with _refusing():
        from poolkit.lab import poolings
        from poolkit.lab.data import load
        from poolkit.lab.tensorboard import log
        from poolkit.show.text import shape_text

        pools = [poolings.parse(name) for name in poolings.split(pool)]
        data_set = load(data, size=size)
        split = data_set.train if train else data_set.test
        found = log(
            split, pools, logdir, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil,
            batch_size=batch_size, batches=batches,
        )  # fmt: skip
    for run in found:
        typer.echo(
            f"{run.pool}: {shape_text(run.before)} -> {shape_text(run.after)}, {run.batches} steps, {run.folder}"
        )
    typer.echo(f"tensorboard --logdir {logdir}")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="module:factory, imported from the working directory, as nets:ResNet.")],
    image: Annotated[Path, typer.Argument(help="A picture of any common kind.")],
    size: Annotated[int, typer.Option(min=8, help="The picture is scaled so that its longest side has this.")] = 224,
    out: Annotated[Path, typer.Option("--out", "-o", help="The sheet, a PNG.")] = Path("layers.png"),
) -> None:
    """Write the maps of a model before and after every pooling as a contact sheet."""
    _needed("layers")
    with _refusing():
        import torch

        from poolkit.errors import PoolError
        from poolkit.lab.layers import layers as look
        from poolkit.lab.layers import sheet
        from poolkit.show.factory import load_model
        from poolkit.show.files import check_folder, write_whole
        from poolkit.show.picture import PictureError, load

        try:
            picture = load(image, longest_side=size)
        except PictureError as error:
            refuse(str(error))
        found = look(load_model(model), torch.from_numpy(picture.x))
        try:
            check_folder(out.parent)
            write_whole(out, sheet(found, picture, model))
        except OSError as error:
            raise PoolError(
                f"--out {out}", f"a file can be written there, here: {error.strerror or error}", "name another file"
            ) from None
    typer.echo(str(out.resolve()))


def _tell(journal: Journal, lang: Lang) -> None:
    from poolkit.lab.tables import print_journal

    print_journal(journal, lang)


def _cores(each: int) -> int:
    from poolkit.show.about import machine

    return max(1, machine().cores // each)


def _needed(command: str) -> None:
    missing = [package for module, package in _NEEDS.items() if find_spec(module) is None]
    if missing:
        refuse(f"you gave  {command}, without {', '.join(missing)} installed\ndo this   pip install 'poolkit[lab]'")


@contextmanager
def _refusing() -> Generator[None]:
    """What the user can put right is said in three lines, with exit status 2."""
    from poolkit.errors import PoolError

    try:
        yield
    except PoolError as error:
        refuse(str(error))


@contextmanager
def _progress() -> Generator[Callable[[dict[str, Any], int, int], None]]:
    """A bar on stderr with the time that is left, and a function that moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("first trial", total=None)

        def step(record: dict[str, Any], done: int, total: int) -> None:
            found = record.get("metrics")
            said = f"{100 * found['score']:.1f} %" if found else "failed"
            bar.update(
                task, total=total, completed=done, description=f"{record['pool']}, seed {record['seed']}: {said}"
            )

        yield step
