import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from poolkit.bench import contestants
from poolkit.bench.command import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few rounds, and an allocator that other tests can rely on."""
    monkeypatch.setattr("poolkit.bench.clock.recycle_memory", lambda: False)
    monkeypatch.setattr("poolkit.bench.selection.QUICK_SECONDS", 0.0)


def invoke(*arguments):
    return runner.invoke(app, ["bench", *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("options", [[], ["--backward", "--layout", "last", "--threads", 2], ["--dtype", "int8"]])
def test_bench_writes_a_table_and_a_picture(tmp_path, options):
    done = invoke("--filter", "tiny/max_1x1", "--quick", "--peers", "", "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "out") == ["bench.csv", "bench.json", "bench.png"]
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out" / "bench.png")
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "out" / "bench.json").read_text())
    mine = {"poolkit-nhwc"} if "last" in options else {"poolkit", "poolkit-nhwc"}
    assert [set(row["ms"]) for row in document["rows"]] == [mine]
    assert document["circumstances"]["threads"] == (2 if 2 in options else 1)
    with (tmp_path / "out" / "bench.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert float(line["poolkit-nhwc"]) > 0
    assert "tiny/max_1x1x4x4" in done.stdout


def refused(tmp_path, *arguments, out=None):
    done = invoke(*arguments, "--out", out or tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "out").exists()
    return done.stderr


@pytest.mark.parametrize("text", ["no such layer", "x" * 100_000])
def test_a_filter_that_nothing_has_is_refused(tmp_path, text):
    message = refused(tmp_path, "--filter", text)
    assert "--filter" in message
    assert len(message) < 500


def test_an_unknown_peer_is_refused_with_the_known_ones(tmp_path):
    message = refused(tmp_path, "--peers", "torch,abacus")
    assert "abacus" in message
    assert all(name in message for name in contestants.PEERS)


@pytest.mark.parametrize("options", [["--threads", 0], ["--dtype", "float8"], ["--layout", "middle"]])
def test_wrong_options_are_refused(tmp_path, options):
    assert options[0] in refused(tmp_path, *options)


def test_an_out_that_cannot_be_written_is_refused(tmp_path):
    assert "--out /proc/poolkit" in refused(tmp_path, "--filter", "tiny", out=type(tmp_path)("/proc/poolkit"))


def test_a_wrong_answer_writes_nothing(tmp_path, monkeypatch):
    def wrong(given, threads):
        right = contestants.mine.numpy_first(given, threads)
        return lambda: right() + np.float32(1)

    pytest.importorskip("torch")
    monkeypatch.setitem(contestants.PEERS, "poolkit", contestants.Peer("poolkit", wrong))
    done = invoke("--filter", "tiny", "--quick", "--peers", "", "--out", tmp_path)
    assert done.exit_code == 1
    assert "disagree" in done.stderr
    assert names(tmp_path) == []


def test_help_names_the_bench_and_loads_nothing_heavy(poolkit_process):
    code = (
        "import sys\nfrom poolkit.bench.command import app\n"
        "try: app()\nexcept SystemExit as done: assert not done.code, done.code\n"
        "heavy = {'torch', 'matplotlib', 'jax', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = poolkit_process("bench", "--help", code=code)
    assert done.returncode == 0, done.stderr
    for option in ("--filter", "--threads", "--dtype", "--backward", "--layout", "--quick", "--out"):
        assert option in done.stdout
    assert " bench " in poolkit_process("--help").stdout
