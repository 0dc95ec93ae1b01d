"""The layers to measure: one Row per line of network_shapes.csv, turned into a window and a reducer."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import poolkit as pk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolkit.window import Window

SHAPES = Path(__file__).with_name("network_shapes.csv")
GROUPS = {
    "max": "max",
    "avg": "avg",
    "avg_exclude_pad": "avg",
    "adaptive_avg": "adaptive",
    "adaptive_max": "adaptive",
    "global_avg": "global",
    "global_max": "global",
    "gem_p3": "other",
    "lp_p2": "other",
    "fractional_max": "other",
    "max_with_indices": "other",
}
HEADLINE = ("max", "avg", "adaptive", "global")
"""The groups whose geometric mean is the headline: maxima and means, whatever the window."""
TINY = "tiny"
"""The network, and the group, of inputs so small that a call costs more than its work; no headline counts them."""
LEFT_OUT = {"global_avg_masked": "a mean over each sample's own length: poolkit has no masked window"}
FLOAT_BYTES = 4

# A cross-section for --quick: each group, each kernel's path (small and large planes, strides 1 and 2, 1-D to 3-D).
QUICK = {
    ("resnet50", "maxpool_b1"),
    ("vgg16", "pool1_b1"),
    ("vgg16", "pool5_b1"),
    ("onednn:googlenet_v1", "inception_4a/max_pool"),
    ("onednn:googlenet_v3", "ave_pool_mixed_pool"),
    ("onednn:i3d_resnet50_v1", "max_pool1"),
    ("densenet161", "transition1"),
    ("inception_v3", "mixed_6_pool"),
    ("yolov5s_sppf", "k5_chain1"),
    ("superpoint", "nms_r4"),
    ("guided_filter", "box_r8"),
    ("resnet18", "avgpool"),
    ("pspnet_cityscapes", "ppm_bin6_nondiv"),
    ("spp_he2014", "levels_2"),
    ("sincnet", "pool1"),
    ("gem_r50_224", "head"),
    ("l2pool_scattering", "p2"),
    ("tiny", "max_1x1x4x4"),
    ("tiny", "avg_1x64x8x8"),
}


@dataclass(frozen=True)
class Row:
    """One layer: the input's shape (N, C, spatial...) and what is done to it.

    ``kernel``, ``stride`` and ``padding`` have one entry per axis, padding as (before, after) pairs; they are empty
    for adaptive and global windows. ``target`` is an adaptive or fractional output size, ``ratio`` a fractional ratio.
    """

    network: str
    layer: str
    shape: tuple[int, ...]
    kind: str
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    ceil_mode: bool = False
    target: tuple[int, ...] = ()
    ratio: float = 0.0
    note: str = ""

    @property
    def name(self) -> str:
        """``network/layer``, the text that ``--filter`` looks into."""
        return f"{self.network}/{self.layer}"

    @property
    def rank(self) -> int:
        """Number of pooled axes."""
        return len(self.shape) - 2

    @property
    def group(self) -> str:
        """The group whose geometric mean this row enters."""
        return TINY if self.network == TINY else GROUPS[self.kind]

    @property
    def cells(self) -> int:
        """Number of input cells."""
        return prod(self.shape)

    @property
    def plane_bytes(self) -> int:
        """Bytes of one float32 plane: what one channel of one sample holds."""
        return FLOAT_BYTES * prod(self.shape[2:])

    @property
    def asymmetric(self) -> bool:
        """Whether the padding differs between the two ends of an axis."""
        return any(before != after for before, after in self.padding)

    @property
    def torch_padding(self) -> tuple[int, ...]:
        """The padding as torch takes it, one number per axis (meaningless where asymmetric)."""
        return tuple(before for before, _ in self.padding)

    @cached_property
    def window(self) -> Window:
        """The poolkit window of this row (not for fractional rows, which go by their named function)."""
        if self.kind.startswith("adaptive"):
            return pk.Adaptive(self.target)
        if not self.kernel:
            return pk.Global(keepdims=True)
        return pk.Sliding(self.kernel, stride=self.stride, padding=self.padding, ceil_mode=self.ceil_mode)

    @cached_property
    def reducer(self) -> pk.Reducer:
        """The poolkit reducer of this row."""
        if "max" in self.kind:
            return pk.Max()
        if self.kind == "gem_p3":
            return pk.PowerMean(3.0)
        if self.kind == "lp_p2":
            return pk.Lp(2.0)
        return pk.Mean(count_include_pad=self.kind != "avg_exclude_pad")

    @property
    def taps(self) -> int:
        """Most cells that one output sees (for adaptive windows at most one more on each axis)."""
        if self.kernel:
            return prod(self.kernel)
        return prod(-(-size // out) for size, out in zip(self.shape[2:], self.target or (1,) * self.rank, strict=True))

    def capped(self, limit: int) -> Row:
        """The same row with its batch cut so that a float32 input has at most ``limit`` bytes; the note says so."""
        batch = max(1, min(self.shape[0], limit // (FLOAT_BYTES * self.cells // self.shape[0])))
        if batch == self.shape[0]:
            return self
        note = "; ".join(filter(None, [self.note, f"batch {batch} of {self.shape[0]}"]))
        return replace(self, shape=(batch, *self.shape[1:]), note=note)

    def describe(self) -> str:
        """The window in few letters, as in ``3x3/2 p1``."""
        if self.target:
            return "out " + "x".join(map(str, self.target))
        if self.ratio:
            return f"ratio {self.ratio:g}"
        if not self.kernel:
            return "global"
        text = f"{'x'.join(map(str, self.kernel))}/{_collapsed(self.stride)}"
        if any(map(any, self.padding)):
            sides = [str(before) if before == after else f"{before}:{after}" for before, after in self.padding]
            text += f" p{_collapsed(sides)}"
        return text + (" ceil" if self.ceil_mode else "")


def _collapsed(values: Sequence[object]) -> str:
    """The values joined by x, or the one value that all of them are."""
    return "x".join(map(str, values if len(set(values)) > 1 else values[:1]))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x"))) if text else ()


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """``1x1`` or ``0:1x0:1`` as one (before, after) pair per axis."""
    pairs = [part.split(":") for part in text.split("x")] if text else []
    return tuple((int(pair[0]), int(pair[-1])) for pair in pairs)


def _parse(line: dict[str, str]) -> Row:
    spatial = tuple(int(line[axis]) for axis in "dhw" if line[axis])
    shape = (int(line["n"]), int(line["c"]), *spatial)
    row = Row(line["network"], line["layer"], shape, line["kind"], ceil_mode=line["ceil"] == "1")
    options = dict(part.split("=") for part in line["kernel"].split(";") if "=" in part)
    if "k" in options or "ratio" in options:
        side = int(options.get("k", "2"))
        return replace(
            row,
            kernel=(side,) * row.rank,
            target=_ints(options.get("out", "")),
            ratio=float(options.get("ratio", "0")),
        )
    if "out" in options:
        return replace(row, target=_ints(options["out"]))
    if line["kernel"] == "global":
        return row
    if line["layer"].endswith("_u8"):
        row = replace(row, note="float32 here, uint8 in the source")
    return replace(row, kernel=_ints(line["kernel"]), stride=_ints(line["stride"]), padding=_pairs(line["padding"]))


def load(path: Path = SHAPES) -> tuple[list[Row], list[tuple[str, str]]]:
    """All rows that poolkit can run, and (name, reason) for each line left out."""
    rows: list[Row] = []
    left_out: list[tuple[str, str]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            reason = LEFT_OUT.get(line["kind"])
            if reason:
                left_out.append((f"{line['network']}/{line['layer']}", reason))
            else:
                rows.append(_parse(line))
    return rows, left_out
