"""Pools of labelled images, opened when they are first needed; what was decoded lies in a mapped file."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evoens.errors import ProblemError
from evoens.storage.files import remove_unfinished, sync_folder
from evoens.tasks.data.layout import Place


@dataclass(frozen=True, eq=False)
class Pool:
    """Images `(n, c, h, w)` uint8, each one's bytes in the order h, w, c, and their classes `(n,)` int64.

    `notes` say what was there and is not among them.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width


class Source:
    """A data set: a pool is read when it is first asked for, since ImageNet's train pool may not even be there.

    Args:
        place: where the data are, and which pools they have.
        read: reads the pool of that name.

    Attributes:
        notes: what the user should know of the data, such as what is not counted; each has been said as a warning.
    """

    def __init__(self, place: Place, read: Callable[[str], Pool]) -> None:
        self.place, self._read = place, read
        self._pools: dict[str, Pool] = {}
        self.notes: list[str] = []
        self._note(place.notes)

    def _note(self, notes: Iterable[str]) -> None:
        """Keep what the user should know of the data, and say it."""
        self.notes += notes
        for note in notes:
            warnings.warn(note, stacklevel=2)

    @property
    def opened(self) -> tuple[str, ...]:
        """The pools that have been read."""
        return tuple(self._pools)

    def pool(self, name: str) -> Pool:
        """Return the pool `name`, which is one of the place's.

        Raises:
            ProblemError: it cannot be read, or does not match the other pool.
        """
        if name not in self._pools:
            pool = self._read(name)
            for other, before in self._pools.items():
                _check_same(self.place.name, {other: before, name: pool})
            self._pools[name] = pool
            self._note(pool.notes)
        return self._pools[name]


def _check_same(data: str, pools: dict[str, Pool]) -> None:
    (one, first), (two, second) = pools.items()
    if first.shape != second.shape:
        advice = "; `channels` in the YAML reads all alike" if first.shape[0] != second.shape[0] else ""
        expected = f"expected {two} images of {first.shape}, as those of {one}"
        raise ProblemError(f"{data}: {expected}, found {second.shape}{advice}")
    if first.classes != second.classes:
        raise ProblemError(f"{data}: expected the classes of {one} in {two}, found others")


_NPY: Any = np.lib.format  # not typed in every release of NumPy
Fill = Callable[[int, NDArray[np.uint8]], None]


def mapped(folders: Sequence[Path], name: str, shape: tuple[int, ...], fill: Fill, rows: int) -> NDArray[np.uint8]:
    """Return the array of `shape` kept as `<name>.npy` in one of the folders; made where there is none yet.

    Args:
        folders: where to look, and to write: the first that can be written to is taken, and made if need be.
        name: of the file, without ending.
        shape: `(n, ...)`.
        fill: writes the rows from a first one on into the block it is given.
        rows: how many rows a block has.

    Raises:
        ProblemError: the file can be written to none of the folders; or what `fill` raises.
    """
    for folder in folders:
        if (found := _open(folder / f"{name}.npy", shape)) is not None:
            return found
    failed = []
    for folder in folders:
        path = folder / f"{name}.npy"
        try:
            _make(path, shape, fill, rows)
        except OSError as error:
            failed.append(f"{folder} ({error.strerror or error})")
        else:
            made = _open(path, shape)
            assert made is not None
            return made
    size = f"{prod(shape) / 2**30:.1f} GiB of decoded images"
    raise ProblemError(f"expected room for {size}, found none in {', '.join(failed)}")


def _open(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Map a file; what is written to the array stays in memory. None where it is not there, or not what it must be."""
    try:
        array: NDArray[np.uint8] = _NPY.open_memmap(path, mode="c")
    except (OSError, ValueError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def _make(path: Path, shape: tuple[int, ...], fill: Fill, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    if shutil.disk_usage(path.parent).free < prod(shape):  # known now, not after hours
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            _write(file, shape, fill, rows)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(file: BinaryIO, shape: tuple[int, ...], fill: Fill, rows: int) -> None:
    """Write block by block: a full disk is then an error, where writing to a mapping would end the process."""
    _NPY.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    block = np.empty((rows, *shape[1:]), np.uint8)
    for start in range(0, shape[0], rows):
        part = block[: shape[0] - start]
        fill(start, part)
        file.write(part.data)
    file.flush()
    os.fsync(file.fileno())
