"""The gate on instruction counts: it fails where a kernel needs more, and says so where it cannot count."""

import json
import shutil
from pathlib import Path

import pytest

from bench import gate, kernel_cases, valgrind

COUNTED = {"max 2x2/2": 1000, "median 3x3/1": 5000}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of counts in place of the project's own, and counts in place of valgrind."""
    path = tmp_path / "instructions.json"
    document = {"compiler": gate.compiler(), "tolerance": 0.03, "instructions": dict.fromkeys(kernel_cases.CASES, 1000)}
    path.write_text(json.dumps(document))
    monkeypatch.setattr(gate, "KEPT", path)
    return path


def counts(monkeypatch: pytest.MonkeyPatch, **changed: int) -> None:
    table = dict.fromkeys(kernel_cases.CASES, 1000) | {name.replace("_", " "): n for name, n in changed.items()}
    monkeypatch.setattr(gate, "count", lambda names: {name: table[name] for name in names})


@pytest.mark.parametrize(("now", "status"), [(1030, 0), (1031, 1), (500, 0)])
def test_only_more_than_tolerated_fails(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], now: int, status: int
) -> None:
    counts(monkeypatch, mean_global=now)
    assert gate.main([]) == status
    assert ("mean global" in capsys.readouterr().err) == bool(status)
    assert json.loads(kept.read_text())["instructions"]["mean global"] == 1000


def test_write_keeps_what_was_counted_and_the_other_cases(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, mean_global=777)
    assert gate.main(["--write", "--filter", "mean global"]) == 0
    instructions = json.loads(kept.read_text())["instructions"]
    assert instructions.pop("mean global") == 777
    assert set(instructions.values()) == {1000}
    assert list(instructions) == [name for name in kernel_cases.CASES if name != "mean global"]


def test_a_case_that_was_never_kept_fails(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(kept.read_text())
    del document["instructions"]["mean global"]
    kept.write_text(json.dumps(document))
    counts(monkeypatch)
    assert gate.main([]) == 1


def test_another_compiler_is_named(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"compiler": "abacus 1.0"}))
    counts(monkeypatch, mean_global=2000)
    assert gate.main([]) == 1
    assert "abacus 1.0" in capsys.readouterr().err


def test_without_valgrind_the_status_says_that_nothing_was_counted(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept.exists()
    monkeypatch.setattr(valgrind.shutil, "which", lambda _name: None)
    assert gate.main([]) == 2
    assert "apt install valgrind" in capsys.readouterr().err


def test_wrong_calls_are_refused(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["--filter", "no such case"]) == 2
    assert "no such case" in capsys.readouterr().err
    kept.unlink()
    assert gate.main([]) == 2
    assert "--write" in capsys.readouterr().err


def test_dumps_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("desc: Trigger: dump case-2\nevents: Ir\nsummary: 4711\n")
    (tmp_path / "b").write_text("desc: Trigger: dump before-2\nsummary: 1\n")
    assert gate.read_dump(tmp_path / "a") == (list(kernel_cases.CASES)[2], 4711)
    assert gate.read_dump(tmp_path / "b") is None


def test_every_case_runs_and_is_kept() -> None:
    kept = json.loads((Path(gate.__file__).parent / "results" / "instructions.json").read_text())
    assert list(kept["instructions"]) == list(kernel_cases.CASES)
    for case in kernel_cases.CASES.values():
        assert case.call()() is not None


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_callgrind_counts_the_kernel_alone() -> None:
    small = gate.count(["mean global"])["mean global"]
    # 100,352 cells in vectors of eight: neither Python, which takes thousands of millions, nor nothing.
    assert 100_352 / 8 < small < 100_352 * 8
