"""The report of a study: one HTML page that carries everything it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from poolkit.errors import PoolError
from poolkit.lab import plots
from poolkit.lab.measures import Measure, measures
from poolkit.lab.poolings import parse
from poolkit.lab.stats import Interval, differences, estimates
from poolkit.lab.tables import p_text, with_interval
from poolkit.lab.trial import data_of
from poolkit.lab.verdict import TOLD, task_of, verdict
from poolkit.show.about import machine
from poolkit.show.colour import data_uri, encode_rgb, to_levels
from poolkit.show.page import LABELS, fill, made_with
from poolkit.show.text import shape_text
from poolkit.show.words import Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from poolkit.lab.journal import Journal

VERDICTS = {
    "better": Words("better", "更好"),
    "worse": Words("worse", "更差"),
    "not told apart": Words("not told apart", "无法区分"),
}

_RULE = Words(
    "A pooling is called better or worse only if the 95 % bootstrap interval of its paired difference leaves 0 out and "
    "the p of a paired t test, corrected by Holm over all poolings, is below 0.05. Everything else is not told apart: "
    "that is no proof that they are equal. Bands in the plots are the noise floor: how far two networks that differ in "
    "their seed alone lie apart.",
    "只有当配对差的 95% 自助法区间不含 0，且配对 t 检验的 p 值（对所有池化做 Holm 校正）小于 0.05 时，才说更好或更差。"
    "其余都是“无法区分”，但这并不证明它们相等。图中的色带是噪声水平：仅种子不同的两个网络会相差多少。",
)


def render(journal: Journal, *, lang: str | None = None) -> str:
    """The page as text. `lang` fixes the language it opens in; otherwise the reader's browser decides.

    Raises:
        PoolError: no trial has ended yet.
    """
    return fill("study.html.j2", _page(journal, lang), package="poolkit.lab")


def _page(journal: Journal, lang: str | None) -> dict[str, Any]:
    known = measures(task_of(journal))
    about = machine()
    reference = journal.spec.pools[0]
    first = journal.records[0]
    return {
        "lang": lang,
        "version": about.version,
        "title": f"{journal.spec.training.model} · {journal.spec.training.data}",
        "lead": _lead(journal),
        "command": first["command"] or "poolkit.lab.study.compare(...)",
        "verdict": verdict(journal),
        "rule": _RULE,
        "measures": [measure.title for measure in known.values()],
        "rows": _rows(journal, known),
        "against": Words(f"Against {reference}", f"与 {reference} 相比"),
        "differences": [row for key in TOLD for row in _against(journal, known[key])],
        "plots": _plots(journal, known),
        "pictures": _pictures(journal),
        "words": LABELS
        | {
            "numbers": Words("All measures of all poolings", "所有池化的所有指标"),
            "differences": Words("Differences", "差"),
        },
        "made_with": [
            *made_with(about),
            (
                Words("Trained with", "训练所用"),
                f"torch {first['environment']['torch']}, {first['environment']['isa']}",
            ),
            (Words("Threads of a trial", "每次试验的线程"), str(first["environment"]["threads"])),
            (Words("Data", "数据"), first["data_hash"]),
        ],
    }


def _lead(journal: Journal) -> Words:
    training, spec = journal.spec.training, journal.spec
    done, every = len(journal.done), len(spec.trials())
    return Words(
        f"{training.model} on {training.data}: {len(spec.pools)} poolings, {len(spec.seeds)} seeds each, "
        f"{training.epochs} epochs; {done} of {every} trials.",
        f"{training.data} 上的 {training.model}：{len(spec.pools)} 种池化，每种 {len(spec.seeds)} 个种子，"
        f"{training.epochs} 轮；共 {every} 次试验，已完成 {done} 次。",
    )


def _rows(journal: Journal, known: Mapping[str, Measure]) -> list[dict[str, Any]]:
    found = {key: {row.pool: row for row in estimates(journal.records, key)} for key in known}
    outputs = {record["pool"]: record["outputs"] for record in journal.records if "outputs" in record}
    return [
        {
            "pool": pool,
            "cells": [with_interval(known[key], found[key][pool]) if pool in found[key] else "–" for key in known],
            "outputs": ", ".join(shape_text(tuple(shape)) for shape in outputs[pool]),
        }
        for pool in journal.spec.pools
        if pool in outputs
    ]


def _against(journal: Journal, measure: Measure) -> list[dict[str, Any]]:
    return [
        {
            "measure": measure.title,
            "pool": row.pool,
            "mean": measure.text(row.mean, signed=True),
            "interval": _ends(row.interval, measure),
            "p": p_text(row.p_holm),
            "kind": row.verdict.split(" ", maxsplit=1)[0],
            "verdict": VERDICTS[row.verdict],
        }
        for row in differences(journal.records, measure, journal.spec.pools[0])
    ]


def _ends(around: Interval | None, measure: Measure) -> str:
    if around is None:
        return "–"
    return f"{measure.text(around.low, signed=True)} … {measure.text(around.high, signed=True)}"


def _plots(journal: Journal, known: Mapping[str, Measure]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    points = Words(
        "Points are seeds, the diamond is their mean, the line its 95 % interval, the band the noise floor about the "
        "first pooling.",
        "点是各个种子，菱形是均值，线是其 95% 区间，色带是第一种池化周围的噪声水平。",
    )
    for key in ("score", "gap", "consistency", "robustness"):
        drawing = plots.forest(estimates(journal.records, key), known[key], journal.records)
        made.append({"title": known[key].title, "svg": drawing, "caption": points})
    for key, title in (
        ("agreement", Words("Answers to shifted images", "对平移图像的回答")),
        ("score", Words("Score on shifted images", "平移图像上的得分")),
    ):
        caption = Words(
            "Share of answers that stay, or score, when images move around their edges; mean over all seeds.",
            "图像循环平移后保持不变的回答所占比例，或得分；对所有种子取平均。",
        )
        made.append({"title": title, "svg": plots.curves(_curves(journal, key), f"{key}, %"), "caption": caption})
    scores = {row.pool: 100 * row.mean for row in estimates(journal.records, "score")}
    times = {row.pool: row.mean for row in estimates(journal.records, "inference_ms_32")}
    both = {pool: (times[pool], scores[pool]) for pool in scores if pool in times}
    made.append(
        {
            "title": Words("What it costs", "代价"),
            "svg": plots.trade(both, "inference of a batch of 32, ms", f"{known['score'].title.en.lower()}, %"),
            "caption": Words("Up and to the left is better.", "越靠左上越好。"),
        }
    )
    return made


def _curves(journal: Journal, key: str) -> dict[str, tuple[list[float], list[float]]]:
    found: dict[str, list[dict[str, list[float]]]] = {}
    for record in journal.records:
        if "curve" in record:
            found.setdefault(record["pool"], []).append(record["curve"])
    return {
        pool: (rows[0]["pixels"], [float(value) for value in np.mean([row[key] for row in rows], axis=0)])
        for pool, rows in found.items()
    }


def _pictures(journal: Journal) -> list[dict[str, Any]]:
    """One image before and after each pooling; none where the data is elsewhere."""
    training = journal.spec.training
    try:
        data = data_of(training.data, training.size, training.limit)
    except PoolError:
        return []
    x = torch.from_numpy(data.test.x[:1].astype(np.float32))
    low, high = float(x.min()), float(x.max())
    made = [_picture(Words("the image", "原图"), x.numpy()[0], low, high)]
    for name in journal.spec.pools:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            y = parse(name)(x.shape[1]).eval()((x - low) / ((high - low) or 1.0))
        made.append(_picture(Words(name, name), y.numpy()[0], 0.0, 1.0))
    return made


def _picture(name: Words, values: NDArray[np.float32], low: float, high: float) -> dict[str, Any]:
    unit = (values - low) / ((high - low) or 1.0)
    colours = np.repeat(unit[:1], 3, axis=0) if len(unit) != 3 else unit
    levels = to_levels(colours)
    return {"name": name, "uri": data_uri(encode_rgb(levels)), "shape": shape_text(values.shape)}
