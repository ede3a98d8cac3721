"""Two interleaved spirals (Lang & Witbrock 1988), points of the plane as pictures of two pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evoens import noise

POINTS = 2750  # 2500 to learn from and to choose by, 250 to hold out (dissertation 4.3.1)
TURNS = 1.5
BLUR = 0.02  # standard deviation of a point's distance from its spiral; the spirals end at 1
MIDDLE, REACH = 127.5, 115.0  # bytes: where 0 lies, and how far 1 is from it


def spirals() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return points as pictures `(n, 1, 2, 1)` uint8, x and y, and which spiral each belongs to, `(n,)`.

    The spirals are each other turned by half a circle. Every point is the same on every machine.
    """
    share = (noise.words(0, "spirals:place", POINTS).astype(np.float64) + 0.5) / 65536
    angle = np.sqrt(share) * TURNS * 2 * math.pi  # the root spreads points evenly along the arm
    labels = np.arange(POINTS) % 2
    way = np.where(labels, -1.0, 1.0) * angle / (TURNS * 2 * math.pi)
    points = np.stack([way * np.cos(angle), way * np.sin(angle)], axis=-1)
    points += BLUR * noise.normals(0, "spirals:blur", (POINTS, 2)).double().numpy()
    pixels = np.clip(np.rint(MIDDLE + REACH * points), 0, 255).astype(np.uint8)
    return pixels.reshape(-1, 1, 2, 1), labels.astype(np.int64)
