"""The page on performance is made from saved runs."""

import json

import pytest

pytest.importorskip("typer", reason="the bench prints with what the command line needs")

from bench import page

RUN = json.loads((page.RESULTS / "threads-1.json").read_text(encoding="utf-8"))


def test_the_committed_page_is_that_of_the_saved_runs() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.current(RUN), "run python -m bench.table --write"


def row(shape: list[int], kernel: list[int], stride: list[int], padding: int = 0, **more: object) -> dict[str, object]:
    pads = [[padding, padding]] * len(kernel)
    usual = {"shape": shape, "kernel": kernel, "stride": stride, "padding": pads, "ceil_mode": False, "target": []}
    return usual | more


def test_bytes_and_joins_are_counted() -> None:
    halving = row([1, 1, 4, 4], [2, 2], [2, 2])
    assert page.outputs(halving) == [2, 2]
    assert page.moved(halving) == 4 * (16 + 4)
    assert page.joins(halving) == 2 * 4 + 2 * 2  # two rows of four, then two by two
    wide = row([1, 1, 100, 100], [63, 63], [1, 1], 31)
    assert page.joins(wide) == 2 * 3 * 100 * 100  # van Herk's three a cell and axis, not 62
    assert page.joins(row([1, 1, 10, 10], [3, 3], [1, 1], 1)) == 2 * 2 * 10 * 10
    everything = row([2, 3, 5, 7], [], [], target=[])
    assert page.outputs(everything) == [1, 1]
    assert page.joins(everything) == 2 * 3 * (4 * 7 + 6)
    assert page.outputs(row([1, 1, 5, 5], [2, 2], [2, 2], ceil_mode=True)) == [3, 3]


def test_predicted_is_the_longer_of_bytes_and_joins() -> None:
    entry = next(e for e in RUN["rows"] if e["row"]["layer"] == "k5_chain1" and e["row"]["network"] == "yolov5s_sppf")
    for rate, text in ((1e9, page.number(entry["floor_ms"])), (1e-3, page.number(page.joins(entry["row"]) / 1e3))):
        document = {"rows": [entry], "circumstances": {"joins_per_ns": rate}}
        cells = page.class_table(document, "large-kernels")[2].split(" | ")
        assert cells[6] == text


def test_a_page_without_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="stem"):
        page.rendered("no marks", {"stem": []})


def test_goals_and_what_was_not_measured_are_shown() -> None:
    goals = [
        {"work": "a", "bar": "x <= 2", "reached": 1.0, "met": True},
        {"work": "b", "bar": "x >= 2", "reached": 1.0, "met": False},
        {"work": "c", "bar": "x <= 1", "reached": None, "met": None},
    ]
    lines = page.goals_table({"section": {"goals": goals}})
    assert lines[2:] == [
        "| a | x ≤ 2 | 1.00 | yes |",
        "| b | x ≥ 2 | 1.00 | **no** |",
        "| c | x ≤ 1 | - | not measured |",
    ]


def test_counts_stand_beside_the_bytes_of_their_case() -> None:
    stem = next(line for line in page.counts_table() if line.startswith("| max 3x3/2 stem |"))
    assert stem.split(" | ")[2] == f"{4 * 8 * (112 * 112 + 56 * 56):,}"


def test_runs_that_are_kept_are_shown(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    assert len(page.runs_table()) == 2
    assert "Nothing is kept" in page.networks_table()[0]
    summary = [{"group": "headline", "rows": 2, "over_floor": 1.5, "ratios": {"torch": 8.0}}]
    rows = [{"ms": {"torch": 1.0, "poolkit": 2.0}}, {"ms": {"poolkit": 1.0}}]
    (tmp_path / "threads-1-int8.json").write_text(json.dumps({"summary": summary, "rows": rows}), encoding="utf-8")
    row = {"network": "unet", "phase": "training", "ms": {"torch": 3.0, "poolkit": 2.0}}
    row |= {"peak_rss": {"torch": 2e6, "poolkit": 1e6}}
    (tmp_path / "end_to_end.json").write_text(json.dumps({"rows": [row]}), encoding="utf-8")
    assert page.runs_table()[2] == "| int8 | 2 | 1.50 | 8.00x | 1 | `--dtype int8 --peers torch` |"
    assert page.networks_table()[2] == "| unet | training | 3.00 | 2.00 | 1.50 | 2 | 1 |"
