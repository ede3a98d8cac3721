"""Philox4x64-10 in torch operations: the words of a portable stream, drawn on any device.

As in NumPy (and in `streams.c`), block b of a stream has the counter b + 1, and its four 64-bit outputs hold sixteen
words, the lowest first. Whole numbers only, so every device gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
WORDS = 16  # of a block
BLOCKS = 1 << 18  # of a pass: 2 MB for each number that is kept meanwhile
LOW = (1 << 32) - 1


def words(key: tuple[int, int], n: int, device: torch.device) -> Tensor:
    """Return the first `n` 16-bit words of a stream, int64 `(n,)` on `device`.

    Args:
        key: two 64-bit numbers.
        n: how many.
        device: where they are drawn, and stay.
    """
    blocks, parts = -(-n // WORDS), list[Tensor]()
    keys = [(_signed(key[0] + i * WEYL[0]), _signed(key[1] + i * WEYL[1])) for i in range(ROUNDS)]
    ways = torch.tensor(keys, device=device)
    shifts = torch.arange(0, 64, 16, device=device)
    for first in range(0, blocks, BLOCKS):
        counter = torch.arange(first + 1, min(blocks, first + BLOCKS) + 1, device=device)
        outputs = _drawer(device.type)(counter, ways)
        parts.append((outputs[..., None] >> shifts & 0xFFFF).flatten())
    return torch.cat(parts)[:n] if parts else torch.empty(0, dtype=torch.int64, device=device)


@lru_cache
def _drawer(kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    """On a GPU all rounds are one kernel: by themselves they would read and write a hundred times what they give."""
    return torch.compile(_outputs, dynamic=True) if kind == "cuda" else _outputs


def _outputs(counter: Tensor, keys: Tensor) -> Tensor:
    """Return the four outputs of each block, int64 `(blocks, 4)`, whose bits are those of unsigned numbers."""
    a, b, c, d = counter, *(torch.zeros_like(counter) for _ in range(3))
    for i in range(ROUNDS):
        high, low = _product(a, MULTIPLIERS[0])
        further, lower = _product(c, MULTIPLIERS[1])
        a, b, c, d = further ^ b ^ keys[i, 0], lower, high ^ d ^ keys[i, 1], low
    return torch.stack([a, b, c, d], -1)


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower half of the 128 bits of `x` times a constant, both unsigned."""
    low, high = x & LOW, _shifted(x)
    f, g = factor & LOW, factor >> 32
    first, second, third = low * f, low * g, high * f  # below 2⁶⁴: exact, as unsigned numbers
    middle = _shifted(first) + (second & LOW) + (third & LOW)
    return high * g + _shifted(second) + _shifted(third) + _shifted(middle), x * _signed(factor)


def _shifted(x: Tensor) -> Tensor:
    """Return the upper 32 bits; torch's own shift would fill up with the sign."""
    return x >> 32 & LOW


def _signed(x: int) -> int:
    """Return the number of 64 bits with a sign that has the bits of `x`."""
    x &= (1 << 64) - 1
    return x - (1 << 64) if x >> 63 else x
