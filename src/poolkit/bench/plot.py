"""The picture of a run: time over copy floor for each layer, sorted, on a logarithmic axis."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from poolkit.bench.clock import geometric_mean
from poolkit.bench.report import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.bench.measure import Result


def png(results: Sequence[Result], facts: dict[str, Any]) -> bytes:
    """The picture as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mine = "poolkit" if any("poolkit" in result.ms for result in results) else "poolkit-nhwc"
    ordered = sorted(results, key=lambda result: result.over_floor(mine) or 0)
    figure, axes = plt.subplots(figsize=(10, 4.6), dpi=130, layout="constrained")
    for label, values, colour, marker in _series(ordered, mine):
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        if known:
            label_text = f"{label} (geometric mean {number(geometric_mean(value for _, value in known))})"
            axes.scatter(*zip(*known, strict=True), s=16, color=colour, marker=marker, label=label_text, linewidths=0)
    axes.axhline(1, color="#333333", linewidth=1)
    axes.annotate(
        "copy floor: every byte read or written once", (0, 1), (2, -11), textcoords="offset points", fontsize=8
    )
    axes.set_yscale("log")
    axes.set_ylim(0.4, axes.get_ylim()[1] * 3)  # room for the legend
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlim(-1, len(ordered))
    axes.set_ylabel("time / copy floor")
    axes.set_xlabel(f"{len(ordered)} pooling layers of real networks, sorted by poolkit's time / floor")
    threads = "one thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    direction = "Forward and backward" if facts["backward"] else "Forward"
    title = f"{direction} pooling, {facts['dtype']}, {threads}, {facts['processor']} ({facts['isa']})"
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def _series(ordered: Sequence[Result], mine: str) -> list[tuple[str, list[float | None], str, str]]:
    """Label, values, colour and marker of each cloud of points."""
    names = dict.fromkeys(name for result in ordered for name in result.ms)
    others = [name for name in names if not name.startswith("poolkit") and name != "torch"]
    series: list[tuple[str, list[float | None], str, str]] = []
    if "torch" in names:
        series.append(("PyTorch, default layout", [r.over_floor("torch") for r in ordered], "#d1495b", "o"))
    if others:
        best = [min((r.ms[n] / r.floor_ms for n in others if n in r.ms), default=None) for r in ordered]
        series.append((f"best of {', '.join(others)}", best, "#edae49", "s"))
    layout = "default layout" if mine == "poolkit" else "channels last"
    series.append((f"poolkit, {layout}", [r.over_floor(mine) for r in ordered], "#00798c", "o"))
    return series
