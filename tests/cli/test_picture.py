import os
import zlib

import numpy as np
import pytest
from PIL import Image

from poolkit.show.picture import PictureError, default_picture, load


def save(image, path, **options):
    image.save(path, **options)
    return path


def notes(picture):
    return " ".join(note.en for note in picture.notes)


def test_rgb_is_read_exactly(scene, scene_file):
    picture = load(scene_file)
    assert picture.x.shape == (1, 3, 45, 64)
    assert picture.x.dtype == np.float32
    assert picture.x.flags.c_contiguous
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.levels, scene)


def test_the_default_picture_is_a_photograph_with_its_credit():
    picture = load(default_picture())
    assert (picture.width, picture.height) == (640, 427)
    assert picture.credit is not None
    assert "CC BY" in picture.credit.en
    assert "CC BY" in picture.credit.zh


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "RGBA"])
def test_every_mode_becomes_rgb_with_a_note(scene, tmp_path, mode):
    suffix = {"CMYK": "jpg", "YCbCr": "jpg"}.get(mode, "png")
    image = Image.fromarray(scene).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    picture = load(save(image, tmp_path / f"picture.{suffix}"))
    assert picture.x.shape == (1, 3, 45, 64)
    assert 0 <= picture.x.min() < picture.x.max() <= 1
    if mode in {"L", "1", "P", "CMYK"}:
        assert "Converted" in notes(picture)


def test_cmyk_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (8, 8), (200, 30, 40)).convert("CMYK")
    picture = load(save(red, tmp_path / "red.tif"))
    np.testing.assert_allclose(picture.levels[0, 0], [200, 30, 40], atol=2)


def test_transparency_lies_on_white(tmp_path):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((10, 20, 30, 255), (0, 0, 4, 8))
    picture = load(save(image, tmp_path / "half.png"))
    np.testing.assert_array_equal(picture.levels[0, 0], [10, 20, 30])
    np.testing.assert_array_equal(picture.levels[0, 7], [255, 255, 255])
    assert "white" in notes(picture)


def test_a_transparent_palette_lies_on_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    picture = load(save(image, tmp_path / "palette.png", transparency=1))
    assert picture.x.min() == 1.0


def test_sixteen_bits_keep_their_range(tmp_path):
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    picture = load(save(Image.fromarray(deep), tmp_path / "deep.png"))
    assert picture.x.min() == 0
    assert picture.x.max() == 1
    np.testing.assert_allclose(picture.x[0, 0], deep / 65535, atol=1 / 255)
    assert "8 bits" in notes(picture)


def test_floats_with_nan_and_infinity_stay_finite(tmp_path):
    values = np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)
    values[0, 0], values[0, 1] = np.nan, np.inf
    picture = load(save(Image.fromarray(values), tmp_path / "float.tif"))
    assert np.isfinite(picture.x).all()


def test_of_an_animation_the_first_frame_is_used(scene, tmp_path):
    frames = [Image.fromarray(scene), Image.new("RGB", (64, 45), "white")]
    path = save(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    picture = load(path)
    assert "first of 2 frames" in notes(picture)
    assert abs(picture.x.mean() - scene.mean() / 255) < 0.05


def test_exif_turns_the_picture_upright(scene, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.fromarray(scene), tmp_path / "turned.png", exif=exif)
    picture = load(path)
    assert (picture.width, picture.height) == (45, 64)
    np.testing.assert_array_equal(picture.levels, np.rot90(scene, -1))
    assert "EXIF" in notes(picture)


def test_a_turned_giant_is_scaled_and_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.new("RGB", (3000, 1000), "teal"), tmp_path / "giant.jpg", exif=exif)
    picture = load(path)
    assert picture.height == 800
    assert abs(picture.width - 267) <= 1
    assert "Scaled down from 1000 × 3000" in notes(picture)


def test_a_giant_is_scaled_down_with_a_note(tmp_path):
    # 100 megapixels: past the size from which Pillow itself warns.
    path = save(Image.new("L", (12500, 8000), 128), tmp_path / "giant.png")
    picture = load(path)
    assert (picture.width, picture.height) == (800, 512)
    assert "Scaled down from 12500 × 8000 to 800 × 512" in notes(picture)


def test_a_sliver_keeps_at_least_one_pixel(tmp_path):
    picture = load(save(Image.new("RGB", (5000, 2)), tmp_path / "sliver.png"))
    assert (picture.width, picture.height) == (800, 1)


def bomb(path):
    """A PNG header that claims 60000 x 60000 pixels."""
    Image.new("L", (1, 1)).save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))


def truncated(path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


BROKEN = {
    "missing": (lambda path: None, "no such file"),
    "directory": (lambda path: path.mkdir(), "a directory"),
    "empty": (lambda path: path.touch(), "none"),
    "text": (lambda path: path.write_text("not a picture"), "none"),
    "truncated": (truncated, "decoded to its end"),
    "bomb": (bomb, "fits in memory"),
    "pipe": (os.mkfifo, "not a regular file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_read_says_why(tmp_path, case):
    make, reason = BROKEN[case]
    path = tmp_path / f"{case}.jpg"
    make(path)
    with pytest.raises(PictureError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "do this" in str(caught.value)
