from __future__ import annotations

import numpy as np
import pytest
from corruption_pictures import assert_near, batch, cut, photos

from evoens.tasks.corruption import unlike

SEVERITIES = range(1, 6)


def draw(b, what: str, low: float, high: float) -> np.ndarray:
    return b.uniforms(what, low, high).astype(float)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_plasma_pixel_by_pixel(severity: int) -> None:
    b = batch("plasma", photos(3, 3, 16, 16))
    strength = (severity + 1) / 10 * 64
    draws = [draw(b, "time", 0, 6 * np.pi), draw(b, "bends", 4, 7).astype(int), draw(b, "sharpness", 0.5, 1)]
    draws.append(draw(b, "length", 0.075, 0.2) * 16)
    waves = np.empty((3, 3, 16, 16))
    for i, (time, bends, sharpness, length) in enumerate(zip(*draws, strict=True)):
        for row, column in np.ndindex(16, 16):
            x, y = column / length, row / length
            for bend in range(bends):
                phase = time / 1.15**bend
                along, across = np.cos(y * 1.93**bend + phase), np.sin(x * 1.93**bend + phase)
                along, across = (v / (2.25 - sharpness) ** bend for v in (along, across))
                x, y = x + along - 0.3 * across, y + across + 0.3 * along
            waves[i, :, row, column] = np.sin(x - time), np.sin((x + y + np.sin(time)) / 2), np.sin(y + time)
    expected = np.clip((1 - strength / 255) * b.pixels + strength * waves, 0, 255) / 255
    assert_near(unlike.plasma(b, severity), cut(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_checkerboard_pixel_by_pixel(severity: int) -> None:
    b = batch("checkerboard", photos(2))
    angles, squares = draw(b, "angle", 0, 2 * np.pi), np.maximum(draw(b, "square", 0.1, 0.25) * 32, 1)
    grids = b.uniforms("squares", 0, 1, 40, 40) < (severity + 1) / 10
    expected = photos(2)
    for i, (angle, square) in enumerate(zip(angles, squares, strict=True)):
        grid = grids[i, : int(128 // square), : int(128 // square)]
        for y, x in np.ndindex(32, 32):
            nx, ny = (np.cos(angle) * y + np.sin(angle) * x) / square, (np.cos(angle) * x - np.sin(angle) * y) / square
            if int(nx % 2) == int(ny % 2) and grid[int(nx), int(ny)]:
                expected[i, :, y, x] = 128
    assert (unlike.checkerboard(b, severity) == expected).mean() > 0.999


def test_checkerboard_covers_half_its_fraction() -> None:
    dark = np.zeros((300, 1, 16, 16), dtype=np.uint8)
    for severity in SEVERITIES:
        covered = (unlike.checkerboard(batch("checkerboard", dark), severity) == 128).mean()
        assert covered == pytest.approx((severity + 1) / 20, rel=0.1)


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Of `(c, h, w)`, black outside."""
    top, left = int(np.floor(y)), int(np.floor(x))
    total = np.zeros(len(image))
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return total


@pytest.mark.parametrize("severity", SEVERITIES)
def test_water_drop_pixel_by_pixel(severity: int) -> None:
    b = batch("water_drop", photos(3, 3, 24, 24))
    amplitude = (severity + 4) / 10 * 0.25
    draws = [draw(b, "row", 0.25, 0.75) * 24, draw(b, "column", 0.25, 0.75) * 24, draw(b, "length", 0.05, 0.2) * 24]
    expected = np.empty((3, 3, 24, 24))
    for i, (cy, cx, length, phase) in enumerate(zip(*draws, draw(b, "phase", 0, 2 * np.pi), strict=True)):
        for y, x in np.ndindex(24, 24):
            away = np.hypot(y - cy, x - cx)
            bulge = amplitude * np.sin(away / length * 2 * np.pi - phase) * length / away if away <= 12 else 0
            expected[i, :, y, x] = bilinear(b.pixels[i] / 255, y + bulge * (y - cy), x + bulge * (x - cx))
    assert_near(unlike.water_drop(b, severity), cut(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_lines_one_after_another(severity: int) -> None:
    b = batch("lines", photos(2, 3, 16, 16))
    means, spreads = draw(b, "angle", 0, 2 * np.pi), draw(b, "spread", 0.2 * np.pi, 2 * np.pi)
    count = int([0.08, 0.12, 0.16, 0.2, 0.24][severity - 1] * 16)
    drawn = b.uniforms("lines", 0, 1, count, 3).astype(float)
    expected = b.pixels.astype(float)
    for i, k in np.ndindex(2, count):
        y, x, turn = drawn[i, k]
        angle = means[i] + spreads[i] * (turn - 0.5)
        dy, dx = 16 * np.cos(angle), 16 * np.sin(angle)
        y0, x0, y1, x1 = int(16 * y - dy), int(16 * x - dx), int(16 * y + dy), int(16 * x + dx)
        for row, column in np.ndindex(16, 16):
            steep = abs(y1 - y0) >= abs(x1 - x0)
            inside = min(y0, y1) <= row <= max(y0, y1) if steep else min(x0, x1) <= column <= max(x0, x1)
            aside = abs((row - y0) * (x1 - x0) - (column - x0) * (y1 - y0)) / np.hypot(y1 - y0, x1 - x0)
            opacity = max(1 - aside, 0) * inside
            expected[i, :, row, column] = (1 - opacity) * expected[i, :, row, column] + opacity * 128
    assert_near(unlike.lines(b, severity), cut(expected / 255))


def test_a_line_by_hand() -> None:
    """Flat: one row, ends included. Diagonal: the pixels beside it are √½ away."""
    b = batch("lines", photos(2, 1, 8, 8))
    flat, diagonal = unlike.line(
        b, np.array([[3, 1], [0, 0]], dtype=np.float32), np.array([[3, 5], [7, 7]], dtype=np.float32)
    )
    assert np.argwhere(flat).tolist() == [[3, x] for x in range(1, 6)] and set(np.unique(flat)) == {0, 1}
    assert diagonal == pytest.approx(np.eye(8) + (1 - 0.5**0.5) * (np.eye(8, k=1) + np.eye(8, k=-1)), abs=1e-6)
