"""Random crops and flips of whole batches of bytes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evoens import noise

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
