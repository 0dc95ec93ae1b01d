"""What is pooled, and what is measured: every reducer through every window."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

import poolkit
from poolkit.catalog import CATALOG
from poolkit.errors import PoolError
from poolkit.reducer import (
    REDUCERS,
    Boltzmann,
    Filter,
    LogSumExp,
    MaxDrop,
    Ordinal,
    Quantile,
    RankStochastic,
    Soft,
    Stochastic,
    TopKMean,
)
from poolkit.show.loss import Loss, measure, nearest_window, seen
from poolkit.show.peers import Race, one_thread, race
from poolkit.show.words import Words
from poolkit.window import Adaptive, Fractional, Global, Sliding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from poolkit.reducer import Reducer
    from poolkit.show.picture import Picture
    from poolkit.window import Window


def code_of(record: Any) -> str:
    """How a user writes this window or reducer: the first argument by place, most defaults left out.

    >>> code_of(Sliding(4, dilation=2))
    'pk.Sliding(4, dilation=2)'
    >>> code_of(MaxDrop(0.4, sample=False))
    'pk.MaxDrop(0.4, sample=False)'
    """
    parts: list[str] = []
    # By place comes what may be given so, whatever class of the record's family it was declared in.
    for place, field in enumerate(sorted(fields(record), key=lambda field: field.kw_only is True)):
        value = getattr(record, field.name)
        # A norm's power or a sharpness is worth reading even where it is the usual one.
        if field.repr and (value != field.default or (place == 0 and isinstance(value, float))):
            parts.append(f"{value:g}" if isinstance(value, float) else repr(value))
            if place > 0 or field.kw_only:
                parts[-1] = f"{field.name}={parts[-1]}"
    return f"pk.{type(record).__name__}({', '.join(parts)})"


@dataclass(frozen=True)
class Lens:
    """One window the picture is seen through."""

    key: str
    name: Words
    idea: Words
    window: Window

    @property
    def code(self) -> str:
        """How a user writes the window."""
        return code_of(self.window)


@dataclass(frozen=True)
class Operator:
    """One reducer with the parameters used here, and what the catalogue says of it."""

    key: str
    reducer: Reducer
    name: Words
    when: Words
    formula: str
    latex: str

    @property
    def code(self) -> str:
        """How a user writes the reducer."""
        return code_of(self.reducer)


@dataclass(frozen=True)
class Cell:
    """One operator through one lens. `shown` is what the page draws: y / gain, float32 [3, height, width]."""

    operator: Operator
    lens: Lens
    y_shape: tuple[int, ...]
    y_bytes: int
    gain: float
    gain_varies: bool
    gain_is_peak: bool  # the largest answer to this picture, not the answer to an all-white one
    shown: NDArray[np.float32]
    loss: Loss
    race: Race

    @property
    def key(self) -> str:
        """Unique within a study."""
        return f"{self.operator.key}-{self.lens.key}"

    @property
    def rescaled(self) -> bool:
        """Whether the page draws y / gain and not y itself."""
        return self.gain_varies or abs(self.gain - 1) > 1e-3


@dataclass(frozen=True)
class Study:
    """Everything the report and the contact sheet draw."""

    picture: Picture
    kernel: int
    operators: tuple[Operator, ...]
    lenses: tuple[Lens, ...]
    cells: tuple[Cell, ...]
    torch_version: str | None

    @cached_property
    def _by_key(self) -> dict[str, Cell]:
        return {cell.key: cell for cell in self.cells}

    def cell(self, operator: Operator, lens: Lens) -> Cell:
        """The result of one operator through one lens."""
        return self._by_key[f"{operator.key}-{lens.key}"]

    @cached_property
    def heat_top(self) -> float:
        """The bright end of every heat map, in 0..1: one scale for all, so that maps can be compared.

        The largest 98th percentile among the windows of the kernel's size, rounded up to a sixteenth of the range;
        the far larger windows of `Adaptive` and `Global` would leave nothing of the others to see.
        """
        near = [c.loss.heat for c in self.cells if isinstance(c.lens.window, Sliding | Fractional)]
        worst = max(float(np.percentile(heat, 98)) for heat in near)
        return min(1.0, max(1, int(np.ceil(worst * 16))) / 16)


_FOR_PICTURES: dict[type[Reducer], Reducer] = {
    # With the usual beta = 1 both are all but the mean on values between 0 and 1.
    LogSumExp: LogSumExp(beta=8.0),
    Soft: Soft(beta=8.0),
    # What they have no default for.
    Quantile: Quantile(0.9),
    TopKMean: TopKMean(0.25),
    Ordinal: Ordinal((0.6, 0.3, 0.1, 0.0)),
    # The mean over all draws, the same at every run.
    Stochastic: Stochastic(sample=False),
    RankStochastic: RankStochastic(0.2, sample=False),
    MaxDrop: MaxDrop(sample=False),
    Boltzmann: Boltzmann(beta=-8.0),  # towards the minimum, where Soft does not go
    Filter: Filter(tuple(a * b / 64 for a in (1, 3, 3, 1) for b in (1, 3, 3, 1))),
}


def for_pictures(kind: type[Reducer]) -> Reducer:
    """The reducer with its usual parameters, or with those that suit values between 0 and 1."""
    return _FOR_PICTURES.get(kind) or kind()


def operators() -> tuple[Operator, ...]:
    """Every reducer there is, with its words from the catalogue.

    A filter is left out: its weights fit one kernel, and the pictures are made with any.
    """
    rows: list[Operator] = []
    for kind in (kind for kind in REDUCERS if kind is not Filter):
        # The plain pooling speaks for its reducer, not the adaptive, the fractional or the inverse one.
        entry = next(entry for entry in CATALOG if entry.reducer is kind and entry.window is Sliding)
        rows.append(
            Operator(
                key=kind.__name__.lower(),
                reducer=for_pictures(kind),
                name=Words(entry.en, entry.zh),
                when=Words(entry.when, entry.when_zh),
                formula=entry.formula,
                latex=entry.latex,
            )
        )
    return tuple(rows)


def lenses(kernel: int, height: int, width: int) -> tuple[Lens, ...]:
    """The windows for one kernel side on one picture. Raises `PoolError` when the kernel does not fit."""
    if kernel < 1:
        raise PoolError(f"--kernel {kernel}", f"kernel >= 1, here {kernel}", "pass a kernel of at least 1, such as 4")
    if kernel > min(height, width):
        raise PoolError(
            f"--kernel {kernel} for a picture of {width} × {height} pixels",
            f"the window fits into the picture, here {kernel} <= {min(height, width)}",
            f"pass a kernel of at most {min(height, width)}, or a larger picture",
        )
    half = max(1, kernel // 2)
    made = [
        Lens(
            "tiles",
            Words("Tiles", "平铺"),
            Words(
                f"{kernel} × {kernel} windows side by side, as in VGG.",
                f"{kernel} × {kernel} 的窗口首尾相接，互不重叠，如 VGG。",
            ),
            Sliding(kernel),
        ),
        Lens(
            "overlap",
            Words("Overlap", "重叠"),
            Words(
                f"The same windows every {half} pixels: neighbours share inputs, as in AlexNet and the ResNet stem.",
                f"同样的窗口，每隔 {half} 个像素取一个：相邻窗口共享输入，如 AlexNet 和 ResNet 的首层。",
            ),
            Sliding(kernel, stride=half),
        ),
    ]
    if 2 * (kernel - 1) + 1 <= min(height, width):
        made.append(
            Lens(
                "dilated",
                Words("Dilated", "膨胀"),
                Words(
                    f"{kernel} × {kernel} taps with a gap of one pixel between them: a wider view at the same cost.",
                    f"{kernel} × {kernel} 个采样点，点与点之间空一个像素：视野更宽，代价不变。",
                ),
                Sliding(kernel, stride=kernel, dilation=2),
            )
        )
    ratio = round(min(0.7, 4 / (3 * kernel)), 3)
    if all(1 <= int(size * ratio) <= size - kernel + 1 for size in (height, width)):
        made.append(
            Lens(
                "fractional",
                Words("Fractional", "分数"),
                Words(
                    f"Shrinks to {ratio:g} of each side by steps that vary at random (Graham, 2014); seed 0.",
                    f"每边缩到原来的 {ratio:g} 倍，步长随机变化（Graham，2014）；种子为 0。",
                ),
                Fractional(kernel, output_ratio=ratio, random_samples=shared_samples(channels=3)),
            )
        )
    side = min(7, height, width)
    made += [
        Lens(
            "adaptive",
            Words("Adaptive", "自适应"),
            Words(
                f"Always {side} × {side} outputs, whatever the picture's size: how a classifier's head is fed.",
                f"无论图片多大，输出总是 {side} × {side}：分类器的头部就是这样得到输入的。",
            ),
            Adaptive(side),
        ),
        Lens(
            "global",
            Words("Global", "全局"),
            Words("One window over everything: one number a channel.", "一个窗口覆盖全图：每个通道只剩一个数。"),
            Global(),
        ),
    ]
    return tuple(made)


def shared_samples(channels: int) -> NDArray[np.float32]:
    """Uniforms for one picture, the same for each of its colours: they must move together: [1, channels, 2]."""
    drawn = np.random.default_rng(0).random((1, 1, 2), dtype=np.float32)
    return np.repeat(drawn, channels, axis=1)


def gain(x: NDArray[np.float32], y: NDArray[np.float32], window: Window, reducer: Reducer) -> NDArray[np.float32]:
    """What to divide `y` by to bring it to the picture's own scale, without knowing which reducer made it.

    It is what an all-white picture gives: 1 for anything that stays in range, the number of taps for Sum. A reducer of
    differences, such as a variance, gives 0 there; its largest answer then is the one number to divide by.
    """
    white = poolkit.pool(np.ones_like(x), window, reducer)
    if float(np.abs(white).min()) > 1e-3:
        return white
    return np.full((1,) * y.ndim, float(np.abs(y).max()) or 1.0, dtype=np.float32)


def pool_once(picture: Picture, operator: Operator, lens: Lens, torch: Any | None) -> Cell:
    """Pool, lay back, subtract and time one operator through one lens."""
    x, window, reducer = picture.x, lens.window, operator.reducer
    y = poolkit.pool(x, window, reducer)
    gains = gain(x, y, window, reducer)
    shown = (y / gains)[0]
    axes = window.plan((picture.height, picture.width)).axes
    # Random windows have a row of starts for every plane; here all planes share one.
    bounds = [(np.atleast_2d(axis.start)[0], np.atleast_2d(axis.stop)[0]) for axis in axes]
    rows, columns = (nearest_window(*bound, axis.size) for bound, axis in zip(bounds, axes, strict=True))
    seen_rows, seen_columns = (seen(*bound, axis.step, axis.size) for bound, axis in zip(bounds, axes, strict=True))
    return Cell(
        operator=operator,
        lens=lens,
        y_shape=tuple(y.shape),
        y_bytes=int(y.nbytes),
        gain=float(gains.mean()),
        gain_varies=bool(np.ptp(gains) > 1e-3 * abs(float(gains.mean()))),
        gain_is_peak=gains.size == 1,
        shown=shown,
        loss=measure(x[0], shown, rows, columns, seen_rows, seen_columns),
        race=race(torch, x, window, reducer),
    )


def run(picture: Picture, kernel: int, torch: Any | None, step: Callable[[Cell], None]) -> Study:
    """Pool `picture` with every operator through every lens; `step` is called after each.

    Raises `PoolError` when the kernel does not fit the picture.
    """
    through = lenses(kernel, picture.height, picture.width)
    chosen = operators()
    cells: list[Cell] = []
    with one_thread(torch):
        for operator in chosen:
            for lens in through:
                cells.append(pool_once(picture, operator, lens, torch))
                step(cells[-1])
    return Study(picture, kernel, chosen, through, tuple(cells), torch.__version__ if torch is not None else None)
