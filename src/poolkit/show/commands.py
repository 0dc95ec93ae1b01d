"""The commands. Nothing heavy is imported before a command runs, so that ``--help`` answers at once."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from poolkit.show.picture import Picture
    from poolkit.show.study import Study

app = typer.Typer(
    name="poolkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SHOW_NEEDS = {"PIL": "pillow", "jinja2": "jinja2"}


class Lang(StrEnum):
    """The languages poolkit speaks."""

    en = "en"
    zh = "zh"


def refuse(message: str) -> NoReturn:
    """Say on stderr what is wrong and leave with status 2."""
    typer.echo(f"poolkit cannot do this\n{message}", err=True)
    raise typer.Exit(2)


def shorten(given: str) -> str:
    """What somebody typed, short enough for a message."""
    return given if len(given) <= 80 else f"{given[:60]}..."


def _version(asked: bool) -> None:
    if asked:
        import poolkit

        typer.echo(f"poolkit {poolkit.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Pooling for neural networks: any window with any reducer."""


@app.command()
def show(
    image: Annotated[
        Path | None, typer.Argument(help="A picture of any common kind; by default a photograph that scikit-learn has.")
    ] = None,
    kernel: Annotated[int, typer.Option("--kernel", "-k", help="Side of the pooling window, in pixels.")] = 4,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report and the contact sheet.")] = Path(
        "poolkit-show"
    ),
    lang: Annotated[
        Lang | None, typer.Option(help="Language of the table, and the one the report opens in (both are inside).")
    ] = None,
) -> None:
    """Pool a picture with every reducer through every window, and write a report of what came out."""
    missing = [package for module, package in _SHOW_NEEDS.items() if find_spec(module) is None]
    if missing:
        refuse(f"you gave  show, without {' and '.join(missing)} installed\ndo this   pip install 'poolkit[show]'")
    from poolkit.errors import PoolError
    from poolkit.show.files import check_folder, write_whole
    from poolkit.show.picture import PictureError, default_picture, load
    from poolkit.show.tables import print_study

    try:
        picture = load(image if image is not None else default_picture())
    except PictureError as error:
        refuse(str(error))
    from poolkit.show.study import lenses

    try:
        lenses(kernel, picture.height, picture.width)
        check_folder(out)
    except PoolError as error:
        refuse(str(error))
    except OSError as error:
        refuse(_unwritable(out, error))

    sheet_path, page_path = out.resolve() / "contact-sheet.png", out.resolve() / "report.html"
    study, sheet, page = _make(picture, kernel, lang)
    try:
        write_whole(sheet_path, sheet)
        write_whole(page_path, page)
    except OSError as error:
        refuse(_unwritable(out, error))
    print_study(study, lang or Lang.en)
    typer.echo(f"{sheet_path}\n{page_path}")


def _unwritable(out: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"you gave  --out {out}\nthe rule  files can be written there, here: {reason}\ndo this   name another folder"


def _make(picture: Picture, kernel: int, lang: Lang | None) -> tuple[Study, bytes, bytes]:
    """The study, the contact sheet and the page, all in memory, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from poolkit.show import report, sheet, study
    from poolkit.show.peers import PeerMismatchError, load_torch

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        count = len(study.operators()) * len(study.lenses(kernel, picture.height, picture.width))
        task = progress.add_task("import torch", total=count + 2)

        def step(cell: study.Cell) -> None:
            progress.update(task, advance=1, description=f"{cell.operator.reducer.name} · {cell.lens.name.en}")

        torch = load_torch()
        try:
            done = study.run(picture, kernel, torch, step)
        except PeerMismatchError as error:
            typer.echo(f"poolkit: {error}", err=True)
            raise typer.Exit(1) from None
        progress.update(task, description="contact sheet")
        png = sheet.draw(done)
        progress.update(task, advance=1, description="report")
        page = report.render(done, lang=lang).encode("utf-8")
        progress.update(task, advance=1)
    return done, png, page


@app.command("list")
def list_(
    family: Annotated[
        str | None, typer.Option("--family", help="Only one family, such as local, random or attention.")
    ] = None,
    lang: Annotated[Lang, typer.Option(help="Language of the table.")] = Lang.en,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: all that is known of each.")] = False,
) -> None:
    """List every named pooling of the catalogue."""
    from poolkit.catalog import CATALOG, FAMILIES

    if family is not None and family not in FAMILIES:
        refuse(
            f"you gave  --family {shorten(family)}\nthe rule  a family of the catalogue, here unknown\n"
            f"do this   name one of {', '.join(FAMILIES)}"
        )
    rows = [entry for entry in CATALOG if family in (None, entry.family)]
    if as_json:
        from poolkit.show.look_up import record

        typer.echo(json.dumps([record(entry) for entry in rows], indent=2, ensure_ascii=False))
    else:
        from poolkit.show.tables import print_catalog

        print_catalog(rows, lang)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="A name from `poolkit list`, or of a module, such as MaxPool2d.")],
    lang: Annotated[Lang, typer.Option(help="Language of the text.")] = Lang.en,
    why: Annotated[
        bool, typer.Option("--why", help="Instead: what serves its calls on the CPU and on a GPU, and why.")
    ] = False,
) -> None:
    """Explain one pooling: formula, when to use it and when not, parameters, gradient, cost, traps, source, example."""
    from poolkit.show.look_up import find, suggestions

    entry = find(name)
    if entry is None:
        near = suggestions(name)
        advice = f"did you mean {', '.join(near)}? " if near else ""
        refuse(
            f"you gave  {shorten(name)}\nthe rule  a name in the catalogue, here unknown\ndo this   {advice}"
            "poolkit list shows all names"
        )
    if why:
        from poolkit.show.why import available

        if not available():
            refuse("you gave  --why, without torch installed\ndo this   pip install torch")
        from poolkit.show.tables import print_steps

        print_steps(entry)
        return
    from poolkit.show.tables import print_entry

    print_entry(entry, lang)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="module:factory; the factory makes the model.")],
    input: Annotated[
        list[str], typer.Option("--input", "-i", help="Shape of an input, such as 1x3x224x224; once for each input.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("model.onnx"),
    opset: Annotated[int, typer.Option(help="Version of ONNX's operator set, 18 to 23.")] = 20,
    dynamic_batch: Annotated[bool, typer.Option(help="Leave the first axis of all inputs open.")] = False,
    assume_finite: Annotated[
        bool, typer.Option(help="No pooled cell is NaN or infinite: the quickest operators.")
    ] = False,
    verify: Annotated[bool, typer.Option(help="Compare the file in ONNX Runtime with the model.")] = True,
) -> None:
    """Write a model as an ONNX file of standard operators only, in evaluation mode."""
    if find_spec("torch") is None:
        refuse("you gave  export, without torch installed\ndo this   pip install 'poolkit[onnx]'")
    from poolkit.errors import PoolError
    from poolkit.show.factory import load_model, parse_shape

    try:
        shapes = [parse_shape(text) for text in input]
        made = load_model(model).eval()
        import torch

        from poolkit.torch.export import export_onnx

        generator = torch.Generator().manual_seed(0)
        args = tuple(torch.rand(shape, generator=generator) for shape in shapes)
        path = export_onnx(
            made, args, out, opset=opset, dynamic_batch=dynamic_batch, assume_finite=assume_finite, verify=verify
        )
    except PoolError as error:
        refuse(str(error))
    typer.echo(str(path.resolve()))


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show version, instruction set, threads and the front ends that are present."""
    from poolkit.show.about import machine

    about = machine()
    if as_json:
        typer.echo(json.dumps(about.record(), indent=2))
    else:
        from poolkit.show.tables import print_machine

        print_machine(about)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="module:factory, imported from the working directory, as nets:ResNet.")],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", "-i", help="An input's shape, as 1x3x224x224, with :int64 for integers; may be repeated."
        ),
    ],
    train: Annotated[bool, typer.Option("--train/--eval", help="Look at a training or an evaluation pass.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Timed forward passes.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every pooling a torch model runs, with its share of time and of the memory kept for the backward pass."""
    if find_spec("torch") is None:
        refuse("you gave  inspect, without torch installed\ndo this   pip install 'poolkit[torch]'")
    from poolkit.errors import PoolError

    try:
        from poolkit.show.factory import load_model, parse_shape

        shapes = [parse_shape(text) for text in inputs]
        network = load_model(model).train(train)
        import torch

        from poolkit.surgery import find_pools

        example = tuple(torch.randn(shape) for shape in shapes)
        sites = find_pools(network, example, rounds=rounds, show=not as_json)
    except PoolError as error:
        refuse(str(error))
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(site) for site in sites], indent=2))
