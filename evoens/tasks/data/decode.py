"""From a picture's file to bytes: as people see it, then resized and cropped as torchvision does, by a few threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from evoens.errors import ProblemError
from evoens.progress import OnCount, no_progress
from evoens.tasks.data.pool import mapped

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


Bytes = NDArray[np.uint8]
HELD = 1 << 30  # bytes that are held in memory; more is decoded once, into a file
BLOCK = 1 << 26  # bytes decoded before they are written
THREADS = 8
MOST = 100  # bad images that are looked for; whoever has more has made one mistake
NAMED = 5  # of them in a message


@dataclass(frozen=True)
class Look:
    """How images are to be shown: how many channels, cropped to which side, the shorter side resized to what first.

    `caches` are folders for decoded images, the first that can be written to is taken. `told` hears how many there are.
    """

    channels: int | None = None
    size: int | None = None
    resize: int | None = None
    caches: tuple[Path, ...] = ()
    told: OnCount = no_progress

    @property
    def key(self) -> list[int | None]:
        """What decides about the bytes."""
        return [self.channels, self.size, self.resize]

    def changes(self, height: int, width: int) -> bool:
        """Whether images of this size become another's."""
        return self.size is not None and {height, width, self.resize or self.size} != {self.size}


def fitted(image: Image.Image, look: Look) -> Bytes:
    """Return an image's bytes `(h, w, c)`, resized (bilinear, antialiased) and cropped to the centre where asked.

    The same bits as torchvision's `Resize(resize)` and `CenterCrop(size)` on the Pillow image.
    """
    if look.changes(image.height, image.width):
        assert look.size is not None
        image = _cropped(_resized(image, look.resize or look.size), look.size)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _resized(image: Image.Image, shorter: int) -> Image.Image:
    low, high = sorted(image.size)
    longer = int(shorter * high / low)
    size = (shorter, longer) if image.width <= image.height else (longer, shorter)
    return image.resize(size, Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, side: int) -> Image.Image:
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def decoded(count: int, load: Callable[[int], Bytes], name: Callable[[], str], look: Look) -> Tensor:
    """Return `count` images `(n, c, h, w)` uint8, in memory or, where they are too large for that, in a cached file.

    Args:
        count: how many there are, at least one.
        load: returns the bytes of one of them, `(h, w, c)`; all have the first one's shape.
        name: names the cached file, other contents by other names.
        look: knows the folders for that file.

    Raises:
        ProblemError: no folder can hold the file; or `load` raises ImageError, and the message names all such images.
    """
    bad: dict[int, ImageError] = {}
    shape = (count, *_shape(count, load, bad))
    rows = max(1, BLOCK // prod(shape[1:]))

    def fill(start: int, block: Bytes) -> None:
        """Decode some images into their place; raise once so many are bad, or at the end."""
        _fill(load, start, block, bad)
        if bad and (len(bad) >= MOST or start + len(block) == count):
            raise _summed(bad)
        look.told(start + len(block), count)

    if prod(shape) > HELD:
        pixels = mapped(look.caches, name(), shape, fill, rows)
    else:
        pixels = np.empty(shape, np.uint8)
        for start in range(0, count, rows):
            fill(start, pixels[start : start + rows])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _shape(count: int, load: Callable[[int], Bytes], bad: dict[int, ImageError]) -> tuple[int, ...]:
    """The shape of the first image that is one."""
    for i in range(min(count, MOST)):
        try:
            return load(i).shape
        except ImageError as error:
            bad[i] = error
    raise _summed(bad)


def _fill(load: Callable[[int], Bytes], start: int, block: Bytes, bad: dict[int, ImageError]) -> None:
    """Load images from the `start`-th on into `block`, and note the bad ones by their number."""
    workers = min(THREADS, os.cpu_count() or 1)

    def work(first: int) -> None:
        """Load every so many."""
        for i in range(first, len(block), workers):
            try:
                block[i] = load(start + i)
            except ImageError as error:
                bad[start + i] = error
            if len(bad) >= MOST:
                return

    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(work, range(workers)))


def _summed(bad: dict[int, ImageError]) -> ImageError:
    """One error for all: the first one's message, and the names of the others."""
    first, *others = (bad[i] for i in sorted(bad))
    if not others:
        return first
    names = ", ".join("/".join(error.path.parts[-2:]) for error in others[:NAMED])
    more = ", …" if len(others) > NAMED else ""
    count = f"{len(others)} more" if len(bad) < MOST else f"at least {len(others)} more"
    return ImageError(first.path, f"{first}; and {count} that cannot be taken: {names}{more}")


def shown(images: Bytes, look: Look, name: Callable[[], str]) -> Tensor:
    """Return images in memory, `(n, h, w, c)`, as they are to be shown, `(n, c, h, w)`; `name` is that of `decoded`."""
    channels = look.channels or images.shape[3]
    if not look.changes(*images.shape[1:3]):
        return torch.from_numpy(np.ascontiguousarray(_with_channels(images, channels))).permute(0, 3, 1, 2)

    def load(i: int) -> Bytes:
        image = Image.fromarray(images[i] if images.shape[3] == 3 else images[i, :, :, 0])
        return fitted(converted(image, channels), look)

    return decoded(len(images), load, name, look)


def _with_channels(images: Bytes, channels: int) -> Bytes:
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    out = np.empty((*images.shape[:3], 1), np.uint8)
    for place, image in enumerate(images):  # Pillow's own luma, rounding included
        out[place, :, :, 0] = converted(Image.fromarray(image), 1)
    return out
