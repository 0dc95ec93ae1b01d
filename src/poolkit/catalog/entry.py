"""The form of an entry, and the parameters that many of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from poolkit import reducer, window

Family = Literal[
    "local",
    "order",
    "random",
    "mixed",
    "learned",
    "moments",
    "pyramid",
    "antialias",
    "inverse",
    "attention",
    "sequence",
]
FAMILIES: tuple[Family, ...] = get_args(Family)

KERNEL = ("kernel_size", "cells of a window, an int or one per axis", "窗口的大小，一个整数或每轴一个")
SLIDING = (
    KERNEL,
    ("stride", "distance between windows; None: the kernel", "窗口的间距；None 表示与窗口同大"),
    (
        "padding",
        'cells added on both sides, or "same", "same_lower", "valid"',
        '两侧补的格数，或 "same"、"same_lower"、"valid"',
    ),
    ("dilation", "distance between the cells of a window", "窗口内采样点的间距"),
    ("ceil_mode", "keep a last window that overhangs the end", "保留末尾伸出边界的窗口"),
)
INDICES = ("return_indices", "also give the position of the chosen cell", "同时返回被选中格子的位置")
OUTPUT = ("output_size", "windows per axis; None keeps an axis", "每轴的窗口数；None 表示保持该轴不变")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One named pooling, all that is said of it in one place. Pairs are English, then Chinese.

    A pooling that is a window and a reducer names both, and `name` gives its functions: `name`1d, `name`2d, `name`3d.
    One that is a module of its own leaves them None. Both list their `modules`; a module has exactly one entry.
    """

    name: str
    family: Family
    en: str
    zh: str
    formula: str
    latex: str
    parameters: tuple[tuple[str, str, str], ...] = field(repr=False)  # name, meaning, 含义
    source: str  # paper, year, equation
    when: str
    when_zh: str
    call: str  # runnable lines that make y: x is a float32 array [1, 3, 32, 32], np, pk, and for modules torch, nn, t
    reducer: type[reducer.Reducer] | None = None
    window: type[window.Sliding | window.Adaptive | window.Fractional] | None = None
    modules: tuple[str, ...] = ()  # full names in poolkit.nn
    torch: str | None = None  # the module's name in torch.nn without its rank
    unless: tuple[str, str] = ("", "")  # when not to use it
    phases: tuple[str, str] = ("The same in training and evaluation.", "训练与评估时相同。")
    gradient: tuple[str, str] = ("", "")
    shape: str = "(N, C, *sizes) -> (N, C, *pooled)"
    cost: tuple[str, str] = ("", "")
    traps: tuple[tuple[str, str], ...] = ()  # where people and libraries go wrong
    ships: tuple[str, ...] = ()  # libraries that have it today: "torch", "Keras"; names only

    @property
    def functions(self) -> tuple[str, ...]:
        """Its functions, where it is a window and a reducer."""
        return tuple(f"{self.name}{rank}d" for rank in (1, 2, 3)) if self.reducer else ()
