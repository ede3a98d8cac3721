from __future__ import annotations

import hashlib

import numpy as np

from evoens.tasks.data.sources import BLUR, MIDDLE, REACH, TURNS, spirals


def test_points_lie_along_two_arms_each_the_other_turned_by_half_a_circle() -> None:
    pixels, labels = spirals()
    assert pixels.shape == (2750, 1, 2, 1) and pixels.dtype == np.uint8 and np.bincount(labels).tolist() == [1375, 1375]
    points = (pixels.reshape(-1, 2) - MIDDLE) / REACH
    angle = np.linspace(0, TURNS * 2 * np.pi, 4000)
    arm = (angle / angle.max())[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    for index, own in ((0, arm), (1, -arm)):
        here = points[labels == index]
        to_own, to_other = (np.linalg.norm(here[:, None] - some[None], axis=-1).min(1) for some in (own, -own))
        assert to_own.max() < 5 * BLUR and 0.4 * BLUR < to_own.mean() < 1.2 * BLUR
        assert (to_own < to_other).mean() > 0.99


def test_the_bytes_are_the_same_everywhere() -> None:
    pixels, labels = spirals()
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    assert digest.startswith("b51f6dee47b99126")
