"""The contestants. Each takes a Row and its input and gives a function that runs the layer once.

A contestant that cannot run a row raises Unavailable with the reason, which the report prints.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import poolkit as pk

from .rows import Row

Run = Callable[[], Any]
Make = Callable[[Row, np.ndarray, int], Run]
OPSET = 22
MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


class Unavailable(Exception):  # noqa: N818 - not an error: a contestant's answer
    """This contestant has no such operator; the message says which."""


@dataclass(frozen=True)
class Peer:
    """A contestant: its name in tables, and how to make its function for a row."""

    name: str
    make: Make
    numpy_last: bool = False  # its results are channels-last NumPy arrays


def uniforms(row: Row) -> np.ndarray:
    """The random samples of a fractional row: the same for everybody."""
    return np.random.default_rng(0).random((*row.shape[:2], row.rank), dtype=np.float32)


def _last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def _fractional_size(row: Row) -> dict[str, Any]:
    return {"output_size": row.target} if row.target else {"output_ratio": (row.ratio,) * row.rank}


def _poolkit(row: Row, x: Any, **extra: Any) -> Run:
    if row.kind == "fractional_max":
        samples = torch.from_numpy(uniforms(row)) if isinstance(x, torch.Tensor) else uniforms(row)
        size = _fractional_size(row)
        return partial(pk.fractional_max_pool2d, x, row.kernel, **size, _random_samples=samples, **extra)
    return partial(pk.pool, x, row.window, row.reducer, return_indices=row.kind == "max_with_indices", **extra)


def poolkit_first(row: Row, x: np.ndarray, _threads: int) -> Run:
    """poolkit on a NumPy array, channels first."""
    return _poolkit(row, x)


def poolkit_last(row: Row, x: np.ndarray, _threads: int) -> Run:
    """poolkit on a NumPy array, channels last."""
    return _poolkit(row, _last(x), data_format="channels_last")


def poolkit_torch(row: Row, x: np.ndarray, _threads: int) -> Run:
    """poolkit on a torch tensor, channels first."""
    return _poolkit(row, torch.from_numpy(x))


def _per_axis(rank: int, *values: tuple[int, ...]) -> tuple[Any, ...]:
    """1-D functions of torch that want an int, not a tuple of one."""
    return tuple(value[0] if rank == 1 else value for value in values)


def _torch_sliding(row: Row, x: torch.Tensor) -> Run:
    rank, kind = row.rank, row.kind
    if kind == "lp_p2":
        return partial(getattr(F, f"lp_pool{rank}d"), x, 2.0, *_per_axis(rank, row.kernel, row.stride), row.ceil_mode)
    if kind.startswith("avg"):
        average = getattr(F, f"avg_pool{rank}d")
        include = kind != "avg_exclude_pad"
        return partial(average, x, row.kernel, row.stride, row.torch_padding, row.ceil_mode, count_include_pad=include)
    maximum = partial(
        getattr(F, f"max_pool{rank}d"),
        kernel_size=row.kernel,
        stride=row.stride,
        ceil_mode=row.ceil_mode,
        return_indices=kind == "max_with_indices",
    )
    if row.asymmetric:
        sides = [side for pair in reversed(row.padding) for side in pair]
        return lambda: maximum(F.pad(x, sides, value=float("-inf")))
    return partial(maximum, x, padding=row.torch_padding)


def _torch(row: Row, x: torch.Tensor) -> Run:
    axes = tuple(range(2, 2 + row.rank))
    match row.kind:
        case "adaptive_avg" | "adaptive_max":
            name = "avg" if row.kind.endswith("avg") else "max"
            return partial(getattr(F, f"adaptive_{name}_pool{row.rank}d"), x, row.target)
        case "global_avg":
            return partial(torch.mean, x, axes, keepdim=True)
        case "global_max":
            return partial(torch.amax, x, axes, keepdim=True)
        case "gem_p3":
            return lambda: x.clamp(min=1e-6).pow(3.0).mean(axes, keepdim=True).pow(1.0 / 3.0)
        case "fractional_max":
            samples = torch.from_numpy(uniforms(row))
            size = _fractional_size(row)
            return partial(F.fractional_max_pool2d, x, row.kernel, **size, _random_samples=samples)
        case _:
            return _torch_sliding(row, x)


def torch_first(row: Row, x: np.ndarray, _threads: int) -> Run:
    """PyTorch in its default layout."""
    return _torch(row, torch.from_numpy(x))


def torch_last(row: Row, x: np.ndarray, _threads: int) -> Run:
    """PyTorch in its channels-last memory format."""
    if row.rank not in MEMORY_FORMATS:
        raise Unavailable("torch has no channels-last format for 1-D")
    return _torch(row, torch.from_numpy(x).contiguous(memory_format=MEMORY_FORMATS[row.rank]))


def _onnx_operator(row: Row) -> tuple[str, dict[str, Any]]:
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


def _onnx_model(row: Row) -> bytes:
    """A model of the one operator, with fixed shapes."""
    from onnx import TensorProto, helper

    operator, attributes = _onnx_operator(row)
    out = [f"o{i}" for i in range(len(row.shape))]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10).SerializeToString()


def onnxruntime(row: Row, x: np.ndarray, threads: int) -> Run:
    """ONNX Runtime's CPU provider, input and output bound once so that no call copies or allocates."""
    model = _onnx_model(row)
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = session.run(None, {"x": x})[0].shape
    binding = session.io_binding()
    source = ort.OrtValue.ortvalue_from_numpy(x)
    target = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
    binding.bind_ortvalue_input("x", source)
    binding.bind_ortvalue_output("y", target)

    def run() -> Any:
        session.run_with_iobinding(binding)
        return target

    return run


def openvino(row: Row, x: np.ndarray, threads: int) -> Run:
    """OpenVINO's CPU plug-in in float32, input and output tensors set once."""
    import openvino as ov
    import openvino.opset14 as ops

    if row.kind.startswith("adaptive"):
        node = ops.parameter(row.shape, np.float32)
        shape = ops.constant(np.array(row.target, dtype=np.int64))
        if row.kind == "adaptive_avg":
            model = ov.Model([ops.adaptive_avg_pool(node, shape)], [node])
        else:
            model = ov.Model([ops.adaptive_max_pool(node, shape, "i32").output(0)], [node])
    else:
        model = _openvino_core().read_model(_onnx_model(row))
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    try:
        request = _openvino_core().compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise Unavailable(f"OpenVINO cannot compile it: {str(error).strip().splitlines()[-1]}") from error
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))

    def run() -> Any:
        request.infer()
        return request.get_output_tensor(0)

    return run


@cache
def _openvino_core() -> Any:
    """One runtime for the whole bench: making one takes longer than any layer."""
    import openvino as ov

    return ov.Core()


PEERS = {
    peer.name: peer
    for peer in (
        Peer("poolkit", poolkit_first),
        Peer("poolkit-nhwc", poolkit_last, numpy_last=True),
        Peer("poolkit-torch", poolkit_torch),
        Peer("torch", torch_first),
        Peer("torch-nhwc", torch_last),
        Peer("onnxruntime", onnxruntime),
        Peer("openvino", openvino),
    )
}
NEEDS = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx")}
DEFAULT = ("poolkit", "poolkit-nhwc", "torch", "torch-nhwc", "onnxruntime", "openvino")


def installed(name: str) -> bool:
    """Whether the packages a contestant needs are here."""
    return all(importlib.util.find_spec(package) is not None for package in NEEDS.get(name, ()))


def outputs(result: Any, *, channels_last: bool) -> list[np.ndarray]:
    """A contestant's values, and indices if it gave some, as channels-first NumPy arrays for the check of equality."""
    if isinstance(result, tuple):
        return [array for part in result for array in outputs(part, channels_last=channels_last)]
    if isinstance(result, np.ndarray):
        return [np.moveaxis(result, -1, 1) if channels_last else result]
    # A tensor of torch, an OrtValue, a tensor of OpenVINO.
    return [result.numpy() if hasattr(result, "numpy") else np.asarray(result.data)]
