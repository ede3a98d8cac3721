from __future__ import annotations

import numpy as np
import pytest
from corruption_pictures import assert_near, batch, cut, photos

from evoens.tasks.corruption import drops
from tests.tasks.corruption.test_corruption_blur import naive_gaussian

CONSTANTS = [
    (0.62, 0.1, 0.7, 0.7, 0.5),
    (0.65, 0.1, 0.8, 0.7, 0.5),
    (0.65, 0.3, 1.0, 0.69, 0.5),
    (0.65, 0.1, 0.7, 0.69, 0.6),
    (0.65, 0.1, 0.5, 0.68, 0.6),
]


def filtered(image: np.ndarray, kernel: np.ndarray, mode: str = "reflect") -> np.ndarray:
    """3 × 3, no flip; NumPy's "reflect" is OpenCV's reflect-101."""
    h, w = image.shape
    padded = np.pad(image.astype(float), 1, mode=mode)
    return sum(kernel[i, j] * padded[i : i + h, j : j + w] for i in range(3) for j in range(3))


def naive_canny(image: np.ndarray, low: int, high: int) -> np.ndarray:
    """Pixel by pixel, directions by angle, and a flood from the strong ones."""
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    dx, dy = filtered(image, sobel, "edge"), filtered(image, sobel.T, "edge")
    strength = np.pad(np.abs(dx) + np.abs(dy), 1)
    h, w = image.shape
    maybe = np.zeros((h, w), dtype=bool)
    for y, x in np.ndindex(h, w):
        m, angle = strength[y + 1, x + 1], np.degrees(np.arctan2(abs(dy[y, x]), abs(dx[y, x])))
        if angle < 22.5:
            top = m > strength[y + 1, x] and m >= strength[y + 1, x + 2]
        elif angle > 67.5:
            top = m > strength[y, x + 1] and m >= strength[y + 2, x + 1]
        else:
            s = -1 if (dx[y, x] < 0) != (dy[y, x] < 0) else 1
            top = m > strength[y, x + 1 - s] and m > strength[y + 2, x + 1 + s]
        maybe[y, x] = top and m > low
    edges = np.zeros((h, w), dtype=bool)
    flood = [(y, x) for y, x in np.argwhere(maybe) if strength[y + 1, x + 1] > high]
    while flood:
        y, x = flood.pop()
        if 0 <= y < h and 0 <= x < w and maybe[y, x] and not edges[y, x]:
            edges[y, x] = True
            flood += [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return edges


def naive_distance(edges: np.ndarray) -> np.ndarray:
    """The shortest chain of steps of 1, 1.4 and 2.1969, by trying until nothing gets shorter."""
    h, w = edges.shape
    steps = [
        (a, b)
        for a in range(-2, 3)
        for b in range(-2, 3)
        if (abs(a), abs(b)) in {(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)}
    ]
    far = np.where(edges, 0.0, np.inf)
    while True:
        padded = np.pad(far, 2, constant_values=np.inf)
        cost = {1: 1.0, 2: 1.4, 5: 2.1969}
        tried = [padded[2 + a : 2 + a + h, 2 + b : 2 + b + w] + cost[a * a + b * b] for a, b in steps]
        nearer = np.minimum(far, np.min(tried, axis=0))
        if (nearer == far).all():
            return far
        far = nearer


def naive_equalize(image: np.ndarray) -> np.ndarray:
    counts = np.bincount(image.ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    if counts[first] == image.size:
        return image
    table, seen = np.zeros(256), 0
    for level in range(first + 1, 256):
        seen += counts[level]
        table[level] = np.rint(seen * 255 / (image.size - counts[first]))
    return table[image].astype(np.uint8)


def naive_water(liquid: np.ndarray) -> np.ndarray:
    distance = np.minimum(naive_distance(naive_canny(liquid, 50, 150)), 20)
    box, relief = np.full((3, 3), 1 / 9), np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    level = naive_equalize((filtered(distance, box) + 1e-3).astype(np.uint8))
    lit = np.rint(filtered(np.clip(filtered(level, relief), 0, 255), box))
    shine = liquid * lit
    return shine / shine.max() if shine.any() else shine


def liquids(severity: int, n: int) -> np.ndarray:
    mean, spread, sigma, floor, _ = CONSTANTS[severity - 1]
    drawn = batch("spatter", photos(n)).normals("liquid", 32, 32).astype(float) * spread + mean
    layers = np.stack([naive_gaussian(layer, sigma) for layer in drawn])
    layers[layers < floor] = 0
    return layers


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_step_by_step(severity: int) -> None:
    shine = np.stack([naive_water(layer) for layer in cut(liquids(severity, 6))])[:, None] * 0.5
    colour = np.array([175, 238, 238]).reshape(3, 1, 1) / 255
    assert_near(drops.spatter(batch("spatter", photos()), severity), cut(photos() / 255 + shine * colour))


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_step_by_step(severity: int) -> None:
    mask = (liquids(severity, 6) > 0).astype(float)
    cover = np.stack([naive_gaussian(layer, CONSTANTS[severity - 1][4]) for layer in mask])[:, None]
    cover[cover < 0.8] = 0
    colour = np.array([63, 42, 20]).reshape(3, 1, 1) / 255
    expected = cut(photos() / 255 * (1 - cover) + cover * colour)
    assert_near(drops.spatter(batch("spatter", photos()), severity), expected)


def test_edges_by_hand() -> None:
    """A step of 100 between columns 3 and 4: both are as steep, the left one wins. One of 10 is none."""
    image = np.zeros((2, 8, 8), dtype=np.uint8)
    image[0, :, 4:], image[1, :, 4:] = 100, 10
    edges = drops.canny(image, 50, 150)
    assert edges[0].tolist() == [[x == 3 for x in range(8)]] * 8 and not edges[1].any()


def test_edges_pixel_by_pixel() -> None:
    image = photos(8, 1, 24, 20)[:, 0]
    expected = np.stack([naive_canny(i, 50, 150) for i in image])
    assert expected.any() and (drops.canny(image, 50, 150) == expected).all()


def test_distances_are_near_those_of_chains() -> None:
    rng = np.random.default_rng(2)
    edges = rng.random((5, 20, 24)) < 0.02
    edges[2] = False
    ours = drops.edge_distance(edges)
    assert np.isinf(ours[2]).all()
    for i in (0, 1, 3, 4):
        theirs = naive_distance(edges[i])
        assert np.abs(ours[i] - theirs).max() < 0.3 and (np.abs(ours[i] - theirs) < 1e-5).mean() > 0.95


def test_equalize_level_by_level() -> None:
    images = np.stack([*photos(3, 1, 16, 16)[:, 0] // 8, np.full((16, 16), 20, dtype=np.uint8)])
    assert (drops.equalize(images) == np.stack([naive_equalize(i) for i in images])).all()
    assert (drops.equalize(images)[3] == 20).all()


def test_a_dry_lens_shows_the_image() -> None:
    assert (drops.water(np.zeros((2, 8, 8), dtype=np.uint8)) == 0).all()
