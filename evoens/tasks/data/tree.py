"""The pictures in a folder and below: what is taken for one, what is left out, and why; nothing is counted twice."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What torchvision's ImageFolder takes for an image."""
_KNOWN = (*ENDINGS, ".jfif", ".jpe", ".gif")  # what every Pillow opens; what else ends otherwise is looked into
_LITTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"}
_NO_PHOTOS = {"EPS", "WMF", "MPEG", "HDF5", "BUFR", "GRIB", "TGA", "XBM", "XPM"}  # not decoded, or not sure to be one

HIDDEN = "hidden, or a system's"
NO_IMAGE = "no image"
LOOSE = "in no class's folder"
TWICE = "linked to what is counted anyway"
NOWHERE = "a link to nothing"
SHOWN = 3  # names in a line


class Tree:
    """One pass over a folder of pictures. Links are followed, but what lies in the folder anyway is not counted twice.

    Attributes:
        left_out: by reason, the paths from the folder on of what is not counted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.left_out: dict[str, list[str]] = {}
        self._homes = [os.path.realpath(folder)]  # what is counted lies in one of these
        self._files: set[str] = set()  # that links led to

    def classes(self) -> list[str]:
        """Return the names of the folders in the folder itself, sorted as text; a file beside them is of no class."""
        folders, files = self._entries(self.folder)
        for name in files:
            self._leave(LOOSE, self.folder / name)
        return folders

    def images(self, within: Path) -> Iterator[Path]:
        """Yield the images in and below a folder in torchvision's order."""
        for parent, names in sorted(self._walk(within)):
            for name in names:
                if name.lower().endswith(_KNOWN) or _opens(os.path.join(parent, name)):  # noqa: PTH118 (a million times)
                    yield Path(parent, name)
                else:
                    self._leave(NO_IMAGE, Path(parent, name))

    def has_image(self, within: Path) -> bool:
        """Whether there is an image in or below a folder; names are looked at before any file is."""
        unsure = []
        for parent, names in self._walk(within):  # not sorted: the first that is found will do
            if any(name.lower().endswith(_KNOWN) for name in names):
                return True
            unsure += [Path(parent, name) for name in names]
        return any(map(_opens, unsure))

    def _walk(self, top: Path) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder from `top` down, with the sorted names of its files."""
        waiting = [str(top)]
        while waiting:
            folder = waiting.pop()
            inner, files = self._entries(Path(folder))
            waiting += [os.path.join(folder, name) for name in inner]  # noqa: PTH118
            yield folder, files

    def _entries(self, folder: Path) -> tuple[list[str], list[str]]:
        """The folders and the files in `folder` that count, sorted; only a link costs more than its name."""
        folders, files = [], []
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.startswith(".") or entry.name.lower() in _LITTER:
                    self._leave(HIDDEN, Path(entry.path))
                elif entry.is_symlink() and (reason := self._unwanted(entry)):
                    self._leave(reason, Path(entry.path))
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
                else:
                    self._leave(NO_IMAGE, Path(entry.path))
        return folders, files

    def _unwanted(self, link: os.DirEntry[str]) -> str | None:
        """Why a link is not followed; what it leads to is remembered where it is."""
        real = os.path.realpath(link.path)
        if os.path.isdir(real):  # noqa: PTH112
            twice = any(_within(real, home) or _within(home, real) for home in self._homes)
            self._homes += [] if twice else [real]
        elif os.path.isfile(real):  # noqa: PTH113
            twice = real in self._files or any(_within(real, home) for home in self._homes)
            self._files.add(real)
        else:
            return NOWHERE
        return TWICE if twice else None

    def _leave(self, reason: str, path: Path) -> None:
        self.left_out.setdefault(reason, []).append(str(path.relative_to(self.folder)))


def _within(path: str, home: str) -> bool:
    return path == home or path.startswith(home.rstrip(os.sep) + os.sep)


def _opens(path: str | Path) -> bool:
    """Whether Pillow knows a file by its first bytes."""
    from PIL import Image  # noqa: PLC0415 (only where an ending says nothing)

    try:
        with Image.open(path) as image:
            return image.format not in _NO_PHOTOS
    except Exception:  # Pillow's parsers raise whatever they like
        return False


def readable(name: str) -> str:
    """Return a file's name as text that can be written, with bytes that are no UTF-8 in hexadecimal."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def told(left_out: dict[str, list[str]]) -> str:
    """Return in words what is left out, and why; empty where nothing is."""
    parts = []
    for reason, paths in left_out.items():
        names = ", ".join(readable(path) for path in paths[:SHOWN])
        more = f", … {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        parts.append(f"{len(paths)} as {reason} ({names}{more})")
    return ", ".join(parts)


def by_number(names: list[str]) -> list[str]:
    """Return names sorted: as numbers where all are, else as text."""
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
