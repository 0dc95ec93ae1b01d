"""The goals: what is judged met is met, what is missed is said, and every section runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the goals are set against torch")

import poolkit as pk
from bench import compositions, scratch, unfold, valgrind
from bench.goals import __main__ as goals
from bench.goals import dtypes, forward, memory, overhead, reducers, threads, training, windows
from bench.goals.effort import Effort
from bench.goals.goal import Goal, at_least, at_most, none_of, save
from poolkit.bench import growth, rows
from poolkit.bench.measure import DiffersError, Result

QUICK = Effort(seconds=0.0, quick=True)
ROW = next(row for row in rows.load()[0] if row.name == "resnet50/maxpool_b1")
SMALL = [replace(ROW, shape=(1, 2, 24, 24)), replace(ROW, shape=(1, 2, 24, 24), kind="avg", layer="mean")]


@pytest.fixture(autouse=True)
def same_threads():
    threads = pk.get_num_threads(), torch.get_num_threads()
    yield
    pk.set_num_threads(threads[0])
    torch.set_num_threads(threads[1])


def test_bars_are_judged() -> None:
    assert at_most("w", "x", 2.0, 2.0, {}).met is True
    assert at_most("w", "x", 2.1, 2.0, {}).met is False
    assert at_least("w", "x", 2.0, 2.0, {}).met is True
    assert at_least("w", "x", 1.9, 2.0, {}).met is False
    assert at_least("w", "x", None, 2.0, {}).met is None
    assert none_of("w", "none", {}, of=3) == Goal("w", "none", 0, True, {"of": 3})
    assert none_of("w", "none", {"a": 0.9}, of=3).met is False
    assert none_of("w", "none", {}, of=0).met is None


def result(**ms: float) -> Result:
    return Result(ROW, 1.0, {name.replace("_", "-"): time for name, time in ms.items()})


def test_forward_goals_count_what_they_say() -> None:
    fast = result(poolkit=1.0, poolkit_nhwc=1.0, torch=40.0, torch_nhwc=2.0, openvino=3.0)
    slow = Result(replace(ROW, layer="other"), 1.0, {"poolkit": 9.0, "torch": 40.0, "openvino": 8.0})
    large = Result(replace(ROW, layer="large", shape=(1, 1, 4096, 4096)), 1.0, {"poolkit": 1.5})
    mean, beyond, worst = forward.against_floor([fast, slow, large])
    assert mean.reached == pytest.approx((1 * 9 * 1.5) ** (1 / 3))
    assert (beyond.reached, beyond.met) == (1.5, True)
    assert (worst.reached, worst.met) == (9.0, False)
    assert next(iter(worst.detail)) == "resnet50/other"
    best, none = forward.against_peers([fast, slow, large])
    assert best.reached == pytest.approx((2 * 8 / 9) ** 0.5)
    assert none.met is False
    assert set(none.detail) == {"of", "resnet50/other"}
    nchw, nchw_none, nhwc, nhwc_none = forward.against_torch([fast, slow, large])
    assert nchw.reached == pytest.approx((40 * 40 / 9) ** 0.5)
    assert nhwc.reached == pytest.approx(2.0)
    assert nchw_none.met is nhwc_none.met is True


def test_a_saved_run_is_read_back(tmp_path: Path) -> None:
    done = [Result(row, 1.0, {"poolkit": 2.0}) for row in rows.load()[0]]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"rows": [one.as_dict() for one in done]}))
    assert forward.read(path) == done
    goal = forward.measured(Effort(run=path))[0]
    assert goal.reached == pytest.approx(2.0)
    assert goal.detail["layers"] == sum(row.group in rows.HEADLINE for row in rows.load()[0])


def test_every_timed_section_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (forward, training, dtypes, threads):
        monkeypatch.setattr(module, "layers", lambda *_, **__: SMALL)
    monkeypatch.setattr(forward, "contestants", lambda: ("poolkit", "poolkit-nhwc", "torch", "torch-nhwc"))
    monkeypatch.setattr(dtypes, "QUICK", {(row.network, row.layer) for row in SMALL})
    monkeypatch.setattr(windows, "CHANNELS", 1)
    monkeypatch.setattr(growth, "SHAPE", (1, 1, 64, 64))
    monkeypatch.setattr(reducers, "QUICK_WINDOWS", (((1, 2, 12, 12), 3, 1, 1),))
    monkeypatch.setattr(reducers, "QUICK_CASES", (((1, 2, 8, 8), 2, 2, 0),))
    sections = ["forward", "training", "small-planes", "growth", "reducers", "unfold", "dtypes", "overhead"]
    for name in sections:
        found = goals.SECTIONS[name](QUICK)
        assert found, name
        assert all(goal.reached is not None for goal in found if "planes beyond" not in goal.work), (name, found)
    assert {goal.work.split(" ")[0] for goal in reducers.against_max(QUICK)} == {*reducers.SMOOTH, "Median"}


def test_threads_look_at_large_and_small_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    gains = {"large": (1.6, 1.9), "still": (1.0, 1.2), "tiny": (0.5, 1.0)}
    named = [replace(ROW, network="net", layer=name) for name in ("large", "still")]
    monkeypatch.setattr(threads, "QUICK", {("net", "large"), ("net", "still")})
    monkeypatch.setattr(threads, "layers", lambda **_: named)
    monkeypatch.setattr(threads, "small_rows", lambda: [replace(ROW, layer="tiny")])
    monkeypatch.setattr(threads, "gains", lambda row, _seconds: gains[row.layer])
    scaling, small = threads.measured(replace(QUICK, quick=False))
    assert (scaling.reached, scaling.met) == (pytest.approx(1.6), False)  # "still" is a copy that gains nothing
    assert small.met is False
    assert set(small.detail) == {"of", "resnet50/tiny"}
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 1)
    assert threads.measured(QUICK)[0].met is None


def test_what_is_kept_for_backward_is_what_the_goals_name() -> None:
    found = memory.kept(QUICK)
    assert len(found) == 2 * len(memory.KEPT)
    assert [goal for goal in found if not goal.met] == []


def test_a_kept_input_is_seen() -> None:
    # Soft needs its input for the backward pass.
    assert memory.input_is_freed(pk.Sliding(2), pk.Max())
    assert not memory.input_is_freed(pk.Sliding(2), pk.Soft())
    x = torch.rand((1, 2, 8, 8)).requires_grad_()
    assert unfold.kept_bytes(lambda t: pk.pool(t, pk.Sliding(2), pk.Soft()), x)[1]
    assert unfold.kept_bytes(lambda t: pk.pool(t, pk.Sliding(2), pk.Max()), x) == (1.0, False)


def test_scratch_is_what_the_library_held_at_the_peak() -> None:
    frames = ["[root]", "memalign (in vgpreload)", "??? (in libpoolkit_core.so)", "malloc", "numpy"]
    points = [
        {"fs": [1, 2], "gb": 100},
        {"fs": [3, 4, 2], "gb": 9000},
        {"fs": [1, 2, 4], "gb": 20},
        {"fs": [1], "gb": 7},
    ]
    assert scratch.held({"ftbl": frames, "pps": points}) == 120
    unnamed = {"fs": [1, 5], "gb": 1}
    with pytest.raises(valgrind.MissingError, match="0xDA43D34"):
        scratch.held({"ftbl": [*frames, "0xDA43D34: ???"], "pps": [*points, unnamed]})


def test_without_valgrind_scratch_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valgrind.shutil, "which", lambda _name: None)
    (goal,) = memory.scratch(QUICK)
    assert goal.met is None
    assert "not installed" in goal.detail["why"]


@pytest.mark.parametrize("name", sorted(compositions.ROWS))
def test_compositions_agree(name: str) -> None:
    for case in (((1, 2, 8, 8), 2, 2, 0), ((1, 2, 9, 9), 3, 1, 1)):
        done = unfold.compare(name, case, 0.0)
        assert done.forward > 0
        assert done.train is not None


def test_a_wrong_composition_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    record, _, padded, comparable = compositions.ROWS["Max"]
    monkeypatch.setitem(compositions.ROWS, "Max", (record, lambda t: t.amin(-1), padded, comparable))
    with pytest.raises(DiffersError, match="Max"):
        unfold.compare("Max", ((1, 2, 8, 8), 2, 2, 0), 0.0)


def test_unfold_reports_each_bar_and_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfold, "RESULTS", tmp_path / "unfold.json")
    monkeypatch.setattr(unfold, "QUICK_CASES", (((1, 2, 8, 8), 2, 2, 0),))
    assert unfold.main(["--quick", "--filter", "median", "--seconds", "0", "--json"]) == 0
    kept = json.loads((tmp_path / "unfold.json").read_text())["unfold"]["goals"]
    assert [goal["work"].split(" against")[0] for goal in kept] == ["Median", "all reducers", "all reducers"]
    assert kept[0]["detail"]["bytes kept an output"] == 1.0
    assert unfold.main(["--filter", "no such"]) == 2


def test_sections_are_kept_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "goals.json"
    save(path, {"growth": [Goal("w", "x <= 1", 2.0, False)]}, quick=False)
    monkeypatch.setattr(goals, "RESULTS", path)
    monkeypatch.setitem(goals.SECTIONS, "kept", lambda _effort: [Goal("k", "none", None, None)])
    monkeypatch.setattr(goals, "recycle_memory", lambda: True)
    assert goals.main(["--only", "kept", "--json"]) == 0
    document = json.loads(path.read_text())
    assert set(document) == {"growth", "kept"}
    assert document["growth"]["goals"][0]["met"] is False
    assert document["kept"]["circumstances"]["processor"]


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--run", "missing.json"]])
def test_a_wrong_argument_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert goals.main(arguments) == 2
    assert arguments[1] in capsys.readouterr().err


def test_overhead_is_of_equal_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(overhead.PAIRS, "max_pool2d", (pk.min_pool2d, torch.nn.functional.max_pool2d))
    with pytest.raises(DiffersError):
        overhead.measured(QUICK)
