"""`poolkit export`."""

import textwrap

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnx

MODELS = """
    from torch import nn
    from poolkit import nn as pool

    def net():
        return nn.Sequential(nn.Conv2d(3, 4, 3), pool.StochasticPool2d(2), pool.AdaptiveAvgPool2d(3))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models.py").write_text(textwrap.dedent(MODELS))
    return tmp_path


def test_a_model_becomes_a_file(folder, poolkit_process):
    done = poolkit_process("export", "models:net", "-i", "1x3x12x10", "-o", "net.onnx", "--dynamic-batch", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str((folder / "net.onnx").resolve())
    (place,) = onnx.load(folder / "net.onnx").graph.input
    assert [dim.dim_param or dim.dim_value for dim in place.type.tensor_type.shape.dim] == ["batch", 3, 12, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models:none", "-i", "1x3x8x8"], "name one of"),
        (["models:net", "-i", "1x3x8"], "torch.export can trace"),
        (["models:net", "-i", "large"], "1x3x224x224"),
        (["models:net", "-i", "1x3x8x8", "--opset", "3"], "18 <= opset <= 23"),
    ],
)
def test_what_is_wrong_is_said(folder, poolkit_process, arguments, message):
    done = poolkit_process("export", *arguments, cwd=folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in folder.glob("*.onnx")] == []
