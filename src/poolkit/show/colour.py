"""From numbers to PNG bytes: the heat ramp and the encoders."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from poolkit.show.picture import Box

HEAT_STOPS = ("#000004", "#1f0c48", "#550f6d", "#88226a", "#ba3655", "#e35933", "#f98c0a", "#f9c932", "#fcffa4")
"""Inferno at even steps: lightness grows evenly, so it also reads without colour."""


def heat_palette(levels: int) -> NDArray[np.uint8]:
    """`levels` colours [levels, 3], linear between `HEAT_STOPS`."""
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in HEAT_STOPS], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, levels)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def to_levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Clip 0..1 values [3, height, width] to uint8 [height, width, 3]."""
    return np.round(np.clip(values, 0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


def encode_rgb(levels: NDArray[np.uint8]) -> bytes:
    """PNG of uint8 [height, width, 3]."""
    from PIL import Image

    return _save(Image.fromarray(levels))


def encode_heat(loss: NDArray[np.float32], top: float, *, levels: int = 64) -> bytes:
    """Palette PNG of `loss` [height, width], 0 dark to `top` bright; larger values are shown as `top`."""
    from PIL import Image

    steps = np.clip(np.round(loss / top * (levels - 1)), 0, levels - 1).astype(np.uint8)
    image = Image.fromarray(steps).convert("P")
    image.putpalette(heat_palette(levels).tobytes())
    return _save(image)


def part(levels: NDArray[np.uint8], box: Box, size: tuple[int, int]) -> Image.Image:
    """One part of a picture [height, width, 3] over `size` (width, height); its pixels become hard-edged rectangles."""
    from PIL import Image

    image = Image.fromarray(levels)
    left, top, right, bottom = (share * side for share, side in zip(box, image.size * 2, strict=True))
    return image.resize(size, Image.Resampling.NEAREST, box=(left, top, right, bottom))


def encode_thumb(levels: NDArray[np.uint8], box: Box, size: tuple[int, int]) -> bytes:
    """Small palette PNG of `part`."""
    from PIL import Image

    thumb = part(levels, box, size).quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _save(thumb)


def data_uri(png: bytes) -> str:
    """The PNG as an address that a page carries in itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _save(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
