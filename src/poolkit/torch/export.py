"""Models as ONNX files of standard operators only: `export_onnx`."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from poolkit.errors import PoolError, PoolTypeError, entries, flag, integer, show
from poolkit.torch.onnx.check import check_standard, draws, first_line, tensors_in, tree
from poolkit.torch.onnx.check import verify as verify_file

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Mapping, Sequence

OLDEST_OPSET, NEWEST_OPSET, USUAL_OPSET = 18, 23, 20

_PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript"}


def export_onnx(
    model: nn.Module,
    args: Tensor | Sequence[Any],
    path: str | os.PathLike[str],
    *,
    kwargs: Mapping[str, Any] | None = None,
    opset: int = USUAL_OPSET,
    dynamic_batch: bool = False,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    assume_finite: bool = False,
    optimize: bool = True,
    verify: bool = True,
) -> Path:
    """Writes a model, with any of poolkit's poolings in it, as an ONNX file that every ONNX runtime can load.

    The file holds operators of ONNX's standard domain and nothing else: no custom operator, no library to load beside
    it. The sizes of pooled axes are constants of the file; batch and channels need not be. Nothing is approximated:
    what ONNX cannot say is refused. docs/onnx.md lists the form of every pooling, and what is refused.

    The model is exported in the mode it is in, as `torch.onnx.export` does, which warns of training mode. What draws at
    random is refused; call ``model.eval()`` first.

    Args:
        model: with all its tensors on the CPU.
        args: its positional arguments, or its single one, which show the shapes and dtypes.
        path: where to write. Weights beyond 1.5 GB go into a file of the same name and ``.data`` beside it.
        kwargs: its keyword arguments.
        opset: version of ONNX's operator set, 18 to 23.
        dynamic_batch: leave the first axis of all tensors open, under the name "batch".
        dynamic_shapes: which axes to leave open, as `torch.export.export` takes it; in place of `dynamic_batch`.
        input_names: names for the inputs in the file.
        output_names: names for the outputs in the file.
        assume_finite: you vouch that no pooled cell is infinite or NaN and that no power in an Lp pooling overflows or
            vanishes. More poolings are then a single MaxPool, LpPool or MatMul, which ONNX Runtime computes several
            times quicker than what keeps the promises of poolkit for such cells.
        optimize: fold constants and join operators, as `torch.onnx.export` does; large graphs export quicker without.
        verify: run the file in ONNX Runtime and compare its outputs with the model's; with `dynamic_batch` also on a
            batch of twice the size. Floating outputs agree to 1e-4 of the largest magnitude in float32, 1e-10 in
            float64, 1e-2 in float16, 1e-1 in bfloat16; others exactly.

    Returns:
        The path of the file. It appears whole or not at all.

    Raises:
        PoolError: an argument breaks a rule, a package is missing, the file cannot be written, the model cannot be
            traced or holds what ONNX cannot express, or the file's outputs are not the model's.

    >>> import poolkit as pk, torch
    >>> from poolkit import nn
    >>> x = torch.rand(1, 3, 9, 9)
    >>> pk.export_onnx(nn.AdaptiveAvgPool2d(4), x, "pool.onnx")  # doctest: +SKIP
    PosixPath('pool.onnx')
    """
    positional = _check(model, args, opset, dynamic_batch, dynamic_shapes, verify)
    finite, tidy = flag(assume_finite, "assume_finite"), flag(optimize, "optimize")
    target = _target(path)
    named = dict(kwargs or {})
    more = positional, named
    if dynamic_batch:
        dynamic_shapes = _open_batch(model, positional, named)
        more = _doubled(positional, named)
    if model.training:
        warnings.warn("exporting a model in training mode; model.eval() is what inference wants", stacklevel=2)
    # A batch of one would be taken for a constant.
    program = _traced(model, *more, dynamic_shapes)
    _check_draws(program)
    onnx_program = _translated(
        program,
        None if dynamic_batch else dynamic_shapes,
        finite,
        opset_version=opset,
        input_names=input_names,
        output_names=output_names,
        optimize=tidy,
    )
    if dynamic_batch:
        _name_batch(onnx_program.model)
    with _folder_beside(target) as folder:
        made = folder / target.name
        onnx_program.save(made)
        check_standard(made)
        if verify:
            verify_file(model, positional, named, made)
            if dynamic_batch:
                verify_file(model, *more, made)
        # The weights first: whoever sees the new model finds them.
        for part in sorted(folder.iterdir(), key=lambda part: part == made):
            part.replace(target.parent / part.name)
    return target


def _check(
    model: object, args: object, opset: object, dynamic_batch: object, dynamic_shapes: object, verify: object
) -> tuple[Any, ...]:
    """Everything that can be checked before the model runs; the arguments as a tuple."""
    if not isinstance(model, nn.Module):
        raise PoolTypeError(
            f"model={show(model)}", f"model is a torch.nn.Module, here {type(model).__name__}", "pass the module itself"
        )
    positional = (args,) if isinstance(args, Tensor) else entries(args)
    if positional is None:
        raise PoolTypeError(
            f"args={show(args)}",
            f"args is a tensor or a tuple of the model's arguments, here {type(args).__name__}",
            "pass for example (x,)",
        )
    if not OLDEST_OPSET <= integer(opset, "opset", 1) <= NEWEST_OPSET:
        raise PoolError(
            f"opset={opset}", f"{OLDEST_OPSET} <= opset <= {NEWEST_OPSET}, here {opset}", f"pass opset={USUAL_OPSET}"
        )
    if flag(dynamic_batch, "dynamic_batch") and dynamic_shapes is not None:
        raise PoolError(
            "dynamic_batch=True together with dynamic_shapes",
            "one of the two says which axes are open",
            "put the batch axis into dynamic_shapes",
        )
    wanted = _PACKAGES | ({"onnxruntime": "onnxruntime"} if flag(verify, "verify") else {})
    missing = [package for name, package in wanted.items() if find_spec(name) is None]
    if missing:
        raise PoolError(
            f"an export without {' and '.join(missing)} installed",
            "the export needs onnx and onnxscript, and verify=True onnxruntime",
            "pip install 'poolkit[onnx]'" + (", or pass verify=False" if missing == ["onnxruntime"] else ""),
        )
    return positional


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_dir() or not target.name or not target.parent.is_dir():
        raise PoolError(
            f"path={show(str(target))}", "path names a file in a folder that exists", "make the folder, or name a file"
        )
    return target


def _open_batch(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The first axis of every tensor, all of one size."""
    batch = torch.export.Dim("batch", min=1)
    sizes = {tensor.shape[0] for tensor in tensors_in((args, kwargs)) if tensor.dim()}
    if len(sizes) != 1:
        raise PoolError(
            f"dynamic_batch=True with tensors whose first axes have the sizes {sorted(sizes)}",
            "all tensors have the batch as their first axis",
            "pass dynamic_shapes, which says for each tensor which axes are open",
        )

    def opened(leaf: Any) -> Any:
        return {0: batch} if isinstance(leaf, Tensor) and leaf.dim() else None

    shapes: list[Any] = [tree.tree_map(opened, value) for value in args]
    names = list(_signature_names(model))
    if len(names) < len(shapes):  # *args
        return tuple(shapes)
    return dict(zip(names, shapes, strict=False)) | {
        name: tree.tree_map(opened, value) for name, value in kwargs.items()
    }


def _signature_names(model: nn.Module) -> Iterator[str]:
    import inspect

    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            yield name


def _traced(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any) -> Any:
    """torch.export's program of the model, without gradients."""
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(model, args, kwargs, dynamic_shapes=dynamic_shapes)
    except Exception as error:
        known = _pool_error(error)
        if known is not None:
            raise known from error
        raise PoolError(
            f"a {type(model).__name__}",
            f"torch.export can trace the model with these arguments, here {type(error).__name__}: {first_line(error)}",
            "make torch.export.export(model, args) work first; the sizes of pooled axes cannot be left open",
        ) from error


def _check_draws(program: Any) -> None:
    """Reports the first operator of a traced program that draws at random, with the module it stands in."""
    for node in program.graph.nodes:
        if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
            continue
        arguments = node.target._schema.arguments
        given = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
        given |= {argument.name: value for argument, value in zip(arguments, node.args, strict=False)} | node.kwargs
        if not all(given.get(switch, True) for switch in ("train", "training", "dropout_p")):
            continue
        stack: list[tuple[str, Any]] = list(cast(Any, node.meta.get("nn_module_stack") or {}).values())
        kind = _class_name(stack[-1][1]) if stack else "model"
        raise draws(f"{node.target._schema.name.removeprefix('aten::')} in a {kind}" + _place(stack))


def _place(stack: Sequence[tuple[str, Any]]) -> str:
    return f" ({stack[-1][0]})" if stack and stack[-1][0] else ""


def _translated(program: Any, dynamic_shapes: Any, finite: bool, **options: Any) -> Any:
    """torch.onnx's program of a traced one, with poolkit's own translations."""
    from poolkit.torch.onnx.operators import translations

    try:
        with _quiet():
            return torch.onnx.export(
                program,
                dynamic_shapes=dynamic_shapes,  # for the names of open axes
                custom_translation_table=cast(Any, translations(finite=finite)),
                verbose=False,
                **options,
            )
    except Exception as error:
        known = _pool_error(error)
        if known is not None:
            raise known from error
        cause = next((link for link in _chain(error) if type(link).__name__ == "DispatchError"), error)
        raise PoolError(
            "a model with an operator that torch.onnx cannot translate",
            f"every operator of the model has an ONNX form, here {type(cause).__name__}: {first_line(cause)}",
            "write that part of the model in other operators",
        ) from error


def _name_batch(model: Any) -> None:
    """Calls the open first axis "batch" wherever its symbol stands."""
    import onnx_ir as ir

    graph = model.graph
    symbols = {
        place.shape[0].value for place in graph.inputs if len(place.shape) and not isinstance(place.shape[0], int)
    }
    symbol = re.compile(rf"\b({'|'.join(map(re.escape, symbols))})\b")
    values = [*graph.inputs, *(value for node in graph.all_nodes() for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            dims = (dim if isinstance(dim, int) else dim.value for dim in value.shape)
            value.shape = ir.Shape([symbol.sub("batch", dim) if isinstance(dim, str) else dim for dim in dims])


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _pool_error(error: BaseException) -> PoolError | None:
    """The `PoolError` at the bottom of what torch raised."""
    return next(
        (PoolError(link.gave, link.rule, link.do) for link in _chain(error) if isinstance(link, PoolError)), None
    )


def _class_name(kind: object) -> str:
    return str(kind).rsplit(".", 1)[-1] if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def _doubled(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def doubled(leaf: Any) -> Any:
        return torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.dim() else leaf

    return tree.tree_map(doubled, (args, kwargs))


@contextmanager
def _folder_beside(target: Path) -> Generator[Path]:
    """A temporary folder on the file's own file system, so that a rename moves what is made in it."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise PoolError(
            f"path={show(str(target))}",
            f"files can be written there, here: {error.strerror or error}",
            "name another folder",
        ) from error
    try:
        yield folder
    except OSError as error:
        raise PoolError(
            f"path={show(str(target))}",
            f"files can be written there, here: {error.strerror or error}",
            "make room, or name another folder",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet() -> Generator[None]:
    """Without what torch.onnx tells its developers: torchvision's absence, deprecations within torch itself."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("torch.onnx", "onnx_ir", "onnxscript"))}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", "# (The axis name|ONNX model has)", UserWarning)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
