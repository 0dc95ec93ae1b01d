"""poolkit inspect: the poolings of a model from a module in the working directory."""

import json

import pytest

pytest.importorskip("torch", reason="it looks into torch models")

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
    def forward(self, x):
        return self.pool(x).mean((2, 3))

def broken():
    raise OSError("no disk")

def two():
    class Two(nn.Module):
        def forward(self, a, b):
            return nn.functional.avg_pool2d(a + b, 2)
    return Two()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("nets")
    (path / "nets.py").write_text(NET, encoding="utf-8")
    return path


def test_it_lists_the_poolings(poolkit_process, folder):
    done = poolkit_process("inspect", "nets:Net", "--input", "1x3x32x32", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "MaxPool2d(2)" in done.stdout
    assert "1x3x32x32 → 1x3x16x16" in done.stdout
    assert "nets.py:9" in done.stdout


def test_json_and_several_inputs(poolkit_process, folder):
    done = poolkit_process("inspect", "nets:two", "-i", "1x3x8x8", "-i", "1x3x8x8", "--json", "--train", cwd=folder)
    (site,) = json.loads(done.stdout)
    assert (site["kind"], site["pooling"]) == ("call", "torch.nn.functional.avg_pool2d")
    assert site["output_shape"] == [1, 3, 4, 4]


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("nets", "1x3x8x8", "module:factory"),
        ("nots:Net", "1x3x8x8", "No module named 'nots'"),
        ("nets:Nyt", "1x3x8x8", "no Nyt"),
        ("nets:broken", "1x3x8x8", "no disk"),
        ("nets:Net", "1x3x0", "a shape is whole numbers"),
        ("nets:Net", "1x3", "the model takes the example"),
    ],
)
def test_what_the_user_can_put_right_is_status_2(poolkit_process, folder, model, shape, message):
    done = poolkit_process("inspect", model, "--input", shape, cwd=folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "do this" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
