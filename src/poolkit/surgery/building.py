"""A pooling of another kind with the geometry of a given one: how `swap` makes what takes a module's place."""

from __future__ import annotations

import difflib
import inspect
import re
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Module

from poolkit import nn
from poolkit.errors import PoolError, PoolTypeError, show
from poolkit.surgery.choice import all_ones, cells
from poolkit.surgery.geometry import geometry_of, parameters_of, settings_of
from poolkit.surgery.trial import first_line, shapes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# A setting that says nothing: a class that does not take it keeps it all the same.
_TRIVIAL: dict[str, tuple[Any, ...]] = {
    "padding": (0, "valid"),
    "dilation": (1,),
    "ceil_mode": (False,),
    "return_indices": (False,),
    "divisor_override": (None,),
}
_CHANNELS = ("channels", "num_features", "in_channels", "embed_dim")
_PROBES = 8  # consecutive sizes: more than any stride in use, so that every remainder occurs


def named_class(name: str) -> type[Any]:
    """The class of poolkit.nn with this name."""
    if name in nn.__all__:
        return getattr(nn, name)
    near = difflib.get_close_matches(name, nn.__all__, 3)
    hint = f"did you mean {', '.join(near)}?" if near else "`poolkit list` shows all poolings"
    raise PoolError(f"the replacement {show(name)}", "a name of poolkit.nn", hint)


def build(kind: type[Any], old: Module, where: str, channels: int | None) -> Module:
    """A module of class `kind` whose windows lie as those of `old`.

    Args:
        kind: any module class; its constructor's argument names say what it can keep.
        old: the pooling it is to stand for.
        where: how a message names the place.
        channels: of the input, where known.

    Raises:
        PoolError: `kind` cannot keep something, needs more than geometry, or gives other output sizes.
    """
    gave = f"{where}: {kind.__name__} in place of {type(old).__name__}({settings_of(old)})"
    ranks = _rank(type(old)), _rank(kind)
    if None not in ranks and ranks[0] != ranks[1]:
        raise PoolError(
            gave, f"both pool the same number of axes, here {ranks[0]} and {ranks[1]}", "name another class"
        )
    takes = parameters_of(kind)
    arguments = _arguments(old, takes, gave)
    needed = [name for name, parameter in takes.items() if parameter.default is inspect.Parameter.empty]
    for name in needed:
        if name in _CHANNELS and channels is not None:
            arguments.setdefault(name, channels)
    missing = [name for name in needed if name not in arguments]
    if missing:
        hint = "pass example= so that the channels are known" if missing[0] in _CHANNELS else "pass an instance"
        raise PoolError(gave, f"{kind.__name__} needs {', '.join(missing)}, which the old pooling does not tell", hint)
    try:
        new = kind(**arguments)
    except (PoolError, TypeError) as error:
        rule = error.rule if isinstance(error, PoolError) else str(error)
        raise PoolError(gave, rule, "pass an instance, or another class") from error
    if not isinstance(new, Module):
        raise PoolTypeError(
            gave, f"a replacement is a torch.nn.Module, here {type(new).__name__}", "pass a module class"
        )
    _compare_sizes(old, new, ranks[0] or ranks[1], channels or 1, gave)
    return new


def _rank(kind: type[Any]) -> int | None:
    found = re.search(r"([123])d$", kind.__name__)
    return int(found[1]) if found else None


def _arguments(old: Module, takes: Mapping[str, inspect.Parameter], gave: str) -> dict[str, Any]:
    have = geometry_of(old)
    if "unpool" in type(old).__name__.lower():
        raise PoolError(gave, "an unpooling has the geometry of its pooling", "pass an instance in its place")
    if hasattr(old, "output_ratio"):
        return _passed(have, takes, ("kernel_size", "output_size", "output_ratio"), gave) | _kept(have, takes, gave)
    if "kernel_size" in have:
        return _sliding(have, takes, gave)
    if hasattr(old, "keepdims"):
        return _global(takes, keepdims=bool(old.keepdims), gave=gave)
    if "output_size" in have:
        if "output_size" not in takes and all_ones(have["output_size"]):
            return _global(takes, keepdims=True, gave=gave) | _kept(have, takes, gave)
        return _passed(have, takes, ("output_size",), gave) | _kept(have, takes, gave)
    raise PoolError(gave, "the old pooling has a kernel_size or an output_size", "pass an instance in its place")


def _passed(
    have: Mapping[str, Any], takes: Mapping[str, inspect.Parameter], names: tuple[str, ...], gave: str
) -> dict[str, Any]:
    for name in names:
        if name in have and name not in takes:
            raise PoolError(gave, f"the replacement keeps {name}={have[name]}", "pass an instance, or another class")
    return {name: have[name] for name in names if name in have}


def _kept(have: Mapping[str, Any], takes: Mapping[str, inspect.Parameter], gave: str) -> dict[str, Any]:
    """What is passed on where it is taken, and must say nothing where it is not."""
    kept: dict[str, Any] = {}
    for name, trivial in _TRIVIAL.items():
        value = have.get(name, trivial[0])
        if name in takes:
            if name in have:
                kept[name] = value
        elif not all(cell in trivial for cell in cells(value)):
            raise PoolError(gave, f"the replacement keeps {name}={value}", "pass an instance, or another class")
    kept |= {name: have[name] for name in ("count_include_pad", "norm_type") if name in have and name in takes}
    return kept


def _sliding(have: dict[str, Any], takes: Mapping[str, inspect.Parameter], gave: str) -> dict[str, Any]:
    have = {"stride": have["kernel_size"], **have}
    arguments = _passed(have, takes, ("kernel_size", "stride"), gave)
    if "padding" in takes and "str" in str(takes["padding"].annotation):
        # A word about how the class pads by itself. Cells around the maximum go by another name; whether the sizes are
        # kept is found out by trying.
        padding = have.pop("padding", 0)
        if "max_padding" in takes:
            arguments["max_padding"] = padding
    return arguments | _kept(have, takes, gave)


def _global(takes: Mapping[str, inspect.Parameter], *, keepdims: bool, gave: str) -> dict[str, Any]:
    if "keepdims" in takes:
        return {"keepdims": keepdims}
    whole = takes.get("kernel_size")
    if keepdims and "output_size" in takes:
        return {"output_size": 1}
    if keepdims and whole is not None and whole.default is None:
        return {}
    raise PoolError(gave, "the replacement pools the whole map, as the old pooling does", "pass an instance")


def _compare_sizes(old: Module, new: Module, rank: int | None, channels: int, gave: str) -> None:
    """Tries both on a row of sizes: the output sizes agree on every one."""
    if rank is None:
        return
    have = geometry_of(old)
    reach = [1]
    for name in ("kernel_size", "output_size"):
        reach += [(cell or 1) * max(cells(have.get("dilation", 1))) for cell in cells(have.get(name, 1))]
    least = max(reach) + 8 if rank < 3 else max(reach) + 3
    was = new.training
    new.eval()
    for size in range(least, least + _PROBES):
        x = torch.zeros(1, channels, *[size] * rank)
        try:
            with torch.no_grad():
                wanted, got = shapes_of(old.forward(x)), shapes_of(new.forward(x))
        except (PoolError, RuntimeError, TypeError, ValueError) as error:
            rule = error.rule if isinstance(error, PoolError) else first_line(error)
            raise PoolError(
                gave, f"the replacement takes what the old pooling takes, here {rule}", "pass an instance"
            ) from error
        if wanted != got:
            raise PoolError(
                gave,
                f"the output sizes stay: an input of {tuple(x.shape)} gives {wanted}, here {got}",
                "pass an instance with another geometry, or another class",
            )
    new.train(was)
