"""What the commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from poolkit.catalog import CATALOG, promise_zh
from poolkit.show.text import ms_text, ratio_text, shape_text
from poolkit.show.words import Words

if TYPE_CHECKING:
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


def print_catalog(lang: str) -> None:
    """The answer of `poolkit list`."""
    chinese = lang == "zh"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(Words("name", "名称").say(lang), style="bold", no_wrap=True)
    if chinese:
        table.add_column("中文")
    table.add_column(Words("formula", "公式").say(lang))
    table.add_column("torch.nn", no_wrap=True)
    for entry in CATALOG:
        names = [entry.name, entry.zh] if chinese else [entry.name]
        table.add_row(*names, escape(entry.formula), entry.torch or "–")
    console = Console()
    console.print(table, highlight=False)
    console.print()
    hint = Words(
        "Each name has a 1d, 2d and 3d function, as max_pool2d. Details: poolkit explain max_pool",
        "每个名称都有 1d、2d、3d 三个函数，如 max_pool2d。详细说明：poolkit explain max_pool",
    )
    console.print(hint.say(lang), highlight=False)


def print_entry(entry: Entry, lang: str) -> None:
    """The answer of `poolkit explain`."""
    console = Console(highlight=False)
    chinese = lang == "zh"

    def part(en: str, zh: str) -> None:
        console.print(f"\n[bold]{Words(en, zh).say(lang)}[/bold]")

    console.print(f"[bold]{entry.name}[/bold]  {entry.zh if chinese else entry.en}")
    if entry.reducer and entry.window:
        console.print(f"{', '.join(entry.functions)}  =  {entry.window.__name__} × {entry.reducer.__name__}")
    else:
        console.print(", ".join(f"poolkit.nn.{module}" for module in entry.modules))
    console.print(f"\n    {entry.formula}", markup=False)
    part("When to use it", "何时使用")
    console.print(entry.when_zh if chinese else entry.when)
    part("Parameters", "参数")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, meaning, meaning_zh in entry.parameters:
        table.add_row(name, meaning_zh if chinese else meaning)
    console.print(table)
    if entry.reducer:
        part("What it promises", "保证")
        promises = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for name, name_zh, promise in (
            ("NaN", "NaN", entry.reducer.nan),
            ("ties", "并列", entry.reducer.ties),
            ("empty windows", "空窗口", entry.reducer.empty),
            ("precision", "精度", entry.reducer.precision),
        ):
            promises.add_row(name_zh if chinese else name, promise_zh(promise) if chinese else promise)
        console.print(promises)
    part("Source", "出处")
    console.print(entry.source, markup=False)
    same = f"{entry.torch}1d, 2d, 3d" if entry.torch else Words("none", "无").say(lang)
    console.print(f"torch.nn: {same}")
    part("Example", "示例")
    for line in example(entry):
        console.print(f"    {line}", markup=False, soft_wrap=True)


def example(entry: Entry) -> tuple[str, ...]:
    """Lines of Python that run as they stand."""
    torch = ("import torch", "from poolkit import nn") if entry.modules else ()
    return (
        "import numpy as np, poolkit as pk",
        *torch,
        "x = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)",
        *(("t = torch.from_numpy(x)",) if entry.modules else ()),
        entry.call,
        "print(tuple(y.shape))",
    )
