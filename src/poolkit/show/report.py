"""The report: one HTML page that carries everything it shows."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from poolkit.show.about import machine
from poolkit.show.colour import HEAT_STOPS, data_uri, encode_heat, encode_rgb, encode_thumb, to_levels
from poolkit.show.mathml import UnknownLatexError, to_mathml
from poolkit.show.page import LABELS, fill, made_with
from poolkit.show.picture import detail
from poolkit.show.text import bytes_text, ms_text, psnr_text, ratio_text, shape_text, share_text
from poolkit.show.words import Words

if TYPE_CHECKING:
    from poolkit.show.picture import Box
    from poolkit.show.study import Cell, Lens, Operator, Study

HEAT_WIDTH = 480
THUMB_WIDTH = 200


def render(study: Study, *, lang: str | None = None) -> str:
    """The page as text. `lang` fixes the language it opens in; otherwise the reader's browser decides."""
    return fill("report.html.j2", _page(study, lang))


def _page(study: Study, lang: str | None) -> dict[str, Any]:
    picture = study.picture
    thumb = (THUMB_WIDTH, max(1, round(THUMB_WIDTH * picture.height / picture.width)))
    box = detail(picture)
    about = machine()
    return {
        "lang": lang,
        "version": about.version,
        "torch_version": study.torch_version,
        "picture": picture,
        "width": picture.width,
        "height": picture.height,
        "before": data_uri(encode_rgb(picture.levels)),
        "x_shape": shape_text(picture.x.shape[1:]),
        "x_bytes": bytes_text(picture.x.nbytes),
        "thumb_size": thumb,
        "box": [round(100 * share, 2) for share in box],
        # Where a magnifier must stand still so that at the part's own magnification it shows just this part.
        "focus": [round(100 * near / (1 - (far - near)), 2) for near, far in (box[::2], box[1::2])],
        "heat_stops": ", ".join(HEAT_STOPS),
        "heat_top": round(study.heat_top * 255),
        "lenses": [_lens(study, lens) for lens in study.lenses],
        "operators": [_operator(study, operator, box, thumb) for operator in study.operators],
        "headline": _headline(study),
        "example": _example(study),
        "reading": _reading(study),
        "words": _LABELS
        | {
            "before_alt": Words(
                f"The picture {picture.name} before pooling",
                f"池化之前的图片 {picture.name}",
            )
        },
        "made_with": [*made_with(about), (Words("Threads while timing", "计时所用线程"), "1")],
    }


_LABELS = LABELS | {
    "window": Words("Window", "窗口"),
    "sheet": Words("Every reducer through every window", "所有归约与所有窗口的组合"),
}


def _lens(study: Study, lens: Lens) -> dict[str, Any]:
    cells = [study.cell(operator, lens) for operator in study.operators]
    longest = max(max(c.race.poolkit_ms, c.race.torch_ms or 0) for c in cells)
    times = [
        {
            "name": cell.operator.name,
            "mine": ms_text(cell.race.poolkit_ms),
            "theirs": ms_text(cell.race.torch_ms) if cell.race.torch_ms is not None else None,
            "mine_width": round(100 * cell.race.poolkit_ms / longest, 2),
            "theirs_width": round(100 * (cell.race.torch_ms or 0) / longest, 2),
            "ratio": ratio_text(cell.race.ratio) if cell.race.ratio else None,
            "slower": (cell.race.ratio or 1) < 1,
        }
        for cell in cells
    ]
    return {"key": lens.key, "name": lens.name, "idea": lens.idea, "code": lens.code, "times": times}


def _operator(study: Study, operator: Operator, box: Box, thumb: tuple[int, int]) -> dict[str, Any]:
    try:
        mathml = to_mathml(operator.latex)
    except UnknownLatexError:
        mathml = None
    return {
        "key": operator.key,
        "name": operator.name,
        "code": operator.code,
        "when": operator.when,
        "formula": operator.formula,
        "mathml": mathml,
        "cells": [_cell(study, study.cell(operator, lens), box, thumb) for lens in study.lenses],
    }


def _cell(study: Study, cell: Cell, box: Box, thumb: tuple[int, int]) -> dict[str, Any]:
    levels = to_levels(cell.shown)
    name, lens = cell.operator.name, cell.lens.name
    rms = f"{cell.loss.rms * 255:.1f}"
    return {
        "lens": cell.lens.key,
        "after": data_uri(encode_rgb(levels)),
        "heat": data_uri(encode_heat(shrink(cell.loss.heat, HEAT_WIDTH), study.heat_top)),
        "thumb": data_uri(encode_thumb(levels, box, thumb)),
        "thumb_alt": Words(f"{name.en}, {lens.en}", f"{name.zh} · {lens.zh}"),
        "after_alt": Words(
            f"After: {name.en}, window {lens.en}",
            f"之后：{name.zh}，窗口：{lens.zh}",
        ),
        "heat_alt": Words(
            f"Heat map of what {name.en} lost, RMS error {rms} of 255",
            f"{name.zh}丢失信息的热图，RMS 误差 {rms}（满量程 255）",
        ),
        "y_shape": shape_text(cell.y_shape[1:]),
        "y_bytes": bytes_text(cell.y_bytes),
        "rms": rms,
        "psnr": psnr_text(cell.loss.psnr),
        "kept": share_text(cell.y_bytes / study.picture.x.nbytes),
        "mine": ms_text(cell.race.poolkit_ms),
        "theirs": ms_text(cell.race.torch_ms) if cell.race.torch_ms is not None else None,
        "torch_name": cell.race.torch_name,
        "ratio": ratio_text(cell.race.ratio) if cell.race.ratio else None,
        "slower": (cell.race.ratio or 1) < 1,
        "no_torch": Words("not in torch", "torch 没有")
        if study.torch_version
        else Words("torch is not installed", "未安装 torch"),
        "notes": _notes(cell),
    }


def _notes(cell: Cell) -> list[Words]:
    notes: list[Words] = []
    gain = f"{cell.gain:,.5g}" if cell.gain < 1e5 else f"{cell.gain:,.0f}"
    if cell.gain_is_peak:
        notes.append(
            Words(
                f"It answers 0 to an even picture, so its values are shown divided by the largest of them, {gain}. "
                "They are no colours, and the error says little.",
                f"它对均匀的图片给出 0，因此显示的是除以其最大值 {gain} 之后的值。这些值不是颜色，误差的意义不大。",
            )
        )
    elif cell.rescaled:
        about_en, about_zh = ("about ", "约") if cell.gain_varies else ("", "")
        notes.append(
            Words(
                f"Its values leave the picture's range, so they are shown divided by the answer to an all-white "
                f"picture, here {about_en}{gain}.",
                f"其数值超出图片的范围，因此显示的是除以“全白图片的结果”之后的值，这里是{about_zh} {gain}。",
            )
        )
    if cell.loss.unseen > 5e-4:
        share = share_text(cell.loss.unseen)
        notes.append(
            Words(
                f"{share} of the pixels are read by no window; they are compared with the nearest one.",
                f"有 {share} 的像素没有被任何窗口读到，它们与最近的窗口相比较。",
            )
        )
    return notes


def _headline(study: Study) -> dict[str, str] | None:
    """How poolkit compares with torch, for the top of the page; None where that would be no headline."""
    ratios = [ratio for cell in study.cells if (ratio := cell.race.ratio) is not None]
    if not ratios or statistics.median(ratios) < 1:
        return None
    return {
        "median": ratio_text(statistics.median(ratios)),
        "low": ratio_text(min(ratios)),
        "high": ratio_text(max(ratios)),
        "count": str(len(ratios)),
        "total": str(len(study.cells)),
    }


def _example(study: Study) -> str:
    cell = study.cells[0]
    return f"import poolkit as pk\ny = pk.pool(x, {cell.lens.code}, {cell.operator.code})"


def _reading(study: Study) -> list[tuple[Words, Words]]:
    top = round(study.heat_top * 255)
    return [
        (
            Words("After", "之后"),
            Words(
                "The pooled picture, stretched over the same frame with hard edges: each square is one output.",
                "池化后的图片按硬边缘拉伸到同样大小：每个方块就是一个输出。",
            ),
        ),
        (
            Words("Lost", "丢失"),
            Words(
                "Every pixel takes the value of the window whose centre is nearest, and is subtracted from the "
                f"original; the map shows the difference, averaged over red, green and blue. All maps share one scale, "
                f"0 to {top} of 255, so they can be compared; brighter losses are drawn as {top}.",
                "每个像素取中心离它最近的窗口的值，再与原图相减；热图显示红、绿、蓝三个通道的平均差。"
                f"所有热图共用一个刻度，从 0 到 {top}（满量程 255），可以互相比较；更大的差按 {top} 显示。",
            ),
        ),
        (
            Words("Error and PSNR", "误差与 PSNR"),
            Words(
                "RMS is the root of the mean squared difference over all pixels and colours; PSNR is the same number "
                "in decibels against the full range. They say how far the output is from the input, not how useful it "
                "is: max pooling loses much here and keeps what a classifier wants.",
                "RMS 是所有像素、所有颜色上均方差的平方根；PSNR 是同一个数以满量程为基准的分贝值。"
                "它们说明输出离输入有多远，而不是有多大用处：最大池化在这里丢得多，留下的却是分类器想要的。",
            ),
        ),
        (
            Words("Milliseconds", "毫秒"),
            Words(
                "The median of seven rounds in which poolkit (NumPy array in) and torch (tensor in) take turns on one "
                "thread, float32, after both were checked to give the same values.",
                "先核对两者结果一致，再让 poolkit（输入 NumPy 数组）与 torch（输入张量）轮流各跑七轮，"
                "单线程、float32，取中位数。",
            ),
        ),
    ]


def shrink(heat: Any, width: int) -> Any:
    """Average `heat` [height, width] down to at most `width` columns: the page shows it no larger."""
    from PIL import Image

    if heat.shape[1] <= width:
        return heat
    import numpy as np

    height = max(1, round(heat.shape[0] * width / heat.shape[1]))
    return np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BOX))
