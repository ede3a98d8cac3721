"""Words drawn by torch operations are NumPy's own Philox4x64-10, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evoens.machine import philox

CPU = torch.device("cpu")


def known(key: tuple[int, int], n: int) -> list[int]:
    """NumPy's generator, its 64-bit outputs cut into 16-bit words."""
    raw = np.random.Philox(key=np.array(key, np.uint64)).random_raw(-(-n // 4))
    return np.asarray(raw, "<u8").view("<u2")[:n].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("key", [(0, 0), (1, 2), (2**63, 2**64 - 1), (0xDEADBEEFCAFEBABE, 0x8123456789ABCDEF)])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000])
def test_words_are_numpys(key: tuple[int, int], n: int) -> None:
    assert philox.words(key, n, CPU).tolist() == known(key, n)


def test_a_stream_of_several_passes_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(philox, "BLOCKS", 3)
    assert philox.words((7, 8), 16 * 10 + 5, CPU).tolist() == known((7, 8), 16 * 10 + 5)


@pytest.mark.parametrize("x", [0, 1, -1, 2**62, -(2**63), 0x123456789ABCDEF])
def test_a_product_has_all_128_bits(x: int) -> None:
    for factor in philox.MULTIPLIERS:
        high, low = philox._product(torch.tensor([x]), factor)
        whole = (x % 2**64) * factor
        assert (int(high) % 2**64, int(low) % 2**64) == (whole >> 64, whole % 2**64)
