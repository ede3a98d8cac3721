"""The benchmark of the hashes: complete figures that fit together, on one thread, and the threads put back."""

import json
import time

import numpy as np
import pytest
import torch

from evoens.bench import hashes
from evoens.bench.hashes import IMAGEHASH, describe, measure, one_by_one, smooth


def test_the_figures_are_complete_and_threads_are_put_back() -> None:
    threads = torch.get_num_threads()
    result = json.loads(json.dumps(measure(pixels=3 * 64 * 64, rounds=2)))
    assert torch.get_num_threads() == threads
    assert (result["threads"], result["rounds"]) == (1, 2)
    assert {side: found["pictures"] for side, found in result["sizes"].items()} == {"32": 12, "64": 3, "224": 1}
    assert result["cpu"] and result["versions"]["imagehash"] == "4.3.2"
    for found in result["sizes"].values():
        assert found["mismatches"] == 0
        assert min(found[k] for k in ("speedup_vs_imagehash", "pictures_per_second", "imagehash_per_second")) > 0
    assert f"{result['sizes']['64']['speedup_vs_imagehash']:.2f} × (target ≥ 1.5 ×)" in describe(result)
    assert "hashes that differ: 0 of 80" in describe(result)


def test_a_way_three_times_as_slow_has_a_third_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own: we take 1 s, imagehash 3 s, both on one thread, and each hash of ours is wrong."""
    clock, real = [0.0], hashes.hash_bits

    def ours(pictures: np.ndarray) -> dict[str, torch.Tensor]:
        assert torch.get_num_threads() == 1
        clock[0] += 1.0
        return {name: torch.cat([~bits[:, :1], bits[:, 1:]], 1) for name, bits in real(pictures).items()}

    def theirs(pictures: np.ndarray) -> dict[str, np.ndarray]:
        clock[0] += 3.0
        return one_by_one(pictures)

    monkeypatch.setattr(time, "thread_time", lambda: clock[0])
    monkeypatch.setattr(hashes, "hash_bits", ours)
    monkeypatch.setattr(hashes, "one_by_one", theirs)
    result = measure(pixels=2 * 64 * 64, rounds=1)
    assert {found["speedup_vs_imagehash"] for found in result["sizes"].values()} == {3}
    assert result["sizes"]["32"] == {
        "speedup_vs_imagehash": 3,
        "pictures_per_second": 8,
        "imagehash_per_second": 8 / 3,
        "pictures": 8,
        "mismatches": 8 * len(IMAGEHASH),
    }


def test_the_pictures_are_always_the_same_and_each_another() -> None:
    assert np.array_equal(smooth(32, 5), smooth(32, 5))
    assert len({picture.tobytes() for picture in smooth(32, 5)}) == 5
