"""The bench of the GPU kernels, without a GPU: its bars, its table, its clock, its checks and its list of works."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import poolkit as pk
from bench.gpu import ahead, measure
from bench.gpu.check import WrongError, check, poisoned, worst
from bench.gpu.clock import Clock
from bench.gpu.judge import COLUMNS, Row, judge, table
from bench.gpu.works import ABOVE, UNFOLDED, Work, made, works
from poolkit.bench import rows
from poolkit.torch.functional import pool

CPU = torch.device("cpu")


def good_rows() -> list[Row]:
    """Rows that meet every bar."""
    rows = [
        Row("max 3x3/2 float32 planar", "fold", ms=1.0, share=0.95, error=0.0, peers={"aten": 0.5, "inductor": 0.5}),
        Row("max 3x3/2 float32 planar", "fold", train=True, ms=2.0, share=0.85, kept={"mine": 1.0, "aten": 8.0}),
        *(Row(f"net/{n}", "network", ms=0.5, share=0.5, peers={"aten": 2.0, "inductor": 1.2}) for n in "ab"),
        *(
            Row(
                f"{name} {k}x{k}/{s}",
                "unfold",
                ms=1.0,
                peers={"unfold": 12.0},
                memory={"mine": 2**20, "unfold": k * k * 2**20},
            )
            for name, (k, s, _) in UNFOLDED.items()
        ),
    ]
    return [*rows, Row("max 3x3/1", "stride", ms=1.0), Row("max 31x31/1", "stride", ms=2.4)]


def missed(rows: list[Row]) -> list[str]:
    return [f"{goal.work}: {goal.bar}" for goal in judge(rows) if not goal.met]


def with_row(work: str, **changes: object) -> list[Row]:
    """The good rows, one of them changed."""
    train = bool(changes.pop("train", False))
    rows = good_rows()
    at = next(i for i, row in enumerate(rows) if row.work == work and row.train == train)
    rows[at] = replace(rows[at], **changes)
    return rows


def test_good_rows_meet_all_bars() -> None:
    assert missed(good_rows()) == []
    assert len(judge(good_rows())) == 2 + 4 + 8 + 2


@pytest.mark.parametrize(
    ("work", "changes", "bar"),
    [
        ("max 3x3/2 float32 planar", {"share": 0.89}, "forward, 256 MiB: share of the copy rate, the least >= 0.9"),
        (
            "max 3x3/2 float32 planar",
            {"train": True, "share": 0.79},
            "forward and backward, 256 MiB: share of the copy rate, the least >= 0.8",
        ),
        (
            "max 3x3/2 float32 planar",
            {"train": True, "kept": {"mine": 2.0, "aten": 8.0}},
            "max: bytes an output kept for backward, the most <= 1",
        ),
        (
            "net/b",
            {"peers": {"aten": 0.8, "inductor": 1.2}},
            "network shapes above 16 MiB, planar: times ATen's speed, geometric mean >= 1.3",
        ),
        (
            "net/b",
            {"peers": {"aten": 1.5, "inductor": 1.0}},
            "network shapes above 16 MiB, planar: times Inductor's speed, geometric mean >= 1.1",
        ),
        (
            "net/b",
            {"peers": {"aten": 0.95, "inductor": 1.2}, "last": True},
            "network shapes above 16 MiB, channels-last: slower than ATen by more than 5 %",
        ),
        (
            "Median 3x3/1",
            {"peers": {"unfold": 9.9}},
            "Median 3x3/1: times the composition's speed >= 10",
        ),
        (
            "Median 3x3/1",
            {"memory": {"mine": 2**20, "unfold": 9 * 2**20 - 1}},
            "Median 3x3/1: times less memory than the composition >= 9",
        ),
        ("max 31x31/1", {"ms": 2.6}, "stride 1: time of the large kernel over that of 3x3 <= 2.5"),
    ],
)
def test_a_missed_bar_is_told(work: str, changes: dict[str, object], bar: str) -> None:
    assert bar in missed(with_row(work, **changes))


def test_one_slow_layer_is_named_whatever_the_mean() -> None:
    rows = [*good_rows(), Row("net/slow", "network", ms=1.0, peers={"aten": 0.94, "inductor": 0.96})]
    (goal,) = [goal for goal in judge(rows) if goal.bar == "slower than ATen by more than 5 %"]
    assert goal.met is False
    assert goal.detail == {"of": 3, "net/slow": "0.94"}
    assert missed(rows) == ["network shapes above 16 MiB, planar: slower than ATen by more than 5 %"]
    assert "slower than ATen by more than 5 %: of 3, net/slow 0.94" in table(rows, judge(rows), {}, {})


def test_what_was_not_measured_is_not_met() -> None:
    goals = judge([])
    assert {goal.met for goal in goals} == {None}
    assert "| not measured |" in table([], goals, {}, {})


def test_the_table_has_every_number() -> None:
    rows = good_rows()
    rows[0].late.append("aten")
    page = table(rows, judge(rows), {"device": "none"}, {"Left out": ["a: because"], "Wrong": []})
    lines = page.splitlines()
    assert lines[0] == f"| {' | '.join(COLUMNS)} |"
    assert all(line.count("|") == len(COLUMNS) + 1 for line in lines[: 2 + len(rows)])
    assert "| max 3x3/2 float32 planar | 1 | 0.95 | 0.50x | 0.50x | - | 0.0e+00 | - | - |" in lines
    assert "| max 3x3/2 float32 planar, forward and backward | 2 | 0.85 | - | - | - | - | 1.0 / 8.0 | - |" in lines
    assert "| Median 3x3/1 | 1 | - | - | - | 12.00x | - | - | 1.0 / 9.0 |" in lines
    assert "- max 3x3/2 float32 planar (aten)" in lines
    assert "Left out:" in lines
    assert "- a: because" in lines
    assert "Wrong:" not in lines


class Simulated(Clock):
    """A GPU that takes 60 us for a fill and does one thing after the other; the host takes 5 us to launch it."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.gpu = True
        self.host = self.busy_until = 0.0
        self._fill = lambda: self.launch(5, 60)
        self._copy = lambda: self.launch(5, 250)
        self._copied = 2**20

    def launch(self, host: float, gpu: float) -> None:
        self.host += host
        self.busy_until = max(self.busy_until, self.host) + gpu

    def _events(self):
        return Event(self), Event(self)


class Event:
    def __init__(self, clock: Simulated) -> None:
        self.clock, self.at = clock, 0.0

    def record(self) -> None:
        self.at = max(self.clock.host, self.clock.busy_until)

    def query(self) -> bool:
        return self.clock.host >= self.at

    def synchronize(self) -> None:
        self.clock.host = max(self.clock.host, self.at)

    def elapsed_time(self, other: Event) -> float:
        return (other.at - self.at) / 1e3


def test_the_clock_leaves_the_host_out() -> None:
    clock = Simulated()

    def waits() -> None:
        clock.launch(10, 10)
        clock.host = clock.busy_until
        clock.launch(100, 10)

    calls = {
        "quick": lambda: clock.launch(10, 20),
        "heavy to launch": lambda: clock.launch(900, 20),
        "waiting": waits,
    }
    ms, rate = clock.medians(calls, 9, 1.0)
    assert rate == 2**20 / 0.25
    assert ms["quick"] == pytest.approx(0.02)
    assert ms["heavy to launch"] == pytest.approx(0.02)
    assert clock.late == {"waiting"}
    assert ms["waiting"] == pytest.approx(0.12)


def test_memory_that_was_not_written_is_seen() -> None:
    def forgets(x):
        y = torch.empty_like(x)
        y[..., 1:] = x[..., 1:]
        return y

    work = Work("forgets", "other", (2, 3, 5, 5), lambda x: x.clone(), lambda x: x)
    x = made(work, CPU, 0)
    assert check(work, x)[0] == 0
    with pytest.raises(WrongError, match="a relative error of inf"):
        check(replace(work, mine=forgets), x)
    with poisoned():
        assert x.new_empty_strided([4], [1]).isnan().all()
        assert torch.empty(3, dtype=torch.bfloat16).isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_wrong_index_or_shape_is_an_infinite_error() -> None:
    y, at = torch.ones(1, 4), torch.arange(4)
    assert worst((y, at), (y, at)) == 0
    assert worst((y, at), (y, at.flip(0))) == float("inf")
    assert worst((y,), (y[0],)) == float("inf")
    assert worst((y + 1e-3,), (y,)) == pytest.approx(1e-3, rel=1e-3)


def test_all_layers_above_16_mib_are_measured() -> None:
    list_, without = works(CPU, dry=False)
    layers = [work for work in list_ if work.kind == "network"]
    planar = [work for work in layers if not work.last]
    found, left_out = rows.load()
    assert {work.name for work in planar} == {row.name for row in found if 4 * row.cells > ABOVE}
    assert len(planar) >= 100
    assert all(work.peer is not None and work.compiled for work in layers)
    assert len(without) == len(left_out)
    assert [work.beyond for work in list_] == sorted(work.beyond for work in list_)
    assert not any(work.beyond for work in planar)
    bars = [i for i, work in enumerate(list_) if work.kind in {"fold", "unfold", "stride"}]
    assert max(bars) < min(i for i, work in enumerate(list_) if work.kind == "network")


def test_a_peer_that_cannot_be_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_run):
        raise ValueError("at 1:2:\n  a source\nno such thing")

    work = Work("one", "other", (1, 2, 6, 6), lambda x: pool(x, pk.Sliding(2), pk.Max()), pool_of_torch)
    for module in (measure, ahead):
        monkeypatch.setattr(module, "compiled", fails)
    row, without = measure.measure(work, Clock(CPU), CPU, 0, compile_too=True)
    assert set(row.peers) == {"aten"}
    assert without == ["one, inductor: ValueError: at 1:2: ... no such thing"]
    assert ahead.compile_share([work], CPU) == 1
    monkeypatch.setattr(ahead, "compiled", lambda run: run)
    assert ahead.compile_share([work], CPU) == 0


def pool_of_torch(x):
    return torch.nn.functional.max_pool2d(x, 2)
