from __future__ import annotations

import numpy as np
import pytest
from corruption_pictures import assert_near, batch, cut, photos
from scipy import ndimage

from evoens.tasks.corruption import weather
from tests.tasks.corruption.test_corruption_blur import naive_smear

SEVERITIES = range(1, 6)


def naive_fractal(steps: np.ndarray, decay: float) -> np.ndarray:
    """Diamond-square, point by point, on a torus `(side, side)`."""
    side = len(steps)
    heights = np.zeros((side, side))
    stride, wibble = side, 100.0
    while stride >= 2:
        half = stride // 2

        def mean(points, y: int, x: int, wibble: float = wibble) -> float:
            return sum(heights[p % side, q % side] for p, q in points) / 4 + wibble * wibble * steps[y, x]

        for y in range(half, side, stride):
            for x in range(half, side, stride):
                corners = [(y + a * half, x + b * half) for a in (-1, 1) for b in (-1, 1)]
                heights[y, x] = mean(corners, y, x)
        for y in range(0, side, half):
            for x in range(half if (y // half) % 2 == 0 else 0, side, stride):
                heights[y, x] = mean([(y - half, x), (y + half, x), (y, x - half), (y, x + half)], y, x)
        stride, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_by_a_fractal_point_by_point(severity: int) -> None:
    density, decay = [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)][severity - 1]
    b = batch("fog", photos(2))
    expected = []
    for image, steps in zip(photos(2) / 255, b.uniforms("fog", -1, 1, 32, 32), strict=True):
        light = image.max()
        expected.append((image + density * naive_fractal(steps, decay)) * light / (light + density))
    assert_near(weather.fog(b, severity), cut(np.stack(expected)))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_step_by_step(severity: int) -> None:
    mean, spread, zoom, floor, radius, sigma, kept = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ][severity - 1]
    b = batch("snow", photos(3))
    winds = b.uniforms("wind", -135, -45)
    expected = []
    for image, drawn, wind in zip(photos(3) / 255, b.normals("flakes", 32, 32), winds, strict=True):
        size = int(np.ceil(32 / zoom))
        top = (32 - size) // 2
        layer = drawn.astype(float) * spread + mean
        layer = ndimage.zoom(layer[top : top + size, top : top + size], zoom, order=1)
        trim = (len(layer) - 32) // 2
        layer = layer[trim : trim + 32, trim : trim + 32]
        layer[layer < floor] = 0
        layer = naive_smear(cut(layer), radius, sigma, wind) / 255
        grey = np.tensordot([0.299, 0.587, 0.114], image, 1)
        x = kept * image + (1 - kept) * np.maximum(image, grey * 1.5 + 0.5)
        expected.append(x + layer + np.rot90(layer, 2))
    assert_near(weather.snow(b, severity), cut(np.stack(expected)), equal=0.98)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_lays_ice_over_a_darker_image(severity: int) -> None:
    kept, ice = [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)][severity - 1]
    b = batch("frost", photos())
    drawn = weather.window_ice(b)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert_near(weather.frost(b, severity), cut(kept * (photos() / 255) + ice * drawn.astype(float)))


def test_ice_is_bright_cold_and_of_each_image_its_own() -> None:
    ice = weather.window_ice(batch("frost", photos(12)))
    assert 0.3 < ice.mean() < 0.6 and ice.std((2, 3)).mean() > 0.1
    assert ice[:, 2].mean() > ice[:, 1].mean() > ice[:, 0].mean()
    assert abs(np.corrcoef(ice[:, 0].reshape(12, -1))[np.triu_indices(12, 1)].mean()) < 0.2
    grey = weather.window_ice(batch("frost", photos(12, 1)))
    assert grey == pytest.approx(np.tensordot(ice, [0.299, 0.587, 0.114], (1, 0))[:, None], abs=1e-6)
