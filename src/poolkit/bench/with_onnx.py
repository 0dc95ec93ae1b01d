"""ONNX Runtime and OpenVINO as contestants, both on one ONNX model of the layer."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from poolkit.bench.task import Task, Unavailable

if TYPE_CHECKING:
    from poolkit.bench.rows import Row
    from poolkit.bench.task import Run

OPSET = 22


def onnxruntime(task: Task, threads: int) -> Run:
    """ONNX Runtime's CPU provider, input and output bound once so that no call copies or allocates."""
    _forward_only(task)
    if task.dtype == "bfloat16":
        raise Unavailable("ONNX Runtime takes no bfloat16 arrays on the CPU")
    model = _model(task)
    ort: Any = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its errors share no base class of their own.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise Unavailable(f"ONNX Runtime has no such layer in {task.dtype}") from error
    shape = session.run(None, {"x": task.x})[0].shape
    binding = session.io_binding()
    source = ort.OrtValue.ortvalue_from_numpy(task.x)
    target = ort.OrtValue.ortvalue_from_shape_and_type(shape, task.x.dtype.type)
    binding.bind_ortvalue_input("x", source)
    binding.bind_ortvalue_output("y", target)

    def run() -> Any:
        session.run_with_iobinding(binding)
        return target

    return run


def openvino(task: Task, threads: int) -> Run:
    """OpenVINO's CPU plug-in in float32, input and output tensors set once."""
    _forward_only(task)
    if task.dtype != "float32":
        raise Unavailable("OpenVINO's plug-in computes in a precision of its own choice; timed in float32 alone")
    ov: Any = import_module("openvino")
    ops: Any = import_module("openvino.opset14")
    row = task.row
    if row.kind.startswith("adaptive"):
        node = ops.parameter(row.shape, np.float32)
        shape: Any = ops.constant(np.array(row.target, dtype=np.int64))
        if row.kind == "adaptive_avg":
            model = ov.Model([ops.adaptive_avg_pool(node, shape)], [node])
        else:
            model = ov.Model([ops.adaptive_max_pool(node, shape, "i32").output(0)], [node])
    else:
        model = _openvino_core().read_model(_model(task))
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    try:
        request = _openvino_core().compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise Unavailable(f"OpenVINO cannot compile it: {str(error).strip().splitlines()[-1]}") from error
    request.set_input_tensor(ov.Tensor(task.x, shared_memory=True))

    def run() -> Any:
        request.infer()
        return request.get_output_tensor(0)

    return run


def _forward_only(task: Task) -> None:
    if task.backward:
        raise Unavailable("it runs finished networks and has no backward pass")


@cache
def _openvino_core() -> Any:
    """One runtime for the whole bench: making one takes longer than any layer."""
    import openvino as ov

    return ov.Core()


def _operator(row: Row) -> tuple[str, dict[str, Any]]:
    """The ONNX operator of a row and its attributes."""
    if row.kind in {"global_avg", "global_max"}:
        return ("GlobalAveragePool" if row.kind == "global_avg" else "GlobalMaxPool"), {}
    kernel, stride = row.kernel, row.stride
    if row.kind.startswith("adaptive"):
        if any(size % out for size, out in zip(row.shape[2:], row.target, strict=True)):
            raise Unavailable("ONNX has no adaptive pooling; its sliding windows give this one only where sizes divide")
        kernel = stride = tuple(size // out for size, out in zip(row.shape[2:], row.target, strict=True))
    names = {"max": "MaxPool", "avg": "AveragePool", "adaptive_avg": "AveragePool", "adaptive_max": "MaxPool"}
    names |= {"avg_exclude_pad": "AveragePool", "lp_p2": "LpPool"}
    if row.kind not in names:
        raise Unavailable(f"ONNX has no operator for {row.kind}")
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "ceil_mode": int(row.ceil_mode)}
    if any(map(any, row.padding)):
        attributes["pads"] = [pair[0] for pair in row.padding] + [pair[1] for pair in row.padding]
    if names[row.kind] == "AveragePool":
        attributes["count_include_pad"] = int(row.kind != "avg_exclude_pad")
    if row.kind == "lp_p2":
        attributes["p"] = 2
    return names[row.kind], attributes


def _model(task: Task) -> bytes:
    """A model of the one operator, with fixed shapes."""
    from onnx import helper

    operator, attributes = _operator(task.row)
    cell = helper.np_dtype_to_tensor_dtype(task.x.dtype)
    out = [f"o{i}" for i in range(len(task.row.shape))]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", cell, task.row.shape)],
        [helper.make_tensor_value_info("y", cell, out)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10).SerializeToString()
