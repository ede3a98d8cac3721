"""Hashes of a whole stack against imagehash's own, picture by picture, and the shares of bits that differ."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from sklearn.datasets import load_sample_images

from evoens.diversity import hashes
from evoens.diversity.hashes import hamming, hash_bits, pairwise_bits
from evoens.errors import ShapeError

LENGTHS = {"average": 64, "perceptual": 64, "difference": 64, "wavelet": 64, "colour": 56}
ORACLE = {
    "average": imagehash.average_hash,
    "perceptual": imagehash.phash,
    "difference": imagehash.dhash,
    "wavelet": lambda image: imagehash.whash(image, image_scale=64),
    "colour": lambda image: imagehash.colorhash(image, binbits=4),
}
PHOTOGRAPHS = load_sample_images().images


def noise(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Of any contrast, around any colour."""
    low, high = np.sort(rng.integers(0, 256, (2, 3)), axis=0)
    return rng.integers(low, high + 1, (h, w, 3), dtype=np.uint8)


def flat(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """One colour, or one grey; in every other picture a few pixels are of another."""
    colours = rng.integers(0, 256, (2, 3 if rng.random() < 0.5 else 1), dtype=np.uint8)
    picture = np.empty((h, w, 3), np.uint8)
    picture[:] = colours[0]
    for _ in range(rng.choice([0, 1, 5])):
        picture[rng.integers(h), rng.integers(w)] = colours[1]
    return picture


def gradient(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A plane in each channel."""
    rows, columns = np.linspace(0, 1, h)[:, None, None], np.linspace(0, 1, w)[None, :, None]
    slopes = rng.integers(-1, 2, (2, 3)) * rng.uniform(0, 200, (2, 3))
    return (rng.uniform(0, 255, 3) + slopes[0] * rows + slopes[1] * columns).clip(0, 255).astype(np.uint8)


def photograph(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A piece of a photograph, enlarged or made small."""
    image = Image.fromarray(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    side = int(rng.integers(40, 400))
    x, y = int(rng.integers(image.width - side)), int(rng.integers(image.height - side))
    return np.asarray(image.crop((x, y, x + side, y + side)).resize((w, h), Image.Resampling.BILINEAR))


def frame(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A game's: a grid of tiles in few colours, black often among them, and sprites on it."""
    palette = np.concatenate([np.zeros((2, 3), np.uint8), rng.integers(0, 256, (4, 3), dtype=np.uint8)])
    tiles = palette[rng.integers(0, rng.integers(1, 7), (8, 8))]
    picture = tiles[np.arange(h)[:, None] * 8 // h, np.arange(w) * 8 // w]
    for _ in range(rng.integers(0, 4)):
        y, x = int(rng.integers(h)), int(rng.integers(w))
        picture[y : y + h // 6 + 1, x : x + w // 6 + 1] = rng.integers(0, 256, 3)
    return picture


def saliency(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A map that is dark but for a few spots, in false colours."""
    rows, columns = np.arange(h)[:, None] / h, np.arange(w) / w
    spots = rng.uniform((0, 0, 9), (1, 1, 999), (3, 3))
    levels = sum(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) * sharpness) for y, x, sharpness in spots)
    return colormaps["inferno"](levels, bytes=True)[..., :3]


HUES = [0, 21, 42, 43, 64, 84, 85, 127, 128, 169, 170, 191, 212, 213, 254, 255]
KINDS = (noise, flat, gradient, photograph, frame, saliency)


def drawn(seed: int, h: int, w: int, each: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([kind(rng, h, w) for kind in KINDS for _ in range(each)])


def one_by_one(pictures: np.ndarray) -> dict[str, np.ndarray]:
    images = [Image.fromarray(picture) for picture in pictures]
    return {name: np.stack([hashed(i).hash.ravel() for i in images]) for name, hashed in ORACLE.items()}


def assert_as_imagehash(pictures: np.ndarray) -> None:
    found, expected = hash_bits(pictures), one_by_one(pictures)
    wrong = {name: np.flatnonzero((found[name].numpy() != bits).any(1)).tolist() for name, bits in expected.items()}
    assert wrong == {name: [] for name in ORACLE}


def test_five_hashes_of_the_stated_lengths_for_any_leading_axes() -> None:
    pictures = drawn(0, 20, 30, 1).reshape(2, 3, 20, 30, 3)
    bits = hash_bits(pictures)
    assert {name: tuple(b.shape) for name, b in bits.items()} == {n: (2, 3, size) for n, size in LENGTHS.items()}
    assert {b.dtype for b in bits.values()} == {torch.bool}
    alone = hash_bits(pictures[1, 2])
    assert all(torch.equal(alone[name], bits[name][1, 2]) for name in bits)


@pytest.mark.parametrize("h,w", [(28, 28), (32, 32), (64, 64), (96, 64), (33, 57), (101, 30), (224, 160)])
def test_every_bit_is_imagehash_s(h: int, w: int) -> None:
    assert_as_imagehash(drawn(h * w, h, w, 8))


@pytest.mark.parametrize("h,w", [(1, 1), (1, 40), (40, 1), (1, 8), (2, 2), (5, 7), (8, 8), (8, 9), (9, 9), (9, 8)])
def test_small_pictures_are_enlarged_as_imagehash_enlarges_them(h: int, w: int) -> None:
    assert_as_imagehash(drawn(1, h, w, 3))


@pytest.mark.parametrize("side", [8, 9, 28, 32, 64, 70])
def test_flat_pictures(side: int) -> None:
    """Every eighth level from black to white, and each with one pixel that differs."""
    levels = np.array([*range(0, 256, 8), 255], np.uint8)
    grey = np.broadcast_to(levels[:, None, None, None], (len(levels), side, side, 3))
    dotted = grey.copy()
    dotted[:, side // 3, side // 2] ^= 255
    assert_as_imagehash(np.concatenate([grey, dotted]))


def test_equal_sums_beside_the_median_are_told_apart_by_rounding_as_imagehash_does() -> None:
    """More than half of each picture is of one grey: blocks of the same pixels, and not all have the same bit."""
    rng = np.random.default_rng(0)
    pictures = np.repeat(rng.integers(0, 256, (60, 64, 64, 1), dtype=np.uint8), 3, axis=3)
    pictures[:, 16:56] = rng.integers(100, 156, (60, 1, 1, 1))
    assert_as_imagehash(pictures)
    same = one_by_one(pictures)["wavelet"].reshape(60, 8, 8)[:, 2:7]
    assert (same.any((1, 2)) & ~same.all((1, 2))).sum() > 10


def test_every_hue_and_saturation_falls_into_imagehash_s_bin() -> None:
    """Pictures of one colour each, on either side of every border."""
    hue, saturation = (axis.ravel() for axis in np.meshgrid(HUES, [0, 84, 85, 169, 170, 171, 255]))
    hsv = np.stack([hue, saturation, np.full_like(hue, 255)], axis=-1).astype(np.uint8)
    rgb = np.asarray(Image.fromarray(hsv[None], "HSV").convert("RGB"))[0]
    assert_as_imagehash(np.broadcast_to(rgb[:, None, None], (len(rgb), 2, 2, 3)))


def test_shares_of_black_grey_and_colour_are_told_in_sixteenths() -> None:
    """Sixteen columns: black, grey and two colours, in every share."""
    kinds = np.array([[31, 31, 31], [32, 32, 32], [255, 0, 0], [120, 60, 60]], np.uint8)
    rng = np.random.default_rng(0)
    borders = np.sort(rng.integers(0, 17, (100, 3, 1)), axis=1)
    columns = (np.arange(16) >= borders).sum(axis=1)
    assert_as_imagehash(np.broadcast_to(kinds[columns][:, None], (100, 4, 16, 3)))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = drawn(2, 30, 40, 2)
    whole = hash_bits(pictures)
    for pixels in (1, 5 * 64 * 64):
        monkeypatch.setattr(hashes, "BLOCK", pixels)
        parts = hash_bits(pictures)
        assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_a_view_is_hashed_as_its_copy_and_left_alone() -> None:
    pictures = drawn(3, 40, 40, 2)
    before, view = pictures.copy(), pictures[::-2, ::-1, 3:, ::-1]
    found, expected = hash_bits(view), hash_bits(view.copy())
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert np.array_equal(pictures, before)


def test_wavelet_scale_does_not_follow_the_picture() -> None:
    seen = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    own_scale = [imagehash.whash(Image.fromarray(p)).hash.ravel() for p in seen]
    assert_as_imagehash(seen)
    assert not np.array_equal(hash_bits(seen)["wavelet"].numpy(), own_scale)


def test_distances_are_imagehash_s_own_over_the_length() -> None:
    seen = drawn(4, 64, 64, 1).reshape(2, 3, 64, 64, 3)
    images = [[Image.fromarray(p) for p in member] for member in seen]
    bits = hash_bits(seen)
    for name, hashed in ORACLE.items():
        between = [hashed(a) - hashed(b) for a, b in zip(*images, strict=True)]
        apart = hamming(bits[name][0], bits[name][1])
        assert apart.tolist() == [differing / LENGTHS[name] for differing in between] and sum(between) > 0
        distances = pairwise_bits(bits[name], bits[name])
        assert float(distances[0, 1]) == pytest.approx(np.mean(between) / LENGTHS[name])
        assert distances.diagonal().tolist() == [0.0, 0.0]


def test_every_pair_is_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(5, 7, 56, generator=generator) < 0.5 for _ in range(2))
    counted = (a.flatten(1)[:, None] != b.flatten(1)).sum(-1).double() / (7 * 56)
    for at_once in (1 << 14, 100):  # 392 bits are no multiple of it
        monkeypatch.setattr(hashes, "AT_ONCE", at_once)
        found = pairwise_bits(a, b)
        assert found.dtype == torch.float64 and torch.equal(found, counted)
    assert pairwise_bits(a, b).diagonal().tolist() == pytest.approx(hamming(a, b).mean(-1).tolist())


def test_opposite_bits_are_at_distance_one() -> None:
    bits = torch.rand(1, 4, 64) < 0.5
    assert pairwise_bits(bits, ~bits).tolist() == [[1.0]]
    assert hamming(bits, ~bits).tolist() == [[1.0] * 4] and hamming(bits, bits).tolist() == [[0.0] * 4]
    assert hamming(bits, ~bits).dtype == torch.float64


def test_a_thousand_members_are_exact_and_need_no_matrix_of_all_bits() -> None:
    bits = torch.rand(1000, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.5
    distances = pairwise_bits(bits, bits)
    assert distances[3, 997] == hamming(bits[3], bits[997]).mean()
    assert torch.equal(distances, distances.T) and not distances.diagonal().any()


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((2, 0, 8, 3), np.uint8),
    ],
    ids=lambda pictures: f"{pictures.dtype} {pictures.shape}",
)
def test_other_pictures_are_refused(pictures: np.ndarray) -> None:
    with pytest.raises(ShapeError) as refused:
        hash_bits(pictures)
    assert str(refused.value) == f"pictures: expected uint8 (…, h, w, 3), found {pictures.dtype} {pictures.shape}"


def test_bits_of_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(k, n, bits\), found \(1, 2, 64\) and \(1, 2, 56\)"):
        pairwise_bits(torch.zeros(1, 2, 64), torch.zeros(1, 2, 56))
    with pytest.raises(ShapeError, match=r"\(k, n, bits\), found \(2, 64\) and \(2, 64\)"):
        pairwise_bits(torch.zeros(2, 64), torch.zeros(2, 64))
    with pytest.raises(ShapeError, match=r"\(…, bits\), found \(2, 64\) and \(64,\)"):
        hamming(torch.zeros(2, 64), torch.zeros(64))
    with pytest.raises(ShapeError, match=r"\(…, bits\), found \(2, 0\) and \(2, 0\)"):
        hamming(torch.zeros(2, 0), torch.zeros(2, 0))


@pytest.mark.slow
def test_no_bit_differs_in_thousands_of_pictures_of_any_size() -> None:
    sizes = np.random.default_rng(0).integers(28, 225, (160, 2))
    sizes[::4, 1] = sizes[::4, 0]
    for seed, (h, w) in enumerate([(28, 28), (32, 32), (64, 64), (84, 84), (128, 128), (224, 224), *sizes.tolist()]):
        assert_as_imagehash(drawn(seed, h, w, 6))  # 5976 pictures in all
