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
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evoens.genome import Mask
from evoens.machine import philox
from evoens.masks import ranked

Drawn = TypeVar("Drawn")

CHUNK = 1 << 15  # words a pass: the indices, 8 bytes each once NumPy widens them, stay in the L2 cache
PART = 1 << 20  # words that are worth a thread of their own: half a millisecond


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
    if not hasattr(library, "evoens_draw_words"):  # not in what an older streams.c gave
        return None
    place, array, size = [ctypes.c_uint64] * 2 + [ctypes.c_size_t], ctypes.c_void_p, ctypes.c_size_t
    library.evoens_draw_words.argtypes = [*place, array, size]
    library.evoens_draw_normals.argtypes = [*place, array, array, size]
    library.evoens_draw_turned.argtypes = [*place, array, array, ctypes.c_uint32, array, size]
    return library


def _key(seed: int, stream: str) -> tuple[int, int]:
    return seed, int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")


def _philox(key: tuple[int, int]) -> np.random.Philox:
    return np.random.Philox(key=np.array(key, dtype=np.uint64))


def _shared_out(n: int, draw: Callable[[int, int], object]) -> None:
    """Let `draw(first, size)` draw all of `n` words, on as many threads as torch has here; their number changes no bit.

    A stream can be begun at any word that is a multiple of 16, and a call into C lets other threads run.
    """
    threads = min(torch.get_num_threads(), n // PART)
    if threads < 2:
        draw(0, n)
        return
    size = -(-n // (16 * threads)) * 16
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: draw(first, min(size, n - first)), range(0, n, size)))


def _at(array: npt.NDArray[Any], first: int) -> int:
    """Return the address of an element of a contiguous array."""
    return array.ctypes.data + first * array.itemsize


def words(seed: int, stream: str, n: int) -> npt.NDArray[np.uint16]:
    """Return the first `n` 16-bit words of a stream, the lowest word of each 64-bit output first."""
    key, library = _key(seed, stream), compiled()
    if library is None:
        raw = _philox(key).random_raw(-(-n // 4))
        return np.asarray(raw, dtype="<u8").view("<u2")[:n]
    out = np.empty(n, dtype=np.uint16)
    _shared_out(n, lambda first, size: library.evoens_draw_words(*key, first, _at(out, first), size))
    return out


def normals(seed: int, name: str, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Return standard normal noise for the tensor `name`: float32, of `shape`, the same bits on every device.

    They are drawn where they are wanted.
    """
    if (there := torch.device(device)).type != "cpu":
        return _normals_there(seed, name, shape, there)
    out = np.empty(prod(shape), dtype=np.float32)
    key, library, table = _key(seed, name), compiled(), quantiles()
    if library is None:
        _look_up(_philox(key), table, out)
    else:
        normal, address = library.evoens_draw_normals, table.ctypes.data
        _shared_out(out.size, lambda first, size: normal(*key, first, address, _at(out, first), size))
    return torch.from_numpy(out).reshape(tuple(shape))


def _normals_there(seed: int, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
    return _table(device)[philox.words(_key(seed, name), prod(shape), device)].reshape(tuple(shape))


@lru_cache
def _table(device: torch.device) -> Tensor:
    return torch.from_numpy(quantiles().copy()).to(device)


def _look_up(generator: np.random.Philox, table: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    for start in range(0, out.size, CHUNK):
        part = out[start : start + CHUNK]
        index = np.asarray(generator.random_raw(-(-part.size // 4)), dtype="<u8").view("<u2")[: part.size]
        np.take(table, index, out=part, mode="clip")  # "clip" spares a buffered copy


def keep(
    mask: Mask, name: str, shape: Sequence[int], device: torch.device | str = "cpu", share: float | None = None
) -> Tensor:
    """Return where `mask` holds in the tensor `name`: bool, of `shape`.

    The parts of one mask seed are disjoint and cover every weight. Probabilities are resolved to 1/65536; structures
    other than `unstructured` rank the words of the same stream, and can keep a larger `share` (`evoens.masks.ranked`).
    """
    stream, there = f"mask:{name}", torch.device(device)
    if mask.structure == "unstructured" and there.type != "cpu":
        return _kept_there(mask, stream, shape, there)
    units = shape[:1] if mask.structure == "channels" else shape
    drawn = words(mask.seed, stream, prod(units))
    if mask.structure != "unstructured":
        kept = ranked(drawn, mask, shape, share)
    else:
        kept = _holds(mask, drawn if mask.parts <= 2 else drawn.astype(np.uint32))
    return torch.from_numpy(np.asarray(kept)).reshape(tuple(shape)).to(device)


def _kept_there(mask: Mask, stream: str, shape: Sequence[int], device: torch.device) -> Tensor:
    kept: Tensor = _holds(mask, philox.words(_key(mask.seed, stream), prod(shape), device))
    return kept.reshape(tuple(shape))


def _holds(mask: Mask, drawn: Any) -> Any:
    """Return where a mask without structure holds, by the words drawn, an array or a tensor with room for products."""
    if mask.parts <= 2:
        threshold = round(mask.density * 65536)
        return drawn >= threshold if mask.part else drawn < threshold
    return (drawn * mask.parts) >> 16 == mask.part


def annealed_mask(seed: int, stream: str, target: Tensor, chance: Tensor, temperature: float) -> Tensor:
    """Return a mask drawn near `target`: each entry is turned over by chance, `chance` / 65536 · `temperature`.

    One 16-bit word decides each entry, by `word < chance · temperature` in whole numbers, so the same bits come on
    every machine and device. What anneals a mask is `temperature`, 1 to 0 (dissertation 6.2).

    Args:
        seed: of the gene.
        stream: the tensor's name and the step, so that no step draws what another drew.
        target: bool, of any shape.
        chance: uint16, of the same shape.
        temperature: from 0 to 1, resolved to 1/65536.
    """
    settled, chances, share = target.cpu().numpy(), chance.cpu().numpy(), round(temperature * 65536)
    out = np.empty(settled.shape, dtype=np.bool_)
    key, library = _key(seed, stream), compiled()
    if library is None:
        drawn = words(seed, stream, out.size).reshape(out.shape)
        np.not_equal(settled, drawn < (chances.astype(np.uint32) * np.uint32(share)) >> 16, out=out)
    else:
        draw, rows = library.evoens_draw_turned, (np.ascontiguousarray(settled), np.ascontiguousarray(chances))
        _shared_out(
            out.size,
            lambda first, size: draw(*key, first, *(_at(row, first) for row in rows), share, _at(out, first), size),
        )
    return torch.from_numpy(out).to(target.device)


turned = annealed_mask  # its name in evoens 0.1

_memory = threading.local()


@contextmanager
def remembering(memo: dict[Hashable, Any]) -> Iterator[None]:
    """Let what this thread draws `once` within be kept in `memo`, for as long as that is kept."""
    before, _memory.memo = getattr(_memory, "memo", None), memo
    try:
        yield
    finally:
        _memory.memo = before


def once(key: Hashable, draw: Callable[[], Drawn]) -> Drawn:
    """Return `draw()`, drawn once while one child is trained, where `key` says all that it depends on.

    What comes back is shared, and must be left as it is.
    """
    memo: dict[Hashable, Any] | None = getattr(_memory, "memo", None)
    if memo is None:
        return draw()
    if key not in memo:
        memo[key] = draw()
    found: Drawn = memo[key]
    return found
