"""Pictures as people see them: turned, in 8 bits, on white."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image

from evoens.errors import ProblemError
from evoens.tasks.data.decode import channels_of, seen

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 4, 3), np.uint8)


def look(path: Path, channels: int = 3) -> np.ndarray:
    with Image.open(path) as image:
        found = seen(path, image, channels)
    assert found.mode == {1: "L", 3: "RGB"}[channels]
    return np.asarray(found)


def png16(path: Path, values: np.ndarray) -> Path:
    """Write 16 bits a channel, which Pillow can not."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {2: 0, 3: 2, 4: 6}[values.ndim if values.ndim == 2 else values.shape[2]]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    parts = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in [*chunks, (b"IEND", b"")]
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff"])
def test_turned_as_exif_says(tmp_path: Path, orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{form}"
    more = {"lossless": True} if form == "webp" else {}
    Image.fromarray(COLOUR).save(path, **more)
    with Image.open(path) as image:
        stored = np.asarray(image)  # not yet turned
    Image.fromarray(COLOUR).save(path, exif=exif, **more)
    turns = {1: 0, 2: "x", 3: 2, 4: "y", 5: "t", 6: 3, 7: "a", 8: 1}[orientation]
    by_hand = {
        "x": stored[:, ::-1],
        "y": stored[::-1],
        "t": stored.transpose(1, 0, 2),
        "a": stored[::-1, ::-1].transpose(1, 0, 2),
    }
    expected = np.rot90(stored, turns) if isinstance(turns, int) else by_hand[turns]
    assert np.array_equal(look(path), expected)


def test_sixteen_bits_become_the_nearest_of_eight(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 255, 256, 257, 385, 386, 32768, 65406, 65407, 65535]], np.uint16)
    expected = [[0, 0, 1, 1, 1, 1, 1, 2, 128, 254, 255, 255]]
    assert look(png16(tmp_path / "grey.png", values), 1).tolist() == expected
    Image.fromarray(values).save(tmp_path / "grey.tif")
    assert look(tmp_path / "grey.tif", 1).tolist() == expected
    assert look(tmp_path / "grey.tif")[..., 2].tolist() == expected
    deep = RNG.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    path = png16(tmp_path / "colour.png", deep)
    oracle = decode_image(str(path), ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    assert np.array_equal(oracle, deep)
    assert np.array_equal(look(path), np.rint(deep / 257).astype(np.uint8))
    with Image.open(path) as cut:
        assert not np.array_equal(np.asarray(cut), look(path))  # what Pillow makes of it
    clear = np.concatenate([deep, np.full((5, 7, 1), 65535, np.uint16)], axis=2)
    assert np.array_equal(look(png16(tmp_path / "alpha.png", clear)), look(path))


def test_other_numbers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 70000, np.int32)).save(tmp_path / "int.tif")
    for name, mode in (("float.tif", "F"), ("int.tif", "I")):
        with pytest.raises(
            ProblemError, match=f"{name}: expected 8 or 16 bits a channel, found an image of mode {mode}"
        ):
            look(tmp_path / name)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white(tmp_path: Path, channels: int) -> None:
    alpha = np.tile(np.array([0, 85, 170, 255], np.uint8), (6, 1))
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
    grey = ImageOps.grayscale(Image.fromarray(COLOUR))
    Image.fromarray(np.dstack([np.asarray(grey), alpha])).save(tmp_path / "la.png")
    for name, under in (("rgba.png", COLOUR), ("la.png", np.asarray(grey)[..., None].repeat(3, 2))):
        share = alpha[..., None] / 255
        expected = under * share + 255 * (1 - share)
        found = look(tmp_path / name, channels)
        if channels == 3:
            assert np.abs(found - expected).max() < 1 and np.array_equal(found[:, 3], under[:, 3])
        assert (found[:, 0] == 255).all()


def test_palettes_and_single_colours_can_be_transparent(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    palette.save(tmp_path / "p.gif", transparency=1)
    palette.save(tmp_path / "p.png", transparency=bytes([255, 0, 255, 255]))
    seen_as = [[10, 20, 30], [255, 255, 255], [70, 80, 90], [100, 110, 120]]
    assert look(tmp_path / "p.gif").tolist() == [seen_as] and look(tmp_path / "p.png").tolist() == [seen_as]
    plain = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    plain.save(tmp_path / "rgb.png", transparency=(4, 5, 6))
    assert look(tmp_path / "rgb.png").tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_the_first_picture_of_a_film_and_inks(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert look(tmp_path / "film.gif").tolist() == [[[255, 0, 0]] * 3] * 2
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "inks.tif")
    assert look(tmp_path / "inks.tif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("I;16", 1), ("RGB", 3), ("P", 3), ("RGBA", 3)]
)
def test_grey_or_coloured(mode: str, channels: int) -> None:
    assert channels_of(Image.new(mode, (1, 1))) == channels
