"""Pictures of maps: grids of a batch, what a pooling lost, the outlines of its windows, where gradients go."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poolkit.errors import PoolError
from poolkit.show.colour import encode_rgb, heat_palette, to_levels
from poolkit.show.loss import nearest_window
from poolkit.window import Sliding

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = 8
"""Images of a batch stand in rows of eight, as torch's own add_images lays them."""

_ZOOM = 8


def grid(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images [N, C, H, W] in 0..1 beside and under each other: uint8 [rows * H, columns * W, 3]."""
    count, channels, height, width = batch.shape
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    # Other numbers of channels than three are no colours: their mean is shown in grey.
    colours = batch if channels == 3 else np.repeat(batch.mean(axis=1, keepdims=True), 3, axis=1)
    sheet = np.zeros((3, rows * height, columns * width), dtype=np.float32)
    for place, image in enumerate(colours):
        top, left = place // columns * height, place % columns * width
        sheet[:, top : top + height, left : left + width] = image
    return to_levels(sheet)


def heat_grid(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps [N, H, W], 0 dark to their common maximum bright, as `grid` lays images."""
    top = float(batch.max()) or 1.0
    sheet = grid(np.repeat((batch / top)[:, None], 3, axis=1))
    return heat_palette(256)[sheet[..., 0]]


def png(levels: NDArray[np.uint8]) -> tuple[bytes, tuple[int, int]]:
    """PNG bytes of uint8 [H, W, 3], with width and height."""
    return encode_rgb(levels), (levels.shape[1], levels.shape[0])


def lost(x: Tensor, y: Tensor, window: Sliding | None) -> NDArray[np.float32]:
    """|x - y laid back over x|, averaged over the channels: [N, H, W].

    Every cell is compared with the window whose centre is nearest; without a window, with the output that covers it
    when the output is stretched over the input.
    """
    size = tuple(x.shape[2:])
    axes = window.plan((int(size[0]), int(size[1]))).axes if window is not None else ()
    if axes and tuple(int(axis.count.size) for axis in axes) == tuple(y.shape[2:]):
        rows, columns = (torch.from_numpy(nearest_window(axis.start, axis.stop, axis.size)) for axis in axes)
        back = y[:, :, rows][:, :, :, columns]
    else:
        back = F.interpolate(y, size, mode="nearest")
    return (x - back).abs().mean(dim=1).numpy()


def routing(pooling: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """How much of the sum of all outputs each cell is responsible for: the gradient's size, [N, H, W]."""
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_value(pooling(leaf)).sum(), leaf)
    return gradient.abs().mean(dim=1).numpy()


def outlines(image: NDArray[np.float32], window: Sliding) -> NDArray[np.uint8]:
    """One image [C, H, W], enlarged eight times, with a frame around what each window sees."""
    from PIL import Image, ImageDraw

    levels = grid(image[None])
    height, width = levels.shape[:2]
    canvas = Image.fromarray(levels).resize((width * _ZOOM, height * _ZOOM), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas)
    rows, columns = window.plan((height, width)).axes
    for down, (top, bottom) in enumerate(zip(rows.start.tolist(), rows.stop.tolist(), strict=True)):
        for across, (left, right) in enumerate(zip(columns.start.tolist(), columns.stop.tolist(), strict=True)):
            # Neighbours that overlap can be told apart by their colours and by one pixel of inset.
            odd = (down + across) % 2
            box = [left * _ZOOM + odd, top * _ZOOM + odd, right * _ZOOM - 1 - odd, bottom * _ZOOM - 1 - odd]
            pen.rectangle(box, outline=("#ff9068", "#7fd1ff")[odd])
    return np.asarray(canvas, dtype=np.uint8)


def answer(pooling: nn.Module, x: Tensor, gave: str) -> Tensor:
    """What a pooling gives for `x`, without gradients.

    Raises:
        PoolError: it does not take images of this size.
    """
    try:
        with torch.no_grad():
            return _value(pooling.eval()(x))
    except PoolError as error:
        raise PoolError(f"{gave}, images of {tuple(x.shape[1:])}", error.rule, error.do) from None
    except RuntimeError as error:
        rule = f"the pooling takes them, here torch says: {str(error).splitlines()[0]}"
        raise PoolError(f"{gave}, images of {tuple(x.shape[1:])}", rule, "take another window") from None


def _value(found: Any) -> Tensor:
    """The maps, of a pooling that also gives indices."""
    return found if isinstance(found, Tensor) else found[0]


def encode(image: Any) -> bytes:
    """PNG bytes of a Pillow image."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
