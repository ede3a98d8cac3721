"""Which files in a folder are pictures, and which folders are classes and pools; nothing is counted twice."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evoens.errors import ProblemError

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


_POOLS = {
    "train": ("train", "training", "trainset", "trainingset", "trn"),
    "test": ("test", "testing", "testset", "tst"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval", "evaluation", "valset", "validationset"),
}
_BESIDE = {"set", "data", "dataset", "split", "folder", "image", "images", "img", "imgs", "seg"}  # say nothing of which


@dataclass(frozen=True)
class Pools:
    """Where in a folder each pool's classes are, the classes of all pools, and what is not counted, a sentence each."""

    folders: Mapping[str, Path]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def folder_pools(folder: Path, allow_missing: bool = False) -> Pools:
    """Return where a folder's pools are: in folders called as splits are, or the folder itself is `train`.

    Args:
        folder: has folders of classes, or folders such as `Train/` and `validation/` that have these.
        allow_missing: a class need not have images in every pool.

    Raises:
        ProblemError: no folders of classes, one without images, classes that only one of the pools has, or folders of
            which it is not clear what they are.
    """
    tree = Tree(folder)
    inner = tree.classes()
    found = _splits(folder, inner)
    if not found:
        classes = _classes(folder, allow_missing)
        return Pools({"train": folder}, classes, _numbers(folder, classes))
    second = "test" if "test" in found or "val" not in found else "val"
    pools = {name: found[of] for name, of in (("train", "train"), ("test", second)) if of in found}
    taken = {path.relative_to(folder).parts[0] for path in pools.values()}
    others = [name for name in inner if name not in taken]
    if len(pools) == 1 and (mixed := [name for name in others if tree.has_image(folder / name)]):
        message = "expected folders of classes, or folders of splits with these in them, found both"
        raise ProblemError(f"{folder}: {message} ({listed([*taken, *mixed])}); move or rename what is not meant")
    of_each = {name: _classes(path, allow_missing) for name, path in pools.items()}
    if len(pools) == 2 and not allow_missing:
        _check_same(pools, of_each)
    classes = tuple(by_number(list({name for classes in of_each.values() for name in classes})))
    if others:
        tree.left_out[f"beside {' and '.join(sorted(taken))}"] = others
    left_out = (f"{folder}: left out: {told(tree.left_out)}",) if tree.left_out else ()
    return Pools(pools, classes, (*left_out, *_numbers(folder, classes)))


def _splits(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The folders of splits among those in `folder`: by name, and by having folders themselves.

    Raises:
        ProblemError: two are called alike.
    """
    found: dict[str, Path] = {}
    for name in names:
        kind = split_of(name)
        if kind is None or not (inside := Tree(folder / name).classes()):
            continue
        if kind in found:
            both = f"{found[kind].relative_to(folder)}/ and {name}/"
            raise ProblemError(f"{folder}: expected one folder of {kind} images, found {both}; move one out of it")
        wrapped = len(inside) == 1 and split_of(inside[0]) == kind  # seg_train/seg_train/…, as some archives have it
        found[kind] = folder / name / inside[0] if wrapped else folder / name
    return found


def split_of(name: str) -> str | None:
    """Return which split a folder's name means: train, test or val; None for any other name."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    words = [word for word in re.split(r"[^a-z]+", spaced) if word and word not in _BESIDE]
    if len(words) != 1:
        return None
    return next((kind for kind, names in _POOLS.items() if words[0] in names), None)


def _classes(folder: Path, allow_missing: bool) -> tuple[str, ...]:
    return tuple(by_number([readable(name) for name in check_folder(folder, allow_missing)]))


def check_folder(folder: Path, allow_missing: bool = False) -> list[str]:
    """Return the names of a folder's folders of classes, each with an image in or below it.

    Raises:
        ProblemError: it has none, or no image in one; the message says what is there instead.
    """
    tree = Tree(folder)
    names = tree.classes()
    if all(split_of(name) for name in names):
        inside = f"images in {'/, '.join(names)}/ itself" if names else f"{sum(map(len, tree.left_out.values()))} files"
        raise ProblemError(f"{folder}: expected a folder of images for each class, found {inside}")
    if len(names) == 1 and (inner := _wrapped(folder / names[0])):
        found = f"found one, {names[0]}/, with folders in it ({listed(inner)})"
        advice = f"if these are the classes, write `data: {folder / names[0]}`"
        raise ProblemError(f"{folder}: expected folders of two classes or more, {found}; {advice}")
    empty = [] if allow_missing else [name for name in names if not tree.has_image(folder / name)]
    if empty:
        advice = "add some, take the folder out, or write splits.allow_missing: true"
        raise ProblemError(f"{folder}: expected images in every class, found none in {listed(empty)}; {advice}")
    return names


def _wrapped(folder: Path) -> list[str]:
    """The folders in a folder that has several, and no image beside them; else none."""
    tree = Tree(folder)
    inside = tree.classes()
    return inside if len(inside) > 1 and not tree.left_out else []


def _check_same(pools: Mapping[str, Path], classes: Mapping[str, Iterable[str]]) -> None:
    (train, seen), (test, asked) = ((pools[name], set(classes[name])) for name in ("train", "test"))
    for lone, place, other in ((seen - asked, train, test), (asked - seen, test, train)):
        if lone:
            found = f"expected the classes of {place}, found none called {listed(sorted(lone))}"
            raise ProblemError(f"{other}: {found}; splits.allow_missing: true allows it")


def _numbers(folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Say so where torchvision's ImageFolder has the classes in another order."""
    if list(classes) == sorted(classes):
        return ()
    first = ", ".join(sorted(classes)[:3])
    return (f"{folder}: classes are sorted as numbers, not as text ({first}, …); problem.classes gives another order",)


def listed(names: Iterable[str]) -> str:
    """Return names as a message can hold them: the first few, and how many more."""
    names = [readable(name) for name in names]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f'"{name}"' for name in names[:5]) + more
