"""The operators on `torch.distributed.tensor.DTensor`: batch and channels may be sharded, pooled axes are gathered.

A rule says which placements of an operator's arguments give which placements of its results, on one axis of the mesh;
DTensor chooses the cheapest, and moves data where none fits. Windows that start elsewhere in each plane, and gradients
of a kernel's weights, work on whole tensors.
"""

# ruff: noqa: ARG001  one rule for each operator, of its signature
from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import torch

from poolkit.torch.shapes import decode, per_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DTENSOR = "torch.distributed.tensor"
Option = tuple[list[Any], list[Any]]


def register() -> None:
    """Makes the rules known to DTensor; once is enough, and pooling a DTensor does it by itself."""
    experimental: Any = importlib.import_module(f"{_DTENSOR}.experimental")
    if _registered:
        return
    tensor: Any = sys.modules[_DTENSOR]
    schema: Any = importlib.import_module(f"{_DTENSOR}._op_schema")
    propagator = tensor.DTensor._op_dispatcher.sharding_propagator
    for name, rule in _RULES.items():
        op = getattr(torch.ops.poolkit, name).default
        experimental.register_sharding(op)(rule)
        # Results are remembered by what decides their shapes: here the plan and the sizes, too, where torch looks for
        # plain integers alone.
        propagator.op_to_schema_info[op] = schema.RuntimeSchemaInfo(1, needs_pytree=True)
        _registered.append(name)


_registered: list[str] = []


def is_sharded(x: object) -> bool:
    """Whether x is a DTensor; then the rules are known from here on."""
    module = sys.modules.get(_DTENSOR)
    if module is None or not isinstance(x, module.DTensor):
        return False
    register()
    return True


def beside(t: torch.Tensor, x: Any) -> torch.Tensor:
    """`t`, which every process holds whole, on x's mesh."""
    module: Any = sys.modules[_DTENSOR]
    everywhere = [module.Replicate()] * x.device_mesh.ndim
    return t if is_sharded(t) else module.DTensor.from_local(t, x.device_mesh, everywhere, run_check=False)


def _axes(dims: int, rank: int) -> Sequence[int | None]:
    """What may be sharded: nothing, the batch where there is one, the channels."""
    return (None, 0, 1) if dims == rank + 2 else (None, 0)


def _placement(axis: int | None) -> Any:
    module: Any = sys.modules[_DTENSOR]
    return module.Replicate() if axis is None else module.Shard(axis)


def _shared(starts: Any) -> bool:
    return starts is None or starts.shape[0] == 1


def _extra(extra: Any, plan: str, axis: int | None, channels: int) -> Any:
    """Where the array beside x goes when x is sharded along `axis`."""
    if extra is None:
        return None
    if per_output(plan):
        return _placement(axis)
    return _placement(0 if axis == channels and extra.shape[0] > 1 else None)


def _forward(results: int) -> Callable[..., list[Option]]:
    def rule(x: Any, plan: str, starts: Any = None, *rest: Any) -> list[Option]:
        extra = rest[-1] if rest and not isinstance(rest[-1], int) else None
        options: list[Option] = []
        rank = decode(plan).rank
        for axis in _axes(x.ndim, rank) if _shared(starts) else (None,):
            place = _placement(axis)
            inputs = [place, None, None if starts is None else _placement(None)]
            beside = _extra(extra, plan, axis, x.ndim - rank - 1)
            # offset_bytes, where the operator has it, is no tensor.
            inputs += [None if isinstance(value, int) else beside for value in rest]
            options.append(([place] * results, inputs))
        return options

    return rule


def _backward(
    dy: Any, plan: str, starts: Any, x: Any, y: Any, lse: Any, offsets: Any, channels_last: bool, extra: Any = None
) -> list[Option]:
    options: list[Option] = []
    rank = decode(plan).rank
    for axis in _axes(dy.ndim, rank) if _shared(starts) else (None,):
        place = _placement(axis)
        kept = [None if t is None else place for t in (x, y, lse, offsets)]
        inputs = [place, None, None if starts is None else _placement(None), *kept, None]
        options.append(([place], [*inputs, _extra(extra, plan, axis, dy.ndim - rank - 1)]))
    return options


def _backward_extra(dy: Any, plan: str, *rest: Any) -> list[Option]:
    options = _backward(dy, plan, *rest)
    # The gradient of a kernel's weights has a row for each plane, which batch and channels share.
    options = options if per_output(plan) else options[:1]
    return [(outputs * 2, inputs) for outputs, inputs in options]


def _unpool(x: Any, indices: Any, output_size: Sequence[int]) -> list[Option]:
    places = [_placement(axis) for axis in _axes(x.ndim, len(output_size))]
    return [([place], [place, place, None]) for place in places]


def _unpool_backward(dout: Any, indices: Any, rank: int, channels_last: bool) -> list[Option]:
    places = [_placement(axis) for axis in _axes(dout.ndim, rank)]
    return [([place], [place, place, None, None]) for place in places]


_RULES: dict[str, Callable[..., list[Option]]] = {
    "pool": _forward(1),
    "pool_with_offsets": _forward(2),
    "pool_with_indices": _forward(2),
    "pool_with_offsets_and_indices": _forward(3),
    "pool_with_lse": _forward(2),
    "pool_backward": _backward,
    "pool_backward_extra": _backward_extra,
    "unpool": _unpool,
    "unpool_backward": _unpool_backward,
}
