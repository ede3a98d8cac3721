"""What software does to images: an elastic transform, pixelation, JPEG."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from evoens.tasks.corruption.batch import Batch, Bytes, Floats, grey_levels
from evoens.tasks.corruption.geometry import mirror, reflect, warp


def elastic_transform(batch: Batch, severity: int) -> Bytes:
    """Move three points of the image at random, then every pixel by a smooth random field.

    The field's strength, its smoothness and the way of the three points are fractions of the image's shorter side.
    """
    strength, smooth, way = (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[severity - 1]
    moved = three_points(batch.unit, batch.uniforms("points", -way * batch.side, way * batch.side, 3, 2))
    if strength == 0:
        return grey_levels(moved)
    field = batch.uniforms("field", -1, 1, 2, *batch.size)
    sigma = smooth * batch.side
    field = gaussian_filter(field, (0, 0, sigma, sigma), mode="reflect", truncate=3)
    return grey_levels(displaced(moved, field * np.float32(strength * batch.side)))


def three_points(images: Floats, ways: Floats) -> Floats:
    """Apply the affine map that takes three points by `ways`; beyond its border an image is mirrored.

    Args:
        images: `(n, c, h, w)`.
        ways: of the corners lower right, upper right and upper left of a square in the middle, whose half side is a
            third of the image's; each to the right and down, in pixels, `(n, 3, 2)`.
    """
    n, _, h, w = images.shape
    middle, half = np.array([w // 2, h // 2], dtype=np.float32), min(h, w) // 3
    points = middle + np.array([[half, half], [half, -half], [-half, -half]], dtype=np.float32) + ways
    # The image at q is the old one at p0 + M (q − q0); M takes q1 − q0 and q2 − q1 back to (0, −2 half), (−2 half, 0).
    (ax, ay), (bx, by) = (points[:, k + 1].T - points[:, k].T for k in range(2))
    turn = (-2 * half) / (ax * by - ay * bx)
    y, x = np.ogrid[:h, :w]
    right = x - points[:, 0, 0].reshape(n, 1, 1)
    down = y - points[:, 0, 1].reshape(n, 1, 1)
    along_a = _column(turn * by) * right - _column(turn * bx) * down
    along_b = _column(turn * ax) * down - _column(turn * ay) * right
    columns, rows = middle[0] + half + along_b, middle[1] + half + along_a
    return warp(images, mirror(rows.astype(np.float32), h), mirror(columns.astype(np.float32), w))


def _column(values: Floats) -> Floats:
    return values.reshape(-1, 1, 1)


def displaced(images: Floats, field: Floats) -> Floats:
    """Take each pixel from `field` away, `(n, 2, h, w)`, to the right and down in pixels; the border reflects."""
    h, w = images.shape[2:]
    y, x = np.ogrid[:h, :w]
    rows, columns = (y + field[:, 1]).astype(np.float32), (x + field[:, 0]).astype(np.float32)
    return warp(images, reflect(rows, h), reflect(columns, w))


def pixelate(batch: Batch, severity: int) -> Bytes:
    """Shrink by box averages, and enlarge again."""
    kept = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    h, w = batch.size
    small = int(w * kept), int(h * kept)

    def coarse(image: Image.Image) -> Image.Image:
        return image.resize(small, Image.Resampling.BOX).resize((w, h), Image.Resampling.BOX)

    return _through_pillow(batch, coarse)


def jpeg_compression(batch: Batch, severity: int) -> Bytes:
    """Compress as JPEG, at Pillow's defaults but for the quality, and read that."""
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def compressed(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _through_pillow(batch, compressed)


def _through_pillow(batch: Batch, change: Callable[[Image.Image], Image.Image]) -> Bytes:
    """Change one image after another; those of one channel as greys."""
    last = np.ascontiguousarray(batch.pixels.transpose(0, 2, 3, 1))
    flat = last[..., 0] if last.shape[3] == 1 else last
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in flat])
    return np.ascontiguousarray(changed.reshape(last.shape).transpose(0, 3, 1, 2))
