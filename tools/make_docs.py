"""Writes docs/operators and the tables of docs/choosing*.md from the catalogue.

Run as ``python tools/make_docs.py``; with ``--check`` it writes nothing, prints what is stale and exits 1 if
anything is. Pages are compared byte by byte. Pictures are compared pixel by pixel and may differ by one level of 255:
two processors may round a mean differently, and two versions of Pillow compress differently.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import poolkit as pk
from poolkit.catalog import CATALOG, FAMILIES, KIN, Entry
from poolkit.show.facts import Part, parts, product
from poolkit.show.study import code_of, for_pictures, gain, shared_samples
from poolkit.show.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOCS = Path(__file__).resolve().parent.parent / "docs"
OPERATORS = DOCS / "operators"
PHOTOGRAPH = "photograph.png"
CREDIT = Words(
    "Photograph by danielbuechele, CC BY 2.0, scaled down.",
    "摄影：danielbuechele，CC BY 2.0，已缩小。",
)
RESCALED = Words(
    " Its values leave the range of the picture and are scaled back into it.",
    "其数值超出图片的范围，已缩放回来。",
)
MADE = "<!-- Made by `make docs` from src/poolkit/catalog: change that, not this page. -->"
BEGIN, END = "<!-- begin: made by `make docs` from src/poolkit/catalog -->", "<!-- end -->"


def pages() -> dict[Path, str]:
    """Every page made of the catalogue alone, by its path."""
    made = {OPERATORS / f"{entry.name}.md": page(entry) for entry in CATALOG}
    made[OPERATORS / "README.md"] = index()
    for path, lang in ((DOCS / "choosing.md", "en"), (DOCS / "choosing.zh-CN.md", "zh")):
        made[path] = with_table(path.read_text(encoding="utf-8"), choices(lang))
    return made


def page(entry: Entry) -> str:
    """One entry: English, then Chinese."""
    family = KIN[entry.family].title
    lines = [
        MADE,
        "",
        f"# {entry.name}: {entry.en}",
        "",
        f"{family[0]} · [all poolings](README.md) · [中文](#中文)",
        "",
        f"$${github_latex(entry.latex)}$$",
        "",
        code(entry.formula),
        "",
        *called(entry, "en"),
        *before_and_after(entry, "en"),
    ]
    for part in parts(entry):
        lines += [f"## {part.title.en}", "", *body(part, "en"), ""]
    lines += ["## 中文", "", f"**{entry.zh}**（{family[1]}） · [所有池化](README.md)", ""]
    lines += [*called(entry, "zh"), *before_and_after(entry, "zh")]
    for part in parts(entry):
        lines += [f"### {part.title.zh}", "", *body(part, "zh"), ""]
    return "\n".join(lines)


def called(entry: Entry, lang: str) -> list[str]:
    """How its functions and modules are written."""
    lines: list[str] = []
    made_of = product(entry)
    if entry.functions:
        head = Words("Functions", "函数").say(lang)
        tail = f" = {code(made_of)}" if made_of else ""
        lines.append(f"- {head}: {', '.join(code(f'poolkit.{function}') for function in entry.functions)}{tail}")
    if entry.modules:
        head = Words("Modules", "模块").say(lang)
        lines.append(f"- {head}: {', '.join(code(f'poolkit.nn.{module}') for module in entry.modules)}")
    if entry.torch:
        same = Words("the same name and arguments", "名称和参数相同").say(lang)
        lines.append(f"- torch.nn: {same}")
    if lang == "zh":
        lines = [re.sub(r"^(- [^:]+): ", r"\1：", line).replace("`, `", "`、`") for line in lines]
    return [*lines, ""]


def body(part: Part, lang: str) -> list[str]:
    """A part's text, table, list or code."""
    lines: list[str] = []
    if part.text:
        said = part.text.say(lang)
        lines.append(code(said) if part.verbatim else prose(said))
    if part.table:
        lines += ["| | |", "|---|---|"]
        lines += [
            f"| {cell(code(name.en) if name.en == name.zh else name.say(lang))} | {cell(prose(text.say(lang)))} |"
            for name, text in part.table
        ]
    lines += [f"- {prose(point.say(lang))}" for point in part.points]
    if part.code:
        lines += ["```python", *part.code, "```"]
    return lines


def before_and_after(entry: Entry, lang: str) -> list[str]:
    """The photograph beside what became of it, where that means anything."""
    drawn = scene(entry)
    if drawn is None:
        return []
    before, after = Words("before", "之前").say(lang), Words("after", "之后").say(lang)
    seen = Words(f"The same after {entry.en}", f"同一张照片，经过{entry.zh}").say(lang)
    whole = Words("A photograph of a pavilion by a lake", "湖边亭阁的照片").say(lang)
    return [
        f"| {before} | {after}: {code(drawn)} |" if lang == "en" else f"| {before} | {after}：{code(drawn)} |",
        "|---|---|",
        f"| ![{whole}](images/{PHOTOGRAPH}) | ![{seen}](images/{entry.name}.png) |",
        "",
        f"<sub>{CREDIT.say(lang)}{RESCALED.say(lang) if rescaled(entry) else ''}</sub>",
        "",
    ]


def index() -> str:
    """All entries by family, in both languages."""
    lines = [
        MADE,
        "",
        "# Poolings · 池化一览",
        "",
        "One page for each, English above and 中文 below. Which to take: [choosing](../choosing.md).",
        "每种池化一页，英文在前，中文在后。如何选择：[选择指南](../choosing.zh-CN.md)。",
        "",
    ]
    for family in FAMILIES:
        rows = [entry for entry in CATALOG if entry.family == family]
        if rows:
            title, idea = (Words(*pair) for pair in KIN[family])
            lines += [f"## {title.en} · {title.zh}", "", f"{idea.en}\\", idea.zh, ""]
            lines += ["| | | | formula · 公式 |", "|---|---|---|---|"]
            for entry in rows:
                link = f"[{entry.name}]({entry.name}.md)"
                lines.append(f"| {link} | {entry.en} | {entry.zh} | {cell(code(entry.formula))} |")
            lines.append("")
    return "\n".join(lines)


def choices(lang: str) -> str:
    """Tables by family: every entry, when to use it and when not."""
    chinese = lang == "zh"
    lines: list[str] = []
    for family in FAMILIES:
        rows = [entry for entry in CATALOG if entry.family == family]
        if rows:
            lines += [f"### {Words(*KIN[family].title).say(lang)}", "", Words(*KIN[family].idea).say(lang), ""]
            lines += ["| | 何时使用 | 何时不用 |" if chinese else "| | use it | do not |", "|---|---|---|"]
            for entry in rows:
                link = f"[{entry.zh if chinese else entry.name}](operators/{entry.name}.md)"
                texts = (entry.when_zh if chinese else entry.when, Words(*entry.unless).say(lang))
                lines.append(f"| {link} | {' | '.join(cell(prose(text)) for text in texts)} |")
            lines.append("")
    return "\n".join(lines)


def with_table(text: str, table: str) -> str:
    """The page with the table between its two marks replaced."""
    head, _, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"a page lacks the marks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{table}\n{END}{tail}"


def code(text: str) -> str:
    """A code span."""
    return f"`{text}`"


def prose(text: str) -> str:
    """Plain text as Markdown that shows just that; what stands between backticks stays code."""
    pieces = re.split(r"(`[^`]*`)", text)
    escaped = [
        piece if index % 2 else re.sub(r"([\\*<\[\]])|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], piece)
        for index, piece in enumerate(pieces)
    ]
    return "".join(escaped)


def cell(text: str) -> str:
    """Markdown inside a table."""
    return text.replace("|", "\\|")


def github_latex(latex: str) -> str:
    """The formula without what GitHub's Markdown changes (escapes, stars) or its MathJax refuses (operatorname)."""
    latex = latex.replace("\\operatorname", "\\mathrm").replace("\\\\", "\\cr ").replace("\\|", "\\Vert ")
    latex = latex.replace("\\{", "\\lbrace ").replace("\\}", "\\rbrace ")
    latex = re.sub(r"\\[,:; ]", r"\\enspace ", latex).replace("\\!", "")
    return latex.replace("*", "\\ast ").replace("<", "\\lt ").replace(">", "\\gt ")


def windows() -> dict[type, pk.Sliding | pk.Adaptive | pk.Fractional]:
    """What the photograph is pooled with, by the kind of window."""
    fractional = pk.Fractional(4, output_ratio=0.3, random_samples=shared_samples(channels=3))
    return {pk.Sliding: pk.Sliding(4), pk.Adaptive: pk.Adaptive((27, 40)), pk.Fractional: fractional}


def scene(entry: Entry) -> str | None:
    """What is drawn for an entry, as a line of Python; None where a picture would say nothing."""
    if entry.reducer is None or entry.window is None:
        return None
    if entry.family == "inverse":
        return "pk.max_unpool2d(*pk.max_pool2d(x, 2, return_indices=True), 2)"
    window = windows().get(entry.window)
    return f"pk.pool(x, {code_of(window)}, {code_of(for_pictures(entry.reducer))})" if window else None


def rescaled(entry: Entry) -> bool:
    """Whether the picture shows y divided by something, and not y itself."""
    x = np.ones((1, 3, 160, 240), dtype=np.float32)
    window = windows().get(entry.window) if entry.family != "inverse" else None
    return window is not None and abs(float(pk.pool(x, window, for_pictures(entry.reducer)).max()) - 1) > 1e-3


def draw(entry: Entry, photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pooled photograph, as large as it was before: uint8 [height, width, 3]."""
    x = np.ascontiguousarray(photograph.transpose(2, 0, 1)[None] / np.float32(255), dtype=np.float32)
    if entry.family == "inverse":
        y = pk.max_unpool2d(*pk.max_pool2d(x, 2, return_indices=True), 2)
    else:
        window, reducer = windows()[entry.window], for_pictures(entry.reducer)
        y = pk.pool(x, window, reducer)
        y = y / gain(x, y, window, reducer)
    levels = np.round(np.clip(y[0].transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)
    size = (photograph.shape[1], photograph.shape[0])
    return np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.NEAREST))


def pictures() -> dict[Path, NDArray[np.uint8]]:
    """Every picture but the photograph itself, by its path."""
    photograph = pixels(OPERATORS / "images" / PHOTOGRAPH)
    return {OPERATORS / "images" / f"{row.name}.png": draw(row, photograph) for row in CATALOG if scene(row)}


def pixels(path: Path) -> NDArray[np.uint8]:
    """A PNG as uint8 [height, width, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def same(path: Path, picture: NDArray[np.uint8]) -> bool:
    """Whether the file shows this picture, but for rounding."""
    if not path.is_file():
        return False
    there = pixels(path)
    return there.shape == picture.shape and int(np.abs(there.astype(int) - picture).max()) <= 1


def stale() -> dict[Path, bytes | None]:
    """What has to be written, or with None removed, for docs to agree with the catalogue."""
    made, drawn = pages(), pictures()
    found: dict[Path, bytes | None] = {
        path: text.encode("utf-8")
        for path, text in made.items()
        if not path.is_file() or path.read_bytes() != text.encode("utf-8")
    }
    for path, picture in drawn.items():
        if not same(path, picture):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG", optimize=True)
            found[path] = buffer.getvalue()
    known = {*made, *drawn, OPERATORS / "images" / PHOTOGRAPH}
    there = [*OPERATORS.glob("*.md"), *(OPERATORS / "images").glob("*.png")]
    return found | {path: None for path in there if path not in known}


def main(arguments: list[str]) -> int:
    """Write what is stale, or with ``--check`` only name it."""
    found = stale()
    for path, data in found.items():
        print(f"{path.relative_to(DOCS.parent)}: differs from the catalogue; make docs" if arguments else path)
        if arguments:
            continue
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return 1 if found and arguments else 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: python tools/make_docs.py [--check]")
    sys.exit(main(sys.argv[1:]))
