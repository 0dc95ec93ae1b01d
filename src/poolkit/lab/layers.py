"""The maps of a network before and after each of its poolings, on one sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from poolkit.errors import PoolError
from poolkit.lab.maps import COLUMNS, encode
from poolkit.show.sheet import ACCENT, GAP, INK, MARGIN, PAPER, SOFT
from poolkit.show.text import shape_text
from poolkit.surgery.watch import Site, Watch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from poolkit.show.picture import Picture

SIDE, CAPTION = 112, 22


@dataclass(frozen=True)
class Layer:
    """One pooling as it ran: what it is, and the maps [C, H, W] that went in and came out."""

    site: Site
    before: Tensor
    after: Tensor


def layers(model: nn.Module, x: Tensor) -> list[Layer]:
    """Every pooling that `model` runs on `x`, modules and calls, with its first image's maps.

    Raises:
        PoolError: the model does not take the image, or runs no pooling of maps.
    """
    seen = _Seen(model.eval())
    try:
        with torch.no_grad(), seen.keeping():
            model(x)
    except RuntimeError as error:
        raise PoolError(
            f"an image of shape {tuple(x.shape)}", f"the model takes it, here torch says: {str(error).splitlines()[0]}",
            "give another image, or scale it: --size 224",
        ) from None  # fmt: skip
    if not seen.found:
        raise PoolError(
            f"{type(model).__name__}",
            "the model runs a pooling of maps, here none",
            "poolkit inspect lists what it runs",
        )
    return seen.found


class _Seen(Watch):
    """A watch that also keeps the maps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.found: list[Layer] = []
        self._fresh: Site | None = None

    def _note(self, site: Site, begin: float, packed: int) -> None:
        super()._note(site, begin, packed)
        self._fresh = site

    def _leave(self, module: nn.Module, arguments: tuple[Any, ...], outputs: Any) -> None:
        self._fresh = None
        super()._leave(module, arguments, outputs)
        self._keep(arguments[0] if arguments else None, outputs)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._fresh = None
        outputs = super().__torch_function__(func, types, args, kwargs)
        self._keep(args[0] if args else (kwargs or {}).get("input"), outputs)
        return outputs

    def _keep(self, x: Any, outputs: Any) -> None:
        site, self._fresh = self._fresh, None
        y = cast("tuple[Any, ...]", outputs)[0] if isinstance(outputs, tuple) else outputs
        maps = isinstance(x, Tensor) and isinstance(y, Tensor) and x.ndim == 4 and y.ndim == 4
        if site is not None and site.kind != "strided convolution" and maps:
            self.found.append(Layer(site, x[0].detach().clone(), y[0].detach().clone()))


def sheet(found: list[Layer], picture: Picture, title: str) -> bytes:
    """PNG bytes: for each pooling a row of maps before and under it the same maps after.

    The eight channels that vary most are shown, each from its smallest value, dark, to its largest.
    """
    from PIL import Image, ImageDraw, ImageFont

    block = CAPTION + 2 * (SIDE + 4) + GAP
    head = 60
    size = (2 * MARGIN + COLUMNS * (SIDE + GAP) - GAP, 2 * MARGIN + head + len(found) * block)
    paper = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(paper)
    large, small = (ImageFont.load_default(points) for points in (24, 13))
    pen.text((MARGIN, MARGIN - 8), title, INK, font=large)
    pen.text(
        (MARGIN, MARGIN + 26), f"on {picture.width} x {picture.height} pixels; before, and under it after", SOFT, small
    )
    for place, layer in enumerate(found):
        top = MARGIN + head + place * block
        said = f"{layer.site.name or layer.site.place}  {layer.site.pooling}"
        pen.text((MARGIN, top), said, ACCENT, font=small)
        shapes = " -> ".join(shape_text(tuple(maps.shape)).replace("×", "x") for maps in (layer.before, layer.after))
        pen.text((size[0] - MARGIN, top), shapes, SOFT, font=small, anchor="ra")
        spread = layer.before.flatten(1).float().var(dim=1)
        channels = cast("list[int]", spread.argsort(descending=True)[:COLUMNS].sort().values.tolist())
        for row, maps in enumerate((layer.before, layer.after)):
            for column, channel in enumerate(channels):
                if channel < len(maps):
                    tile = Image.fromarray(_grey(maps[channel].float().numpy()))
                    scale = SIDE / max(tile.size)
                    sides = [max(1, round(scale * side)) for side in tile.size]
                    tile = tile.resize((sides[0], sides[1]), Image.Resampling.NEAREST)
                    paper.paste(tile, (MARGIN + column * (SIDE + GAP), top + CAPTION + row * (SIDE + 4)))
    return encode(paper)


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    return np.round((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
