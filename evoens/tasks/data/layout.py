"""Where image data lie, their pools and classes, and what each split asks for; imports nothing heavy."""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evoens.errors import ProblemError, nearest
from evoens.settings.classification import DATASETS, Cut, SplitCuts
from evoens.storage.card import beside, find_parent
from evoens.tasks.data.folders import folder_pools, listed

SIZES: dict[str, dict[str, int]] = {
    "digits": {"train": 1797},
    "spirals": {"train": 2750},
    "MNIST": {"train": 60000, "test": 10000},
    "FashionMNIST": {"train": 60000, "test": 10000},
    "CIFAR10": {"train": 50000, "test": 10000},
    "CIFAR100": {"train": 50000, "test": 10000},
    "ImageNet": {"train": 1281167, "test": 50000},
}
CHANNELS = {"digits": 1, "spirals": 1, "MNIST": 1, "FashionMNIST": 1, "CIFAR10": 3, "CIFAR100": 3, "ImageNet": 3}

VARIABLE = "EVOENS_DATA"
_ARRAYS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
_ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "test": "ILSVRC2012_img_val.tar"}
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


@dataclass(frozen=True)
class Place:
    """Data that were found: a named set, whose pools' sizes are known, or a folder or file at `path`.

    `folders` and `arrays` say where in it each pool is: a folder of class folders, or images and labels of an `.npz`.
    `classes` are those of a folder, in the order of their names; `notes` say what of it is not counted.
    """

    name: str
    kind: Literal["named", "folder", "npz"]
    pools: tuple[str, ...]
    path: Path
    folders: Mapping[str, Path] = field(default_factory=dict)
    arrays: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many images each pool has, where that is known without opening it."""
        return SIZES[self.name] if self.kind == "named" else {}


def user_cache() -> Path:
    """Return the folder for evoens in the user's cache, by default `~/.cache/evoens`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evoens"


def data_root(root: str | None, base: Path) -> Path:
    """Return the folder of the named sets, laid out as torchvision's `root`; it need not be there yet.

    That is `root` (relative to `base`, else to the working folder), else the environment variable EVOENS_DATA, else
    the user's cache: torchvision has no default, and one in the working folder would download once for each.
    """
    if root is None:
        return Path(os.environ.get(VARIABLE) or user_cache()).expanduser()
    path = Path(root).expanduser()
    return find_parent(str(path), base) or base / path


def locate(data: str, root: Path, base: Path, allow_missing: bool = False) -> Place:
    """Return where `data` is: a named set (`./digits` is a folder of that name), a folder, or an `.npz` file.

    With `allow_missing` a class may be without images, here or there.

    Raises:
        ProblemError: there is no such thing, or it does not hold what it must.
    """
    if data in DATASETS:
        return Place(data, "named", tuple(SIZES[data]), root)
    path = find_parent(str(Path(data).expanduser()), base)
    if path is None:
        raise ProblemError(_unknown(data, base))
    if path.is_dir():
        try:
            pools = folder_pools(path, allow_missing)
        except OSError as error:  # a folder that may not be read
            raise ProblemError(f"{path}: expected a folder of images, found what cannot be read ({error})") from error
        folders = pools.folders
        return Place(data, "folder", tuple(folders), path, folders, classes=pools.classes, notes=pools.notes)
    arrays = npz_pools(path)
    return Place(data, "npz", tuple(arrays), path, arrays=arrays)


def _unknown(data: str, base: Path) -> str:
    known = {name.lower(): name for name in (*beside(data, base), *DATASETS)}
    close = difflib.get_close_matches(data.lower(), known, n=1)
    hint = f'; did you mean "{known[close[0]]}"?' if close else ""
    return f'expected one of {", ".join(DATASETS)}, a folder or an .npz file, found "{data}", which is not there{hint}'


def without_pool(place: Place, pool: str, split: str) -> str:
    """Return what to say of a split that is to come from a pool that the data do not have."""
    other = "train" if pool == "test" else "test"
    return f"{place.name} has no {pool} images; write `{split}: {{from: {other}, count: 0.2}}`"


def unlike_channels(where: str, channels: int, normalised: int) -> str:
    """Return what to say where `problem.normalise` has another number of channels than the images, `where`, have."""
    kinds = {1: "grey", 3: "in colour"}
    advice = f"`problem.channels: {normalised}` shows them {kinds[normalised]}"
    return (
        f"expected {channels} number{'s' * (channels > 1)}, as {where} {kinds[channels]}, found {normalised}; {advice}"
    )


def npz_pools(path: Path) -> dict[str, tuple[str, str]]:
    """Return the names of the arrays of images and of labels for each pool of an `.npz` file.

    Raises:
        ProblemError: it is no such file, or lacks the arrays.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = {name.removesuffix(".npy") for name in file.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise ProblemError(f"{path}: expected a folder of images or an .npz file, found neither ({error})") from error
    pools = {pool: arrays for pool, arrays in _ARRAYS.items() if names & set(arrays)} or {"train": ("x", "y")}
    missing = [name for arrays in pools.values() for name in arrays if name not in names]
    if missing:
        found = ", ".join(sorted(names)) or "nothing"
        needed = "x_train, y_train, x_test and y_test, or x and y"
        raise ProblemError(f"{path}: expected the arrays {needed}, found {found}: no {' and no '.join(missing)}")
    return pools


def imagenet_folder(root: Path, pool: str) -> Path:
    """Return where ImageNet's images of a pool are, or are to be: in `root/ImageNet/`, or where that is not, `root/`.

    The official validation images are the pool "test"; those of the official test have no labels.
    """
    home = root / "ImageNet" if (root / "ImageNet").is_dir() else root
    return home / {"train": "train", "test": "val"}[pool]


def imagenet_missing(root: Path, pool: str) -> str | None:
    """Return what to put where by hand for a pool of ImageNet; None where its images or their archives are there."""
    folder = imagenet_folder(root, pool)
    archives = [folder.parent / _ARCHIVES[pool], folder.parent / _DEVKIT]
    if folder.is_dir() or all(path.is_file() for path in archives):
        return None
    place = root if root == folder.parent else f"{root} or {folder.parent}"
    names = " and ".join(path.name for path in archives)
    return f"expected ImageNet's {folder.name}/ with a folder for each class, or {names} (image-net.org), in {place}"


_KEYS = ("problem", "classes")


def arranged(
    found: Sequence[str], order: Sequence[str] | None, where: str, allow_missing: bool = False
) -> tuple[str, ...]:
    """Return the classes that are there in the order that is asked for; as they are where none is.

    Args:
        found: their names.
        order: `problem.classes`.
        where: begins a message.
        allow_missing: `order` may name classes that have no image at all.

    Raises:
        ProblemError: `order` lacks a class, or names one that is not there.
    """
    if order is None:
        return tuple(found)
    unknown = [] if allow_missing else [name for name in order if name not in found]
    if unknown:
        hint = nearest(unknown[0], found) or f"; there are {listed(found)}"
        message = f'expected the classes of {where}, found "{unknown[0]}"{hint}'
        raise ProblemError(f"problem.classes: {message}", _KEYS)
    if lacking := [name for name in found if name not in order]:
        expected = f"expected all {len(found)} classes of {where}"
        raise ProblemError(f"problem.classes: {expected}, found none called {listed(lacking)}", _KEYS)
    return tuple(order)


def cuts_of(splits: SplitCuts, pool: str) -> dict[str, Cut]:
    """Return the splits that come from `pool`, by name."""
    return {name: cut for name, cut in splits.cuts.items() if cut.from_ == pool}


def split_sizes(cuts: Mapping[str, Cut], total: int, pool: str, needed: Collection[str]) -> dict[str, int]:
    """Return the number of images of each split of a pool of `total` images.

    Args:
        cuts: the splits that come from the pool.
        total: how many images it has.
        pool: its name.
        needed: the splits that must have some.

    Raises:
        ProblemError: more is asked for than there is, or nothing is left for a needed split that gets the rest.
    """
    sizes = {name: _size(cut.count, total) for name, cut in cuts.items() if cut.count is not None}
    rest = [name for name in cuts if name not in sizes]
    asked = " + ".join(f"{size} ({name})" for name, size in sizes.items())
    left = total - sum(sizes.values())
    if left < 0:
        raise ProblemError(f"expected at most the {total} images of {pool} in all, found {asked}")
    if rest and rest[0] in needed and not left:
        raise ProblemError(
            f"expected fewer than the {total} images of {pool}, so that {rest[0]} has some, found {asked}"
        )
    return {name: sizes.get(name, left) for name in cuts}


def _size(count: int | float, total: int) -> int:
    return count if isinstance(count, int) else round(count * total)
