"""Watches a model's forward pass: which poolings ran where, how long, and what they kept for the backward pass."""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn, overrides
from torch.overrides import TorchFunctionMode

import poolkit
from poolkit.reducer import REDUCERS
from poolkit.surgery.calls import CALLS, spatial
from poolkit.surgery.choice import cells
from poolkit.surgery.geometry import geometry_of, named_modules, poolings, type_name
from poolkit.torch.ops import decode

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch.nn import Module

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONVOLVE: dict[Any, int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
_resolve: Any = cast(Any, overrides).resolve_name
_REDUCTIONS = frozenset({torch.mean, Tensor.mean, torch.amax, Tensor.amax})
_HOME = Path(poolkit.__file__).parent
# Frames of these are not where somebody wrote a call; networks that come with poolkit are.
_INSIDE = (
    str(Path(torch.__file__).parent) + os.sep,
    *(f"{_HOME / part}{os.sep}" for part in ("torch", "nn", "surgery")),
)
_INSIDE_FILES = frozenset(str(_HOME / name) for name in ("functional.py", "named.py", "pooling.py", "unpooling.py"))


class Site(NamedTuple):
    """A pooling of a model: one module or line of code, on one shape."""

    kind: str
    name: str
    pooling: str
    place: str
    geometry: tuple[tuple[str, Any], ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


class Watch(TorchFunctionMode):
    """Sees a model's poolings: modules by hooks, calls as a mode; use `keeping` and `timing`."""

    def __init__(self, model: Module) -> None:
        super().__init__()
        self._model = model
        self._pools = {module: name for name, module in poolings(model)}
        self._names: dict[Module, str] = {}
        for name, module in named_modules(model):
            self._names.setdefault(module, name)
        self._running: list[tuple[Module, float, int]] = []
        self._inside = 0  # depth of pooling and convolution modules
        self._packed = 0  # bytes not yet anybody's
        self._seen: set[int] = set()
        self._last: tuple[Site, frozenset[int]] | None = None  # poolkit's operator that ran last, with its tensors
        self.calls: Counter[Site] = Counter()
        self.ms: Counter[Site] = Counter()
        self.kept: Counter[Site] = Counter()
        self.ms_in_all = 0.0
        self.kept_in_all = 0

    @contextmanager
    def keeping(self) -> Generator[None]:
        """Counts calls and the bytes that are kept."""
        own = [*self._model.parameters(), *self._model.buffers()]
        self._seen = {_at(tensor) for tensor in own}
        with torch.autograd.graph.saved_tensors_hooks(self._pack, _same), self._watching():
            yield

    @contextmanager
    def timing(self) -> Generator[None]:
        """Measures, after `keeping` has counted."""
        counted = self.calls.copy()
        self.ms.clear()
        with self._watching():
            begin = _clock()
            yield
            self.ms_in_all = 1e3 * (_clock() - begin)
        self.calls = counted

    @contextmanager
    def _watching(self) -> Generator[None]:
        handles: list[Any] = []
        try:
            for module in self._names:
                handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._running.clear()
            self._inside = 0
            self._last = None

    def _watched(self, module: Module) -> bool:
        return module in self._pools or _strided(module)

    def _enter(self, module: Module, _: Any) -> None:
        if self._watched(module):
            self._inside += 1
        self._running.append((module, _clock(), self._packed))

    def _leave(self, module: Module, arguments: tuple[Any, ...], outputs: Any) -> None:
        if not self._running or self._running[-1][0] is not module:  # its first hook did not run
            return
        _, begin, packed = self._running.pop()
        if not self._watched(module):
            return
        self._inside -= 1
        shape, out = _shape(arguments[:1]), _shape(outputs)
        if self._inside or out is None:
            return
        kind = "module" if module in self._pools else "strided convolution"
        pooling, place = type_name(module), ""
        geometry = tuple((name, _plain(value)) for name, value in geometry_of(module).items())
        site = Site(kind, self._names[module], pooling, place, geometry, shape or (), out)
        self._note(site, begin, packed)

    def _note(self, site: Site, begin: float, packed: int) -> None:
        self.ms[site] += 1e3 * (_clock() - begin)  # pyright: ignore[reportArgumentType]  a Counter of floats
        self.calls[site] += 1
        self.kept[site] += self._packed - packed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given: dict[str, Any] = kwargs or {}
        if self._inside or not self._pools_or_shrinks(func, args, given):
            return func(*args, **given)
        begin, packed = _clock(), self._packed
        outputs = func(*args, **given)
        site = self._site(func, args, given, outputs)
        self._note(site, begin, packed)
        if _is_ours(func):
            self._last = site, frozenset(_at(t) for t in (*args, *cells(outputs)) if isinstance(t, Tensor))
        return outputs

    def _pools_or_shrinks(self, func: Any, args: Any, given: dict[str, Any]) -> bool:
        if func in _REDUCTIONS:
            x = args[0] if args else given.get("input")
            return spatial(x, args[1] if len(args) > 1 else given.get("dim")) is not None
        if func in _CONVOLVE:
            stride = args[3] if len(args) > 3 else given.get("stride", 1)
            return any(step > 1 for step in cells(stride))
        return func in CALLS or _is_ours(func)

    def _site(self, func: Any, args: Any, given: dict[str, Any], outputs: Any) -> Site:
        owner = next((self._names[module] for module, _, _ in reversed(self._running)), "")
        x = args[0] if args else given.get("input")
        shape = tuple(x.shape) if isinstance(x, Tensor) else ()
        kind = "strided convolution" if func in _CONVOLVE else "call"
        if _is_ours(func):
            pooling, geometry = _ours(args[1])
        else:
            pooling, geometry = _resolve(func) or func.__name__, _geometry(func, args, given)
        return Site(kind, owner, pooling, _place(), geometry, shape, _shape(outputs) or ())

    def _pack(self, tensor: Tensor) -> Tensor:
        at = _at(tensor)
        if at not in self._seen:
            self._seen.add(at)
            size = tensor.untyped_storage().nbytes()
            self.kept_in_all += size
            self._packed += size
            # A call of poolkit saves its tensors after its operator has run.
            if self._last is not None and not self._inside and at in self._last[1]:
                self.kept[self._last[0]] += size
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _at(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


def _clock() -> float:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return perf_counter()


def _strided(module: Module) -> bool:
    return isinstance(module, _CONVOLUTIONS) and any(step > 1 for step in module.stride)


def _shape(outputs: Any) -> tuple[int, ...] | None:
    return next((tuple(x.shape) for x in cells(outputs)[:1] if isinstance(x, Tensor)), None)


def _plain(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _is_ours(func: Any) -> bool:
    """Whether a function is one of the operators that `poolkit.torch` pools by."""
    schema = getattr(func, "_schema", None)
    return schema is not None and schema.name.startswith("poolkit::pool") and "backward" not in schema.name


def _ours(plan: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """The reducer of a plan, and its windows."""
    what = decode(plan)
    names = {reducer.code: reducer.__name__ for reducer in REDUCERS}
    axes = [what.spec[i : i + 8] for i in range(0, len(what.spec), 8)]
    if any(axis[0] for axis in axes):
        geometry = (("output_size", tuple(axis[2] for axis in axes)),)
    else:
        columns = {"kernel_size": 3, "stride": 4, "padding": 5, "dilation": 7}
        geometry = tuple((name, tuple(axis[at] for axis in axes)) for name, at in columns.items())
    return f"poolkit.pool {names[what.reducer]}", geometry


def _geometry(func: Any, args: Any, given: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The arguments of a call beside its tensors, by name."""
    if func in _CONVOLVE:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        found = dict(zip(names, args, strict=False)) | given
        weight: Tensor = found["weight"]
        found = {"kernel_size": tuple(weight.shape[2:])} | {name: v for name, v in found.items() if name in names[3:]}
    else:
        names = tuple(inspect.signature(CALLS[func]).parameters)[1:]
        found = dict(zip(names, args, strict=False)) | given
    return tuple(
        (name, _plain(value))
        for name, value in found.items()
        if name != "input" and value is not None and not isinstance(value, Tensor)
    )


def _place() -> str:
    """File and line of the innermost frame that is neither torch's nor poolkit's own."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  inspect.stack() reads every source file
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_INSIDE) and file not in _INSIDE_FILES and not file.startswith("<"):
            path = Path(file)
            here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(*path.parts[-2:])
            return f"{here.as_posix()}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
