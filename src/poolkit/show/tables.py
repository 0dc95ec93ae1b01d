"""What the commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from poolkit.show.text import ms_text, ratio_text, shape_text
from poolkit.show.words import Words

if TYPE_CHECKING:
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
    table.add_column(Words("reducer", "归约").say(lang), no_wrap=True)
    for lens in study.lenses:
        table.add_column(lens.name.say(lang).lower(), justify="right")
    for heading in ("poolkit", "torch"):
        table.add_column(heading, justify="right")
    table.add_column(Words("faster", "快").say(lang), justify="right", style="bold")
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
