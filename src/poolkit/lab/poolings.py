"""Poolings by the names a study uses: each makes a module that shrinks maps, for any number of channels."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

import poolkit.nn as pn
from poolkit.errors import PoolError, show

Make = Callable[..., nn.Module]
"""Called with channels, kernel_size, stride and padding, and with what the user gave in brackets."""


def _window(module: type[nn.Module]) -> Make:
    """A pooling of `poolkit.nn` over sliding windows that is the same for any number of channels."""

    def make(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
        del channels
        return module(kernel_size=kernel_size, stride=stride, padding=padding, **settings)

    return make


def _per_channel(module: type[nn.Module]) -> Make:
    """The same with parameters for each channel."""

    def make(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
        return module(channels, kernel_size=kernel_size, stride=stride, padding=padding, **settings)

    return make


def _strided(module: type[nn.Module]) -> Make:
    """A pooling with a window of its own, of which the model chooses the stride alone."""

    def make(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
        del channels, kernel_size, padding
        return module(stride=stride, **settings)

    return make


def _max_blur(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
    del channels
    return pn.MaxBlurPool2d(kernel_size, stride, max_padding=padding, **settings)


def _s3(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
    del channels, padding
    return pn.S3Pool2d(kernel_size, stride=stride, **settings)


def _detail(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
    del kernel_size, padding
    return pn.DetailPreservingPool2d(channels, kernel_size=stride, **settings)


def _fractional(channels: int, kernel_size: int, stride: int, padding: int, **settings: Any) -> nn.Module:
    del channels, padding
    return pn.FractionalMaxPool2d(kernel_size, **cast("dict[str, Any]", {"output_ratio": 1 / stride} | settings))


def _lp(channels: int, kernel_size: int, stride: int, padding: int, *, p: float = 2.0, **settings: Any) -> nn.Module:
    del channels
    return pn.LPPool2d(p, kernel_size, stride, padding=padding, **settings)


def _every(channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
    del channels, kernel_size, padding
    return pn.AvgPool2d(1, stride)


def _convolution(channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
    return nn.Conv2d(channels, channels, kernel_size, stride, padding)


POOLINGS: dict[str, Make] = {
    "max": _window(pn.MaxPool2d),
    "avg": _window(pn.AvgPool2d),
    "min": _window(pn.MinPool2d),
    "lp": _lp,
    "rms": _window(pn.RMSPool2d),
    "lse": _window(pn.LogSumExpPool2d),
    "soft": _window(pn.SoftPool2d),
    "boltzmann": _window(pn.BoltzmannPool2d),
    "median": _window(pn.MedianPool2d),
    "ordinal": _window(pn.OrdinalPool2d),
    "stochastic": _window(pn.StochasticPool2d),
    "rank_stochastic": _window(pn.RankStochasticPool2d),
    "max_drop": _window(pn.MaxDropPool2d),
    "s3": _s3,
    "fractional": _fractional,
    "avg_max": _window(pn.AvgMaxPool2d),
    "mixed": _window(pn.MixedPool2d),
    "random_mixed": _window(pn.RandomMixedPool2d),
    "gated": _window(pn.GatedPool2d),
    "tree": _window(pn.TreePool2d),
    "gem": _window(pn.GeMPool2d),
    "ada": _window(pn.AdaPool2d),
    "attention": _per_channel(pn.LIPPool2d),
    "detail": _detail,
    "blur": _strided(pn.BlurPool2d),
    "max_blur": _max_blur,
    "polyphase": _strided(pn.AdaptivePolyphasePool2d),
    "stride": _every,
    "conv": _convolution,
}
"""All that a study can compare. ``stride`` keeps every second cell and ``conv`` is a strided convolution: controls."""

_ALSO = {
    "average": "avg", "mean": "avg", "softpool": "soft", "lip": "attention", "local_importance": "attention",
    "generalized_mean": "gem", "aps": "polyphase", "maxblur": "max_blur", "dpp": "detail", "none": "stride",
}  # fmt: skip

DEFAULT = ("max", "avg", "soft", "stochastic", "mixed", "gated", "gem", "attention")
"""What is compared where the user names none."""


_MARK = "pooling_of_a_study"


@dataclass(frozen=True)
class Pooling:
    """One pooling of a study: its name in `POOLINGS`, and the settings given in brackets."""

    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        if not self.settings:
            return self.name
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.settings)})"

    def __call__(self, channels: int, kernel_size: int = 2, stride: int | None = None, padding: int = 0) -> nn.Module:
        """A module for maps of this many channels.

        What it draws for its parameters leaves torch's generator as it was: two networks that differ in their poolings
        alone have all other parameters equal.

        Raises:
            PoolError: the settings are not those of this pooling.
        """
        with torch.random.fork_rng(devices=[]):
            try:
                module = POOLINGS[self.name](
                    channels,
                    kernel_size=kernel_size,
                    stride=stride or kernel_size,
                    padding=padding,
                    **dict(self.settings),
                )
            except TypeError as error:
                raise PoolError(
                    f"--pool {self}", f"settings are arguments of the pooling's module, here {error}",
                    f"see poolkit explain {self.name}",
                ) from None  # fmt: skip
        setattr(module, _MARK, True)
        return module


def is_made(module: nn.Module) -> bool:
    """Whether a module of a network is the pooling that a study put there."""
    return getattr(module, _MARK, False)


def parse(text: str) -> Pooling:
    """``max``, ``soft(beta=2)`` and so on.

    Raises:
        PoolError: the name is unknown, or what is in brackets is not ``name=number`` or ``name='word'``.

    >>> str(parse("soft(beta=2.0)"))
    'soft(beta=2.0)'
    >>> parse("lip").name
    'attention'
    """
    gave = f"--pool {show(text)[1:-1]}"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else None
        name = ast.unparse(call.func if call else tree)
        settings = tuple((item.arg or "", ast.literal_eval(item.value)) for item in call.keywords) if call else ()
        if (call and call.args) or any(not key for key, _ in settings):
            raise ValueError
    except (SyntaxError, ValueError):
        raise PoolError(
            gave, "a pooling is NAME or NAME(setting=value, ...)", "write for example soft(beta=2)"
        ) from None
    plain = name.casefold().removesuffix("2d").removesuffix("_pool").removesuffix("pool")
    found = next((key for key in (name, plain, _ALSO.get(name, ""), _ALSO.get(plain, "")) if key in POOLINGS), None)
    if found is None:
        import difflib

        near = difflib.get_close_matches(plain, [*POOLINGS, *_ALSO], n=3)
        advice = f"did you mean {', '.join(near)}? " if near else ""
        raise PoolError(gave, "a pooling that a study knows, here unknown", f"{advice}known are {', '.join(POOLINGS)}")
    return Pooling(found, settings)


def split(text: str) -> list[str]:
    """The names in a list with commas; those inside brackets separate nothing.

    >>> split("max, soft(beta=2), ada")
    ['max', 'soft(beta=2)', 'ada']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
