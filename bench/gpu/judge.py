"""What was measured, against the bars, and the table of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import geometric_mean

from bench.goals.goal import WORDS, Goal, at_least, at_most, none_of
from bench.gpu.works import UNFOLDED, layout

PEERS = {"aten": ("ATen", 1.3), "inductor": ("Inductor", 1.1)}
SLOWER = 1 / 1.05
COLUMNS = ("call", "ms", "of the copy rate", "ATen", "Inductor", "unfold", "error", "bytes kept", "MiB at most")


@dataclass
class Row:
    """One row of the table: milliseconds, shares, and the same of others."""

    work: str
    kind: str
    train: bool = False
    last: bool = False
    ms: float | None = None
    share: float | None = None  # of the copy rate
    error: float | None = None  # relative, against float64
    peers: dict[str, float] = field(default_factory=dict[str, float])  # how many times longer they take
    kept: dict[str, float] = field(
        default_factory=dict[str, float]
    )  # bytes an output kept for backward, beside x and y
    memory: dict[str, int] = field(default_factory=dict[str, int])  # bytes held at most during a call, beside x
    late: list[str] = field(default_factory=list[str])  # whose time has the host's in it

    @property
    def name(self) -> str:
        """With what is done."""
        return f"{self.work}, forward and backward" if self.train else self.work


def judge(rows: list[Row]) -> list[Goal]:
    """The bars."""
    return [*_shares(rows), *_networks(rows), *_compositions(rows), _kept(rows), _growth(rows)]


def _shares(rows: list[Row]) -> list[Goal]:
    goals: list[Goal] = []
    for train, bar in ((False, 0.9), (True, 0.8)):
        shares = {
            row.work: row.share for row in rows if row.kind == "fold" and row.train == train and row.share is not None
        }
        detail = {name: f"{share:.2f}" for name, share in shares.items() if share < bar}
        what = "forward and backward, 256 MiB" if train else "forward, 256 MiB"
        least = min(shares.values(), default=None)
        goals.append(at_least(what, "share of the copy rate, the least", least, bar, detail))
    return goals


def _networks(rows: list[Row]) -> list[Goal]:
    """Planar ones always, those with channels last where any were measured."""
    goals: list[Goal] = []
    layers = [row for row in rows if row.kind == "network"]
    for last in sorted({False, *(row.last for row in layers)}):
        work = f"network shapes above 16 MiB, {layout(last=last)}"
        for key, (peer, bar) in PEERS.items():
            ratios = {row.work: row.peers[key] for row in layers if row.last == last and key in row.peers}
            mean = geometric_mean(ratios.values()) if ratios else None
            goals.append(at_least(work, f"times {peer}'s speed, geometric mean", mean, bar, {"of": len(ratios)}))
            slower = {name: f"{ratio:.2f}" for name, ratio in ratios.items() if ratio < SLOWER}
            goals.append(none_of(work, f"slower than {peer} by more than 5 %", slower, of=len(ratios)))
    return goals


def _compositions(rows: list[Row]) -> list[Goal]:
    goals: list[Goal] = []
    by_name = {row.work: row for row in rows if row.kind == "unfold"}
    for kind, (k, s, _) in UNFOLDED.items():
        name = f"{kind} {k}x{k}/{s}"
        row = by_name.get(name, Row(name, "unfold"))
        goals.append(at_least(name, "times the composition's speed", row.peers.get("unfold"), 10.0, {}))
        goals.append(at_least(name, "times less memory than the composition", _times_less(row.memory), k * k, {}))
    return goals


def _times_less(memory: Mapping[str, int]) -> float | None:
    return memory["unfold"] / max(memory["mine"], 1) if {"mine", "unfold"} <= set(memory) else None


def _kept(rows: list[Row]) -> Goal:
    counts = {row.work: row.kept["mine"] for row in rows if row.work.startswith("max ") and "mine" in row.kept}
    most = max(counts.values(), default=None)
    detail = {name: f"{count:.2f}" for name, count in counts.items() if count > 1}
    return at_most("max", "bytes an output kept for backward, the most", most, 1, detail)


def _growth(rows: list[Row]) -> Goal:
    ms = [row.ms for row in rows if row.kind == "stride" and row.ms is not None]
    growth = ms[1] / ms[0] if len(ms) == 2 else None
    return at_most("stride 1", "time of the large kernel over that of 3x3", growth, 2.5, {})


def table(
    rows: list[Row],
    goals: list[Goal],
    facts: Mapping[str, object],
    remarks: Mapping[str, list[str]],
) -> str:
    """The page; remarks say what is not in it, by reason."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 1)}"]
    for row in rows:
        cells = [
            row.name,
            "-" if row.ms is None else f"{row.ms:.4g}",
            "-" if row.share is None else f"{row.share:.2f}",
            *(f"{row.peers[name]:.2f}x" if name in row.peers else "-" for name in (*PEERS, "unfold")),
            "-" if row.error is None else f"{row.error:.1e}",
            _both([f"{count:.1f}" for count in row.kept.values()]),
            _both([f"{size / 2**20:.1f}" for size in row.memory.values()]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Two numbers in a cell: poolkit, then the other.", "", "| work | bar | reached | met |"]
    lines.append("|---|---|---:|---|")
    for goal in goals:
        reached = "-" if goal.reached is None else f"{goal.reached:.2f}"
        lines.append(f"| {goal.work} | {goal.bar} | {reached} | {WORDS[goal.met]} |")
    missed = [f"{goal.work}, {goal.bar}: {_told(goal.detail)}" for goal in goals if goal.met is False and goal.detail]
    lines += ["", ", ".join(f"{name} {value}" for name, value in facts.items())]
    late = [f"{row.name} ({', '.join(row.late)})" for row in rows if row.late]
    timed = {"Timed with the host's own time, for they wait for the GPU": late}
    for what, names in ({"Missed": missed} | timed | dict(remarks)).items():
        if names:
            lines += ["", f"{what}:", "", *(f"- {name}" for name in names)]
    return "\n".join(lines) + "\n"


def _both(cells: list[str]) -> str:
    return " / ".join(cells) or "-"


def _told(detail: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items())
