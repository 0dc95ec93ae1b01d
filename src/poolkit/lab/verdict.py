"""What a study says, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolkit.errors import PoolError
from poolkit.lab.measures import WANTS, Measure, measures
from poolkit.lab.stats import best, differences, failures, noise_floor
from poolkit.show.words import Words

if TYPE_CHECKING:
    from poolkit.lab.journal import Journal

TOLD = ("score", "gap", "consistency", "robustness", "inference_ms_32", "training_bytes_32")
"""The measures whose outcome is told in sentences."""


def task_of(journal: Journal) -> str:
    """Classification or segmentation.

    Raises:
        PoolError: no trial has ended yet.
    """
    if not any("metrics" in record for record in journal.records):
        raise PoolError(
            f"the study {journal.folder}", "at least one trial has ended well, here none", "let poolkit compare go on"
        )
    return str(journal.records[0]["task"])


def verdict(journal: Journal) -> list[Words]:
    """A sentence for each measure of `TOLD`, and one for what is missing or failed."""
    known = measures(task_of(journal))
    told = [_sentence(journal, known[key]) for key in TOLD]
    missing = len(journal.spec.trials()) - len(journal.done)
    if missing:
        told.append(
            Words(
                f"The study is not finished: {missing} of {len(journal.spec.trials())} trials are missing.",
                f"研究尚未完成：{len(journal.spec.trials())} 次试验中还缺 {missing} 次。",
            )
        )
    failed = failures(journal.records)
    if failed:
        names = ", ".join(f"{record['pool']} (seed {record['seed']})" for record in failed)
        told.append(Words(f"Training failed for {names}.", f"以下训练失败：{names}。"))
    return told


def _sentence(journal: Journal, measure: Measure) -> Words:
    reference = journal.spec.pools[0]
    rows = differences(journal.records, measure, reference)
    floor = noise_floor(journal.records, measure.key)
    parts_en: list[str] = []
    parts_zh: list[str] = []
    for verdict_, en, zh in (("better", "better than", "优于"), ("worse", "worse than", "不如")):
        names = [f"{row.pool} ({measure.text(row.mean, signed=True)})" for row in rows if row.verdict == verdict_]
        if names:
            parts_en.append(f"{', '.join(names)}: {en} {reference}")
            parts_zh.append(f"{'、'.join(names)}：{zh} {reference}")
    open_ = [row.pool for row in rows if row.verdict == "not told apart"]
    if open_:
        parts_en.append(f"not told apart from {reference}: {', '.join(open_)}")
        parts_zh.append(f"与 {reference} 无法区分：{'、'.join(open_)}")
    if not rows:
        parts_en.append("there is nothing to compare yet")
        parts_zh.append("还没有可比较的结果")
    noise_en = noise_zh = ""
    if floor:
        size = measure.text(floor, signed=True).lstrip("+")
        noise_en = f" Two networks that differ in their seed alone lie up to {size} apart."
        noise_zh = f"仅种子不同的两个网络，相差可达 {size}。"
    return Words(
        f"{measure.title.en}: {'; '.join(parts_en)}.{noise_en}",
        f"{measure.title.zh}：{'；'.join(parts_zh)}。{noise_zh}",
    )


def advice(journal: Journal, want: str) -> Words:
    """Which pooling the study speaks for, how sure that is, and which others may be as good.

    Args:
        journal: a study, finished or not.
        want: a key of `WANTS`.

    Raises:
        PoolError: no trial has ended yet.
    """
    measure = measures(task_of(journal))[WANTS[want]]
    found = best(journal.records, measure)
    if found is None:
        raise PoolError(
            f"the study {journal.folder}", "every pooling has run with a common seed, here not yet",
            "let poolkit compare go on",
        )  # fmt: skip
    seeds = len({record["seed"] for record in journal.records})
    value, share = measure.text(found.mean), f"{100 * found.share:.0f} %"
    few_en = " With fewer than five seeds little can be told apart: run more." if seeds < 5 else ""
    few_zh = "种子少于五个时很难分出高下：请多跑几个。" if seeds < 5 else ""
    if not found.rivals:
        rest_en, rest_zh = "It is told apart from every other pooling.", "它与其他所有池化都能区分开。"
    else:
        rest_en = f"Not told apart from it: {', '.join(found.rivals)}; choose among them by other reasons."
        rest_zh = f"与它无法区分的有：{'、'.join(found.rivals)}；可按其他理由在其中选择。"
    data, model = journal.spec.training.data, journal.spec.training.model
    return Words(
        f"{found.pool}: {measure.title.en.lower()} {value}, the best of {len(journal.spec.pools)} poolings in {share} "
        f"of the resamples of {seeds} seed(s). {rest_en}{few_en} This holds for {model} on {data}; another network or "
        "other data may answer otherwise.",
        f"{found.pool}：{measure.title.zh} {value}，对 {seeds} 个种子重采样，其中 {share} 的情形它在 "
        f"{len(journal.spec.pools)} 种池化里最好。{rest_zh}{few_zh}这只对 {data} 上的 {model} 成立；"
        "换一个网络或数据，答案可能不同。",
    )
