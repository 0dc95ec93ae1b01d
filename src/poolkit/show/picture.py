"""Reads a picture file of any kind into one float32 array, and says what it had to do on the way."""

from __future__ import annotations

import importlib.util
import math
import os
import stat
import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from poolkit.show.colour import to_levels
from poolkit.show.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part, as fractions of the sides."""

LONGEST_SIDE = 800
"""A larger picture is scaled down to this: the report would otherwise weigh hundreds of megabytes."""

_DEFAULT_CREDIT = Words("photograph by danielbuechele, CC BY 2.0", "摄影：danielbuechele，CC BY 2.0")


class PictureError(ValueError):
    """The picture cannot be read; the message says what was given, what is wrong with it, and what to do."""

    def __init__(self, gave: str, rule: str, do: str) -> None:
        super().__init__(f"you gave  {gave}\nthe rule  {rule}\ndo this   {do}")


@dataclass(frozen=True)
class Picture:
    """A picture ready to pool: `x` is float32 [1, 3, height, width] in 0..1, C-contiguous."""

    name: str
    x: NDArray[np.float32]
    original: str
    notes: tuple[Words, ...] = ()
    credit: Words | None = None

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.x.shape[2])

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return int(self.x.shape[3])

    @property
    def levels(self) -> NDArray[np.uint8]:
        """The picture as uint8 [height, width, 3]."""
        return to_levels(self.x[0])


def default_picture() -> Path:
    """The photograph inside scikit-learn, found without importing scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "datasets", "images", "china.jpg")
        if path.is_file():
            return path
    raise PictureError(
        "no picture",
        "the default photograph comes with scikit-learn, which is not installed",
        "poolkit show PICTURE, or pip install 'poolkit[show]'",
    )


def load(path: Path, *, longest_side: int = LONGEST_SIDE) -> Picture:
    """Read `path` with Pillow: first frame, turned upright, on white, RGB, at most `longest_side` on a side.

    Raises `PictureError` for anything that is not a readable picture; never returns half a picture.
    """
    from PIL import Image

    _check_file(path)
    notes: list[Words] = []
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; such a picture is scaled down here and the page says so.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                kind = f"{image.format} {image.mode}, {image.width} × {image.height}"
                x = _to_array(image, longest_side, notes)
    except Image.UnidentifiedImageError:
        raise PictureError(str(path), "a picture that Pillow can read, here none", "give a PNG, JPEG, WebP …") from None
    except (Image.DecompressionBombError, MemoryError) as error:
        rule = f"a picture that fits in memory, here not ({error or 'too large'})"
        raise PictureError(str(path), rule, "scale it down first") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError) as error:
        # Pillow's decoders raise all of these for broken files.
        rule = f"a picture that can be decoded to its end, here: {error}"
        raise PictureError(str(path), rule, "give a complete file, or save it anew") from None
    return Picture(path.name, x, kind, tuple(notes), _DEFAULT_CREDIT if _is_default(path) else None)


def _is_default(path: Path) -> bool:
    try:
        return path.samefile(default_picture())
    except (PictureError, OSError):
        return False


def _check_file(path: Path) -> None:
    def refuse(what: str, do: str) -> NoReturn:
        raise PictureError(str(path), f"a picture file that can be opened, here {what}", do)

    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        refuse("there is no such file", "look at the path's spelling")
    except (OSError, ValueError) as error:
        refuse(str(error), "look at the path's spelling")
    if stat.S_ISDIR(mode):
        refuse("a directory", "name one picture inside it")
    if not stat.S_ISREG(mode):
        refuse("not a regular file", "save the picture to a file first")
    if not os.access(path, os.R_OK):
        refuse("no permission to read it", f"chmod +r {path}")


def _to_array(image: Image.Image, longest_side: int, notes: list[Words]) -> NDArray[np.float32]:
    from PIL import Image, ImageOps

    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        image.seek(0)
        notes.append(Words(f"Only the first of {frames} frames is used.", f"共 {frames} 帧，只用第一帧。"))
    width, height = image.size
    if image.format == "JPEG" and max(width, height) > longest_side:
        # Lets the decoder skip what would be thrown away: a 100-megapixel JPEG opens in a fraction of the time.
        image.draft(None, (longest_side, longest_side))
    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
        width, height = (width, height) if (image.width > image.height) == (width > height) else (height, width)
        notes.append(Words("Turned upright as its EXIF tag says.", "已按 EXIF 方向标记转正。"))
    rgb = _to_rgb(image, notes)
    if max(width, height) > longest_side:
        rgb.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
        small = f"{rgb.width} × {rgb.height}"
        notes.append(
            Words(f"Scaled down from {width} × {height} to {small}.", f"已由 {width} × {height} 缩小为 {small}。")
        )
    x = np.asarray(rgb, dtype=np.float32).transpose(2, 0, 1)[None] / np.float32(255)
    return np.ascontiguousarray(x)


def _to_rgb(image: Image.Image, notes: list[Words]) -> Image.Image:
    from PIL import Image

    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        notes.append(Words(f"Scaled from mode {mode} to 8 bits.", f"已由 {mode} 模式换算为 8 位。"))
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            notes.append(Words("Transparent parts are laid on white.", "透明部分已铺在白底上。"))
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    if mode not in {"RGB", "RGBX"}:
        names = {"L": ("grey", "灰度"), "1": ("black and white", "黑白"), "P": ("palette", "调色板")}
        en, zh = names.get(mode, (mode, mode))
        notes.append(Words(f"Converted from {en} to RGB.", f"已由{zh}转换为 RGB。"))
    return image.convert("RGB")


def _to_8_bits(deep: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit levels by their range; wider integers and floats by their own extremes (non-finite values: black)."""
    values = np.nan_to_num(deep.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if deep.dtype.kind in "iu" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0 if high > 255 else 255.0
    return np.round((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)


def detail(picture: Picture, share: float = 1 / 3, steps: int = 9) -> Box:
    """The most colourful part with contrast, `share` of each side: where the report looks closely."""
    x = picture.x[0]
    saturation, grey = x.max(axis=0) - x.min(axis=0), x.mean(axis=0)
    best, place = -1.0, (0.0, 0.0)
    corners = [(1 - share) * step / (steps - 1) for step in range(steps)]
    for top, left in product(corners, corners):
        rows = slice(int(top * picture.height), math.ceil((top + share) * picture.height))
        columns = slice(int(left * picture.width), math.ceil((left + share) * picture.width))
        found = float((saturation[rows, columns].mean() + 0.01) * grey[rows, columns].std())
        if found > best:
            best, place = found, (left, top)
    return place[0], place[1], place[0] + share, place[1] + share
