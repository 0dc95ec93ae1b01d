"""What is shown and kept of a run: the table on the screen, JSON, CSV and the picture."""

import csv
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import floor, log10
from pathlib import Path
from typing import Any

from poolkit import _core

from .measure import GROWTH_SHAPE, Result, Settings, geometric_mean
from .rows import HEADLINE

NARROWEST = 190  # columns that the table of layers needs
WORST_SHOWN = 10
PACKAGES = ("poolkit", "numpy", "torch", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Summary:
    """Geometric means over the rows of one group: times over the floor, peers' times over poolkit's."""

    group: str
    rows: int
    over_floor: float | None
    over_floor_last: float | None
    ratios: dict[str, float | None]
    slower: int  # layers where torch in the same layout is faster


def processor() -> str:
    """The processor's name, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()


def circumstances(settings: Settings, *, recycled: bool) -> dict[str, Any]:
    """All that a reader needs to judge the numbers."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "isa": _core.isa(),
        "threads": settings.threads,
        "rounds": settings.rounds,
        "recycled_memory": recycled,
        "load": os.getloadavg()[0],
    }


def _peer_ratio(result: Result, peer: str) -> float | None:
    """A peer's time over poolkit's in the same layout."""
    return result.ratio(peer, "poolkit-nhwc" if peer.endswith("-nhwc") else "poolkit")


def slower(result: Result) -> list[tuple[str, float]]:
    """The layouts in which torch is faster than poolkit, each with torch's time over poolkit's."""
    ratios = [(peer, _peer_ratio(result, peer)) for peer in ("torch", "torch-nhwc")]
    return [(peer, ratio) for peer, ratio in ratios if ratio is not None and ratio < 1]


def summarise(results: Sequence[Result]) -> list[Summary]:
    """One Summary per group present, and "headline" over all rows that the project's bars are set on."""
    present = dict.fromkeys(result.row.group for result in results)
    groups = {group: [r for r in results if r.row.group == group] for group in present}
    headline = [result for result in results if result.row.group in HEADLINE]
    if headline:
        groups["headline"] = headline
    peers = dict.fromkeys(name for result in results for name in result.ms if not name.startswith("poolkit"))
    summaries: list[Summary] = []
    for group, members in groups.items():
        summaries.append(
            Summary(
                group,
                len(members),
                geometric_mean(result.over_floor() for result in members),
                geometric_mean(result.over_floor("poolkit-nhwc") for result in members),
                {peer: geometric_mean(_peer_ratio(result, peer) for result in members) for peer in peers},
                sum(bool(slower(result)) for result in members),
            )
        )
    return summaries


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}{unit}"


def show(results: Sequence[Result], growth: dict[str, dict[int, float]], settings: Settings) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, NARROWEST)
    peers = [name for name in settings.peers if not name.startswith("poolkit")]
    mine = [name for name in settings.peers if name.startswith("poolkit")]
    if results:
        table = Table(title=f"one layer forward, float32, {settings.threads} thread(s); peers: their time / poolkit's")
        for heading in ("layer", "input", "window", "kind", "floor ms"):
            table.add_column(heading, no_wrap=True)
        for name in mine:
            table.add_column(f"{name} ms".replace(" ", "\n"), justify="right", no_wrap=True)
            table.add_column("/floor", justify="right", no_wrap=True)
        for name in peers:
            table.add_column(name, justify="right", no_wrap=True)
        for result in results:
            row = result.row
            cells = [row.name, "x".join(map(str, row.shape)), row.describe(), row.kind, number(result.floor_ms)]
            for name in mine:
                cells += [number(result.ms.get(name)), number(result.over_floor(name))]
            cells += [number(_peer_ratio(result, name), "x") for name in peers]
            table.add_row(*cells)
        console.print(table)
        console.print(_summary_table(results, peers))
        losses = sorted((ratio, result.row.name, peer) for result in results for peer, ratio in slower(result))
        for ratio, name, peer in losses[:WORST_SHOWN]:
            console.print(f"[yellow]slower than {peer}: {name}, whose time is {ratio:.2f} of poolkit's")
        for result in results:
            for name, reason in result.absent.items():
                if "differ" in reason:
                    console.print(f"[yellow]{result.row.name}: {name} left out: {reason}")
    for kind, times in growth.items():
        table = Table(title=f"{kind}, stride 1, on {'x'.join(map(str, GROWTH_SHAPE))}: growth with the kernel")
        for heading in ("kernel", "ms", "/ 3x3"):
            table.add_column(heading, justify="right")
        for side, ms in times.items():
            table.add_row(f"{side}x{side}", number(ms), number(ms / times[3]))
        console.print(table)


def _summary_table(results: Sequence[Result], peers: Sequence[str]) -> Any:
    from rich.table import Table

    table = Table(title="geometric means")
    for heading in ("group", "rows", "poolkit/floor", "poolkit-nhwc/floor", *peers, "slower than torch"):
        table.add_column(heading, justify="right")
    for item in summarise(results):
        table.add_row(
            item.group,
            str(item.rows),
            number(item.over_floor),
            number(item.over_floor_last),
            *(number(item.ratios.get(name), "x") for name in peers),
            str(item.slower),
        )
    return table


def save(
    stem: Path, results: Sequence[Result], growth: dict[str, dict[int, float]], facts: dict[str, Any], left_out: Any
) -> list[Path]:
    """Write ``stem``.json and ``stem``.csv; return their paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "circumstances": facts,
        "summary": [vars(item) for item in summarise(results)],
        "growth_ms": growth,
        "rows": [result.as_dict() for result in results],
        "left_out": left_out,
    }
    as_json = stem.with_suffix(".json")
    as_json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    as_csv = stem.with_suffix(".csv")
    names = list(dict.fromkeys(name for result in results for name in result.ms))
    with as_csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "layer", "shape", "window", "kind", "note", "floor_ms", *names])
        for result in results:
            row = result.row
            times = [f"{result.ms[name]:.5f}" if name in result.ms else "" for name in names]
            shape = "x".join(map(str, row.shape))
            floor = f"{result.floor_ms:.5f}"
            writer.writerow([row.network, row.layer, shape, row.describe(), row.kind, row.note, floor, *times])
    return [as_json, as_csv]


def draw(path: Path, results: Sequence[Result], facts: dict[str, Any]) -> Path:
    """The roofline-style picture: time over copy floor for each layer, sorted, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    others = [name for name in ("torch-nhwc", "onnxruntime", "openvino") if any(name in r.ms for r in results)]
    ordered = sorted(results, key=lambda result: result.over_floor() or 0)
    best = [min((r.ms[n] / r.floor_ms for n in others if n in r.ms), default=None) for r in ordered]
    lines = [
        ("PyTorch, default layout", [r.over_floor("torch") for r in ordered], "#d1495b", "o"),
        (f"best of {', '.join(others)}", best, "#edae49", "s"),
        ("poolkit, default layout", [r.over_floor() for r in ordered], "#00798c", "o"),
    ]
    figure, axes = plt.subplots(figsize=(10, 4.6), dpi=130, layout="constrained")
    for label, values, colour, marker in lines:
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        if known:
            mean = geometric_mean(value for _, value in known)
            label_text = f"{label} (geometric mean {number(mean)})"
            axes.scatter(*zip(*known, strict=True), s=16, color=colour, marker=marker, label=label_text, linewidths=0)
    axes.axhline(1, color="#333333", linewidth=1)
    axes.annotate(
        "copy floor: read the input, write the output", (0, 1), (2, -11), textcoords="offset points", fontsize=8
    )
    axes.set_yscale("log")
    axes.set_ylim(0.4, axes.get_ylim()[1] * 3)  # room for the legend
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlim(-1, len(ordered))
    axes.set_ylabel("time / copy floor")
    axes.set_xlabel(f"{len(ordered)} pooling layers of real networks, sorted by poolkit's time / floor")
    threads = "one thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    axes.set_title(f"Forward pooling, float32, {threads}, {facts['processor']} ({facts['isa']})", fontsize=10)
    axes.grid(axis="y", which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    return path
