"""Weather: snow, frost and fog."""

from __future__ import annotations

import numpy as np

from evoens.tasks.corruption.batch import Batch, Bytes, Floats, grey_levels, luma, tint
from evoens.tasks.corruption.geometry import smear, warp, zoomed


def snow(batch: Batch, severity: int) -> Bytes:
    """Flakes, smeared by the wind between −135° and −45°, twice (once turned by 180°), over a paler image."""
    mean, spread, zoom, floor, radius, sigma, kept = (
        (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    flakes = _enlarged(batch.normals("flakes", *batch.size) * np.float32(spread) + np.float32(mean), zoom * batch.scale)
    flakes[flakes < floor] = 0
    levels = grey_levels(flakes).astype(np.float32)
    fallen = smear(levels, radius * batch.scale, sigma * batch.scale, batch.uniforms("wind", -135, -45))
    fallen /= np.float32(255)
    unit = batch.unit
    pale = np.maximum(unit, luma(unit) * np.float32(1.5) + np.float32(0.5))
    ground = unit * np.float32(kept) + pale * np.float32(1 - kept)
    return grey_levels(ground + fallen + fallen[:, :, ::-1, ::-1])


def _enlarged(maps: Floats, factor: float) -> Floats:
    """Zoom `(n, h, w)` about the middle: `(n, 1, h, w)`."""
    n, h, w = maps.shape
    rows = np.broadcast_to(zoomed(h, factor).astype(np.float32)[:, None], (n, h, w))
    columns = np.broadcast_to(zoomed(w, factor).astype(np.float32), (n, h, w))
    return warp(maps[:, None], rows, columns)


def fog(batch: Batch, severity: int) -> Bytes:
    """Add a plasma fractal, and darken so that the lightest point stays as light."""
    density, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]
    unit = batch.unit
    lightest = unit.max(axis=(1, 2, 3), keepdims=True)
    foggy = unit + plasma_fractal(batch, "fog", decay) * np.float32(density)
    return grey_levels(foggy * (lightest / (lightest + np.float32(density))))


def frost(batch: Batch, severity: int) -> Bytes:
    """Lay ice over a darker image: `a · image + b · ice` with upstream's a and b.

    Upstream crops five photographs of frosted windows. Ours is drawn for each image instead: needles where two plasma
    fractals cross their middle height, on pale patches of a third, in a cold white. So results on this kind do not
    compare with results on CIFAR-10-C's.
    """
    kept, ice = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    return grey_levels(batch.unit * np.float32(kept) + window_ice(batch) * np.float32(ice))


def window_ice(batch: Batch) -> Floats:
    """The ice of each image, from 0 to 1: `(n, c, h, w)`."""
    needles = np.maximum(*(_ridges(plasma_fractal(batch, f"needles {k}", 1.6)) for k in range(2)))
    depth = needles * np.float32(0.6) + plasma_fractal(batch, "patches", 2.0) * np.float32(0.4)
    return np.asarray(depth * tint(0.82, 0.93, 1.0, batch.pixels.shape[1]), dtype=np.float32)


def _ridges(maps: Floats) -> Floats:
    ridge = 1 - np.abs(2 * maps - 1)
    cube = ridge * ridge * ridge
    sixth: Floats = cube * cube
    return sixth


def plasma_fractal(batch: Batch, what: str, decay: float) -> Floats:
    """Height maps by the diamond-square algorithm, from 0 to 1: `(n, 1, h, w)`.

    Each midpoint is the mean of its four neighbours (on a torus) and a random step, whose size falls by `decay²`
    from one scale to the next. The map's side is the next power of two; images take its first rows and columns.
    """
    h, w = batch.size
    side = 1 << (max(h, w) - 1).bit_length()
    steps = batch.uniforms(what, -1, 1, side, side)
    maps = np.zeros_like(steps)
    stride, wibble = side, 100.0
    while stride >= 2:
        _diamond_square(maps, steps * np.float32(wibble**2), stride)
        stride, wibble = stride // 2, wibble / decay
    maps -= maps.min(axis=(1, 2), keepdims=True)
    maps /= maps.max(axis=(1, 2), keepdims=True)
    return maps[:, None, :h, :w]


def _diamond_square(maps: Floats, steps: Floats, stride: int) -> None:
    half = stride // 2
    even, odd = slice(0, None, stride), slice(half, None, stride)

    def fill(rows: slice, columns: slice, *neighbours: Floats) -> None:
        maps[:, rows, columns] = sum(neighbours[1:], neighbours[0]) / 4 + steps[:, rows, columns]

    corners = maps[:, even, even]
    below = np.roll(corners, -1, axis=1)
    fill(odd, odd, corners, below, np.roll(corners, -1, axis=2), np.roll(below, -1, axis=2))
    middles = maps[:, odd, odd]
    fill(even, odd, middles, np.roll(middles, 1, axis=1), corners, np.roll(corners, -1, axis=2))
    fill(odd, even, middles, np.roll(middles, 1, axis=2), corners, np.roll(corners, -1, axis=1))
