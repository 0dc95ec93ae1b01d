"""What a network costs: parameters, operations, time and memory of one pass."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolkit.lab.train import Tensors

BATCHES = (1, 32)
_SECONDS, _FEWEST = 0.06, 3


def costs(model: nn.Module, data: Tensors) -> dict[str, float | None]:
    """Parameters, floating-point operations, milliseconds and bytes; None where the network takes no such batch.

    Operations are those that torch counts, two for each multiplication with addition in convolutions and products of
    matrices; what a pooling does by itself is not among them. Times are the median of passes over at least 60 ms.
    Bytes are the most that tensors of one pass, or of one step of training, held at once beside parameters and images:
    the same on every machine. What an operator uses inside itself is not seen.
    """
    found: dict[str, float | None] = {"parameters": float(sum(p.numel() for p in model.parameters()))}
    training, state = model.training, {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(data.x[:1])
    found["flops"] = float(counter.get_total_flops())
    for batch in BATCHES:
        x, y = (part[torch.arange(batch) % len(part)] for part in (data.x, data.y))
        for name, run in (("inference", _inference(model, x)), ("training", _training(model, x, y))):
            model.train(name == "training")
            try:
                run()
            except ValueError:
                # Batch normalisation has no variance to compute where one value a channel is left.
                found[f"{name}_ms_{batch}"] = found[f"{name}_bytes_{batch}"] = None
                continue
            found[f"{name}_ms_{batch}"] = _milliseconds(run, x.device)
            found[f"{name}_bytes_{batch}"] = float(peak_bytes(run))
            model.zero_grad(set_to_none=True)
    model.load_state_dict(state)
    model.train(training)
    return found


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that tensors made during `run` held at once."""
    with _Held() as held:
        run()
    return held.most


def output_shapes(model: nn.Module, x: Tensor, chosen: Callable[[nn.Module], bool]) -> list[list[int]]:
    """Height and width that each chosen module gives for `x`, in the order of the calls."""
    found: list[list[int]] = []

    def look(module: nn.Module, given: Any, answer: Any) -> None:
        del module, given
        found.append(list((answer if isinstance(answer, Tensor) else answer[0]).shape[2:]))

    handles = [module.register_forward_hook(look) for module in model.modules() if chosen(module)]
    training = model.training
    with torch.no_grad():
        model.eval()(x)
    model.train(training)
    for handle in handles:
        handle.remove()
    return found


def _inference(model: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def _training(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    def run() -> None:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()

    return run


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < _FEWEST or time.perf_counter() - begin < _SECONDS:
        before = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - before)
    return sorted(taken)[len(taken) // 2] * 1e3


def _identity(storage: Any) -> int:
    """What two handles of one storage have in common; an empty storage has it too, unlike an address of bytes."""
    return int(storage._cdata)


class _Held(TorchDispatchMode):
    """Counts the bytes of storages that operators return, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        given = {_identity(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        answer = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(answer):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                key = _identity(storage)
                # A view or an operator in place returns a storage that was there before.
                if key not in self.alive and key not in given:
                    self.now += storage.nbytes()
                    self.alive[key] = weakref.finalize(storage, self._gone, key, storage.nbytes())
        self.most = max(self.most, self.now)
        return answer

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        self.alive.pop(key, None)
