"""What the commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from poolkit.catalog import KIN
from poolkit.show.facts import parts, product
from poolkit.show.text import ms_text, ratio_text, shape_text
from poolkit.show.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.catalog import Entry
    from poolkit.show.about import Machine
    from poolkit.show.study import Study


def print_study(study: Study, lang: str) -> None:
    """A row for each reducer: RMS error through each window, and the time through the first."""
    first = study.lenses[0]
    size = shape_text((study.picture.width, study.picture.height))
    title = Words(
        f"{study.picture.name}, {size}: RMS error (of 255) by window; ms for {first.code}",
        f"{study.picture.name}，{size}：各窗口下的 RMS 误差（满量程 255），以及 {first.code} 的毫秒数",
    )
    # Just under 80 columns: what a terminal, a log or a README has.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    # Where it is narrow, long names give way and numbers do not.
    table.add_column(Words("reducer", "归约").say(lang), overflow="fold")
    for lens in study.lenses:
        table.add_column(lens.name.say(lang).lower(), justify="right", no_wrap=True)
    for heading in ("poolkit", "torch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(Words("faster", "快").say(lang), justify="right", style="bold", no_wrap=True)
    for operator in study.operators:
        race = study.cell(operator, first).race
        errors = [f"{study.cell(operator, lens).loss.rms * 255:.1f}" for lens in study.lenses]
        theirs = ms_text(race.torch_ms) if race.torch_ms is not None else "–"
        ratio = f"{ratio_text(race.ratio)}×" if race.ratio is not None else ""
        table.add_row(operator.reducer.name, *errors, ms_text(race.poolkit_ms), theirs, ratio)
    console = Console()
    console.print(title.say(lang), highlight=False)
    console.print()
    console.print(table)
    console.print()
    if study.torch_version is None:
        missing = Words(
            "torch is not installed, so there is nothing to compare with: pip install 'poolkit[torch]'",
            "未安装 torch，因此没有可比较的对象：pip install 'poolkit[torch]'",
        )
        console.print(missing.say(lang), highlight=False)


def print_machine(about: Machine) -> None:
    """The answer of `poolkit info`."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("poolkit", about.version)
    table.add_row("instruction set", f"{about.isa}  (available: {', '.join(about.isas)})")
    table.add_row("threads", f"{about.threads} of {about.cores} cores")
    table.add_row("processor", about.processor)
    table.add_row("python", about.python)
    for name, version in about.present:
        table.add_row(name, version)
    for name in about.absent:
        table.add_row(name, "not installed", style="dim")
    Console().print(table, highlight=False)


def print_catalog(rows: Sequence[Entry], lang: str) -> None:
    """The answer of `poolkit list`."""
    chinese = lang == "zh"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(Words("name", "名称").say(lang), style="bold", no_wrap=True)
    table.add_column(Words("family", "类别").say(lang), no_wrap=True)
    table.add_column(Words("formula", "公式").say(lang))
    table.add_column("torch.nn", no_wrap=True)
    for entry in rows:
        # A column for the Chinese names would leave the formulas none in a terminal of 80 columns.
        called = f"{entry.name}\n[not bold]{entry.zh}[/not bold]" if chinese else entry.name
        table.add_row(called, entry.family, escape(entry.formula), entry.torch or "–")
    console = Console(emoji=False)  # a formula may hold :m: and mean it
    console.print(table, highlight=False)
    console.print()
    hint = Words(
        "A window with a reducer has a 1d, 2d and 3d function under its name, as max_pool2d; the others are modules of "
        "poolkit.nn. Details: poolkit explain max_pool",
        "由窗口和归约组成的池化有以其名称命名的 1d、2d、3d 三个函数，如 max_pool2d；其余的是 poolkit.nn 里的模块。"
        "详细说明：poolkit explain max_pool",
    )
    console.print(hint.say(lang), highlight=False)


def print_steps(entry: Entry) -> None:
    """The answer of `poolkit explain --why`."""
    from poolkit.show.why import notes, steps

    console = Console(highlight=False, emoji=False)
    found = steps(entry)
    if not found:
        console.print(f"{entry.name} calls none of poolkit's operators: torch's own operations serve it everywhere.")
        return
    for step in found:
        console.print(f"[bold]{step.operator}[/bold]  {escape(step.call)}")
        console.print(f"    CPU  {escape(step.cpu)}\n    GPU  {escape(step.gpu)}", soft_wrap=True)
    for note in notes():
        console.print(note)


def print_entry(entry: Entry, lang: str) -> None:
    """The answer of `poolkit explain`."""
    console = Console(highlight=False, emoji=False)
    kin = KIN[entry.family]
    called = escape(Words(entry.en, entry.zh).say(lang))
    console.print(f"[bold]{entry.name}[/bold]  {called}  ({Words(*kin.title).say(lang)})")
    if entry.functions:
        made_of = product(entry)
        console.print(f"{', '.join(entry.functions)}{f'  =  {made_of}' if made_of else ''}")
    if entry.modules:
        console.print(", ".join(f"poolkit.nn.{module}" for module in entry.modules))
    console.print(f"\n    {entry.formula}", markup=False)
    for part in parts(entry):
        console.print(f"\n[bold]{part.title.say(lang)}[/bold]")
        if part.text:
            console.print(part.text.say(lang), markup=False)
        if part.table:
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
            for name, meaning in part.table:
                table.add_row(escape(name.say(lang)), escape(meaning.say(lang)))
            console.print(table)
        if part.points:
            points = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
            for point in part.points:
                points.add_row("-", escape(point.say(lang)))
            console.print(points)
        for line in part.code:
            console.print(f"    {line}", markup=False, soft_wrap=True)
