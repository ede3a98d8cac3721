from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from corruption_pictures import assert_near, batch, cut, photos
from scipy import ndimage

from evoens.tasks.corruption import blur, geometry

SEVERITIES = range(1, 6)
SIGMAS = [0.4, 0.6, 0.7, 0.8, 1.0]


def naive_gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Tap by tap on a padded image `(h, w)`, in doubles."""
    reach = int(4 * sigma + 0.5)
    taps = np.arange(-reach, reach + 1)
    kernel = np.exp(-(taps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    h, w = image.shape
    padded = np.pad(image.astype(float), reach, mode="edge")
    return sum(kernel[i] * kernel[j] * padded[i : i + h, j : j + w] for i in range(taps.size) for j in range(taps.size))


def each(pixels: np.ndarray, change) -> np.ndarray:
    return np.stack([[change(channel) for channel in image] for image in pixels])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_tap_by_tap(severity: int) -> None:
    expected = each(photos(3) / 255, lambda channel: naive_gaussian(channel, SIGMAS[severity - 1]))
    assert_near(blur.gaussian_blur(batch("gaussian_blur", photos(3)), severity), cut(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_by_upstreams_disk(severity: int) -> None:
    radius, soft = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][severity - 1]
    x, y = np.meshgrid(np.arange(-8, 9), np.arange(-8, 9))
    kernel = (x**2 + y**2 <= radius**2).astype(float)
    kernel /= kernel.sum()
    bell = np.exp(-(np.array([-1, 0, 1]) ** 2) / (2 * soft**2))
    kernel = ndimage.convolve(kernel, np.outer(bell, bell) / bell.sum() ** 2, mode="mirror")
    expected = each(photos(3) / 255, lambda channel: ndimage.convolve(channel, kernel, mode="mirror"))
    assert_near(blur.defocus_blur(batch("defocus_blur", photos(3)), severity), cut(expected))


def test_disk_by_hand() -> None:
    # radius 1.5 holds the 3 × 3 pixels (√2 < 1.5); a Gaussian of 0.1 moves e⁻⁵⁰ of them
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = 1 / 9
    assert blur.disk(1.5, 0.1) == pytest.approx(expected, abs=1e-7)
    assert blur.disk(10.5, 0.7).shape == (25, 25) and blur.disk(10.5, 0.7).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_by_upstreams_loop(severity: int) -> None:
    """Pixel by pixel, swapping views as upstream does, with the draws in the order of our fields."""
    sigma, reach, passes = [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)][severity - 1]
    b = batch("glass_blur", photos(2))
    blurred = cut(each(photos(2) / 255, lambda channel: naive_gaussian(channel, sigma)))
    steps = [(b.words(f"scatter {turn}", 2, 32, 32).astype(int) * 2 >> 16) - 1 for turn in range(passes)]
    expected = []
    for i, image in enumerate(blurred):
        x = image.transpose(1, 2, 0).copy()
        for step in steps:
            for h in range(32 - reach, reach, -1):
                for w in range(32 - reach, reach, -1):
                    h_from, w_from = h + step[i, 0, h, w], w + step[i, 1, h, w]
                    x[h, w], x[h_from, w_from] = x[h_from, w_from], x[h, w]
        expected.append(each(x.transpose(2, 0, 1)[None] / 255, lambda channel: naive_gaussian(channel, sigma))[0])
    assert_near(blur.glass_blur(b, severity), cut(np.stack(expected)), equal=0.99)


def test_scatter_takes_each_direction_as_often() -> None:
    pixels = np.broadcast_to(np.arange(64, dtype=np.uint8), (4, 1, 64, 64)).copy()
    b = batch("glass_blur", pixels)
    moved = blur.scatter(pixels, b.words("scatter 0", 2, 64, 64), 3).astype(int) - pixels
    inner, steps = moved[:, :, 4:62, 4:62], range(-3, 3)
    assert set(np.unique(moved)) == set(steps) and (moved[:, :, :4] == 0).all() and (moved[..., 62:] == 0).all()
    assert [(inner == step).mean() for step in steps] == pytest.approx([1 / 6] * 6, abs=0.02)


def naive_smear(levels: np.ndarray, radius: float, sigma: float, degrees: float) -> np.ndarray:
    """ImageMagick's motion blur, pixel by pixel, on `(h, w)`."""
    width = 2 * ceil(radius) + 1
    kernel = np.array([np.exp(-i * i / (2 * sigma * sigma)) for i in range(width)])
    kernel /= kernel.sum()
    down, right = width * np.sin(np.radians(degrees)), width * np.cos(np.radians(degrees))
    length = np.hypot(right, down)
    h, w = levels.shape
    out = np.zeros((h, w))
    for i in range(width):
        dx, dy = ceil(i * right / length - 0.5), ceil(i * down / length - 0.5)
        rows, columns = np.clip(np.arange(h) + dy, 0, h - 1), np.clip(np.arange(w) + dx, 0, w - 1)
        out += kernel[i] * levels[np.ix_(rows, columns)]
    return np.floor(out + 0.5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_as_imagemagick(severity: int) -> None:
    radius, sigma = [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)][severity - 1]
    b = batch("motion_blur", photos())
    angles = b.uniforms("angle", -45, 45)
    assert (np.abs(angles) < 45).all() and np.unique(angles).size == 6
    expected = np.stack(
        [[naive_smear(channel, radius, sigma, a) for channel in i] for i, a in zip(photos(), angles, strict=True)]
    )
    assert_near(blur.motion_blur(b, severity), expected.astype(np.uint8))


def test_smear_by_hand() -> None:
    """A line to the right looks right: the point leaves a trail on its left, half a Gaussian."""
    point = np.zeros((1, 1, 9, 9), dtype=np.float32)
    point[0, 0, 4, 6] = 200
    weights = np.exp(-np.array([0, 1, 4, 9, 16, 25, 36, 49, 64]) / 2)  # 2·4 + 1 pixels, sigma 1
    trail = np.floor(200 * weights / weights.sum() + 0.5)
    out = geometry.smear(point, 4, 1, np.zeros(1, dtype=np.float32))
    assert out[0, 0, 4].tolist() == [*trail[6::-1], 0, 0] and np.delete(out[0, 0], 4, axis=0).sum() == 0


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_by_scipys_zoom(severity: int) -> None:
    factors = np.arange(1, [1.06, 1.11, 1.16, 1.21, 1.26][severity - 1], 0.01)
    expected = []
    for image in photos(3) / 255:
        total = image.copy()
        for factor in factors:
            cut_out = int(np.ceil(32 / factor))
            top = (32 - cut_out) // 2
            part = image[:, top : top + cut_out, top : top + cut_out]
            larger = ndimage.zoom(part, (1, factor, factor), order=1)
            trim = (larger.shape[1] - 32) // 2
            total += larger[:, trim : trim + 32, trim : trim + 32]
        expected.append(total / (len(factors) + 1))
    assert_near(blur.zoom_blur(batch("zoom_blur", photos(3)), severity), cut(np.stack(expected)))


def test_warp_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    images = rng.random((2, 3, 9, 12)).astype(np.float32)
    rows, columns = (rng.uniform(-6, 17, (2, 9, 12)).astype(np.float32) for _ in range(2))
    for fold, mode in ((geometry.mirror, "mirror"), (geometry.reflect, "reflect")):
        ours = geometry.warp(images, fold(rows, 9), fold(columns, 12))
        for i in range(2):
            for k in range(3):
                theirs = ndimage.map_coordinates(images[i, k], [rows[i], columns[i]], order=1, mode=mode)
                assert ours[i, k] == pytest.approx(theirs, abs=1e-5)
