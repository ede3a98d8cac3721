"""Equal pictures in two splits are counted, others are not."""

import hashlib

import numpy as np
import torch

from evoens.tasks.data.images import Images, digest, digests, repeated


def pictures(n: int, side: int = 20) -> torch.Tensor:
    drawn = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def part(pixels: torch.Tensor, first: int, last: int) -> Images:
    return Images(pixels, torch.arange(first, last), torch.zeros(last - first, dtype=torch.int64))


def test_equal_pictures_are_counted_where_they_come_again() -> None:
    pixels = pictures(60)
    pixels[35] = pixels[3]
    pixels[36] = pixels[4]  # search, of train
    pixels[50] = pixels[5]
    pixels[51] = pixels[35]  # test, of train and of search
    pixels[53] = pixels[52]  # twice in one split
    pixels[55] = pixels[7]
    pixels[55, 0, 0, 0] += 1  # all but one byte, far from the middle
    splits = {"train": part(pixels, 0, 30), "search": part(pixels, 30, 40), "test": part(pixels, 40, 60)}
    assert repeated(splits) == {"search": 2, "test": 2}
    assert repeated({name: splits[name] for name in ("search", "test")}) == {"test": 1}


def test_points_are_no_pictures() -> None:
    same = torch.zeros(10, 1, 2, 1, dtype=torch.uint8)
    assert repeated({"search": part(same, 0, 5), "test": part(same, 5, 10)}) == {}


def test_a_digest_is_of_the_bytes_as_they_lie() -> None:
    pixels = pictures(3, 4)
    expected = [hashlib.blake2b(p.permute(1, 2, 0).numpy().tobytes(), digest_size=16).digest() for p in pixels]
    assert digests(part(pixels, 0, 3)) == expected and digests(part(pixels, 1, 3)) == expected[1:]
    assert digest(b"a") != digest(b"b")
