"""A folder with a folder of images for each class, read as torchvision's ImageFolder does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from evoens.errors import ProblemError
from evoens.tasks.data.decode import Bytes, Look, converted, decoded, fitted
from evoens.tasks.data.layout import class_folders, image_files
from evoens.tasks.data.pool import Pool

_GREY = {"1", "L", "LA", "La"}
_DEEP = ("I", "F")  # more than 8 bits a channel, which Pillow would clip without a word
_WORDS = {1: "a grey image", 3: "a colour image"}


def read_folder(folder: Path, look: Look) -> Pool:
    """Return the images of a folder of class folders, the classes sorted by name.

    Where `look` gives no channels, all images must be grey or all must be colour; without a size all must have one.

    Raises:
        ProblemError: an image cannot be decoded, or is not like the first; the message names the file.
    """
    classes = tuple(class_folders(folder))
    files = [(path, label) for label, name in enumerate(classes) for path in image_files(folder / name)]
    images = _Images.of([path for path, _ in files], look)
    pixels = decoded(len(files), images.load, lambda: images.name(folder), images.look)
    return Pool(pixels, torch.tensor([label for _, label in files]), classes)


@dataclass(frozen=True)
class _Images:
    """Image files; `size` (width, height) is what they must have, `strict` that they must be grey or colour alike."""

    files: list[Path]
    look: Look
    size: tuple[int, int] | None
    strict: bool

    @classmethod
    def of(cls, files: list[Path], look: Look) -> _Images:
        """Take from the first file what the settings leave open."""
        try:
            with Image.open(files[0]) as image:
                found, size = _channels(image), image.size
        except Exception as error:
            raise _damaged(files[0], error) from error
        known = replace(look, channels=look.channels or found)
        return cls(files, known, size if look.size is None else None, look.channels is None)

    def load(self, place: int) -> Bytes:
        """Return the bytes of one image, `(h, w, c)`."""
        path, channels = self.files[place], self.look.channels
        assert channels is not None
        try:
            with Image.open(path) as image:
                self._check(path, image)
                return fitted(converted(image, channels), self.look)
        except ProblemError:
            raise
        except Exception as error:  # Pillow's decoders raise whatever their parsers do
            raise _damaged(path, error) from error

    def _check(self, path: Path, image: Image.Image) -> None:
        found, expected = _channels(image), self.look.channels
        if found == 0:
            raise ProblemError(f"{path}: expected 8 bits a channel, found an image of mode {image.mode}")
        if self.strict and found != expected:
            advice = "`channels: 3` (or 1) in the YAML reads all alike"
            raise ProblemError(f"{path}: expected {_WORDS[expected or 3]} as {self.files[0]} is, found none; {advice}")
        if self.size not in (None, image.size):
            sizes = f"{_size(self.size)} as {self.files[0]} has, found {_size(image.size)}"
            raise ProblemError(f"{path}: expected {sizes}; `image_size` in the YAML resizes and crops all to one size")

    def name(self, folder: Path) -> str:
        """Name the decoded images: other files, or the same changed or seen otherwise, get another name."""
        stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in self.files]
        listed = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
        text = json.dumps([str(folder.resolve()), self.look.key, listed])
        return f"{folder.resolve().name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _channels(image: Image.Image) -> int:
    """1 for grey, 3 for colour, 0 for what has more than 8 bits a channel."""
    if image.mode.startswith(_DEEP):
        return 0
    return 1 if image.mode in _GREY else 3


def _size(size: tuple[int, int] | None) -> str:
    return "×".join(map(str, size or ()))


def _damaged(path: Path, error: Exception) -> ProblemError:
    return ProblemError(f"{path}: expected an image, found what cannot be decoded ({error})")
