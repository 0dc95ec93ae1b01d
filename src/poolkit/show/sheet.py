"""The contact sheet: every result on one PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from poolkit.show.colour import part, to_levels
from poolkit.show.picture import detail
from poolkit.show.text import shape_text

if TYPE_CHECKING:
    from poolkit.show.study import Study

CELL = 216
GAP = 14
CAPTION = 24
LEFT = 150
MARGIN = 36
PAPER, INK, SOFT, ACCENT = "#fcfcfb", "#17181a", "#6a6e74", "#b23a1e"


def draw(study: Study) -> bytes:
    """PNG bytes: a row for each reducer, a column for each window.

    Each cell shows one part of the picture, magnified until single outputs can be told apart, and under it
    the shape of the output and its RMS error.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = study.picture
    height = min(CELL * 2, max(24, round(CELL * picture.height / picture.width)))
    top = height + 76
    step_x, step_y = CELL + GAP, height + CAPTION + GAP
    size = (
        MARGIN * 2 + LEFT + step_x * len(study.lenses) - GAP,
        MARGIN * 2 + top + step_y * len(study.operators) - GAP,
    )
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    # Pillow's own typeface: the same on every machine, but Latin only.
    title, head, small = (ImageFont.load_default(points) for points in (32, 17, 13))
    x0, y0 = MARGIN + LEFT, MARGIN + top

    box = detail(picture)
    whole = Image.fromarray(picture.levels).resize((CELL, height), Image.Resampling.LANCZOS)
    sheet.paste(whole, (x0, MARGIN))
    marked = [round(part * side) for part, side in zip(box, (CELL, height) * 2, strict=True)]
    corners = [x0 + marked[0], MARGIN + marked[1], x0 + marked[2] - 1, MARGIN + marked[3] - 1]
    pen.rectangle(corners, outline="white", width=2)
    pen.text((MARGIN, MARGIN - 8), "poolkit", INK, font=title)
    name = picture.name if picture.name.isascii() and len(picture.name) < 40 else "the picture"
    facts = (
        (name, INK),
        (f"{picture.width} x {picture.height}, kernel {study.kernel}", SOFT),
        ("Each cell below: the outputs over the marked part,", SOFT),
        ("the output's shape, and the RMS error of 255.", SOFT),
    )
    for line, (text, colour) in enumerate(facts):
        pen.text((x0 + step_x, MARGIN - 2 + 24 * line), text, colour, font=head)

    for column, lens in enumerate(study.lenses):
        pen.text((x0 + column * step_x, y0 - 28), lens.name.en, SOFT, font=head)
    for row, operator in enumerate(study.operators):
        y = y0 + row * step_y
        pen.text((MARGIN, y + height // 2), operator.reducer.name, INK, font=head, anchor="lm")
        for column, lens in enumerate(study.lenses):
            cell, x = study.cell(operator, lens), x0 + column * step_x
            sheet.paste(part(to_levels(cell.shown), box, (CELL, height)), (x, y))
            pen.text((x, y + height + 5), shape_text(cell.y_shape[1:]).replace("×", "x"), SOFT, font=small)
            rms = f"rms {cell.loss.rms * 255:.0f}"
            pen.text((x + CELL, y + height + 5), rms, ACCENT, font=small, anchor="ra")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
