"""What every pooling module shares: settings read at each call, and where they become a window and a reducer."""

from __future__ import annotations

import inspect
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from torch.compiler import is_compiling
from torch.nn import Module

from poolkit.torch.checks import check_rank
from poolkit.torch.functional import Parts, Result, run
from poolkit.window import Sliding

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from poolkit.reducer import Reducer


class PoolModule(Module):
    """A module whose attributes, named in ``fields``, are the arguments of its ``build``.

    The attributes may be changed at any time, as those of torch.nn's modules may; they are checked when the module is
    made and again when they have changed. A rank-free class is made concrete by a subclass that sets ``rank``.
    """

    rank: ClassVar[int]
    fields: ClassVar[tuple[str, ...]]
    build: ClassVar[Callable[..., Parts]]
    extras: ClassVar[dict[str, Any]] = {}  # shown by repr only where they differ from these values
    _settings: Callable[[Any], tuple[Any, ...]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "fields" in cls.__dict__:
            get = attrgetter(*cls.fields)
            cls._settings = staticmethod(get if len(cls.fields) > 1 else lambda module: (get(module),))

    def _check(self) -> None:
        """Reports a bad argument now and not at the first input."""
        build = type(self).build
        window, _ = build(*self._values())
        check_rank(window, self.rank)

    def forward(self, input: Tensor) -> Result:
        """Pools `input`, of shape ``(N, C, *sizes)`` or ``(C, *sizes)``."""
        return run(input, type(self).build, self._values(), self.rank)

    def _values(self) -> tuple[Any, ...]:
        # Dynamo cannot trace an attrgetter, which is by far the quickest way otherwise.
        return tuple([getattr(self, name) for name in self.fields]) if is_compiling() else self._settings(self)

    def _shown(self, *names: str) -> str:
        extra = [name for name, default in self.extras.items() if getattr(self, name) != default]
        return ", ".join(f"{name}={getattr(self, name)}" for name in (*names, *extra))


class SlidingPool(PoolModule):
    """Sliding windows with one reducer that has no choice to make: the base of the poolings that torch lacks."""

    fields = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """kernel_size, stride, padding, dilation, ceil_mode."""
        return self._shown("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def sliding(reducer: type[Reducer]) -> Callable[..., Parts]:
    """The ``build`` of modules whose settings are a `Sliding` window's, then the reducer's."""

    def build(kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, *rest: Any) -> Parts:
        return Sliding(kernel_size, stride, padding, dilation, ceil_mode), reducer(*rest)

    return staticmethod(build)


class RankedPool(PoolModule):
    """A `PoolModule` whose family's docstring is a template for its classes with a rank.

    There ``{n}`` is the rank, and ``{sizes}`` an example of as many sizes.
    """

    _template: ClassVar[str] = ""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "rank" in cls.__dict__:
            cls.__doc__ = cls._template.replace("{n}", str(cls.rank)).replace("{sizes}", ", ".join(["8"] * cls.rank))
        elif cls.__doc__:
            cls._template, cls.__doc__ = inspect.cleandoc(cls.__doc__), None  # a template is no documentation

    def extra_repr(self) -> str:
        """The settings, by name."""
        return self._shown(*self.fields)
