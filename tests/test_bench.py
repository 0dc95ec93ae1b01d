"""The bench reads every line of its table, refuses a wrong answer, and runs."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="every layer is checked against torch")

import poolkit as pk
from bench import measure, peers, rows, run, table

SETTINGS = measure.Settings(rounds=3, seconds=0.0, peers=("poolkit", "torch"))


def test_every_line_is_a_row_or_left_out_with_a_reason() -> None:
    chosen, left_out = rows.load()
    with rows.SHAPES.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(chosen) + len(left_out) == len(lines)
    assert all(reason for _, reason in left_out)
    assert {(row.network, row.layer) for row in chosen} >= rows.QUICK | set(table.SHOWN)


def test_every_window_fits_its_input() -> None:
    for row in rows.load()[0]:
        if row.kind != "fractional_max":
            assert len(row.window.plan(row.shape[2:]).out_shape) == row.rank, row.name


@pytest.mark.parametrize("kind", sorted(rows.GROUPS))
def test_each_kind_agrees_with_torch(kind: str) -> None:
    row = min((row for row in rows.load()[0] if row.kind == kind), key=lambda row: row.bytes_in)
    result = measure.measure(replace(row, shape=(1, min(row.shape[1], 4), *row.shape[2:])), SETTINGS)
    assert set(result.ms) == {"poolkit", "torch"}
    assert result.floor_ms > 0


def test_the_batch_is_cut_to_the_cap_and_the_row_says_so() -> None:
    row = next(row for row in rows.load()[0] if row.shape[0] == 256)
    cut = row.capped(2**20)
    assert cut.shape[0] < 256
    assert cut.note == f"batch {cut.shape[0]} of 256"
    assert row.capped(2**40) is row


def test_a_wrong_answer_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(row: rows.Row, x: np.ndarray, _threads: int) -> peers.Run:
        return lambda: pk.pool(x, row.window, row.reducer) + 1

    monkeypatch.setitem(peers.PEERS, "poolkit", peers.Peer("poolkit", wrong))
    row = next(row for row in rows.load()[0] if row.name == "fpn_p6/lastlevelmaxpool_k1s2")
    with pytest.raises(measure.DiffersError, match="fpn_p6"):
        measure.measure(row, SETTINGS)


def test_a_run_writes_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(run, "HERE", tmp_path)
    threads = pk.get_num_threads()
    try:
        assert run.main(["--filter", "fpn_p6", "--only", "poolkit,torch", "--seconds", "0", "--fresh-memory"]) == 0
    finally:
        measure.set_threads(threads)
    document = json.loads((tmp_path / "results" / "partial.json").read_text())
    assert [set(row["ms"]) for row in document["rows"]] == [{"poolkit", "torch"}]
    assert len(table.lines(document, "en")) == len(table.lines(document, "zh"))
    assert (tmp_path / "results" / "partial.png").stat().st_size > 0
    assert "fpn_p6" in (tmp_path / "results" / "partial.csv").read_text()


@pytest.mark.parametrize("arguments", [["--filter", "no such layer"], ["--only", "abacus"]])
def test_a_wrong_name_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments) == 2
    assert arguments[1] in capsys.readouterr().err
