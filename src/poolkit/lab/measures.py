"""What is measured of every trial: names in both languages, units, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from poolkit.show.text import bytes_text, ms_text
from poolkit.show.words import Words

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Measure:
    """One number of a trial."""

    key: str
    title: Words
    better: Better
    unit: Literal["share", "ms", "bytes", "count"] = "share"

    def text(self, value: float, *, signed: bool = False) -> str:
        """`value` as people read it; a difference with its sign, in points where the value is a share."""
        sign = ("+" if value > 0 else "−" if value < 0 else "±") if signed else ""
        size = abs(value) if signed else value
        match self.unit:
            case "share":
                return f"{sign}{100 * size:.2f}" if signed else f"{100 * size:.2f} %"
            case "ms":
                return f"{sign}{ms_text(size)} ms"
            case "bytes":
                return f"{sign}{bytes_text(round(size))}"
            case _:
                return f"{sign}{size:,.0f}"


_SCORE = {
    "classification": Words("Accuracy", "准确率"),
    "segmentation": Words("Mean IoU", "平均交并比"),
}


def measures(task: str) -> dict[str, Measure]:
    """All measures of a task by their keys, the most asked-for first."""
    score = _SCORE[task]
    rows = [
        Measure("score", score, "higher"),
        Measure("train_score", Words(f"{score.en} in training", f"训练集{score.zh}"), "higher"),
        Measure("gap", Words("Training minus test", "训练减测试"), "lower"),
        Measure("consistency", Words("Shift consistency", "平移一致性"), "higher"),
        Measure("robustness", Words(f"{score.en} under changes", f"扰动下的{score.zh}"), "higher"),
        Measure("parameters", Words("Parameters", "参数量"), "lower", "count"),
        Measure("flops", Words("Operations, one image", "单图运算量"), "lower", "count"),
    ]
    for name, zh, en in (("inference", "推理", "Inference"), ("training", "训练一步", "Training step")):
        for batch in (1, 32):
            rows.append(
                Measure(f"{name}_ms_{batch}", Words(f"{en}, batch {batch}", f"{zh}，批量 {batch}"), "lower", "ms")
            )
            title = Words(f"{en} memory, batch {batch}", f"{zh}内存，批量 {batch}")
            rows.append(Measure(f"{name}_bytes_{batch}", title, "lower", "bytes"))
    return {row.key: row for row in rows}


WANTS = {"accuracy": "score", "latency": "inference_ms_32", "shift": "consistency", "memory": "training_bytes_32"}
"""What `poolkit advise` can be asked for, and the measure that answers."""


def value_of(record: Mapping[str, Any], key: str) -> float | None:
    """One measure of a trial's record; None where it was not measured."""
    found = record["metrics"].get(key)
    return None if found is None else float(found)
