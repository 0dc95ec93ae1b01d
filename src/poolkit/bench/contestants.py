"""The table of contestants. Each takes a Task and a number of threads and gives a function that runs the task once.

A contestant that cannot run a task raises Unavailable with the reason, which the results keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from poolkit.bench import mine, with_jax, with_onnx, with_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.bench.task import Run, Task


@dataclass(frozen=True)
class Peer:
    """A contestant: its name in tables, how to make its function for a task, and what has to be installed for it."""

    name: str
    make: Callable[[Task, int], Run]
    needs: tuple[str, ...] = ()
    numpy_last: bool = False  # its results are channels-last NumPy arrays


PEERS = {
    peer.name: peer
    for peer in (
        Peer("poolkit", mine.numpy_first),
        Peer("poolkit-nhwc", mine.numpy_last, numpy_last=True),
        Peer("poolkit-torch", mine.torch_first, ("torch",)),
        Peer("poolkit-jax", mine.jax_first, ("jax",)),
        Peer("torch", with_torch.first, ("torch",)),
        Peer("torch-nhwc", with_torch.last, ("torch",)),
        Peer("torch-compile", with_torch.compiled, ("torch",)),
        Peer("onnxruntime", with_onnx.onnxruntime, ("onnxruntime", "onnx")),
        Peer("openvino", with_onnx.openvino, ("openvino", "onnx")),
        Peer("jax", with_jax.reduce_window, ("jax",)),
    )
}
DEFAULT = tuple(name for name in PEERS if name not in {"poolkit-torch", "poolkit-jax"})
LAYOUTS = {
    "both": DEFAULT,
    "first": tuple(name for name in DEFAULT if not name.endswith("-nhwc")),
    "last": tuple(name for name in DEFAULT if name.endswith("-nhwc")),
}
"""The contestants that keep to one memory layout, by the place of the channels."""


def installed(name: str) -> bool:
    """Whether the packages a contestant needs are here."""
    return all(find_spec(package) is not None for package in PEERS[name].needs)


def mine_beside(peer: str) -> str:
    """The poolkit contestant of the same layout."""
    return "poolkit-nhwc" if peer.endswith("-nhwc") else "poolkit"
