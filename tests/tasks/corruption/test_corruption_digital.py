from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from corruption_pictures import assert_near, batch, cut, photos
from PIL import Image
from scipy import ndimage

from evoens.tasks.corruption import digital

SEVERITIES = range(1, 6)


def affine(image: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """OpenCV's affine warp of `(c, h, w)`: solve for the matrix, invert it, look up."""
    _, h, w = image.shape
    third = min(h, w) // 3
    before = np.array([w // 2, h // 2]) + third * np.array([[1, 1], [1, -1], [-1, -1]])
    after = before + ways
    to = np.linalg.solve(np.column_stack([before, np.ones(3)]), after).T
    back = np.linalg.inv(np.vstack([to, [0, 0, 1]]))
    y, x = np.mgrid[:h, :w]
    columns, rows, _ = np.tensordot(back, np.stack([x, y, np.ones((h, w))]), 1)
    return np.stack([ndimage.map_coordinates(c, [rows, columns], order=1, mode="mirror") for c in image])


@pytest.mark.parametrize(("severity", "shape"), [(s, (32, 32)) for s in SEVERITIES] + [(2, (28, 40)), (5, (40, 28))])
def test_elastic_transform_by_scipy(severity: int, shape: tuple[int, int]) -> None:
    side = min(shape)
    strength, sigma, way = (
        np.array([(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)])[
            severity - 1
        ]
        * side
    )
    b = batch("elastic_transform", photos(3, 3, *shape))
    fields, ways = b.uniforms("field", -1, 1, 2, *shape), b.uniforms("points", -way, way, 3, 2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    expected = []
    for image, field, moves in zip(b.pixels / 255, fields.astype(float), ways, strict=True):
        moved = affine(image, moves)
        dx, dy = (ndimage.gaussian_filter(f, sigma, mode="reflect", truncate=3) * strength for f in field)
        expected.append([ndimage.map_coordinates(c, [y + dy, x + dx], order=1, mode="reflect") for c in moved])
    assert_near(digital.elastic_transform(b, severity), cut(np.array(expected)))


def test_three_points_by_hand() -> None:
    """All three points two to the right and one down: so is the image, and what comes in is mirrored."""
    image = np.arange(72, dtype=np.float32).reshape(1, 1, 8, 9)
    out = digital.three_points(image, np.tile(np.array([2.0, 1.0], dtype=np.float32), (1, 3, 1)))
    assert out[0, 0] == pytest.approx(np.pad(image[0, 0], ((1, 0), (2, 0)), mode="reflect")[:8, :9], abs=1e-4)


def one_by_one(pixels: np.ndarray, change) -> np.ndarray:
    images = [Image.fromarray(i[0] if len(i) == 1 else i.transpose(1, 2, 0)) for i in pixels]
    out = [np.asarray(change(image)) for image in images]
    return np.stack([o[None] if o.ndim == 2 else o.transpose(2, 0, 1) for o in out])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("severity", "kept"), zip(SEVERITIES, [0.95, 0.9, 0.85, 0.75, 0.65], strict=True))
def test_pixelate_is_pillows_box(severity: int, kept: float, channels: int) -> None:
    def change(image: Image.Image) -> Image.Image:
        return image.resize((int(32 * kept), int(32 * kept)), Image.BOX).resize((32, 32), Image.BOX)

    pixels = photos(3, channels)
    assert (digital.pixelate(batch("pixelate", pixels), severity) == one_by_one(pixels, change)).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("severity", "quality"), zip(SEVERITIES, [80, 65, 58, 50, 40], strict=True))
def test_jpeg_is_pillows(severity: int, quality: int, channels: int) -> None:
    def change(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    pixels = photos(3, channels)
    assert (digital.jpeg_compression(batch("jpeg_compression", pixels), severity) == one_by_one(pixels, change)).all()
