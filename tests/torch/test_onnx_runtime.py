"""Where ONNX Runtime itself is wrong or leaves something open: each fails when that is mended.

Then the graphs may become simpler; docs/onnx.md tells of every one.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

nan, inf = np.nan, np.inf
LOWEST = np.finfo(np.float32).min


def run(kind, inputs, outputs=1, opset=18, **attributes):
    """One operator on arrays."""
    names = [f"input{i}" for i in range(len(inputs))]
    results = [f"output{i}" for i in range(outputs)]
    node = helper.make_node(kind, names, results, **attributes)
    places = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, inputs, strict=True)
    ]
    # Types of outputs are left to inference.
    given = [helper.make_empty_tensor_value_info(name) for name in results]
    model = helper.make_model(
        helper.make_graph([node], "graph", places, given), opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )
    model = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs, strict=True)))


def row(*cells, dtype=np.float32):
    return np.array([[cells]], dtype)


@pytest.mark.parametrize("opset", [18, 22])
def test_max_pool_drops_a_nan(opset):
    (y,) = run("MaxPool", [row(1, nan, 3, 4, nan, 2)], opset=opset, kernel_shape=[2], strides=[2])
    assert y.tolist() == [[[1, 4, 2]]]  # poolkit: nan, 4, nan
    y, places = run("MaxPool", [row(1, nan, 3, 4, nan, 2)], 2, opset=opset, kernel_shape=[2], strides=[2])
    assert y[0, 0, 0] == 1  # but with places asked for, the last is a NaN
    assert np.isnan(y[0, 0, 2])
    assert places.tolist() == [[[0, 3, 4]]]


@pytest.mark.parametrize("opset", [18, 22])
def test_max_pool_of_minus_infinity_is_the_lowest_number(opset):
    (y,) = run("MaxPool", [row(-inf, -inf, 1, -inf)], opset=opset, kernel_shape=[2], strides=[2])
    assert y.tolist() == [[[LOWEST, 1]]]  # poolkit: -inf, 1
    y, _ = run("MaxPool", [row(-inf, -inf, 1, -inf)], 2, opset=opset, kernel_shape=[2], strides=[2])
    assert y.tolist() == [[[-inf, 1]]]


def test_reduce_max_drops_a_nan():
    cells = np.ones((2, 8), np.float32)
    cells[0, 4] = nan
    for kind in ("ReduceMax", "ReduceMin"):
        (y,) = run(kind, [cells, np.array([1])], keepdims=0)
        assert y.tolist() == [1, 1]  # poolkit: nan, 1
    # An n-ary Max does not, which is why the graphs use it.
    (y,) = run("Max", [cells, cells + 1, cells])
    assert np.isnan(y).sum() == 1


def test_indices_count_over_the_whole_tensor():
    # As ONNX wants it; torch and poolkit count within each plane.
    _, places = run("MaxPool", [np.zeros((2, 1, 2, 2), np.float32)], 2, kernel_shape=[2, 2])
    assert places.ravel().tolist() == [0, 4]


def test_padding_beyond_the_asked_for_counts_in_an_average():
    # A last window that overhangs: torch divides by what lies inside the padding. ONNX Runtime's ceil_mode does so,
    # too, but ONNX's reference and other runtimes do not; explicit padding at the end is divided by in full.
    cells = row(1, 2, 3, 4, 5, 6, 7)
    (y,) = run("AveragePool", [cells], kernel_shape=[5], strides=[4], pads=[0, 2], count_include_pad=1)
    assert y.ravel().tolist() == pytest.approx([3, 3.6])  # poolkit: 3, 6
    (y,) = run("AveragePool", [cells], kernel_shape=[5], strides=[4], pads=[0, 2], count_include_pad=0)
    assert y.ravel().tolist() == [3, 6]


def test_onnx_reference_of_an_average_in_ceil_mode():
    from onnx.reference import ReferenceEvaluator

    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[5], strides=[4], ceil_mode=1)
    place = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 7])
    graph = helper.make_graph([node], "graph", [place], [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    (y,) = ReferenceEvaluator(model).run(None, {"x": row(1, 2, 3, 4, 5, 6, 7)})
    assert y.ravel().tolist() == [2.5, 5]  # poolkit and ONNX Runtime: 3, 6


def test_lp_pool_overflows():
    (y,) = run("LpPool", [row(1e30, 1e30)], kernel_shape=[2], p=2)
    assert y.tolist() == [[[inf]]]  # poolkit: 1.41e30
    (y,) = run("LpPool", [row(1e-30, 1e-30)], kernel_shape=[2], p=2)
    assert y.tolist() == [[[0]]]


@pytest.mark.parametrize("kind", ["AveragePool", "LpPool", "Conv", "GlobalAveragePool"])
def test_there_is_no_such_kernel_in_float64(kind):
    settings = {"AveragePool": {"kernel_shape": [2]}, "LpPool": {"kernel_shape": [2]}}.get(kind, {})
    inputs = [row(1, 2, dtype=np.float64)] * (2 if kind == "Conv" else 1)
    with pytest.raises(Exception, match="Could not find an implementation"):
        run(kind, inputs, **settings)


def test_a_matmul_with_zeros_spreads_what_is_infinite():
    weights = np.array([[0.5, 0], [0.5, 0], [0, 1]], np.float32)
    (y,) = run("MatMul", [np.array([[1, 2, inf]], np.float32), weights])
    assert np.isnan(y[0, 0])  # 0 * inf; its window has neither
    assert y[0, 1] == inf


def test_where_and_sum_lack_small_integers():
    small = np.ones(2, np.int16)
    with pytest.raises(Exception, match="Could not find an implementation"):
        run("Where", [np.array([True, False]), small, small])
    with pytest.raises(Exception, match="Could not find an implementation"):
        run("Max", [small, small])


def test_scatter_leaves_open_which_of_two_equal_indices_wins():
    # ONNX says nothing of order; ONNX Runtime takes the last one today. The graphs ask for the largest number instead.
    (y,) = run(
        "ScatterElements",
        [np.full((1, 3), -1), np.array([[2, 2, 0]]), np.array([[1, 0, 2]])],
        axis=1,
        reduction="max",
    )
    assert y.tolist() == [[2, -1, 1]]
