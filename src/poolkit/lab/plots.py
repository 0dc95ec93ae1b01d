"""The plots of the report: SVG that takes the page's colours, so that it follows its light and dark modes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from poolkit.lab.measures import Measure
from poolkit.lab.stats import Estimate, noise_floor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

# Colours that stand for the page's own until the SVG is written.
_INK, _SOFT, _RULE, _ACCENT = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {_INK: "var(--ink)", _SOFT: "var(--soft)", _RULE: "var(--rule)", _ACCENT: "var(--accent)"}
_LINES = ("#4269d0", "#c98a0d", "#e0503f", "#3a9c8c", "#3f9140", "#d06a9c", "#9160c0", "#6e98d8", "#9c6b4e", "#808890")
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "poolkit", "font.size": 10, "font.family": "sans-serif",
    "text.color": _INK, "axes.labelcolor": _SOFT, "axes.edgecolor": _RULE, "xtick.color": _SOFT, "ytick.color": _SOFT,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def forest(rows: Sequence[Estimate], measure: Measure, records: Sequence[Mapping[str, Any]]) -> str:
    """A row for each pooling: every seed as a point, the mean with its interval, and the noise floor as a band."""
    scale = 100 if measure.unit == "share" else 1
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(7.2, 0.7 + 0.32 * len(rows))
        floor = noise_floor(records, measure.key)
        if floor and rows:
            middle = rows[0].mean * scale
            axes.axvspan(middle - floor * scale, middle + floor * scale, color=_RULE, alpha=0.55, linewidth=0)
        for place, row in enumerate(rows):
            axes.plot([v * scale for v in row.values], [place] * len(row.values), "o", color=_SOFT, alpha=0.45, ms=4)
            if row.interval:
                ends = [row.interval.low * scale, row.interval.high * scale]
                axes.plot(ends, [place] * 2, color=_ACCENT, linewidth=2, solid_capstyle="round")
            axes.plot([row.mean * scale], [place], "D", color=_ACCENT, ms=6)
        axes.set_yticks(range(len(rows)), [row.pool for row in rows])
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.grid(axis="x", color=_RULE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel("%" if measure.unit == "share" else measure.unit)
        return _svg(figure)


def curves(by_pool: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> str:
    """A line for each pooling over the pixels of a shift; values are shares."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(7.2, 3.6)
        for index, (pool, (pixels, values)) in enumerate(by_pool.items()):
            line = "-" if index < len(_LINES) else "--"
            colour = _LINES[index % len(_LINES)]
            axes.plot(pixels, [100 * value for value in values], line, color=colour, linewidth=1.6, label=pool)
        axes.set_xlabel("shift, pixels")
        axes.set_ylabel(label)
        axes.grid(axis="y", color=_RULE, linewidth=0.7)
        axes.tick_params(length=0)
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def trade(points: Mapping[str, tuple[float, float]], across: str, up: str) -> str:
    """A point with its name for each pooling: what it costs against what it gives."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(7.2, 3.6)
        for pool, (x, y) in points.items():
            axes.plot([x], [y], "o", color=_ACCENT, ms=6)
            axes.annotate(pool, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=9)
        axes.margins(0.12)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(color=_RULE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The drawing alone, without the head of a file, in the page's colours and its typeface."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text
