"""Pictures resized as a stack, against Pillow's own resize of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evoens.diversity.lanczos import resized

SIZES = [
    (1, 1),
    (1, 9),
    (9, 1),
    (5, 7),
    (8, 8),
    (8, 9),
    (9, 8),
    (32, 32),
    (33, 31),
    (64, 64),
    (64, 40),
    (30, 224),
    (224, 30),
]
RESULTS = [(8, 8), (8, 9), (32, 32), (64, 64), (1, 3)]
side = st.integers(1, 100)


def stack(h: int, w: int) -> np.ndarray:
    """Noise, black and white only, and a step from black to white: the filter overshoots, and is clipped."""
    rng = np.random.default_rng(h * 1000 + w)
    noise = rng.integers(0, 256, (3, h, w), dtype=np.uint8)
    step = np.zeros((h, w), np.uint8)
    step[:, w // 2 :] = 255
    return np.stack([*noise, *((noise > 127) * np.uint8(255)), step])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_pixel_is_pillow_s(size: tuple[int, int]) -> None:
    pictures = stack(*size)
    for h, w in RESULTS:
        expected = [np.asarray(Image.fromarray(p).resize((w, h), Image.Resampling.LANCZOS)) for p in pictures]
        found = resized(pictures, h, w)
        assert found.dtype == np.uint8 and np.array_equal(found, expected), (h, w)


def test_a_size_that_stays_changes_nothing_and_the_pictures_are_left_alone() -> None:
    pictures = stack(32, 20)
    before = pictures.copy()
    assert np.array_equal(resized(pictures, 32, 20), pictures)
    resized(pictures, 8, 9)
    assert np.array_equal(pictures, before)


def test_a_view_of_a_stack_is_resized_as_its_copy() -> None:
    pictures = stack(40, 30)[::-2, ::3, 5:]
    assert np.array_equal(resized(pictures, 8, 9), resized(pictures.copy(), 8, 9))


@pytest.mark.parametrize("n", range(1, 10))
def test_any_number_of_pictures_each_for_itself(n: int) -> None:
    pictures = np.random.default_rng(n).integers(0, 256, (n, 20, 13), dtype=np.uint8)
    found = resized(pictures, 8, 9)
    assert found.shape == (n, 8, 9)
    assert all(
        np.array_equal(one, resized(picture[None], 8, 9)[0]) for one, picture in zip(found, pictures, strict=True)
    )


@settings(max_examples=200, deadline=None)
@given(h=side, w=side, height=side, width=side)
def test_any_size_to_any_other(h: int, w: int, height: int, width: int) -> None:
    picture = np.random.default_rng(h * 100 + w).integers(0, 256, (1, h, w), dtype=np.uint8)
    expected = Image.fromarray(picture[0]).resize((width, height), Image.Resampling.LANCZOS)
    assert np.array_equal(resized(picture, height, width)[0], np.asarray(expected))
