"""The portable streams: the only place that draws noise and masks, the same bits on every machine and device.

Bits come from Philox4x64-10 (Salmon et al. 2011) as NumPy implements it, keyed by the gene's seed and the tensor's
name, so that no tensor's draw depends on another's, nor on their order. A 16-bit word indexes one table of normal
quantiles: no `log`, `cos` or library version can change a bit. `streams.c` draws them; where installation found no
compiler, NumPy does, at half the speed.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evoens.genome import Mask

CHUNK = 1 << 15  # words a pass: the indices, 8 bytes each once NumPy widens them, stay in the L2 cache


@lru_cache(maxsize=1)
def quantiles() -> npt.NDArray[np.float32]:
    """Return the 65 536 normal quantiles Φ⁻¹((i + ½)/65536), float32, symmetric about zero."""
    normal = NormalDist()
    upper = np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(32768, 65536)], dtype=np.float32)
    table: npt.NDArray[np.float32] = np.concatenate([-upper[::-1], upper])
    table.setflags(write=False)  # one table serves every draw of the process
    return table


@lru_cache(maxsize=1)
def compiled() -> ctypes.CDLL | None:
    """Return the streams as built from `streams.c`; None where that could not be built, or not be loaded."""
    built = importlib.util.find_spec("evoens._streams")
    if built is None or built.origin is None:
        return None
    try:
        library = ctypes.CDLL(built.origin)
    except OSError:
        return None
    key, array, size = [ctypes.c_uint64] * 2, ctypes.c_void_p, ctypes.c_size_t
    library.evoens_words.argtypes = [*key, array, size]
    library.evoens_normals.argtypes = [*key, array, array, size]
    return library


def _key(seed: int, stream: str) -> tuple[int, int]:
    return seed, int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")


def _philox(key: tuple[int, int]) -> np.random.Philox:
    return np.random.Philox(key=np.array(key, dtype=np.uint64))


def words(seed: int, stream: str, n: int) -> npt.NDArray[np.uint16]:
    """Return the first `n` 16-bit words of a stream, the lowest word of each 64-bit output first."""
    key, library = _key(seed, stream), compiled()
    if library is None:
        raw = _philox(key).random_raw(-(-n // 4))
        return np.asarray(raw, dtype="<u8").view("<u2")[:n]
    out = np.empty(n, dtype=np.uint16)
    library.evoens_words(*key, out.ctypes.data, n)
    return out


def normals(seed: int, name: str, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Return standard normal noise for the tensor `name`: float32, of `shape`, the same bits on every device."""
    out = np.empty(prod(shape), dtype=np.float32)
    key, library, table = _key(seed, name), compiled(), quantiles()
    if library is None:
        _look_up(_philox(key), table, out)
    else:
        library.evoens_normals(*key, table.ctypes.data, out.ctypes.data, out.size)
    return torch.from_numpy(out).reshape(tuple(shape)).to(device)


def _look_up(generator: np.random.Philox, table: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    for start in range(0, out.size, CHUNK):
        part = out[start : start + CHUNK]
        index = np.asarray(generator.random_raw(-(-part.size // 4)), dtype="<u8").view("<u2")[: part.size]
        np.take(table, index, out=part, mode="clip")  # "clip" spares a buffered copy


def keep(mask: Mask, name: str, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Return where `mask` holds in the tensor `name`: bool, of `shape`.

    The parts of one mask seed are disjoint and cover every weight. Probabilities are resolved to 1/65536.
    """
    drawn = words(mask.seed, f"mask:{name}", prod(shape))
    if mask.parts <= 2:
        threshold = round(mask.density * 65536)
        kept = drawn >= threshold if mask.part else drawn < threshold
    else:
        kept = (drawn.astype(np.uint32) * mask.parts) >> 16 == mask.part
    return torch.from_numpy(np.asarray(kept)).reshape(tuple(shape)).to(device)
