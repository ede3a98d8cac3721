"""Spatter: drops of water or mud on the lens, with the steps of OpenCV that upstream makes water of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate, distance_transform_edt, label

from evoens.tasks.corruption.batch import HAIR, Batch, Bytes, Floats, grey_levels, tint
from evoens.tasks.corruption.blur import gaussian

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])  # light from one corner
BOX = np.full((3, 3), 1 / 9)
FAR = 20.0  # pixels from an edge that all count as far


def spatter(batch: Batch, severity: int) -> Bytes:
    """Drops where blurred noise is high: water (severities 1 to 3) shines, mud (4 and 5) covers.

    Where images are larger the blur is wider, and the noise stronger, so that as much of the image is wet.
    """
    mean, spread, sigma, floor, strength, mud = (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    )[severity - 1]
    drawn = batch.normals("liquid", *batch.size) * np.float32(spread * batch.scale) + np.float32(mean)
    liquid = gaussian(drawn, sigma * batch.scale)
    unit, channels = batch.unit, batch.pixels.shape[1]
    if mud:
        cover = gaussian((liquid > floor).astype(np.float32), strength * batch.scale)[:, None]
        cover[cover < 0.8] = 0
        return grey_levels(unit * (1 - cover) + cover * tint(63 / 255, 42 / 255, 20 / 255, channels))
    liquid[liquid < floor] = 0
    shine = water(grey_levels(liquid))[:, None] * np.float32(strength)
    return grey_levels(unit + shine * tint(175 / 255, 238 / 255, 238 / 255, channels))


def water(liquid: Bytes) -> Floats:
    """How strongly drops shine, from 0 to 1: their height by a relief of the distance from their edges, `(n, h, w)`."""
    distance = np.minimum(edge_distance(canny(liquid, 50, 150)), np.float32(FAR))
    level = equalize(np.floor(_filter(distance, BOX) + HAIR).astype(np.uint8))
    lit = np.clip(_filter(level.astype(np.float32), RELIEF), 0, 255)
    shine = liquid * np.rint(_filter(lit, BOX)).astype(np.float32)
    most = shine.max(axis=(1, 2), keepdims=True)
    return np.asarray(shine / np.where(most == 0, 1, most), dtype=np.float32)


def _filter(maps: npt.NDArray[np.generic], kernel: npt.NDArray[np.generic], mode: str = "mirror") -> Floats:
    filtered: Floats = correlate(maps, kernel[None], output=np.float32, mode=mode)
    return filtered


def canny(maps: Bytes, low: int, high: int) -> Bools:
    """Edges (Canny 1986, as OpenCV has it: Sobel 3 × 3, sum of absolute values, thresholds exclusive): `(n, h, w)`."""
    sobel = np.outer([1, 2, 1], [-1, 0, 1])
    across = _filter(maps, sobel, "nearest").astype(np.int32)
    down = _filter(maps, sobel.T, "nearest").astype(np.int32)
    strength = np.abs(across) + np.abs(down)
    maybe = _crests(strength, across, down) & (strength > low)
    in_plane = np.zeros((3, 3, 3), dtype=int)
    in_plane[1] = 1  # pieces hang together over corners, never from image to image
    pieces, count = label(maybe, in_plane)
    strong = np.zeros(count + 1, dtype=bool)
    strong[pieces[maybe & (strength > high)]] = True
    return np.asarray(strong[pieces])


def _crests(strength: Ints, across: Ints, down: Ints) -> Bools:
    """Where the gradient is no weaker than on either side, looking along it in one of four directions."""
    wide = np.pad(strength, ((0, 0), (1, 1), (1, 1)))
    h, w = strength.shape[1:]

    def beside(y: int, x: int) -> Ints:
        return wide[:, 1 + y : 1 + y + h, 1 + x : 1 + x + w]

    x, y = np.abs(across), np.abs(down) * 32768
    flat, steep = y < x * 13573, y > x * (13573 + 65536)  # tan 22.5° and tan 67.5° in 1/32768
    falling = (across < 0) == (down < 0)
    level = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    upright = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    slash = (strength > beside(-1, 1)) & (strength > beside(1, -1))
    backslash = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    return np.where(flat, level, np.where(steep, upright, np.where(falling, backslash, slash)))


def edge_distance(edges: Bools) -> Floats:
    """Distance from the nearest edge in pixels, by steps of 1, 1.4 and 2.1969 (Borgefors 1986): `(n, h, w)`.

    The nearest is the one nearest in a straight line. Infinite where an image has no edge.
    """
    apart = (1e6, 1, 1)  # other images are farther than any edge of its own
    nearest = distance_transform_edt(~edges, apart, return_distances=False, return_indices=True)
    rows, columns = np.ogrid[: edges.shape[1], : edges.shape[2]]
    dy, dx = np.abs(nearest[1] - rows), np.abs(nearest[2] - columns)
    long, short = np.maximum(dy, dx), np.minimum(dy, dx)
    knights = np.minimum(short, long - short)  # steps of two ahead and one aside
    rest = np.where(2 * short <= long, long - 2 * short, (2 * short - long) * 1.4)
    distance = rest + knights * 2.1969
    return np.where(edges.any(axis=(1, 2), keepdims=True), distance, np.inf).astype(np.float32)


def equalize(maps: Bytes) -> Bytes:
    """Spread each image's levels over 0 to 255 by their ranks, the darkest to 0; an image of one level stays."""
    n = len(maps)
    offset = np.arange(n).reshape(n, 1, 1) * 256
    counts = np.bincount((maps + offset).ravel(), minlength=256 * n).reshape(n, 256)
    ranks = counts.cumsum(axis=1)
    darkest = np.take_along_axis(counts, (counts > 0).argmax(axis=1)[:, None], axis=1)
    others = maps[0].size - darkest
    spread = np.rint(np.maximum(ranks - darkest, 0) * (255 / np.where(others == 0, 1, others)))
    table = np.where(others == 0, np.arange(256), spread).astype(np.uint8)
    return table.ravel()[maps + offset]
