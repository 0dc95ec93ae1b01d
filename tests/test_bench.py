"""The bench reads every line of its table, refuses a wrong answer, and runs."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support import in_process

torch = pytest.importorskip("torch", reason="every layer is checked against torch")

import poolkit as pk
from bench import page, run, table
from poolkit.bench import clock, contestants, growth, measure, report, rows, selection, task

SETTINGS = measure.Settings(rounds=3, seconds=0.0, peers=("poolkit", "torch"))


def row_named(name: str) -> rows.Row:
    return next(row for row in rows.load()[0] if row.name == name)


SMALL = row_named("fpn_p6/lastlevelmaxpool_k1s2")
STEM = replace(row_named("resnet50/maxpool_b1"), shape=(1, 3, 24, 24))


def test_every_line_is_a_row_or_left_out_with_a_reason() -> None:
    chosen, left_out = rows.load()
    with rows.SHAPES.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(chosen) + len(left_out) == len(lines)
    assert all(reason for _, reason in left_out)
    shown = {layer for layers in page.CLASSES.values() for layer in layers}
    assert {(row.network, row.layer) for row in chosen} >= rows.QUICK | set(table.SHOWN) | shown


def test_tiny_inputs_audio_volumes_and_video_are_among_them() -> None:
    chosen = rows.load()[0]
    shapes = {row.shape for row in chosen}
    assert {(1, 1, 4, 4), (1, 64, 8, 8)} <= shapes
    assert {len(shape) - 2 for shape in shapes} == {1, 2, 3}
    assert all(row.group == rows.TINY for row in chosen if row.cells <= 64 * 64)
    assert rows.TINY not in rows.HEADLINE


def test_every_window_fits_its_input_and_has_the_outputs_the_page_counts() -> None:
    for row in rows.load()[0]:
        if row.kind != "fractional_max":
            out = row.window.plan(row.shape[2:]).out_shape
            assert tuple(page.outputs(measure.Result(row, 1.0, {}).as_dict()["row"])) == out, row.name


@pytest.mark.parametrize("kind", sorted(rows.GROUPS))
def test_each_kind_agrees_with_torch(kind: str) -> None:
    row = min((row for row in rows.load()[0] if row.kind == kind), key=lambda row: row.plane_bytes)
    row = replace(row, shape=(1, min(row.shape[1], 4), *row.shape[2:]))
    for backward in (False, True):
        done = measure.measure(row, replace(SETTINGS, backward=backward))
        ran = {"torch"} if backward and kind in {"fractional_max", "max_with_indices"} else {"poolkit", "torch"}
        assert set(done.ms) == ran, done.absent
        assert done.floor_ms > 0


@pytest.mark.parametrize(
    ("dtype", "backward"),
    [(dtype, False) for dtype in task.ITEM_BYTES] + [(dtype, True) for dtype in ("float32", "bfloat16", "float16")],
)
def test_each_dtype_runs_in_both_layouts(dtype: str, backward: bool) -> None:
    peers = ("poolkit", "poolkit-nhwc", "poolkit-torch", "torch", "torch-nhwc")
    done = measure.measure(STEM, replace(SETTINGS, dtype=dtype, backward=backward, peers=peers))
    assert set(done.ms) | set(done.absent) == set(peers)
    # torch's channels-last maxima of int8 take only inputs of a few hundred cells.
    assert set(done.absent) <= ({"torch-nhwc"} if dtype == "int8" else set())


def test_other_libraries_agree_and_say_what_they_lack() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    peers = ("poolkit", "onnxruntime", "openvino")
    assert set(measure.measure(STEM, replace(SETTINGS, peers=peers)).ms) == set(peers)
    done = measure.measure(STEM, replace(SETTINGS, peers=peers, backward=True))
    assert set(done.ms) == {"poolkit"}
    assert "no backward pass" in done.absent["onnxruntime"]


def test_jax_agrees() -> None:
    pytest.importorskip("jax")
    # In a process of its own: XLA reads how many threads it may have once, when JAX is first used.
    code = (
        "from dataclasses import replace\n"
        "from poolkit.bench import measure, rows\n"
        "row = next(row for row in rows.load()[0] if row.name == 'resnet50/maxpool_b1')\n"
        "mean = replace(row, shape=(1, 3, 24, 24), kind='avg_exclude_pad')\n"
        "ceil = replace(row, shape=(1, 3, 24, 24), ceil_mode=True)\n"
        "for row, backward in ((ceil, True), (mean, False)):\n"
        "        done = measure.measure(row, measure.Settings(1, 3, 0.0, ('poolkit', 'jax'), backward=backward))\n"
        "        assert set(done.ms) == {'poolkit', 'jax'}, done.absent\n"
        "print(measure.measure(row, measure.Settings(2, 3, 0.0, ('jax',))).absent['jax'])"
    )
    assert "pool of 1 threads" in in_process(code, seconds=120, gigabytes=16)


def test_a_compiled_layer_is_timed_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile
    # Inductor takes half a minute to load; the eager backend goes the same way through torch.compile.
    monkeypatch.setattr(torch, "compile", lambda call, **options: compiled(call, **options | {"backend": "eager"}))
    settings = replace(SETTINGS, peers=("poolkit", "torch-compile"))
    assert set(measure.measure(STEM, settings).ms) == {"poolkit", "torch-compile"}

    def fail(_x: object) -> object:
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", lambda _call, **_options: fail)
    done = measure.measure(STEM, settings)
    assert done.absent["torch-compile"].endswith("no compiler")


def test_without_torch_poolkit_is_timed_with_whoever_is_there() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from poolkit.bench import clock, measure, selection\n"
        "clock.set_threads(1)\n"
        "names = selection.contestants('both', 'onnxruntime')\n"
        "done = measure.measure(selection.layers('fpn_p6')[0], measure.Settings(1, 3, 0.0, names))\n"
        "print(*names, '/', *done.ms, '/', 'torch' in selection.contestants())"
    )
    pytest.importorskip("onnxruntime")
    names = "poolkit poolkit-nhwc onnxruntime"
    assert in_process(code, seconds=120).strip() == f"{names} / {names} / False"


def test_the_floor_counts_every_byte_once() -> None:
    forward, back = task.Task(STEM), task.Task(STEM, backward=True)
    outputs = 3 * 12 * 12
    x, y = 4 * 3 * 24 * 24, 4 * outputs
    assert forward.floor_bytes(outputs, y) == x + y
    assert back.floor_bytes(outputs, y) == 2 * (x + y) + outputs
    wide = replace(STEM, kernel=(17, 17), padding=((8, 8), (8, 8)))
    assert task.Task(wide, backward=True).floor_bytes(outputs, y) == 2 * (x + y) + 2 * outputs
    assert task.Task(replace(STEM, kind="avg"), backward=True).floor_bytes(outputs, y) == 2 * (x + y)
    assert task.Task(STEM, "int8").floor_bytes(outputs, outputs) == 3 * 24 * 24 + outputs


def test_the_batch_is_cut_to_the_cap_and_the_row_says_so() -> None:
    row = next(row for row in rows.load()[0] if row.shape[0] == 256)
    cut = row.capped(2**20)
    assert cut.shape[0] < 256
    assert cut.note == f"batch {cut.shape[0]} of 256"
    assert row.capped(2**40) is row


@pytest.mark.parametrize("backward", [False, True])
def test_a_wrong_answer_is_never_timed(monkeypatch: pytest.MonkeyPatch, backward: bool) -> None:
    def wrong(given: task.Task, threads: int):
        right = contestants.mine.numpy_first(given, threads)
        return lambda: right() + 1

    monkeypatch.setitem(contestants.PEERS, "poolkit", contestants.Peer("poolkit", wrong))
    with pytest.raises(measure.DiffersError, match="fpn_p6"):
        measure.measure(SMALL, replace(SETTINGS, backward=backward))


def test_a_peer_with_other_values_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(given: task.Task, _threads: int):
        return lambda: pk.pool(given.x, given.row.window, pk.Min())

    monkeypatch.setitem(contestants.PEERS, "jax", contestants.Peer("jax", wrong))
    done = measure.measure(STEM, replace(SETTINGS, peers=("poolkit", "jax")))
    assert set(done.ms) == {"poolkit"}
    assert done.absent == {"jax": "its values differ from torch's"}


def test_a_slow_peer_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []

    def slow(given: task.Task, threads: int):
        right = contestants.mine.numpy_first(given, threads)

        def call() -> object:
            calls.append(None)
            while clock.perf_counter_ns() < begin + 30_000_000:
                pass
            return right()

        begin = clock.perf_counter_ns()
        return call

    monkeypatch.setattr(measure, "SHORTEST_BUDGET", 0.01)
    monkeypatch.setitem(contestants.PEERS, "jax", contestants.Peer("jax", slow))
    done = measure.measure(STEM, replace(SETTINGS, peers=("poolkit", "jax")))
    assert len(calls) == 1
    assert done.ms["jax"] >= 20


def test_samples_alternate_and_what_comes_before_them_is_called() -> None:
    order: list[str] = []
    runs = {name: partial(order.append, name) for name in ("a", "b")}
    before = {"b": partial(order.append, "before b")}
    ms = clock.alternate(runs, rounds=3, seconds=0.0, before=before)
    assert set(ms) == {"a", "b"}
    assert order[:3] == ["a", "before b", "b"]
    changes = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    # A first sample of each, a second of those that were quick, then the one round that there is always time for.
    assert changes == ["a", "before b", "b"] * 3


def test_growth_checks_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SHAPE", (1, 2, 70, 70))
    tables = growth.growth(SETTINGS)
    assert set(tables) == set(growth.REDUCERS)
    assert all(tuple(ms) == growth.KERNELS for ms in tables.values())
    monkeypatch.setitem(growth.REDUCERS, "soft", pk.Soft(beta=1.01))
    with pytest.raises(measure.DiffersError, match="soft 3x3/1"):
        growth.growth(SETTINGS, ("soft",))


@pytest.mark.parametrize(("layout", "mine"), [("first", {"poolkit"}), ("last", {"poolkit-nhwc"})])
def test_a_layout_chooses_contestants(layout: str, mine: set[str]) -> None:
    names = selection.contestants(layout)
    assert {name for name in names if name.startswith("poolkit")} == mine
    assert set(selection.contestants(layout, "torch")) == mine | {"torch"}
    assert set(selection.contestants(layout, "")) == mine


def test_a_run_writes_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(clock, "recycle_memory", lambda: pytest.fail("--fresh-memory was given"))
    threads = pk.get_num_threads(), torch.get_num_threads()
    given = ["--filter", "fpn_p6", "--only", "poolkit,torch", "--seconds", "0", "--fresh-memory", "--backward"]
    try:
        assert run.main([*given, "--dtype", "float16"]) == 0
    finally:
        pk.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])
    document = json.loads((tmp_path / "results" / "partial.json").read_text())
    assert [set(row["ms"]) for row in document["rows"]] == [{"poolkit", "torch"}]
    assert document["circumstances"]["dtype"] == "float16"
    assert document["circumstances"]["backward"] is True
    assert document["circumstances"]["l2_bytes"] >= 2**15
    assert document["circumstances"]["joins_per_ns"] > 0
    assert len(table.lines(document, "en")) == len(table.lines(document, "zh"))
    assert (tmp_path / "results" / "partial.png").read_bytes().startswith(b"\x89PNG")
    assert "fpn_p6" in (tmp_path / "results" / "partial.csv").read_text()


def test_a_full_run_is_kept_under_what_it_was() -> None:
    assert run.run_name(measure.Settings(1), "both") == "threads-1"
    settings = measure.Settings(2, dtype="int8", backward=True)
    assert run.run_name(settings, "first") == "threads-2-int8-backward-channels-first"


@pytest.mark.parametrize("arguments", [["--filter", "no such layer"], ["--only", "abacus"], ["--peers", "abacus"]])
def test_a_wrong_name_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments) == 2
    assert arguments[1] in capsys.readouterr().err


def test_ratios_are_taken_in_the_same_layout() -> None:
    done = measure.Result(STEM, 1.0, {"poolkit": 2.0, "poolkit-nhwc": 4.0, "torch": 6.0, "torch-nhwc": 3.0, "jax": 8.0})
    assert [report.peer_ratio(done, peer) for peer in ("torch", "torch-nhwc", "jax")] == [3.0, 0.75, 4.0]
    assert report.slower(done) == [("torch-nhwc", 0.75)]
    (group, headline) = report.summarise([done])
    assert (group.group, headline.group) == ("max", "headline")
    assert headline.over_floor == pytest.approx(2.0)
    assert headline.slower == 1


def test_powers_of_integers_are_no_layers():
    """Every layer of an int8 run can be pooled; those with powers are the only ones left out."""
    left = {row.name for row in selection.layers()} - {row.name for row in selection.layers(dtype="int8")}
    assert {"gem_r50_224/head", "audio_lppool1d/p2"} <= left
    assert all("gem" in name or "pool" in name for name in left), left
    for name in left:
        row = next(row for row in selection.layers(name, cap=1))
        with pytest.raises(pk.PoolTypeError, match="floating-point"):
            measure.measure(row, measure.Settings(1, 1, 0.01, ("poolkit",), "int8"))
