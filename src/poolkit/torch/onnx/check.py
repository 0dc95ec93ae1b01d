"""What is asked of a finished ONNX file: standard operators alone, and in ONNX Runtime the model's own outputs."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from poolkit.errors import PoolError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# torch.export's own notion of what holds tensors; the module has no public name.
tree: Any = importlib.import_module("torch.utils._pytree")

# How far a verified output may be from torch's, relative to the largest magnitude in it.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-1}

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def check_standard(path: str | os.PathLike[str]) -> None:
    """Asserts that an ONNX file is valid and needs nothing but ONNX's standard operators.

    Every node of every graph within graphs is looked at; functions of the model's own count as custom operators.

    Args:
        path: the file.

    Raises:
        PoolError: it has an operator of another domain, a function, draws at random, or is no valid model.
    """
    import onnx
    import onnx.checker

    proto = onnx.load(str(path), load_external_data=False)
    strange = {f"{entry.domain} {entry.version}" for entry in proto.opset_import if entry.domain not in ("", "ai.onnx")}
    strange |= {f"function {function.domain}.{function.name}" for function in proto.functions}
    drawn: set[str] = set()
    for node in _nodes(proto.graph):
        if node.domain not in ("", "ai.onnx"):
            strange.add(f"{node.domain}.{node.op_type}")
        if node.op_type in _RANDOM:
            drawn.add(node.op_type)
    if strange:
        raise PoolError(
            f"a model whose graph needs {', '.join(sorted(strange))}",
            "the graph has operators of ONNX's standard domain only",
            "leave out or rewrite the part of the model that is translated to it",
        )
    if drawn:
        raise draws(", ".join(sorted(drawn)))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise PoolError(
            "a model", f"the graph passes ONNX's checker, here {first_line(error)}", "export with another opset"
        ) from error


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def verify(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], file: Path) -> None:
    """Compares the file's outputs in ONNX Runtime with the model's."""
    with torch.no_grad():
        wanted = tensors_in(model(*args, **kwargs))
    given = tensors_in((args, kwargs))
    names, found = run_onnx(file, given)
    if len(found) != len(wanted):
        raise _unlike(f"{len(found)} outputs", f"{len(wanted)}")
    for name, mine, theirs in zip(names, found, wanted, strict=True):
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            raise _unlike(
                f"output {name} of shape {tuple(mine.shape)} and dtype {mine.dtype}",
                f"shape {tuple(theirs.shape)} and dtype {theirs.dtype}",
            )
        if mine.dtype not in TOLERANCES:
            if not torch.equal(mine, theirs):
                raise _unlike(f"output {name}, of {mine.dtype}, with other values", "the model's own")
            continue
        real = theirs[theirs.isfinite()].double().abs()
        largest = float(real.max()) if real.numel() else 0.0
        allowed = TOLERANCES[mine.dtype] * largest
        if not torch.allclose(mine.double(), theirs.double(), rtol=0, atol=allowed, equal_nan=True):
            away = float((mine.double() - theirs.double()).abs().nan_to_num(math.inf).max())
            raise _unlike(f"output {name} up to {away:.3g} away from the model's", f"at most {allowed:.3g} away")


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of arguments or results, in torch.export's order."""
    leaves: list[Any] = tree.tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def run_onnx(file: str | os.PathLike[str], inputs: Sequence[Tensor]) -> tuple[list[str], list[Tensor]]:
    """What ONNX Runtime makes of a file and its inputs: the names of the outputs, and these."""
    ort: Any = __import__("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    values = {
        place.name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(_bits(tensor), _code(tensor.dtype))
        for place, tensor in zip(session.get_inputs(), inputs, strict=False)
    }
    names = [place.name for place in session.get_outputs()]
    return names, [_tensor(value) for value in session.run_with_ort_values(names, values)]


def _bits(tensor: Tensor) -> Any:
    tensor = tensor.detach().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _code(dtype: torch.dtype) -> int:
    onnx: Any = __import__("onnx")
    names = {torch.float32: "FLOAT", torch.float64: "DOUBLE"}
    return onnx.TensorProto.DataType.Value(names.get(dtype, str(dtype).removeprefix("torch.").upper()))


def _tensor(value: Any) -> Tensor:
    if value.data_type() == "tensor(bfloat16)":
        from torch.utils import dlpack

        found: Any = dlpack
        return found.from_dlpack(value._ortvalue.to_dlpack())
    return torch.from_numpy(value.numpy())


def _unlike(gave: str, wanted: str) -> PoolError:
    return PoolError(
        f"a model whose file gives {gave}",
        f"the file's outputs in ONNX Runtime are those of the model, here {wanted} expected",
        "find the part of the model that causes it by exporting its modules one by one; nothing was written",
    )


def draws(what: str) -> PoolError:
    """The error for a model that draws at random."""
    return PoolError(
        f"a model that draws at random: {what}",
        "a graph gives the same for the same input: what draws at random cannot be exported",
        "call eval() on the model before the export; give fractional pooling its _random_samples",
    )


def first_line(error: BaseException) -> str:
    """What an error of another library says first."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
