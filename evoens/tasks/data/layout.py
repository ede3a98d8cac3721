"""Where image data lie, and which pools they come in: looked up without importing anything heavy."""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evoens.card import find_parent
from evoens.errors import ProblemError
from evoens.settings.classification import DATASETS

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
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What torchvision's ImageFolder takes for an image."""

VARIABLE = "EVOENS_DATA"
_ARRAYS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
_ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "test": "ILSVRC2012_img_val.tar"}
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


@dataclass(frozen=True)
class Place:
    """Data that were found: a named set, whose pools' sizes are known, or a folder or file at `path`.

    `folders` and `arrays` say where in it each pool is: a folder of class folders, or images and labels of an `.npz`.
    """

    name: str
    kind: Literal["named", "folder", "npz"]
    pools: tuple[str, ...]
    path: Path
    folders: Mapping[str, Path] = field(default_factory=dict)
    arrays: Mapping[str, tuple[str, str]] = field(default_factory=dict)

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


def locate(data: str, root: Path, base: Path) -> Place:
    """Return where `data` is: a named set (`./digits` is a folder of that name), a folder, or an `.npz` file.

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
            folders = folder_pools(path)
        except OSError as error:  # a folder that may not be read
            raise ProblemError(f"{path}: expected a folder of images, found what cannot be read ({error})") from error
        return Place(data, "folder", tuple(folders), path, folders)
    arrays = npz_pools(path)
    return Place(data, "npz", tuple(arrays), path, arrays=arrays)


def _unknown(data: str, base: Path) -> str:
    path = base / Path(data).expanduser()
    beside = [str(Path(data).with_name(entry)) for entry in _entries(path.parent)]
    known = {name.lower(): name for name in (*beside, *DATASETS)}
    close = difflib.get_close_matches(data.lower(), known, n=1)
    hint = f'; did you mean "{known[close[0]]}"?' if close else ""
    return f'expected one of {", ".join(DATASETS)}, a folder or an .npz file, found "{data}", which is not there{hint}'


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def without_pool(place: Place, pool: str, split: str) -> str:
    """Return what to say of a split that is to come from a pool that the data do not have."""
    other = "train" if pool == "test" else "test"
    return f"{place.name} has no {pool} images; write `{split}: {{from: {other}, count: 0.2}}`"


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted as torchvision does; hidden ones are none of the classes."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def image_files(folder: Path) -> Iterator[Path]:
    """Yield the images in and below `folder` in torchvision's order."""
    for parent, _, names in sorted(os.walk(folder, followlinks=True)):
        yield from (Path(parent, name) for name in sorted(names) if name.lower().endswith(ENDINGS))


def folder_pools(folder: Path) -> dict[str, Path]:
    """Return where a folder's pools are: in `train/` and `test/` (or `val/`), or the folder itself is `train`.

    Raises:
        ProblemError: no folders of classes, one without images, or classes that only one of the pools has.
    """
    names: tuple[str, ...] = ("train", "test", "val")
    inner = {name: folder / name for name in names if (folder / name).is_dir() and class_folders(folder / name)}
    if "test" not in inner and "val" in inner:
        inner["test"] = inner["val"]
    pools = {name: inner[name] for name in names[:2] if name in inner} or {"train": folder}
    for place in pools.values():
        check_folder(place)
    if len(pools) == 2:
        _check_same(pools["train"], pools["test"])
    return pools


def check_folder(folder: Path) -> None:
    """Check that a folder has folders of classes, each with an image in or below it.

    Raises:
        ProblemError: it has not; the message says what is there instead.
    """
    classes = class_folders(folder)
    if not set(classes) - {"train", "test", "val"}:
        inside = f"images in {'/, '.join(classes)}/ itself" if classes else f"{len(_entries(folder))} files"
        raise ProblemError(f"{folder}: expected a folder of images for each class, found {inside}")
    empty = [name for name in classes if not _has_image(folder / name)]
    if empty:
        kinds = ", ".join(ENDINGS)
        raise ProblemError(f"{folder}: expected images ({kinds}) in every class, found none in {listed(empty)}")


def _has_image(folder: Path) -> bool:
    walk = os.walk(folder, followlinks=True)  # not sorted: the first that is found will do
    return any(name.lower().endswith(ENDINGS) for _, _, names in walk for name in names)


def _check_same(train: Path, test: Path) -> None:
    seen, asked = set(class_folders(train)), set(class_folders(test))
    for lone, place, other in ((seen - asked, train, test), (asked - seen, test, train)):
        if lone:
            raise ProblemError(f"{other}: expected the classes of {place}, found none called {listed(sorted(lone))}")


def listed(names: Iterable[str]) -> str:
    """Return names as a message can hold them: the first few, and how many more."""
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f'"{name}"' for name in names[:5]) + more


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
