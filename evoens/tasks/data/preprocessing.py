"""Preprocessing that travels with an ensemble: from pictures to what its network takes, as the run has done it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evoens.errors import CheckpointError, ShapeError
from evoens.tasks.data.decode import Bytes, Look, decoded, shown
from evoens.tasks.data.folder import ImageFiles
from evoens.tasks.data.normalise import Normalise

BATCH, SIDE = 500, 64  # images a pass, of this side; of larger ones as many as have no more pixels
WHOLE = 0.02  # as near a whole number as what float32 has made of a byte comes
DARK, BRIGHT = 0.02, 0.98  # what pictures from 0 to 1 reach


def batch_of(shape: Sequence[int]) -> int:
    """Return how many inputs `(channels, *places)` a pass has: a network's layers are as large as they are."""
    return max(1, min(BATCH, BATCH * SIDE * SIDE // math.prod(shape[1:])))


@dataclass(frozen=True)
class Preprocessing:
    """How the run has shown its images to the network, and what their classes are called.

    Attributes:
        shape: channels, height and width of every image.
        image_size: the side to which an image is cropped; None where images came in their own size.
        resize: the shorter side before that, `image_size` where None.
        mean: of each channel, taken from an image whose bytes count from 0 to 1.
        std: by which that is divided.
        classes: the names, in the order of the network's outputs.
    """

    shape: tuple[int, int, int]
    image_size: int | None
    resize: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Preprocessing:
        """Take up what `to_json` gave.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise CheckpointError(f"preprocessing: expected how images are shown to the network: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def batches(self, images: Tensor | Sequence[str | Path | Image.Image]) -> Iterator[Tensor]:
        """Yield images, `(n, c, h, w)` of bytes, files or Pillow's, as the network takes them, `BATCH` at a time.

        Raises:
            ShapeError: they are no such images, or have another size than the run's, where that does not resize.
            ProblemError: a file is no image, or has another size.
        """
        if not isinstance(images, Tensor):
            listed = isinstance(images, Sequence) and not isinstance(images, str)
            other = (
                images if not listed else next((i for i in images if not isinstance(i, str | Path | Image.Image)), None)
            )
            if other is not None:
                advice = "; torch.from_numpy makes one of an array, (n, channels, height, width)"
                found = f"{type(other).__name__}{advice if type(other).__module__ == 'numpy' else ''}"
                raise ShapeError(f"images: expected a tensor of uint8, or a list of paths or PIL images, found {found}")
        elif images.dtype != torch.uint8 or images.dim() != 4:
            found = f"{tuple(images.shape)} of {images.dtype}"
            raise ShapeError(f"images: expected a tensor (n, channels, height, width) of uint8, found {found}")
        if not len(images):
            raise ShapeError("images: expected at least one, found none")
        for first in range(0, len(images), BATCH):
            part = images[first : first + BATCH]
            pixels = self._of_bytes(part) if isinstance(part, Tensor) else self._of_files(part)
            yield self._normalise(pixels)

    @property
    def _look(self) -> Look:
        return Look(self.shape[0], self.image_size, self.resize)

    def _of_bytes(self, images: Tensor) -> Tensor:
        pixels = shown(images.permute(0, 2, 3, 1).cpu().numpy(), self._look, str)
        if pixels.shape[1:] != self.shape:
            raise ShapeError(f"images: expected {self.shape}, found {tuple(images.shape[1:])}")
        return pixels

    def _of_files(self, images: Sequence[str | Path | Image.Image]) -> Tensor:
        _, height, width = self.shape
        paths = [Path(i if isinstance(i, str | Path) else getattr(i, "filename", "") or "an image") for i in images]
        files = ImageFiles(paths, self._look, None if self.image_size else (width, height))

        def load(place: int) -> Bytes:
            """Return the bytes of one."""
            image = images[place]
            return files.taken(paths[place], image) if isinstance(image, Image.Image) else files.load(place)

        return decoded(len(paths), load, str, self._look)

    @cached_property
    def _normalise(self) -> Normalise:
        return Normalise(self.mean, self.std)

    def check(self, inputs: Tensor) -> None:
        """See that inputs are images as the network takes them.

        Raises:
            ShapeError: they have other channels, are bytes, or evidently were not normalised.
        """
        if inputs.dim() != 4 or inputs.shape[1] != self.shape[0]:
            expected = ", ".join(map(str, self.shape))
            raise ShapeError(f"inputs: expected shape (n, {expected}), found {tuple(inputs.shape)}")
        if not inputs.is_floating_point() or (inputs.numel() and self._raw(inputs)):
            found = "values that were not normalised" if inputs.is_floating_point() else str(inputs.dtype)
            numbers = f"(x / 255 - mean) / std with mean {list(self.mean)} and std {list(self.std)}"
            raise ShapeError(f"inputs: expected floats, {numbers}, found {found}; predict_images takes bytes")

    def _raw(self, inputs: Tensor) -> bool:
        """Whether inputs are evidently pictures, from 0 to 1 or to 255, that nobody has normalised.

        No picture has a value below 0, and most that were normalised have; of the others those are right which come
        out as whole bytes when that is undone. Inputs of one value say nothing.
        """
        low, high = (float(end) for end in inputs.aminmax())
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (self.mean, self.std))
        least, most = float((-mean / std).max()), float(((1 - mean) / std).max())
        if low < 0 or low == high:
            return False
        values = inputs.detach().cpu().double()
        if _bytes((values * std + mean) * 255):
            return False
        full = high <= 1 and low <= DARK and high >= BRIGHT and least < -0.5 and most > 1.5
        return high > 2 * most or full or _bytes(values) or _bytes(values * 255)


def _bytes(values: Tensor) -> bool:
    """Whether all are bytes, but for rounding."""
    whole = values.round()
    return bool(((values - whole).abs() <= WHOLE).all() and whole.min() >= 0 and whole.max() <= 255)
