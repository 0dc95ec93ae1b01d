import json
import signal
import time

import pytest

from poolkit.errors import PoolError
from poolkit.lab.journal import Journal
from poolkit.lab.spec import study_spec
from poolkit.lab.study import check, compare

SMALL = {"pools": ["max", "avg"], "seeds": [0, 1], "epochs": 1, "limit": 100, "probe": 10}
COMMAND = ["compare", "--pool", "max,avg", "--seeds", "3", "--epochs", "2", "--limit", "200", "--probe", "10"]
COMMAND += ["--workers", "1"]


def record(key, **more):
    pool, seed, _ = key.split("/")
    return {"key": key, "pool": pool, "seed": int(seed)} | more


def started(python, folder, lines):
    """The command in a process of its own, after its journal has got this many lines."""
    # A shell that runs the tests in the background has them ignore the interrupt, and so would the command.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = python.start(*COMMAND, "--out", folder, code=f"{heard}; from poolkit.cli import main; main()")
    journal = folder / "trials.jsonl"
    deadline = time.monotonic() + 200
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= lines):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_stopped_and_killed_in_the_middle_nothing_is_lost_and_nothing_runs_twice(python, tmp_path):
    folder = tmp_path / "study"
    journal = folder / "trials.jsonl"
    process = started(python, folder, 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    stopped = journal.read_bytes()
    assert 1 <= len(Journal.read(folder).records) < 5

    process = started(python, folder, stopped.count(b"\n") + 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = journal.read_bytes()
    assert killed.startswith(stopped)
    assert killed.count(b"\n") < 6, "the study ended before it could be killed"
    # What a crash in the middle of a line would leave.
    with journal.open("ab") as file:
        file.write(b'{"key":"max/2/')

    done = python(*COMMAND, "--out", folder)
    assert done.returncode == 0, done.stderr
    after = journal.read_bytes()
    assert after.startswith(killed[: killed.rfind(b"\n") + 1])
    keys = [json.loads(line)["key"] for line in after.splitlines()]
    assert len(keys) == len(set(keys)) == 6


def test_a_full_disk_is_said_and_the_journal_stays_whole(python, tmp_path):
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from poolkit.lab.journal import Journal\n"
        "from poolkit.lab.spec import study_spec\n"
        "from poolkit.errors import PoolError\n"
        "from pathlib import Path\n"
        f"journal = Journal.begin(Path({str(tmp_path / 'study')!r}), study_spec(pools=['max'], seeds=[0, 1]))\n"
        "journal.append({'key': 'max/0/a', 'pool': 'max', 'seed': 0})\n"
        "whole = (journal.folder / 'trials.jsonl').read_bytes()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, len(whole) + 20))\n"
        "try:\n"
        "    journal.append({'key': 'max/1/a', 'pool': 'max', 'seed': 1, 'text': 'x' * 1000})\n"
        "except PoolError as error:\n"
        "    print(error)\n"
        "assert (journal.folder / 'trials.jsonl').read_bytes() == whole\n"
        "assert len(Journal.read(journal.folder).records) == 1\n"
    )
    done = python(code=code)
    assert done.returncode == 0, done.stderr
    assert "free some space" in done.stdout


def test_what_does_not_fit_leaves_no_study(python, tmp_path):
    cases = [
        (["--pool", "maxx"], "did you mean max"),
        (["--model", "lenet6"], "here unknown"),
        (["--data", f"cifar10:{tmp_path}/none.tar.gz"], "cs.toronto.edu"),
        (["--lr", "-1"], "--lr"),
        (["--device", "warp"], "--device warp"),
        (["--address", "tcp://127.0.0.1:9"], "add --backend"),
        (["--backend", "dask", "--address", "tcp://127.0.0.1:9"], "the cluster answers"),
        (["--backend", "ray", "--address", "127.0.0.1:9"], "the cluster answers"),
    ]
    # One process for all: most of the time goes into importing torch.
    code = (
        "import sys, json\nfrom typer.testing import CliRunner\nfrom poolkit.lab.commands import app\n"
        "for options in json.loads(sys.argv[1]):\n"
        "    done = CliRunner().invoke(app, ['compare', '--seeds', '1', '--epochs', '1', '--limit', '50', *options])\n"
        "    print(json.dumps([done.exit_code, done.output]))\n"
    )
    given = [[*options, "--out", str(tmp_path / f"study-{place}")] for place, (options, _) in enumerate(cases)]
    done = python(json.dumps(given), code=code)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr
    for (status, said), (options, expected) in zip(answers, cases, strict=True):
        assert status == 2, (options, said)
        assert expected in said, (options, said)
        assert "do this" in said
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_trained_in_one_way_and_may_grow(tmp_path):
    folder = tmp_path / "study"
    compare(study_spec(**SMALL), folder)
    with pytest.raises(PoolError, match="here it began with epochs=1"):
        compare(study_spec(**SMALL | {"epochs": 2}), folder)
    grown = compare(study_spec(**SMALL | {"pools": ["lp"], "seeds": [0]}), folder)
    assert len(grown.done) == 6
    assert grown.spec.pools == ("max", "avg", "lp")


def test_one_process_at_a_time(tmp_path):
    spec = study_spec(**SMALL)
    journal = Journal.begin(tmp_path, spec)
    with journal.locked(), pytest.raises(PoolError, match="another does"), Journal.begin(tmp_path, spec).locked():
        pass


def test_a_damaged_journal_is_refused_and_a_torn_end_is_cut(tmp_path):
    journal = Journal.begin(tmp_path, study_spec(**SMALL))
    journal.append(record("max/0/a"))
    journal.append(record("max/0/a", text="again"))
    path = tmp_path / "trials.jsonl"
    assert path.read_bytes().count(b"\n") == 1
    path.write_bytes(path.read_bytes() + b'{"key"' + b" " * 1000)  # longer than what is written over it
    again = Journal.read(tmp_path)
    assert [one["key"] for one in again.records] == ["max/0/a"]
    again.append(record("avg/0/a"))
    assert [json.loads(line)["key"] for line in path.read_bytes().splitlines()] == ["max/0/a", "avg/0/a"]
    path.write_bytes(b"no json\n" + path.read_bytes())
    with pytest.raises(PoolError, match="here line 1 is not"):
        Journal.read(tmp_path)
    with pytest.raises(PoolError, match=r"without study\.json"):
        Journal.read(tmp_path / "none")
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(PoolError, match="describes a study"):
        Journal.read(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PoolError, match="files can be written there"):
        Journal.begin(tmp_path / "file" / "study", study_spec(**SMALL))
    assert (tmp_path / "file").read_text() == "in the way"


def test_specs_are_checked_before_anything_runs():
    for given, expected in (
        ({"epochs": 0}, "--epochs 0"),
        ({"lr": float("nan")}, "--lr"),
        ({"batch_size": 1}, "--batch-size 1"),
        ({"seeds": []}, "--seeds"),
        ({"seeds": [-1]}, "--seeds -1"),
        ({"pools": []}, "--pool"),
        ({"data": "cifar"}, "--data cifar"),
        ({"augment": "twist"}, "--augment 'twist'"),
        ({"warp": 1}, "--warp 1"),
    ):
        with pytest.raises(PoolError) as caught:
            study_spec(**SMALL | given)
        assert expected in str(caught.value), caught.value
    assert study_spec(**SMALL | {"pools": ["max", "MaxPool2d"]}).pools == ("max",)
    with pytest.raises(PoolError, match="the model fits them"):
        check(study_spec(**SMALL | {"pools": ["max", "max_blur"], "model": "vgg_small"}))
