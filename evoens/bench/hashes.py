"""How fast pictures are hashed, on one thread, against imagehash picture by picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from evoens.bench.common import one_thread, thread_seconds
from evoens.diversity.hashes import hash_bits
from evoens.machine.environment import environment

Pixels = npt.NDArray[np.uint8]

PIXELS = 1 << 18  # a round, of every size
TARGETS = MappingProxyType({32: 4.0, 64: 1.5, 224: 1.0})
"""How many times as fast as imagehash, by the side of the pictures in pixels."""

IMAGEHASH: MappingProxyType[str, Callable[[Image.Image], imagehash.ImageHash]] = MappingProxyType(
    {
        "average": imagehash.average_hash,
        "perceptual": imagehash.phash,
        "difference": imagehash.dhash,
        "wavelet": lambda image: imagehash.whash(image, image_scale=64),
        "colour": lambda image: imagehash.colorhash(image, binbits=4),
    }
)


def measure(pixels: int = PIXELS, rounds: int = 5) -> dict[str, Any]:
    """Hash the same pictures with all five hashes each way, the ways taking turns, and compare their bits.

    Times are of the thread's own processor time, so that other work on the machine counts as little as it can.

    Args:
        pixels: of all the pictures of one size together.
        rounds: of both ways; the speed-up is the median of the rounds' ratios.

    Returns:
        sizes: by side in pixels, speedup_vs_imagehash, pictures_per_second and imagehash_per_second (medians),
        pictures, and mismatches (hashes in which a bit differs); and what they rest on: rounds, threads, cpu, versions.
    """
    with one_thread():
        sizes = {str(side): _size(side, max(1, pixels // side**2), rounds) for side in TARGETS}
    found = environment()
    return {
        "sizes": sizes,
        "rounds": rounds,
        "threads": 1,
        "cpu": found["processor"],
        "versions": {"imagehash": imagehash.__version__, "numpy": found["versions"]["numpy"]},
    }


def _size(side: int, count: int, rounds: int) -> dict[str, Any]:
    pictures = smooth(side, count)
    times = [_round(pictures) for _ in range(rounds + 1)][1:]  # the first imports what imagehash rests on
    return {
        "speedup_vs_imagehash": statistics.median(theirs / ours for ours, theirs in times),
        "pictures_per_second": count / statistics.median(ours for ours, _ in times),
        "imagehash_per_second": count / statistics.median(theirs for _, theirs in times),
        "pictures": count,
        "mismatches": _mismatches(pictures),
    }


def smooth(side: int, count: int) -> Pixels:
    """Return smooth fields of random colours under a faint noise: `(count, side, side, 3)`, always the same."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    fine = [np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse]
    noisy = np.stack(fine) + rng.normal(0, 4, (count, side, side, 3))
    pictures: Pixels = noisy.clip(0, 255).astype(np.uint8)
    return pictures


def one_by_one(pictures: Pixels) -> dict[str, npt.NDArray[np.bool_]]:
    """Return what `hash_bits` returns, `(n, h, w, 3)` → `(n, bits)` by hash, from imagehash's own functions."""
    images = [Image.fromarray(picture) for picture in pictures]
    return {name: np.stack([hashed(i).hash.ravel() for i in images]) for name, hashed in IMAGEHASH.items()}


def _round(pictures: Pixels) -> tuple[float, float]:
    """Return the seconds of hashing the pictures each way."""
    return thread_seconds(lambda: hash_bits(pictures)), thread_seconds(lambda: one_by_one(pictures))


def _mismatches(pictures: Pixels) -> int:
    ours, theirs = hash_bits(pictures), one_by_one(pictures)
    return sum(int((ours[name].numpy() != bits).any(axis=1).sum()) for name, bits in theirs.items())


def describe(result: dict[str, Any]) -> str:
    """Return the result as lines for the terminal."""
    sizes = result["sizes"].values()
    lines = [f"{result['cpu']}, one thread, five hashes a picture, median of {result['rounds']} rounds"]
    lines += [_line(side, found) for side, found in result["sizes"].items()]
    hashes = len(IMAGEHASH) * sum(found["pictures"] for found in sizes)
    return "\n".join([*lines, f"hashes that differ: {sum(found['mismatches'] for found in sizes)} of {hashes:,}"])


def _line(side: str, found: dict[str, Any]) -> str:
    ours, theirs = found["pictures_per_second"], found["imagehash_per_second"]
    speedup = f"{found['speedup_vs_imagehash']:5.2f} × (target ≥ {TARGETS[int(side)]:g} ×)"
    return f"{side:>3} px  {ours:7,.0f} pictures a second, imagehash {theirs:5,.0f}: {speedup}"
