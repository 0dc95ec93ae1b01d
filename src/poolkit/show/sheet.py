"""The contact sheet: every result on one PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from poolkit.show.colour import to_levels
from poolkit.show.text import shape_text

if TYPE_CHECKING:
    from PIL import Image

    from poolkit.show.study import Cell, Study

CELL = 216
GAP = 14
CAPTION = 24
LEFT = 176
TOP = 132
MARGIN = 36
PAPER, INK, SOFT, ACCENT = "#fcfcfb", "#17181a", "#6a6e74", "#b23a1e"


def draw(study: Study) -> bytes:
    """PNG bytes: a row for each reducer, a column for each window, the size and the RMS error under each picture."""
    from PIL import Image, ImageDraw, ImageFont

    picture = study.picture
    height = min(CELL * 2, max(24, round(CELL * picture.height / picture.width)))
    step_x, step_y = CELL + GAP, height + CAPTION + GAP
    size = (
        MARGIN * 2 + LEFT + step_x * len(study.lenses) - GAP,
        MARGIN * 2 + TOP + step_y * len(study.operators) - GAP,
    )
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    title, head, small = (ImageFont.load_default(points) for points in (34, 17, 13))
    pen.text((MARGIN, MARGIN - 6), "poolkit", INK, font=title)
    name = picture.name if picture.name.isascii() else "picture"
    facts = f"{name}    {picture.width} x {picture.height}    kernel {study.kernel}"
    pen.text((MARGIN, MARGIN + 42), facts, SOFT, font=head)
    for column, lens in enumerate(study.lenses):
        at = (MARGIN + LEFT + column * step_x, MARGIN + TOP - 28)
        pen.text(at, lens.name.en, SOFT, font=head)
    for row, operator in enumerate(study.operators):
        y = MARGIN + TOP + row * step_y
        pen.text((MARGIN, y + height // 2), operator.reducer.name, INK, font=head, anchor="lm")
        for column, lens in enumerate(study.lenses):
            cell = study.cell(operator, lens)
            x = MARGIN + LEFT + column * step_x
            sheet.paste(_stretched(cell, (CELL, height)), (x, y))
            pen.text((x, y + height + 5), shape_text(cell.y_shape[1:]), SOFT, font=small)
            rms = f"rms {cell.loss.rms * 255:.0f}"
            pen.text((x + CELL, y + height + 5), rms, ACCENT, font=small, anchor="ra")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _stretched(cell: Cell, size: tuple[int, int]) -> Image.Image:
    """The pooled picture over the whole frame: averaged where it must shrink, square pixels where it grows."""
    from PIL import Image

    image = Image.fromarray(to_levels(cell.shown))
    shrinks = image.width > size[0] or image.height > size[1]
    return image.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST)
