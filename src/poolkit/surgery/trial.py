"""Trying a model and its replacements on an example, without leaving a trace."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from poolkit.errors import PoolError, entries, show

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch.nn import Module


@dataclass(frozen=True)
class Template:
    """What is kept of a tensor that a module was called with."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Seen(NamedTuple):
    """One call of a module: its arguments, tensors as templates, and the shapes it gave."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    shapes: Any


@contextmanager
def undisturbed(model: Module, *, evaluate: bool) -> Generator[None]:
    """Lets a model run without a trace: its buffers, training flags and torch's random numbers are then as before."""
    flags = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        try:
            if evaluate:
                model.eval()
            yield
        finally:
            for module, was in flags:
                module.training = was
            with torch.no_grad():
                for buffer, was in buffers:
                    buffer.copy_(was)


def call(model: Module, example: Any) -> Any:
    """Runs a model on an example: a tensor, a tuple of positional or a dict of keyword arguments."""
    try:
        if isinstance(example, Mapping):
            return model(**example)
        return model(*example) if isinstance(example, list | tuple) else model(example)
    except Exception as error:
        raise PoolError(
            f"example={_described(example)}",
            f"the model takes the example, here {type(error).__name__}: {first_line(error)}",
            "pass an input of the model: a tensor, a tuple of arguments or a dict of keyword arguments",
        ) from error


def _described(example: Any) -> str:
    if isinstance(example, Tensor):
        return f"a {str(example.dtype).removeprefix('torch.')} tensor of shape {tuple(example.shape)}"
    if isinstance(example, Mapping):
        named = cast("Mapping[str, Any]", example)
        return ", ".join(f"{name}: {_described(value)}" for name, value in named.items())
    several = entries(example)
    return show(example) if several is None else ", ".join(map(_described, several))


def template(value: Any) -> Any:
    """What is kept of an argument."""
    return Template(tuple(value.shape), value.dtype, value.device) if isinstance(value, Tensor) else value


def made(value: Any, like: Mapping[str, Any]) -> Any:
    """An argument again, tensors as zeros; floating ones placed as asked."""
    if not isinstance(value, Template):
        return value
    dtype = like.get("dtype", value.dtype) if value.dtype.is_floating_point else value.dtype
    return torch.zeros(value.shape, dtype=dtype, device=value.device)


def shapes_of(outputs: Any) -> Any:
    """The shapes of outputs, nested as they are; None for what is no tensor."""
    if isinstance(outputs, list | tuple):
        return tuple(shapes_of(one) for one in cast("list[Any]", outputs))
    return tuple(outputs.shape) if isinstance(outputs, Tensor) else None


def observe(model: Module, modules: Sequence[Module], example: Any) -> dict[Module, list[Seen]]:
    """Runs the model once and notes what these modules were called with and what they gave."""
    seen: dict[Module, list[Seen]] = {module: [] for module in modules}

    def note(module: Module, arguments: tuple[Any, ...], named: dict[str, Any], outputs: Any) -> None:
        kept = {key: template(value) for key, value in named.items()}
        seen[module].append(Seen(tuple(map(template, arguments)), kept, shapes_of(outputs)))

    handles = [module.register_forward_hook(note, with_kwargs=True) for module in modules]
    try:
        with undisturbed(model, evaluate=True), torch.no_grad():
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def check_shapes(new: Module, calls: Sequence[Seen], placed: Mapping[str, Any], gave: str) -> None:
    """Calls a copy of a replacement with zeros in the shapes seen: it gives the shapes that were given.

    Args:
        new: the replacement.
        calls: those of what it replaces.
        placed: dtype and device that it will have.
        gave: how a message begins.

    Raises:
        PoolError: it does not take the inputs, or gives another shape.
    """
    if not calls:
        return
    trial = copy.deepcopy(new).eval().to(**placed)
    for arguments, named, wanted in calls:
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                outputs = trial(
                    *[made(value, placed) for value in arguments],
                    **{key: made(value, placed) for key, value in named.items()},
                )
        except Exception as error:
            rule = error.rule if isinstance(error, PoolError) else first_line(error)
            raise PoolError(
                gave, f"the replacement takes what the old module takes, here {rule}", "pass another replacement"
            ) from error
        if shapes_of(outputs) != wanted:
            raise PoolError(
                gave,
                f"the output shape stays {wanted}, here {shapes_of(outputs)}",
                "give the replacement the same geometry",
            )


def placement(model: Module) -> dict[str, Any]:
    """dtype and device of a model: those of its first floating-point parameter."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return {"dtype": parameter.dtype, "device": parameter.device}
    return {}


def first_line(error: Exception) -> str:
    """The beginning of somebody else's message."""
    return (str(error).splitlines() or [""])[0]
