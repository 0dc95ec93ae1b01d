"""All that is said of an entry, part by part: what `poolkit explain` prints and the pages of docs/operators hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poolkit.catalog import promise_zh
from poolkit.show.words import Words

if TYPE_CHECKING:
    from poolkit.catalog import Entry


@dataclass(frozen=True)
class Part:
    """A title, and under it one of these: a text, a table of two columns, a list, or lines of code."""

    title: Words
    text: Words | None = None
    table: tuple[tuple[Words, Words], ...] = ()
    points: tuple[Words, ...] = ()
    code: tuple[str, ...] = ()
    verbatim: bool = False  # the text is notation, not prose


def names(entry: Entry) -> tuple[str, ...]:
    """What users write for it: its functions, and its modules with their package."""
    return (*entry.functions, *(f"poolkit.nn.{module}" for module in entry.modules))


def product(entry: Entry) -> str | None:
    """The text Sliding × Max where a window and a reducer make it; None for modules and for what undoes a pooling."""
    if entry.reducer is None or entry.window is None or entry.family == "inverse":
        return None
    return f"{entry.window.__name__} × {entry.reducer.__name__}"


def parts(entry: Entry) -> tuple[Part, ...]:
    """Everything but the name and the formula, in the order of reading; what an entry leaves out is left out here."""
    made = (
        Part(Words("When to use it", "何时使用"), Words(entry.when, entry.when_zh)),
        Part(Words("When not to", "何时不用"), Words(*entry.unless)),
        Part(
            Words("Parameters", "参数"),
            table=tuple((_same(name), Words(en, zh)) for name, en, zh in entry.parameters),
        ),
        Part(Words("Training and evaluation", "训练与评估"), Words(*entry.phases)),
        Part(Words("Gradient", "梯度"), Words(*entry.gradient)),
        Part(Words("Shape", "形状"), _same(entry.shape), verbatim=True),
        Part(Words("Cost", "代价"), Words(*entry.cost)),
        Part(Words("What it promises", "保证"), table=promises(entry)),
        Part(Words("Traps", "陷阱"), points=tuple(Words(*trap) for trap in entry.traps)),
        Part(Words("Who ships it", "哪些库提供"), _shippers(entry)),
        Part(Words("Source", "出处"), _same(entry.source)),
        Part(Words("Example", "示例"), code=example(entry)),
    )
    return tuple(part for part in made if (part.text and part.text.en) or part.table or part.points or part.code)


def promises(entry: Entry) -> tuple[tuple[Words, Words], ...]:
    """What its reducer promises; empty where none is at work."""
    if entry.reducer is None or product(entry) is None:
        return ()
    rows = (
        (Words("NaN", "NaN"), entry.reducer.nan),
        (Words("ties", "并列"), entry.reducer.ties),
        (Words("empty windows", "空窗口"), entry.reducer.empty),
        (Words("precision", "精度"), entry.reducer.precision),
    )
    return tuple((name, Words(promise, promise_zh(promise))) for name, promise in rows)


def example(entry: Entry) -> tuple[str, ...]:
    """Lines of Python that run as they stand."""
    words = set(re.findall(r"[A-Za-z_]\w*", entry.call))
    lines = ["import numpy as np, poolkit as pk"]
    if words & {"torch", "t"}:
        lines.append("import torch")
    if "nn" in words:
        lines.append("import poolkit.nn as nn")
    lines.append("x = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)")
    if "t" in words:
        lines.append("t = torch.from_numpy(x)")
    return (*lines, *entry.call.splitlines(), "print(tuple(y.shape))")


def _same(text: str) -> Words:
    return Words(text, text)


def _shippers(entry: Entry) -> Words:
    if not entry.ships:
        return Words("No other library that we know of.", "据我们所知，没有其他库提供。")
    return Words(f"{', '.join(entry.ships)}.", f"{'、'.join(entry.ships)}。")
