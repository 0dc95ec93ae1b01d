"""The same study on this machine, on clusters, and with several processes for a trial."""

import json

import pytest

RUN = """
import json, sys, tempfile
from pathlib import Path
from poolkit.lab.backends import Backend
from poolkit.lab.spec import study_spec
from poolkit.lab.study import compare

KEPT = ("score", "train_score", "loss", "consistency", "robustness", "training_bytes_32")

if __name__ == "__main__":
    spec = study_spec(pools=["max", "stochastic"], seeds=[0, 1], epochs=1, limit=200, probe=20)
    for kind, workers in (("processes", 1), ("processes", 2), ("ray", 2), ("dask", 2)):
        seen = []
        with tempfile.TemporaryDirectory() as folder:
            step = lambda record, done, total: seen.append((done, total))
            journal = compare(spec, Path(folder), Backend(kind, workers), step=step)
        numbers = {
            one["key"]: [one["losses"], one["curve"], *(one["metrics"][name] for name in KEPT)]
            for one in journal.records
        }
        used = sorted({one["environment"]["backend"] for one in journal.records})
        print(json.dumps([kind, used, seen, numbers], sort_keys=True))
"""


def test_two_workers_give_the_same_numbers_seed_by_seed(python, tmp_path):
    script = tmp_path / "study.py"
    script.write_text(RUN)
    # Workers of Dask import the main module by its path: code given as text has none.
    code = "import runpy, sys; sys.argv[0] = sys.argv.pop(1); runpy.run_path(sys.argv[0], run_name='__main__')"
    done = python(script, code=code, RAY_USAGE_STATS_ENABLED="0")
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert [kind for kind, *_ in answers] == ["processes", "processes", "ray", "dask"]
    for kind, used, seen, numbers in answers:
        assert used == [kind]
        assert seen == [[1, 4], [2, 4], [3, 4], [4, 4]], kind
        assert numbers == answers[0][3], kind


def test_two_processes_for_one_trial_train_the_same_network(python):
    code = """
import json
from poolkit.lab.spec import Training, Trial
from poolkit.lab.trial import run

made = []
for processes in (1, 2):
    training = Training(data="digits", epochs=2, limit=320, probe=10, batch_size=64, processes=processes)
    record = run(Trial(training=training, pool="max", seed=0))
    made.append([record["losses"], record["metrics"]["loss"], record["environment"]["processes"], record["key"]])
print(json.dumps(made))
"""
    done = python(code=code)
    assert done.returncode == 0, done.stderr[-3000:]
    (losses, loss, one, key), (shared_losses, shared, two, other) = json.loads(done.stdout)
    assert (one, two) == (1, 2)
    assert key != other
    # Each process sees half of every batch, whose mean loss is not that of the whole; the network is the same, but for
    # the order in which float32 gradients are added.
    assert shared == pytest.approx(loss, rel=1e-3)
    assert shared_losses != losses
    assert shared_losses[-1] < shared_losses[0]
