from __future__ import annotations

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image

from evoens.diversity.hashes import HASHES, hash_bits, pairwise_bits
from evoens.errors import ShapeError

LENGTHS = {"average": 64, "perceptual": 64, "difference": 64, "wavelet": 64, "colour": 56}


def pictures(side: int = 64) -> np.ndarray:
    """Two members' three pictures: smooth fields of random colours."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
    fine = [np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse]
    return np.stack(fine).reshape(2, 3, side, side, 3)


def test_five_hashes_of_the_stated_lengths() -> None:
    bits = hash_bits(pictures())
    assert {name: tuple(b.shape) for name, b in bits.items()} == {n: (2, 3, size) for n, size in LENGTHS.items()}
    assert set(HASHES) == set(LENGTHS)


def test_distances_are_imagehash_s_own_over_the_length() -> None:
    seen = pictures()
    images = [[Image.fromarray(p) for p in member] for member in seen]
    bits = hash_bits(seen)
    functions = {
        "average": imagehash.average_hash,
        "perceptual": imagehash.phash,
        "difference": imagehash.dhash,
        "wavelet": imagehash.whash,  # at 64 pixels the natural scale is the fixed one
        "colour": lambda image: imagehash.colorhash(image, 4),
    }
    for name, hashed in functions.items():
        between = [hashed(a) - hashed(b) for a, b in zip(*images, strict=True)]
        expected = np.mean(between) / LENGTHS[name]
        distances = pairwise_bits(bits[name], bits[name])
        assert float(distances[0, 1]) == pytest.approx(expected) and expected > 0
        assert distances.diagonal().tolist() == [0.0, 0.0]


def test_wavelet_scale_does_not_follow_the_picture() -> None:
    seen = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    expected = [imagehash.whash(Image.fromarray(p), image_scale=64).hash.ravel() for p in seen]
    own_scale = [imagehash.whash(Image.fromarray(p)).hash.ravel() for p in seen]
    assert np.array_equal(hash_bits(seen)["wavelet"].numpy(), expected)
    assert not np.array_equal(expected, own_scale)


def test_opposite_bits_are_at_distance_one() -> None:
    bits = torch.rand(1, 4, 64) < 0.5
    assert pairwise_bits(bits, ~bits).tolist() == [[1.0]]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="uint8"):
        hash_bits(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(ShapeError, match=r"\(1, 2, 64\) and \(1, 2, 56\)"):
        pairwise_bits(torch.zeros(1, 2, 64), torch.zeros(1, 2, 56))
