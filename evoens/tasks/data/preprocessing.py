"""From pictures to what a network takes: normalised, augmented in training; it travels with an ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evoens import noise
from evoens.errors import CheckpointError, ShapeError
from evoens.tasks.data.decode import Bytes, Look, decoded, shown
from evoens.tasks.data.folder import ImageFiles

MARGIN = 8  # a crop shifts by up to an eighth of the side: 4 pixels at 32


def augmented(images: Tensor, seed: int, epoch: int, batch: int, *, crop: bool, flip: bool) -> Tensor:
    """Return `images` `(n, c, h, w)` uint8 shifted and mirrored at random, channels last in memory.

    A crop pads with black, before normalisation, as torchvision's `RandomCrop` on images does. What is drawn depends on
    `seed`, `epoch` and the batch's number alone: training that is resumed goes on with the same bits.
    """
    drawn = noise.words(seed, f"augment:{epoch}:{batch}", 3 * len(images)).reshape(3, -1).astype(np.int64)
    if crop:
        spans = [2 * (side // MARGIN) + 1 for side in images.shape[2:]]
        down, right = (torch.from_numpy(words * span >> 16) for words, span in zip(drawn[:2], spans, strict=True))
        images = cropped(images, down.to(images.device), right.to(images.device))
    return flipped(images, torch.from_numpy(drawn[2] >= 1 << 15).to(images.device)) if flip else images


def cropped(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return each image cut from itself in a black margin, `down` and `right` `(n,)` pixels from its corner.

    The margin has an eighth of the side; that much down and right gives the image itself.
    """
    n, channels, height, width = images.shape
    top, left = height // MARGIN, width // MARGIN
    tall, wide = height + 2 * top, width + 2 * left
    padded = images.new_zeros(n, tall, wide, channels)
    padded[:, top : top + height, left : left + width] = images.permute(0, 2, 3, 1)
    # Every run of `width` pixels is a row of this view, whichever pixel it starts at: one copy of bytes for each line.
    runs = padded.as_strided((n * tall * wide - width + 1, width * channels), (channels, 1))
    lines = torch.arange(n, device=images.device)[:, None] * tall + down[:, None]
    lines = lines + torch.arange(height, device=images.device)
    out = runs.index_select(0, (lines * wide + right[:, None]).view(-1))
    return out.view(n, height, width, channels).permute(0, 3, 1, 2)


def flipped(images: Tensor, where: Tensor) -> Tensor:
    """Return images `(n, c, h, w)`, those with `where` `(n,)` mirrored left and right."""
    n, channels, height, width = images.shape
    places = where.nonzero()[:, 0]
    rows = images.permute(0, 2, 3, 1).reshape(n, -1)
    some = rows.index_select(0, places).view(-1, height, width, channels)
    mirrored = some.permute(0, 3, 1, 2).flip(3).permute(0, 2, 3, 1)  # in this form `flip` is vectorised
    which = torch.arange(n, device=images.device)
    which[places] = torch.arange(n, n + len(places), device=images.device)
    both = torch.cat([rows, mirrored.reshape(len(places), rows.shape[1])])
    return both.index_select(0, which).view(n, height, width, channels).permute(0, 3, 1, 2)


class Normalise:
    """Bytes `(n, c, h, w)` to float32 `(x/255 − mean)/std`, on the images' device.

    The same bits as torchvision's `ToTensor` and `Normalize`.

    Args:
        mean: one number a channel.
        std: one number a channel, above zero.
        layout: of the result in memory.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], layout: torch.memory_format = torch.channels_last
    ) -> None:
        self.mean, self.std, self.layout = tuple(mean), tuple(std), layout
        self._rows: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return `images` `(n, c, h, w)` uint8 as the network takes them.

        Raises:
            ShapeError: there are not as many channels as means.
        """
        n, channels, height, width = images.shape
        if channels != len(self.mean):
            raise ShapeError(f"expected images of {len(self.mean)} channels, found {channels}")
        mean, std = self._row(width, images.device)
        rows = images.permute(0, 2, 3, 1).reshape(n * height, width * channels).to(torch.float32)
        rows.div_(255).sub_(mean).div_(std)
        found = rows.view(n, height, width, channels).permute(0, 3, 1, 2)
        return found if self.layout == torch.channels_last else found.contiguous(memory_format=self.layout)

    def laid_out(self, layout: torch.memory_format) -> Normalise:
        """Return the same with another layout of its results."""
        return Normalise(self.mean, self.std, layout)

    def _row(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and deviation for a whole row of pixels: three at a time would cost four times as much."""
        if (width, device) not in self._rows:
            mean, std = (
                torch.tensor(v, dtype=torch.float32, device=device).repeat(width) for v in (self.mean, self.std)
            )
            self._rows[width, device] = mean, std
        return self._rows[width, device]


BATCH, SIDE = 500, 32  # images a pass, of this side; of larger ones as many as have no more pixels
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
