"""The tables of docs/performance.md, from saved runs: `bench.table` puts them there.

For each class of shape two numbers say what its time can be: the bytes that have to move, and the joins (maxima or sums
of two cells) that its windows need. The floor is the bytes at the rate at which the machine copies; predicted is the
longer of the floor and the joins at the rate at which the machine joins two arrays in its level-1 cache.
"""

import json
from math import ceil, inf, log2, prod
from pathlib import Path
from typing import Any

from bench.kernel_cases import CASES
from poolkit.bench.contestants import mine_beside
from poolkit.bench.growth import SHAPE
from poolkit.bench.report import number

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
FLOAT_BYTES = 4
# Which layers stand for a class: (network, layer) of the saved run.
CLASSES = {
    "stem": (("resnet50", "maxpool_b64"), ("squeezenet1_0", "pool1")),
    "halving": (("vgg16", "pool1_b64"), ("densenet161", "transition1")),
    "small-planes": (("onednn:googlenet_v1", "inception_4a/max_pool"), ("inception_v3", "mixed_6_pool")),
    "large-kernels": (("yolov5s_sppf", "k5_chain1"), ("superpoint", "nms_r4"), ("guided_filter", "box_r8")),
    "global": (("resnet50", "avgpool_b64"), ("pspnet_cityscapes", "ppm_bin6_nondiv"), ("rmac_r101", "region_max")),
    "one-dimension": (("sincnet", "pool1"), ("timesnet_ma", "moving_avg25")),
    "volumes": (("unet3d_brats128", "pool1"), ("slowfast_r50", "slow_pool")),
}
HEAD = (
    "layer",
    "input",
    "window",
    "MB moved",
    "M joins",
    "floor ms",
    "predicted ms",
    "came out ms",
    "/ floor",
    "command",
)


def begin(name: str) -> str:
    """The mark before a table."""
    return f"<!-- table {name}: python -m bench.table --write -->\n"


END = "<!-- end of table -->\n"


def joins(row: dict[str, Any]) -> int:
    """Joins of a layer, axis by axis: the fewest of each tap by itself, van Herk's blocks, and doubling.

    The first axes are the outer ones, as the kernels do it: each pass leaves the outputs of its axis for the next.
    """
    shape, total = list(row["shape"]), 0
    spatial = shape[2:]
    kernel = row["kernel"] or [ceil(size / out) for size, out in zip(spatial, targets(row), strict=True)]
    stride = row["stride"] or kernel
    for axis, (k, s, out) in enumerate(zip(kernel, stride, outputs(row), strict=True), 2):
        others = prod(shape) // shape[axis]
        each = out * (k - 1)
        sliding = min(3 * shape[axis], shape[axis] * ceil(log2(k)) if k > 1 else 0) if s == 1 else each
        total += others * min(each, sliding)
        shape[axis] = out
    return total


def targets(row: dict[str, Any]) -> list[int]:
    """The output sizes of an adaptive or global row."""
    return row["target"] or [1] * (len(row["shape"]) - 2)


def outputs(row: dict[str, Any]) -> list[int]:
    """The output sizes of any row but a fractional one."""
    if not row["kernel"]:
        return targets(row)
    sizes: list[int] = []
    for size, k, s, (before, after) in zip(row["shape"][2:], row["kernel"], row["stride"], row["padding"], strict=True):
        room = size + before + after - k
        out = (-(-room // s) if row["ceil_mode"] else room // s) + 1
        # In ceil mode a window that would begin in the padding after the input does not exist.
        sizes.append(out - 1 if row["ceil_mode"] and (out - 1) * s >= size + before else out)
    return sizes


def moved(row: dict[str, Any]) -> int:
    """Bytes of the input and of the output."""
    return FLOAT_BYTES * (prod(row["shape"]) + prod(row["shape"][:2]) * prod(outputs(row)))


def class_table(document: dict[str, Any], name: str) -> list[str]:
    """The table of one class; a layer that the run lacks is left out."""
    found = {(entry["row"]["network"], entry["row"]["layer"]): entry for entry in document["rows"]}
    rate = document["circumstances"].get("joins_per_ns")
    text = ["| " + " | ".join(HEAD) + " |", "|---|---|---|" + "---:|" * 6 + "---|"]
    for key in CLASSES[name]:
        if key not in found:
            continue
        entry = found[key]
        row, ms, floor = entry["row"], entry["ms"]["poolkit"], entry["floor_ms"]
        count = joins(row)
        predicted = max(floor, count / rate / 1e6) if rate else None
        kind = "max" if "max" in row["kind"] else "mean"
        cells = [row["network"].removeprefix("onednn:"), "x".join(map(str, row["shape"])), f"{kind} {row['window']}"]
        cells += [number(moved(row) / 1e6), number(count / 1e6), number(floor), number(predicted), number(ms)]
        cells += [number(ms / floor), f"`--filter {key[0]}/{key[1]}`"]
        text.append("| " + " | ".join(cells) + " |")
    return text


def growth_table(document: dict[str, Any]) -> list[str]:
    """Milliseconds, and the share of 3x3's, of every reducer that the run has."""
    grown = document["growth_ms"]
    text = [f"On {'x'.join(map(str, SHAPE))}, stride 1, ms and in brackets the share of the time of 3x3:", ""]
    text += ["| kernel | " + " | ".join(grown) + " |", "|---:|" + "---:|" * len(grown)]
    first = next(iter(grown.values()))
    for side in first:
        cells = [f"{number(ms[side])} ({ms[side] / ms['3']:.2f})" for ms in grown.values()]
        text.append(f"| {side}x{side} | " + " | ".join(cells) + " |")
    return text


def means_table(document: dict[str, Any]) -> list[str]:
    """Geometric means of each group: over the floor in both layouts, and each peer's time over poolkit's."""
    peers = list(document["summary"][0]["ratios"])
    head = ("group", "layers", "NCHW / floor", "NHWC / floor", *peers)
    text = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for item in document["summary"]:
        cells = [item["group"], str(item["rows"]), number(item["over_floor"]), number(item["over_floor_last"])]
        cells += [number(item["ratios"].get(peer), "x") for peer in peers]
        text.append("| " + " | ".join(cells) + " |")
    return text


def slower_table(document: dict[str, Any]) -> list[str]:
    """The layers on which torch is faster in the same layout, with torch's time over poolkit's."""
    found: list[tuple[float, str]] = []
    for entry in document["rows"]:
        ms, row = entry["ms"], entry["row"]
        for peer, layout in (("torch", "NCHW"), ("torch-nhwc", "NHWC")):
            mine = mine_beside(peer)
            if peer in ms and mine in ms and ms[peer] < ms[mine]:
                name = f"{row['network']} {row['layer']}"
                shape = "x".join(map(str, row["shape"]))
                line = f"| {name} | {shape} | {row['kind']} {row['window']} | {layout} | {ms[peer] / ms[mine]:.2f} |"
                found.append((ms[peer] / ms[mine], line))
    if not found:
        return ["None."]
    lines = [line for _, line in sorted(found)]
    return ["| layer | input | window | layout | torch's time / poolkit's |", "|---|---|---|---|---:|", *lines]


def goals_table(document: dict[str, Any]) -> list[str]:
    """Every goal that was measured, with what was reached."""
    words = {True: "yes", False: "**no**", None: "not measured"}
    text = ["| work | goal | reached | met |", "|---|---|---:|---|"]
    for section in document.values():
        for goal in section["goals"]:
            reached = "-" if goal["reached"] is None else number(goal["reached"])
            bar = goal["bar"].replace("<=", "≤").replace(">=", "≥")
            text.append(f"| {goal['work']} | {bar} | {reached} | {words[goal['met']]} |")
    return text


def machine_line(document: dict[str, Any]) -> list[str]:
    """On what the run was made."""
    facts = document["circumstances"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    threads = "one thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    rate = f", {number(facts['joins_per_ns'])} joins a nanosecond" if facts.get("joins_per_ns") else ""
    return [f"{facts['processor']}, {facts['system']}, {facts['isa']}, {threads}{rate}; {versions}."]


def kept_goals(name: str, command: str) -> list[str]:
    """The goals kept in a file of results, and on what they were measured."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return [f"Nothing is kept yet: `python -m bench.{command} --json` measures and keeps them."]
    goals = json.loads(file.read_text(encoding="utf-8"))
    facts = next(iter(goals.values()))["circumstances"]
    return [*goals_table(goals), "", f"Measured on {facts['processor']}, {facts['isa']}, load {facts['load']:.1f}."]


def counts_table() -> list[str]:
    """What valgrind counted of each case of the gate, beside the bytes of its input and outputs."""
    kept = json.loads((RESULTS / "instructions.json").read_text(encoding="utf-8"))
    text = ["| case | input | bytes in and out | instructions | a byte |", "|---|---|---:|---:|---:|"]
    for name, count in kept["instructions"].items():
        case = CASES[name]
        size = case.moved()
        shape = "x".join(map(str, case.shape))
        text.append(f"| {name} | {shape} | {size:,} | {count:,} | {number(count / size)} |")
    return [*text, "", f"{kept['isa']}, {kept['compiler']}."]


# Full runs beside that of the page: what they are called, and the options that make them.
RUNS = {
    "threads-2": ("two threads", "--threads 2"),
    "threads-1-backward": ("forward and backward", "--backward"),
    "threads-1-bfloat16": ("bfloat16", "--dtype bfloat16"),
    "threads-1-float16": ("float16", "--dtype float16"),
    "threads-1-int8": ("int8", "--dtype int8"),
}


def runs_table() -> list[str]:
    """The headline of every other full run that is kept."""
    text = ["| run | layers | poolkit / copy floor | torch / poolkit | slower than torch | command |"]
    text.append("|---|---:|---:|---:|---:|---|")
    for name, (words, options) in RUNS.items():
        file = RESULTS / f"{name}.json"
        if not file.exists():
            continue
        document = json.loads(file.read_text(encoding="utf-8"))
        summary = next(item for item in document["summary"] if item["group"] == "headline")
        slower = sum(entry["ms"].get("torch", inf) < entry["ms"].get("poolkit", 0) for entry in document["rows"])
        peers = "--peers torch" if list(summary["ratios"]) == ["torch"] else ""
        command = " ".join(filter(None, (options, peers)))
        cells = [
            words,
            str(summary["rows"]),
            number(summary["over_floor"]),
            number(summary["ratios"].get("torch"), "x"),
        ]
        text.append("| " + " | ".join([*cells, str(slower), f"`{command}`"]) + " |")
    return text


def networks_table() -> list[str]:
    """Whole networks with torch's poolings and with poolkit's."""
    file = RESULTS / "end_to_end.json"
    if not file.exists():
        return ["Nothing is kept yet: `python -m bench.end_to_end` measures and keeps it."]
    document = json.loads(file.read_text(encoding="utf-8"))
    text = ["| network | phase | torch ms | poolkit ms | torch / poolkit | peak MB, torch | peak MB, poolkit |"]
    text.append("|---|---|---:|---:|---:|---:|---:|")
    for row in document["rows"]:
        ms, peak = row["ms"], row["peak_rss"]
        cells = [row["network"], row["phase"], number(ms["torch"]), number(ms["poolkit"])]
        cells += [f"{ms['torch'] / ms['poolkit']:.2f}", *(f"{peak[one] / 1e6:.0f}" for one in ("torch", "poolkit"))]
        text.append("| " + " | ".join(cells) + " |")
    return text


def tables(run: dict[str, Any]) -> dict[str, list[str]]:
    """Every table of the page, by its mark."""
    made = {name: class_table(run, name) for name in CLASSES}
    made |= {"machine": machine_line(run), "growth": growth_table(run)}
    made |= {"means": means_table(run), "slower": slower_table(run)}
    made |= {"counts": counts_table(), "runs": runs_table(), "networks": networks_table()}
    made |= {"goals": kept_goals("goals", "goals"), "unfold": kept_goals("unfold", "unfold")}
    return made


def rendered(page: str, made: dict[str, list[str]]) -> str:
    """The page with every table between its marks.

    Raises:
        ValueError: the page lacks a mark.
    """
    for name, lines in made.items():
        before, mark, rest = page.partition(begin(name))
        _, end, after = rest.partition(END)
        if not mark or not end:
            raise ValueError(f"{PAGE.name} has no marks for the table {name}")
        page = f"{before}{mark}\n" + "\n".join(lines) + f"\n\n{END}{after}"
    return page


def current(run: dict[str, Any]) -> str:
    """The page as it should be for a run and the goals kept beside it."""
    return rendered(PAGE.read_text(encoding="utf-8"), tables(run))
