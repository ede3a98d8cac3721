"""A folder with a folder of images for each class, read in the order of torchvision's ImageFolder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from evoens.errors import ProblemError
from evoens.tasks.data.decode import MOST, Bytes, ImageError, Look, channels_of, decoded, fitted, seen
from evoens.tasks.data.folders import Tree, readable, told
from evoens.tasks.data.pool import Pool

_SEEN = 2  # changes whenever the same file becomes other bytes


def read_folder(folder: Path, look: Look, classes: Sequence[str]) -> Pool:
    """Return the images of a folder of class folders, class by class; a note says what of it is not counted.

    Where `look` gives no channels, they are grey if all are, else colour; without a size all must have one.

    Raises:
        ProblemError: images that cannot be decoded, or have another size than the first; the message names the files.
    """
    tree = Tree(folder)
    names = {readable(name): name for name in tree.classes()}
    there = [(label, folder / names[name]) for label, name in enumerate(classes) if name in names]
    files = [(path, label) for label, place in there for path in tree.images(place)]
    if not files:
        raise ProblemError(f"{folder}: expected images, found none")
    images = ImageFiles.of([path for path, _ in files], look)
    pixels = decoded(len(files), images.load, lambda: images.name(folder), images.look)
    counted = f"{folder}: counted {len(files)} images of {len(there)} classes; left out:"
    notes = (f"{counted} {told(tree.left_out)}",) if tree.left_out else ()
    return Pool(pixels, torch.tensor([label for _, label in files]), tuple(classes), notes)


@dataclass(frozen=True)
class ImageFiles:
    """Image files; `size` (width, height) is what they must have."""

    files: list[Path]
    look: Look
    size: tuple[int, int] | None

    @classmethod
    def of(cls, files: list[Path], look: Look) -> ImageFiles:
        """Take what the settings leave open from the first file that can be read; grey are all only if none is not."""
        channels, size = look.channels, None
        if channels is None:
            found = map(_channels, files)
            first = next((count for count in found if count), 3)
            channels = 3 if first == 3 or any(count == 3 for count in found) else 1
        images = cls(files, replace(look, channels=channels), None)
        if look.size is None:
            size = next((one for place in range(min(len(files), MOST)) if (one := images._size_of(place))), None)
        return replace(images, size=size)

    def _size_of(self, place: int) -> tuple[int, int] | None:
        """Width and height of an image; None where it cannot be read, which is said when it is needed."""
        try:
            height, width = self.load(place).shape[:2]
        except ImageError:
            return None
        return width, height

    def load(self, place: int) -> Bytes:
        """Return the bytes of one image, `(h, w, c)`."""
        path = self.files[place]
        try:
            with Image.open(path) as opened:
                return self.taken(path, opened)
        except ImageError:
            raise
        except FileNotFoundError as error:
            raise ImageError(path, f"{path}: expected an image, found no such file") from error
        except Exception as error:  # Pillow's decoders raise whatever their parsers do
            why = " ".join(str(error).replace(f" {str(path)!r}", "").split())
            raise ImageError(path, f"{path}: expected an image, found what cannot be decoded ({why})") from error

    def taken(self, path: Path, opened: Image.Image) -> Bytes:
        """Return the bytes of a picture that was opened from `path`."""
        assert self.look.channels is not None
        image = seen(path, opened, self.look.channels)
        if self.size not in (None, image.size):
            sizes = f"{_size(self.size)} as the first has, found {_size(image.size)}"
            advice = "`image_size` in the YAML resizes and crops all to one size"
            raise ImageError(path, f"{path}: expected {sizes}; {advice}")
        return fitted(image, self.look)

    def name(self, folder: Path) -> str:
        """Name the decoded images: other files, or the same changed or seen otherwise, get another name."""
        stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in self.files]
        listed = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
        text = json.dumps([str(folder.resolve()), _SEEN, self.look.key, listed])
        return f"{folder.resolve().name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _channels(path: Path) -> int | None:
    """How many channels a picture has, from the beginning of its file; None where it does not open."""
    try:
        with Image.open(path) as image:
            return channels_of(image)
    except Exception:  # it is named when it is read
        return None


def _size(size: tuple[int, int] | None) -> str:
    return "×".join(map(str, size or ()))
