"""The pages of a real TensorBoard, read over HTTP; and the sheets of a network's maps."""

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import pytest
from PIL import Image
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from poolkit.errors import PoolError
from poolkit.lab.commands import app
from poolkit.lab.data import load
from poolkit.lab.events import hparams_run
from poolkit.lab.layers import layers
from poolkit.lab.maps import grid, lost, outlines, routing
from poolkit.lab.poolings import parse
from poolkit.lab.tensorboard import log
from poolkit.window import Sliding


@pytest.fixture
def board(tmp_path):
    """Starts TensorBoard over a folder; gives a function that fetches a path from it."""
    running = []

    def start(folder):
        command = [
            sys.executable,
            "-m",
            "tensorboard.main",
            "--logdir",
            str(folder),
            "--port",
            "0",
            "--host",
            "127.0.0.1",
        ]
        # TensorBoard loads TensorFlow, that Keras, and that its back end: torch's Triton and TensorFlow each bring an
        # LLVM, which do not go together.
        given = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
        process = subprocess.Popen([*command, "--load_fast", "false"], stderr=subprocess.PIPE, text=True, env=given)
        running.append(process)
        for line in process.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        else:
            raise AssertionError("TensorBoard did not start")
        return lambda path: urllib.request.urlopen(found[0] + path, timeout=60).read()

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=30)


def pictures(fetch, run, tag):
    """All pictures of a tag with their steps, waited for while TensorBoard reads."""
    query = urllib.parse.urlencode({"run": run, "tag": tag, "sample": 0})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        tags = json.loads(fetch("/data/plugin/images/tags"))
        if tag in tags.get(run, {}):
            rows = json.loads(fetch(f"/data/plugin/images/images?{query}"))
            return [
                (row["step"], Image.open(io.BytesIO(fetch("/data/plugin/images/individualImage?" + row["query"]))))
                for row in rows
            ]
        time.sleep(0.3)
    raise AssertionError(f"no {tag} in {tags}")


def test_the_articles_pictures_and_a_study_in_a_real_tensorboard(board, cifar_archive, tmp_path):
    logs = tmp_path / "logs_maxpool"
    options = [
        "--data",
        f"cifar10:{cifar_archive}",
        "--pool",
        "max,avg",
        "--kernel",
        "3",
        "--ceil",
        "--batch-size",
        "4",
    ]
    done = CliRunner().invoke(app, ["tensorboard", *options, "--batches", "2", "--logdir", str(logs)])
    assert done.exit_code == 0, done.output
    assert "max: 3 × 32 × 32 -> 3 × 11 × 11, 2 steps" in done.output
    # In the same folder, what a study leaves for the HParams tab.
    for pool, score in (("max", 0.5), ("avg", 0.25)):
        (logs / f"study-{pool}").mkdir()
        event = hparams_run({"pool": pool, "seed": 3, "augment": True}, {"Accuracy": score})
        (logs / f"study-{pool}" / "events.out.tfevents.0000000000.study").write_bytes(event)
    fetch = board(logs)
    given = load(f"cifar10:{cifar_archive}").test.x[:8]
    before, after = pictures(fetch, "max", "input"), pictures(fetch, "max", "output")
    assert [step for step, _ in before] == [step for step, _ in after] == [0, 1]
    for (step, x), (_, y) in zip(before, after, strict=True):
        assert x.size == (4 * 32, 32)
        assert y.size == (4 * 11, 11)  # MaxPool2d(3, ceil_mode=True) on 32 x 32
        images = given[4 * step : 4 * step + 4]
        span = (images.astype(float) - given.min()) / (given.max() - given.min())
        expected = np.concatenate(list(span.transpose(0, 2, 3, 1)), axis=1)
        np.testing.assert_allclose(np.asarray(x) / 255, expected, atol=0.5 / 255 + 1e-6)
        padded = np.pad(span, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-1)
        maxima = padded.reshape(4, 3, 11, 3, 11, 3).max((3, 5))
        np.testing.assert_allclose(
            np.asarray(y) / 255, np.concatenate(list(maxima.transpose(0, 2, 3, 1)), axis=1), atol=0.5 / 255 + 1e-6
        )
    for tag, size in (("lost", (128, 32)), ("routing", (128, 32)), ("windows", (256, 256))):
        assert pictures(fetch, "avg", tag)[0][1].size == size

    groups = session_groups(fetch)
    assert sorted(group["hparams"]["pool"] for group in groups) == ["avg", "max"]
    assert {group["hparams"]["seed"] for group in groups} == {3.0}
    tags = json.loads(fetch("/data/plugin/scalars/tags"))
    assert set(tags["study-max"]) == set(tags["study-avg"]) == {"Accuracy"}


def session_groups(fetch):
    """What the HParams tab shows, waited for while TensorBoard reads."""
    asked = {"experimentName": "", "colParams": [], "startIndex": 0, "sliceSize": 10}
    query = urllib.parse.urlencode({"request": json.dumps(asked | {"allowedStatuses": ["STATUS_SUCCESS"]})})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        groups = json.loads(fetch(f"/data/plugin/hparams/session_groups?{query}"))["sessionGroups"]
        if len(groups) == 2:
            return groups
        time.sleep(0.3)
    raise AssertionError(groups)


def test_a_run_is_not_mixed_with_an_older_one(tmp_path):
    split = load("digits").test.first(8)
    log(split, [parse("max")], tmp_path, kernel=2)
    with pytest.raises(PoolError, match="steps would be mixed"):
        log(split, [parse("max")], tmp_path, kernel=2)
    with pytest.raises(PoolError, match="settings are arguments"):
        log(split, [parse("attention")], tmp_path / "new", kernel=2, ceil_mode=True)
    with pytest.raises(PoolError, match=r"images of \(1, 8, 8\)"):
        log(split, [parse("max")], tmp_path / "new", kernel=9)
    (tmp_path / "file").write_text("")
    with pytest.raises(PoolError, match="files can be written there"):
        log(split, [parse("max")], tmp_path / "file", kernel=2)
    assert not (tmp_path / "new").exists()


def test_what_was_lost_and_where_gradients_go():
    import torch

    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = parse("max")(1, 2)(x)
    expected = np.abs(x[0, 0].numpy() - np.repeat(np.repeat([[5, 7], [13, 15]], 2, 0), 2, 1))
    np.testing.assert_array_equal(lost(x, y, Sliding(2))[0], expected)
    np.testing.assert_array_equal(lost(x, y, None)[0], expected)
    chosen = np.zeros((4, 4))
    chosen[1::2, 1::2] = 1
    np.testing.assert_array_equal(routing(parse("max")(1, 2), x)[0], chosen)
    np.testing.assert_array_equal(routing(parse("avg")(1, 2), x)[0], np.full((4, 4), 0.25))
    drawn = outlines(x[0].numpy() / 15, Sliding(2))
    assert drawn.shape == (32, 32, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 16  # the frames' colours beside the sixteen greys
    assert grid(np.zeros((11, 3, 2, 5), np.float32)).shape == (4, 40, 3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return F.avg_pool2d(self.pool(self.conv(x)), 3).mean((2, 3))


def test_maps_of_modules_and_calls(tmp_path, monkeypatch):
    import torch

    x = torch.rand(1, 3, 24, 18)
    found = layers(Net(), x)
    assert [(tuple(one.before.shape), tuple(one.after.shape)) for one in found[:2]] == [
        ((12, 24, 18), (12, 12, 9)), ((12, 12, 9), (12, 4, 3)),
    ]  # fmt: skip
    torch.testing.assert_close(found[0].after, F.max_pool2d(found[0].before, 2))
    torch.testing.assert_close(found[1].after, F.avg_pool2d(found[1].before, 3))
    with pytest.raises(PoolError, match="runs a pooling of maps"):
        layers(nn.Conv2d(3, 4, 3), x)
    with pytest.raises(PoolError, match="the model takes it"):
        layers(Net(), x[:, :1])
    monkeypatch.setitem(sys.modules, "own_nets", __import__("types").SimpleNamespace(Net=Net))
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "teal.png")
    out = tmp_path / "new" / "sheet.png"
    done = CliRunner().invoke(app, ["layers", "own_nets:Net", str(tmp_path / "teal.png"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height > 500
    done = CliRunner().invoke(app, ["layers", "own_nets:Net", str(tmp_path / "none.png"), "--out", str(out)])
    assert done.exit_code == 2
