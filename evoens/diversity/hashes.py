"""Perceptual hashes of pictures, and the share of bits in which the members' pictures differ (dissertation 7.2)."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pywt
import torch
from PIL import Image
from scipy.fftpack import dct
from torch import Tensor

from evoens.diversity.lanczos import resized
from evoens.diversity.measures import MEASURES
from evoens.errors import ShapeError

Pixels = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

BLOCK = 1 << 20  # pixels at a time, a picture counting as no fewer than the wavelet hash makes of it
SCALE = 64  # pixels: side to which the wavelet hash brings a picture, whatever its size
AT_ONCE = 1 << 14  # bits multiplied at a time; float32 counts up to 2²⁴ of them

BLACK = 24  # above the codes of hue and saturation
HUES = np.digitize(np.arange(256), np.linspace(0, 255, 7)[1:-1]).astype(np.uint8)
SATURATIONS = 6 * np.digitize(np.arange(256), [85, 170, 171]).astype(np.uint8)  # grey, faint, neither, bright
FOUR_BITS = np.array([[n // 2 ** (3 - i) % 2 ** (4 - i) > 0 for i in range(4)] for n in range(16)])
"""imagehash's four bits of a number below 16: not quite its digits, for 4 is 0110 and 8 is 1100."""


class Channels(NamedTuple):
    """What a hash sees of n pictures: RGB and HSV `(n, h, w, 3)`, and grey levels `(n, h, w)`, of 255."""

    rgb: Pixels
    hsv: Pixels
    grey: Pixels


def hash_bits(pictures: Pixels) -> dict[str, Tensor]:
    """Hash every picture with each hash of `MEASURES`; the five of evoens to the bits of imagehash 4.3.2.

    Of imagehash's options, two are set: `image_scale=64` of the wavelet hash, whose scale would follow the picture's
    size, and `binbits=4` of the colour hash.

    Args:
        pictures: RGB, `(…, h, w, 3)` uint8, at least one.

    Returns:
        By hash, its bits: bool `(…, 64)` for "average", "perceptual", "difference" and "wavelet", `(…, 56)` for
        "colour".

    Raises:
        ShapeError: another type or shape, or not a single pixel.
    """
    if pictures.dtype != np.uint8 or pictures.ndim < 3 or pictures.shape[-1] != 3 or not pictures.size:
        raise ShapeError(f"pictures: expected uint8 (…, h, w, 3), found {pictures.dtype} {pictures.shape}")
    *stack, h, w, _ = pictures.shape
    rgb = pictures.reshape(-1, h, w, 3)
    step = max(1, BLOCK // max(h * w, SCALE * SCALE))
    blocks = [_hashed(rgb[i : i + step]) for i in range(0, len(rgb), step)]
    return {name: torch.from_numpy(np.concatenate([b[name] for b in blocks])).view(*stack, -1) for name in blocks[0]}


def _hashed(rgb: Pixels) -> dict[str, Bits]:
    tall = Image.fromarray(rgb.reshape(-1, *rgb.shape[2:]))
    grey = np.asarray(tall.convert("L")).reshape(rgb.shape[:3])
    hsv = np.asarray(tall.convert("HSV")).reshape(rgb.shape)
    seen = Channels(rgb, hsv, grey)
    return {name: resolve_name(measure.hash)(seen) for name, measure in MEASURES.items() if measure.hash}


def average(seen: Channels) -> Bits:
    """Say which of 8 × 8 pixels are brighter than their mean: `(n, 64)`."""
    small = resized(seen.grey, 8, 8).reshape(-1, 64)
    return np.greater(small, small.mean(axis=1, keepdims=True))


def perceptual(seen: Channels) -> Bits:
    """Say which of the 8 × 8 lowest frequencies (cosine transform) are above their median: `(n, 64)`."""
    low = dct(resized(seen.grey, 32, 32), axis=1)[:, :8]
    return _above_median(dct(low, axis=2)[..., :8].reshape(-1, 64))


def difference(seen: Channels) -> Bits:
    """Say which of 8 × 9 pixels are brighter than the one to their left: `(n, 64)`."""
    small = resized(seen.grey, 8, 9)
    return np.greater(small[..., 1:], small[..., :-1]).reshape(-1, 64)


def wavelet(seen: Channels) -> Bits:
    """Say which of 8 × 8 low Haar coefficients are above their median: `(n, 64)`.

    The coefficients are the sums of 8 × 8 pixels but for a common shift and scale. Whole numbers decide as floats
    would, except where the two sums beside the median are equal: there the last bit of a float decides.
    """
    large = resized(seen.grey, SCALE, SCALE)
    sums = large.reshape(-1, 8, 8, SCALE).sum(axis=2, dtype=np.uint16).reshape(-1, 64, 8).sum(axis=2)
    bits = _above_median(sums)
    low, high = _middle(sums).T
    tied = low == high
    if tied.any():
        bits[tied] = _above_median(_haar(large[tied]))
    return bits


def _haar(large: Pixels) -> Floats:
    """The low coefficients as imagehash has them, `(n, 64, 64)` → `(n, 64)`: without the mean, and its rounding."""
    bands = pywt.wavedec2(large / 255.0, "haar", level=6, axes=(1, 2))
    bands[0] *= 0
    centred = pywt.waverec2(bands, "haar", axes=(1, 2))
    low: Floats = pywt.wavedec2(centred, "haar", level=3, axes=(1, 2))[0]
    return low.reshape(-1, 64)


def _above_median(values: npt.NDArray[Any]) -> Bits:
    return np.greater(values, _middle(values).mean(axis=1, keepdims=True))


def _middle(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The two values of each row that an even number of them has in its middle, `(n, 64)` → `(n, 2)`."""
    return np.sort(values, axis=1)[:, 31:33]


def colour(seen: Channels) -> Bits:
    """Say how much of a picture is black, how much grey, and how much of the rest has which colour.

    A share is told in sixteenths, 15 at most. Colours are six hues, faint and bright; those of saturation 170 count
    as neither, as in imagehash, but belong to the rest.

    Returns:
        `(n, 56)`: four bits of each of 14 shares.
    """
    _, hsv, grey = seen
    counts = _counts(np.where(grey < 32, BLACK, HUES[hsv[..., 0]] + SATURATIONS[hsv[..., 1]]))
    pixels = grey.shape[1] * grey.shape[2]
    coloured = np.maximum(1, counts[:, 6:BLACK].sum(axis=1, keepdims=True))
    shares = [
        counts[:, [BLACK]] * 16 // pixels,
        counts[:, :6].sum(axis=1, keepdims=True) * 16 // pixels,
        counts[:, 6:12] * 16 // coloured,
        counts[:, 18:24] * 16 // coloured,
    ]
    bits: Bits = FOUR_BITS[np.minimum(15, np.concatenate(shares, axis=1))]
    return bits.reshape(-1, 56)


def _counts(codes: Pixels) -> npt.NDArray[np.intp]:
    """How many pixels of each picture have each code, `(n, h, w)` → `(n, 25)`."""
    n, kinds = len(codes), BLACK + 1
    apart = codes.reshape(n, -1) + kinds * np.arange(n)[:, None]
    counts: npt.NDArray[np.intp] = np.bincount(apart.ravel(), minlength=kinds * n).reshape(n, kinds)
    return counts


def hamming(a: Tensor, b: Tensor) -> Tensor:
    """Share of bits in which each picture's hashes differ: the Hamming distance over the hash's length.

    Args:
        a: bits `(…, bits)`.
        b: bits of the same shape.

    Returns:
        `(…)` float64, 0 to 1.

    Raises:
        ShapeError: the shapes differ, or there are no bits.
    """
    if a.shape != b.shape or not a.numel():
        raise ShapeError(f"bits: expected two of shape (…, bits), found {tuple(a.shape)} and {tuple(b.shape)}")
    return (a != b).sum(-1).double() / a.shape[-1]


def pairwise_bits(a: Tensor, b: Tensor) -> Tensor:
    """Share of bits in which a_i and b_j differ, averaged over pictures: the mean of `hamming` for every i and j.

    Where bits are written as −1 and 1, the product of two hashes is the number of bits that agree less the number of
    those that differ; one matrix product has it for all pairs, exactly, many times sooner than counting.

    Args:
        a: bits `(k, n, bits)` of k members' n pictures, bool.
        b: bits of the same shape.

    Returns:
        `(k, k)` float64, 0 to 1.

    Raises:
        ShapeError: another shape, or there are no bits.
    """
    if a.dim() != 3 or a.shape != b.shape or not a.numel():
        raise ShapeError(f"bits: expected two of shape (k, n, bits), found {tuple(a.shape)} and {tuple(b.shape)}")
    x, y = a.flatten(1), b.flatten(1)
    products = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for some, others in zip(torch.split(x, AT_ONCE, 1), torch.split(y, AT_ONCE, 1), strict=True):
        products += _signs(some) @ _signs(others).T
    return (x.shape[1] - products) / (2 * x.shape[1])


def _signs(bits: Tensor) -> Tensor:
    return 2 * bits.float() - 1
