"""torch.nn's poolings with a quicker forward: for each a class that is torch.nn's and poolkit.nn's at once.

A module becomes one by having its class changed, as torch's own parametrizations do. It stays the same object: its
hooks, buffers, settings, names and whoever refers to it remain, and so does every ``isinstance`` test. At each call it
asks `poolkit.surgery.choice`, and runs torch's forward where poolkit does not take over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import nn as torch_nn

from poolkit import nn
from poolkit.errors import PoolError
from poolkit.surgery.choice import Options, Shape, all_ones, takes
from poolkit.surgery.classes import bare, change

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Twin:
    """What the accelerated modules share; a mixin before poolkit.nn's class and torch.nn's."""

    _theirs: ClassVar[Any]
    _ours: ClassVar[Any]
    _kind: ClassVar[str]
    rank: ClassVar[int]
    # An instance that was accelerated with other options has its own.
    poolkit_options: Options = Options()

    def _shape(self) -> Shape:
        return Shape(self._kind, self.rank)

    def forward(self, input: Tensor, *arguments: Any) -> Any:
        """Pools `input` by poolkit where it takes over, else by torch."""
        if takes(input, self._shape(), self.poolkit_options):
            try:
                return self._ours.forward(self, input, *arguments)
            except PoolError:  # torch takes it, or says in its own words why it does not
                pass
        return self._theirs.forward(self, input, *arguments)


class _Max(Twin):
    _kind = "max"
    return_indices: bool

    def _shape(self) -> Shape:
        return Shape("max", self.rank, indices=self.return_indices)


class _Mean(Twin):
    _kind = "mean"
    # What poolkit's class reads and torch's lacks.
    dilation = 1
    divisor_override: int | None = None
    kernel_size: Any
    stride: Any

    def _shape(self) -> Shape:
        return Shape("mean", self.rank)


class _Lp(_Mean):
    padding = 0


class _AdaptiveMax(Twin):
    _kind = "adaptive_max"
    return_indices: bool

    def _shape(self) -> Shape:
        return Shape("adaptive_max", self.rank, indices=self.return_indices)


class _AdaptiveMean(Twin):
    _kind = "adaptive_mean"
    output_size: Any

    def _shape(self) -> Shape:
        return Shape("adaptive_mean", self.rank, whole=all_ones(self.output_size))


class _Fractional(Twin):
    _kind = "fractional"
    style = "torch"
    pooling_ratio = None
    pseudo_random = False
    overlapping = False


class _Unpool(Twin):
    _kind = "unpool"


_FAMILIES: dict[str, tuple[type[Twin], tuple[int, ...]]] = {
    "MaxPool": (_Max, (1, 2, 3)),
    "AvgPool": (_Mean, (1, 2, 3)),
    "LPPool": (_Lp, (1, 2, 3)),
    "AdaptiveMaxPool": (_AdaptiveMax, (1, 2, 3)),
    "AdaptiveAvgPool": (_AdaptiveMean, (1, 2, 3)),
    "FractionalMaxPool": (_Fractional, (2, 3)),
    "MaxUnpool": (_Unpool, (1, 2, 3)),
}


def _make(name: str, mixin: type[Twin]) -> type[Twin]:
    theirs, ours = getattr(torch_nn, name), getattr(nn, name)
    body = {
        "__doc__": f"`torch.nn.{name}`, run by `poolkit.nn.{name}` where that gives the same.",
        "__module__": __name__,
        "__init__": theirs.__init__,
        "extra_repr": theirs.extra_repr,
        "_theirs": theirs,
        "_ours": ours,
    }
    return type(name, (mixin, ours, theirs), body)


# Under their names in this module too, where pickle looks for them.
_TWINS: dict[type[Any], type[Twin]] = {}
for _family, (_mixin, _ranks) in _FAMILIES.items():
    for _rank in _ranks:
        _twin = _make(f"{_family}{_rank}d", _mixin)
        globals()[_twin.__name__] = _twin
        _TWINS[cast(Any, _twin)._theirs] = _twin

POOLINGS: tuple[type[Any], ...] = tuple(_TWINS)
"""torch.nn's pooling classes."""


def torch_class(module: Module) -> type[Any] | None:
    """The class of torch.nn that a module is exactly, or was before it became a twin; None for all others."""
    kind = bare(module)
    if issubclass(kind, Twin):
        return kind._theirs  # pyright: ignore[reportPrivateUsage]  a class of this module
    return kind if kind in _TWINS else None


def poolkit_class(kind: type[Any]) -> type[Any]:
    """poolkit.nn's class of the same name as one of torch.nn's."""
    return _TWINS[kind]._ours  # pyright: ignore[reportPrivateUsage]  a class of this module


def is_twin(module: object) -> bool:
    """Whether a module was accelerated."""
    return isinstance(module, Twin)


def to_twin(module: Module, options: Options) -> None:
    """Changes a module of torch.nn into its twin; one that is a twin takes the options."""
    if not is_twin(module):
        change(module, _TWINS[bare(module)])
    module.__dict__.pop("poolkit_options", None)
    if options != Options():
        module.__dict__["poolkit_options"] = options


def from_twin(module: Module) -> None:
    """Changes a twin back into torch.nn's module."""
    change(module, cast(Any, torch_class(module)))
    module.__dict__.pop("poolkit_options", None)
