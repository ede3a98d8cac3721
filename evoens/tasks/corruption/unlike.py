"""Corruptions unlike CIFAR-10-C's: four of ImageNet-C̄ (Mintun et al. 2021) that DRE measures resilience on.

Severity 3 is DRE's strength (plasma 4, checkerboard 4, water drop 7, lines 1.6 of 10); the others are ours, one step
of 1 (lines: 0.4) apart. Lengths are fractions of the image's shorter side. The grey that covers is 128.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evoens.tasks.corruption.batch import Batch, Bytes, Floats, grey_levels
from evoens.tasks.corruption.geometry import warp

TURN = 2 * np.pi
GREY = np.float32(128 / 255)


def _grid(batch: Batch) -> tuple[Floats, Floats]:
    """Rows and columns of the pixels, `(h, 1)` and `(1, w)`."""
    h, w = batch.size
    return np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)[None]


def _per_image(values: Floats) -> Floats:
    return values.reshape(-1, 1, 1)


def plasma(batch: Batch, severity: int) -> Bytes:
    """Blend in coloured waves, bent into each other four to six times (images of one channel: their mean)."""
    strength = np.float32((2, 3, 4, 5, 6)[severity - 1] * 6.4 / 255)
    waves = plasma_waves(
        batch,
        time=_per_image(batch.uniforms("time", 0, 3 * TURN)),
        bends=_per_image(np.floor(batch.uniforms("bends", 4, 7))),
        sharpness=_per_image(batch.uniforms("sharpness", 0.5, 1)),
        length=_per_image(batch.uniforms("length", 0.075, 0.2)) * np.float32(batch.side),
    )
    if batch.pixels.shape[1] == 1:
        waves = (waves[:, :1] + waves[:, 1:2] + waves[:, 2:]) / np.float32(3)
    return grey_levels(batch.unit * (1 - strength) + waves * strength)


def plasma_waves(batch: Batch, time: Floats, bends: Floats, sharpness: Floats, length: Floats) -> Floats:
    """The waves, from −1 to 1: `(n, 3, h, w)`; each argument is `(n, 1, 1)`, `length` in pixels."""
    rows, columns = _grid(batch)
    x, y = np.broadcast_arrays(columns / length, rows / length)
    frequency, damping, slowness = 1.0, np.ones_like(sharpness), 1.0
    for bend in range(6):
        phase = time / np.float32(slowness)
        along = np.cos(y * np.float32(frequency) + phase) / damping
        across = np.sin(x * np.float32(frequency) + phase) / damping
        going = bend < bends
        x = x + np.where(going, along - across * np.float32(0.3), 0)
        y = y + np.where(going, across + along * np.float32(0.3), 0)
        frequency, damping, slowness = frequency * 1.93, damping * (np.float32(2.25) - sharpness), slowness * 1.15
    green = np.sin((x + y + np.sin(time)) * np.float32(0.5))
    return np.stack([np.sin(x - time), green, np.sin(y + time)], axis=1)


def checkerboard(batch: Batch, severity: int) -> Bytes:
    """Cover a fraction of every second square of a turned board with grey."""
    fraction = (0.2, 0.3, 0.4, 0.5, 0.6)[severity - 1]
    angle = _per_image(batch.uniforms("angle", 0, TURN))
    square = np.maximum(_per_image(batch.uniforms("square", 0.1, 0.25)) * np.float32(batch.side), 1)
    covered = batch.uniforms("squares", 0, 1, 40, 40) < fraction
    hidden = board(batch, angle, square, covered)
    return np.where(hidden[:, None], np.uint8(128), batch.pixels)


def board(batch: Batch, angle: Floats, square: Floats, covered: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where a board turned by `angle` hides the image, `(n, h, w)`.

    Args:
        batch: the images.
        angle: in radians, `(n, 1, 1)`.
        square: side of the squares, in pixels, `(n, 1, 1)`.
        covered: which squares are covered, `(n, 40, 40)`; a board has `⌊4·side/square⌋` rows and columns of them, and
            goes round. Upstream cuts positions towards 0, so that squares on both sides of it share one entry.
    """
    rows, columns = _grid(batch)
    cos, sin = np.cos(angle), np.sin(angle)
    down, right = (cos * rows + sin * columns) / square, (cos * columns - sin * rows) / square
    same = np.floor(down).astype(int) % 2 == np.floor(right).astype(int) % 2
    squares = np.floor(4 * batch.side / square).astype(int)
    i, j = np.trunc(down).astype(int) % squares, np.trunc(right).astype(int) % squares
    return np.asarray(same & covered[np.arange(len(angle)).reshape(-1, 1, 1), i, j])


def water_drop(batch: Batch, severity: int) -> Bytes:
    """Refract the image by the rings around a drop; what comes from outside the image is black."""
    amplitude = (5, 6, 7, 8, 9)[severity - 1] * 0.025
    h, w = batch.size
    rows, columns = _grid(batch)
    down = rows - _per_image(batch.uniforms("row", 0.25, 0.75)) * np.float32(h)
    right = columns - _per_image(batch.uniforms("column", 0.25, 0.75)) * np.float32(w)
    length = _per_image(batch.uniforms("length", 0.05, 0.2)) * np.float32(batch.side)
    bulge = rings(down, right, length, _per_image(batch.uniforms("phase", 0, TURN)), batch.side // 2)
    bulge *= np.float32(amplitude)
    framed = np.pad(batch.unit, ((0, 0), (0, 0), (1, 1), (1, 1)))
    from_rows = np.clip(rows + down * bulge + 1, 0, h + 1)
    from_columns = np.clip(columns + right * bulge + 1, 0, w + 1)
    return grey_levels(warp(framed, from_rows, from_columns))


def rings(down: Floats, right: Floats, length: Floats, phase: Floats, radius: int) -> Floats:
    """How far each pixel moves outwards, as a fraction of its distance from the drop; 0 beyond `radius`."""
    distance = np.sqrt(down * down + right * right)
    wave = np.sin(distance / length * np.float32(TURN) - phase)
    fall = np.where(distance == 0, np.float32(1), length / np.where(distance == 0, 1, distance))
    return np.where(distance > radius, np.float32(0), wave * fall)


def lines(batch: Batch, severity: int) -> Bytes:
    """Draw grey lines, two sides long, scattered about one direction; one at least.

    Upstream lays them one after another and cuts to grey levels each time; ours are cut once.
    """
    count = max(1, int((0.08, 0.12, 0.16, 0.2, 0.24)[severity - 1] * batch.side))
    h, w = batch.size
    mean, spread = batch.uniforms("angle", 0, TURN), batch.uniforms("spread", 0.1 * TURN, TURN)
    drawn = batch.uniforms("lines", 0, 1, count, 3)
    clear = np.ones((len(drawn), h, w), dtype=np.float32)
    for k in range(count):
        angle = mean + spread * (drawn[:, k, 2] - np.float32(0.5))
        way = batch.side * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        centre = drawn[:, k, :2] * np.array([h, w], dtype=np.float32)
        clear *= 1 - line(batch, np.trunc(centre - way), np.trunc(centre + way))
    return grey_levels(GREY + (batch.unit - GREY) * clear[:, None])


def line(batch: Batch, start: Floats, end: Floats) -> Floats:
    """How much of each pixel a line one pixel wide covers, `(n, h, w)`: 1 less the distance from it.

    Args:
        batch: the images.
        start: row and column, whole pixels, `(n, 2)`.
        end: likewise; the line's ends are cut square to the axis it is nearer to, as skimage's are.
    """
    rows, columns = _grid(batch)
    (y0, x0), (y1, x1) = ([_per_image(point[:, k]) for k in range(2)] for point in (start, end))
    dy, dx = y1 - y0, x1 - x0
    aside = np.abs((rows - y0) * dx - (columns - x0) * dy) / np.sqrt(dy * dy + dx * dx)
    within_rows = (rows >= np.minimum(y0, y1)) & (rows <= np.maximum(y0, y1))
    within_columns = (columns >= np.minimum(x0, x1)) & (columns <= np.maximum(x0, x1))
    within = np.where(np.abs(dy) >= np.abs(dx), within_rows, within_columns)
    return np.asarray(np.maximum(1 - aside, 0) * within, dtype=np.float32)
