"""`export_onnx` itself: what it checks, what it refuses, what it promises of the file."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import poolkit as pk
from poolkit import PoolError, PoolTypeError, nn
from poolkit.reducer import REDUCERS
from poolkit.torch import export, ops
from poolkit.torch.export import export_onnx
from poolkit.torch.onnx import check, operators
from poolkit.torch.onnx.check import check_standard, run_onnx
from poolkit.torch.onnx.operators import translations

X = torch.arange(2 * 3 * 6 * 6, dtype=torch.float32).reshape(2, 3, 6, 6)


def test_every_operator_and_every_reducer_has_a_form():
    names = {schema.split("(")[0] for schema in ops.SCHEMAS}
    assert names == {key.name().removeprefix("poolkit::") for key in translations() if "poolkit::" in key.name()}
    assert set(operators._FORMS) == set(REDUCERS)


class Twice(torch.nn.Module):
    """A batch on the first axis of both inputs, one of them a keyword."""

    def forward(self, x, mask, *, scale=1.0):
        return nn.MaskedPool("mean")(x, mask) * scale, {"sum": x.sum(-1), "none": None}


def test_it_is_a_name_of_the_package(tmp_path):
    assert pk.export_onnx is export_onnx
    assert "export_onnx" in dir(pk)
    file = pk.export_onnx(nn.MaxPool2d(2).eval(), X, tmp_path / "a.onnx")
    assert file == tmp_path / "a.onnx"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    (y,) = run_onnx(file, [X])[1]
    assert torch.equal(y, nn.MaxPool2d(2)(X))


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_every_opset(opset, tmp_path):
    model = torch.nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.LPPool2d(2, 2), nn.AdaptiveMaxPool2d(2)).eval()
    file = export_onnx(model, X, tmp_path / "a.onnx", opset=opset, assume_finite=True)
    assert [entry.version for entry in onnx.load(file).opset_import] == [opset]


def test_open_batch_and_names(tmp_path):
    x, mask = torch.rand(1, 5, 4), torch.tensor([[True, True, False, True, True]])
    names = {"input_names": ["x", "mask"], "output_names": ["mean", "sum"]}
    file = export_onnx(
        Twice().eval(), (x, mask), tmp_path / "a.onnx", kwargs={"scale": 2.0}, dynamic_batch=True, **names
    )
    graph = onnx.load(file).graph
    assert [place.name for place in (*graph.input, *graph.output)] == ["x", "mask", "mean", "sum"]
    first = [place.type.tensor_type.shape.dim[0].dim_param for place in (*graph.input, *graph.output)]
    assert first == ["batch"] * 4
    more, masks = torch.rand(4, 5, 4), torch.rand(4, 5) > 0.5
    mean, total = run_onnx(file, [more, masks])[1]
    torch.testing.assert_close(mean, 2 * nn.MaskedPool("mean")(more, masks))
    torch.testing.assert_close(total, more.sum(-1))


def test_one_open_axis_of_ones_own(tmp_path):
    length = torch.export.Dim("length", min=2)
    file = export_onnx(
        nn.MaskedPool("max").eval(), torch.rand(2, 5, 4), tmp_path / "a.onnx", dynamic_shapes=({1: length},)
    )
    x = torch.rand(2, 9, 4)
    assert torch.equal(run_onnx(file, [x])[1][0], x.amax(1))


def test_sizes_of_pooled_axes_stay_closed(tmp_path):
    with pytest.raises(PoolError, match="sizes of pooled axes cannot be left open"):
        export_onnx(nn.MaxPool2d(2).eval(), X, tmp_path / "a.onnx", dynamic_shapes=({2: torch.export.Dim("height")},))


def test_channels_last_memory_is_no_other_model(tmp_path):
    x = X.to(memory_format=torch.channels_last)
    file = export_onnx(nn.AvgPool2d(3, 2, 1).eval(), x, tmp_path / "a.onnx")
    torch.testing.assert_close(run_onnx(file, [x])[1][0], nn.AvgPool2d(3, 2, 1)(X))


def test_unpooling_with_equal_indices(tmp_path):
    x, places = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor([[[5, 5, 0, 5]]])
    for dtype in (torch.float32, torch.float16, torch.int8):
        file = export_onnx(nn.MaxUnpool1d(2).eval(), (x.to(dtype), places), tmp_path / "a.onnx")
        y = run_onnx(file, [x.to(dtype), places])[1][0]
        assert torch.equal(y, nn.MaxUnpool1d(2)(x.to(dtype), places))
        assert y.tolist() == [[[3, 0, 0, 0, 0, 4, 0, 0]]]


@pytest.mark.parametrize(
    ("model", "draws"),
    [
        (nn.StochasticPool2d(2), "rand in a StochasticPool2d"),
        (nn.MaxDropPool2d(2), "rand in a MaxDropPool2d"),
        (torch.nn.Sequential(nn.MaxPool2d(2), torch.nn.Dropout()), r"dropout in a Dropout \(1\)"),
    ],
    ids=["stochastic", "drop", "dropout"],
)
def test_what_draws_is_refused_and_its_evaluation_is_not(model, draws, tmp_path):
    with pytest.warns(UserWarning, match="training mode"), pytest.raises(PoolError, match=draws):
        export_onnx(model.train(), X, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
    export_onnx(model.eval(), X, tmp_path / "a.onnx")


def test_fractional_windows_need_their_samples(tmp_path):
    with pytest.raises(PoolError, match="_random_samples"):
        export_onnx(nn.FractionalMaxPool2d(2, 3).eval(), X, tmp_path / "a.onnx")
    model = nn.FractionalMaxPool2d(2, 3, _random_samples=torch.rand(2, 3, 2), return_indices=True)
    export_onnx(model.eval(), X, tmp_path / "a.onnx")


def test_training_mode_without_draws_is_exported_as_torch_does(tmp_path):
    with pytest.warns(UserWarning, match="training mode"):
        export_onnx(nn.AvgPool2d(2).train(), X, tmp_path / "a.onnx")
    # torch writes batch normalisation with its running statistics, whatever the mode: that is another result.
    with pytest.warns(UserWarning, match="training mode"), pytest.raises(PoolError, match="away from the model's"):
        export_onnx(torch.nn.BatchNorm2d(3).train(), X, tmp_path / "b.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_gradients_are_refused(tmp_path):
    class Slope(torch.nn.Module):
        def forward(self, dy, x):
            plan = "4(3.0,0.0,1.0,0,1,1,0.5,0,0) 0(4,2,2,2,0,0,1)"
            return torch.ops.poolkit.pool_backward(dy, plan, None, x, dy, None, None, False)

    with pytest.raises(PoolError, match="the gradient of a pooling"):
        export_onnx(Slope().eval(), (torch.rand(1, 1, 2), torch.rand(1, 1, 4)), tmp_path / "a.onnx")


def test_an_operator_without_a_form_is_named(tmp_path):
    class Strange(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x @ x.mT)

    with pytest.raises(PoolError, match="eigh"):
        export_onnx(Strange().eval(), X, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": 3}, PoolTypeError, "model is a torch.nn.Module, here int"),
        ({"args": 3}, PoolTypeError, "args is a tensor or a tuple"),
        ({"opset": 17}, PoolError, "18 <= opset <= 23, here 17"),
        ({"opset": 24}, PoolError, "18 <= opset <= 23, here 24"),
        ({"opset": "20"}, PoolTypeError, "opset counts"),
        ({"verify": "no"}, PoolTypeError, "verify is True or False"),
        ({"assume_finite": 2}, PoolTypeError, "assume_finite is True or False"),
        ({"optimize": 2}, PoolTypeError, "optimize is True or False"),
        ({"dynamic_batch": True, "dynamic_shapes": ()}, PoolError, "one of the two"),
        ({"args": (X, X[:1]), "dynamic_batch": True}, PoolError, r"sizes \[1, 2\]"),
        ({"path": "{folder}"}, PoolError, "a file in a folder that exists"),
        ({"path": "{folder}/none/a.onnx"}, PoolError, "a file in a folder that exists"),
        ({"model": torch.nn.Linear(5, 2).eval()}, PoolError, "torch.export can trace the model"),
        ({"model": nn.MaxPool2d(9).eval()}, PoolError, "kernel_size of at most 6"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_arguments(change, error, message, tmp_path):
    given = {"model": nn.MaxPool2d(2).eval(), "args": X, "path": "{folder}/a.onnx"} | change
    given["path"] = given["path"].format(folder=tmp_path)
    with pytest.raises(error, match=message):
        export_onnx(**given)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(PoolError, match=r"poolkit\[onnx\]', or pass verify=False"):
        export_onnx(nn.MaxPool2d(2).eval(), X, tmp_path / "a.onnx")
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(PoolError, match="without onnx and onnxscript and onnxruntime installed"):
        export_onnx(nn.MaxPool2d(2).eval(), X, tmp_path / "a.onnx")


def test_another_result_is_refused_and_the_old_file_stays(monkeypatch, tmp_path):
    file = tmp_path / "a.onnx"
    file.write_bytes(b"old")
    real = check.run_onnx
    monkeypatch.setattr(check, "run_onnx", lambda *given: (real(*given)[0], [y + 1 for y in real(*given)[1]]))
    with pytest.raises(PoolError, match="away from the model's"):
        export_onnx(nn.MaxPool2d(2).eval(), X, file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert file.read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_files(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PoolError, match="files can be written there"):
        export_onnx(nn.MaxPool2d(2).eval(), X, tmp_path / "a.onnx")
    tmp_path.chmod(0o700)


def test_a_full_disk_leaves_nothing(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.onnx.ONNXProgram.save", full)
    with pytest.raises(PoolError, match="No space left on device"):
        export_onnx(nn.MaxPool2d(2).eval(), X, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def written(tmp_path, nodes, **more):
    place = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    versions = [helper.make_opsetid("", 20), *more.pop("versions", ())]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [place], [result]), opset_imports=versions, ir_version=10, **more
    )
    onnx.save(model, tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


def test_standard_operators_only(tmp_path):
    own = [helper.make_opsetid("own", 1)]
    check_standard(written(tmp_path, [helper.make_node("Relu", ["x"], ["y"])]))
    strange = helper.make_node("Pool", ["x"], ["y"], domain="own")
    with pytest.raises(PoolError, match=r"own 1, own\.Pool"):
        check_standard(written(tmp_path, [strange], versions=own))
    inner = helper.make_graph([helper.make_node("Pool", ["x"], ["z"], domain="own")], "inner", [], [])
    inner.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [2]))
    true = helper.make_node("Constant", [], ["true"], value=onnx.numpy_helper.from_array(np.array(True)))
    branch = helper.make_node("If", ["true"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(PoolError, match=r"own\.Pool"):
        check_standard(written(tmp_path, [true, branch], versions=own))
    function = helper.make_function(
        "own", "Pool", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [versioned()]
    )
    with pytest.raises(PoolError, match=r"function own\.Pool"):
        check_standard(written(tmp_path, [strange], versions=own, functions=[function]))
    with pytest.raises(PoolError, match="draws at random: RandomNormalLike"):
        check_standard(written(tmp_path, [helper.make_node("RandomNormalLike", ["x"], ["y"])]))
    with pytest.raises(PoolError, match="passes ONNX's checker"):
        check_standard(written(tmp_path, [helper.make_node("Relu", ["nothing"], ["y"])]))


def versioned():
    return helper.make_opsetid("", 20)
