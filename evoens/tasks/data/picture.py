"""A picture's file as people see it: turned as its EXIF says, 8 bits a channel, on white where it is transparent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evoens.errors import ProblemError

BACKGROUND = "white"
_GREY = {"1", "L", "LA", "La"}
_DEEP = ("I", "F")  # more than 8 bits a channel
_MODES = {1: "L", 3: "RGB"}
_ORIENTATION = 0x0112  # of EXIF
_ORDERS = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


class ImageError(ProblemError):
    """An image that cannot be taken; `path` is its file's."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def channels_of(image: Image.Image) -> int:
    """Return 1 for a grey picture, 3 for one of colours."""
    return 1 if image.mode in _GREY or image.mode.startswith(_DEEP) else 3


def seen(path: Path, image: Image.Image, channels: int) -> Image.Image:
    """Return the picture that was opened from `path` with 1 channel (grey, luma) or 3 (RGB); of several the first.

    Raises:
        ImageError: its numbers have no white that is known.
    """
    whole = ImageOps.exif_transpose(_eight_bits(path, image))
    if whole.has_transparency_data:
        clear = whole.convert("RGBA")
        whole = Image.alpha_composite(Image.new("RGBA", clear.size, BACKGROUND), clear).convert("RGB")
    return converted(whole, channels)


def converted(image: Image.Image, channels: int) -> Image.Image:
    """Return an image of 1 (grey, luma) or 3 channels (RGB), as torchvision's loader does."""
    return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])


def _eight_bits(path: Path, image: Image.Image) -> Image.Image:
    """Scale 16 bits a channel to 8, to the nearest; Pillow would clip grey and cut colours."""
    tiles: list[Any] = getattr(image, "tile", [])
    raw = _raw(tiles[0]) if tiles else ""
    if image.mode.startswith(_DEEP):
        if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))):
            raise ImageError(path, f"{path}: expected 8 or 16 bits a channel, found an image of mode {image.mode}")
        scaled = _scaled(np.asarray(image), 4095 if raw == "I;12" else 65535)
    elif raw in {f"{mode};{order}" for mode in ("RGB", "RGBA") for order in _ORDERS}:
        mode, order = raw.split(";")
        with Image.open(path) as other:  # with its bytes swapped Pillow keeps the low ones
            vars(other)["tile"] = [_as_raw(tile, f"{mode};{_ORDERS[order]}") for tile in tiles]
            low = np.asarray(other).astype(np.uint16)
        scaled = _scaled(np.asarray(image).astype(np.uint16) << 8 | low, 65535)
    else:
        return image
    found = Image.fromarray(scaled)
    found.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return found


def _scaled(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    return np.asarray((values.astype(np.uint32) * 255 + white // 2) // white, np.uint8)


def _raw(tile: Any) -> str:
    """How the bytes of a file lie, by Pillow's name."""
    args = tile[3]
    return str(args[0] if isinstance(args, tuple) and args else args)


def _as_raw(tile: Any, raw: str) -> Any:
    args = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)
