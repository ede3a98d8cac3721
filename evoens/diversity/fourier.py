"""Images as decorrelated Fourier spectra, and the small motions under which they are looked at (Olah et al. 2017)."""

from __future__ import annotations

from functools import lru_cache
from math import pi

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from evoens import noise
from evoens.errors import ShapeError

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

STD = 0.01  # of a spectrum's first draw: a nearly grey image, as in lucid
CONTRAST = 4.0  # lucid divides its planes by as much before they become colours
TURN, ZOOM = 5.0, 0.05  # degrees and share, either way, at most
FAR, NEAR = 8, 4  # whole pixels either way, at most, of the first and the second jitter

# A square root of ImageNet's colour covariance (lucid, `color_correlation_svd_sqrt`), scaled so that its longest column
# has length 1; rows are red, green and blue.
_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
_COLOURS = torch.from_numpy((_ROOT / np.linalg.norm(_ROOT, axis=0).max()).astype(np.float32))


def spectrum(seed: int, name: str, shape: Shape) -> Tensor:
    """Draw the spectrum that an image of `shape` starts from: `(c, h, w // 2 + 1, 2)`, real and imaginary parts.

    Args:
        seed: from 0 on.
        name: of the image; no other name's draw has a part in it.
        shape: of the image.
    """
    c, h, w = shape
    return noise.normals(seed, f"spectrum:{name}", (c, h, w // 2 + 1, 2)) * STD


def painted(spectra: Tensor, width: int) -> Tensor:
    """Return the images of `spectra`, `(n, c, h, width)` from 0 to 255; gradients go through.

    Amplitudes fall with 1 / frequency, as those of photographs do, so that every frequency is learnt equally fast. Each
    three channels are the decorrelated colours of one frame; images of other depths keep their channels as they are.

    Args:
        spectra: `(n, c, h, width // 2 + 1, 2)`.
        width: of the images; the spectra of an even and an odd one are of the same shape.

    Raises:
        ShapeError: the spectra are of another shape.
    """
    if spectra.dim() != 5 or spectra.shape[3:] != (width // 2 + 1, 2):
        raise ShapeError(f"spectra: expected shape (n, c, h, {width // 2 + 1}, 2), found {tuple(spectra.shape)}")
    h = spectra.shape[2]
    scaled = torch.view_as_complex(spectra) * _amplitudes(h, width).to(spectra.device)
    planes = torch.fft.irfft2(scaled, s=(h, width), norm="ortho") / CONTRAST
    return torch.sigmoid(_coloured(planes)) * 255


@lru_cache(maxsize=8)
def _amplitudes(h: int, w: int) -> Tensor:
    down, across = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    frequency = np.maximum(np.hypot(down, across), 1 / max(h, w))
    return torch.from_numpy((1 / frequency).astype(np.float32))


def _coloured(planes: Tensor) -> Tensor:
    if planes.shape[1] % 3:
        return planes
    frames = planes.reshape(len(planes), -1, 3, *planes.shape[2:])
    return torch.einsum("rc,nfchw->nfrhw", _COLOURS.to(planes.device), frames).flatten(1, 2)


def motions(seed: int, name: str, steps: int) -> Tensor:
    """Draw how an image is moved before each of `steps` looks: jitter, scale, rotate and jitter again, made one.

    Returns:
        `(steps, 2, 3)`: where in the image a pixel of the look is taken from, in pixels from the centre, right and
        down. The first looks are the same however many follow.
    """
    drawn = noise.words(seed, f"motions:{name}", 6 * steps).astype(np.int64).reshape(steps, 6)
    far, near = (_jitter(drawn[:, i : i + 2], reach) for i, reach in ((0, FAR), (2, NEAR)))
    zoom, angle = 1 + _share(drawn[:, 4]) * ZOOM, _share(drawn[:, 5]) * TURN * pi / 180
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    turned = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    moved = np.concatenate([turned, turned @ near[..., None] + far[..., None]], -1)
    return torch.from_numpy(moved.astype(np.float32))


def _jitter(drawn: npt.NDArray[np.int64], reach: int) -> npt.NDArray[np.int64]:
    """Whole pixels, so that without a turn no pixel is blurred."""
    return (drawn * (2 * reach + 1) >> 16) - reach


def _share(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return (drawn + 0.5) / 32768 - 1


def moved(images: Tensor, motion: Tensor) -> Tensor:
    """Look at each of the images `(n, c, h, w)` under its motion, `(n, 2, 3)` of `motions`: the same shape.

    Pixels between four are their bilinear mean. What lies beyond a border is the image reflected in it, so that no
    border shows.
    """
    h, w = images.shape[-2:]
    half = torch.tensor([w / 2, h / 2, 1.0], device=images.device)
    grid = F.affine_grid(motion * half / half[:2, None], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
