"""What a parent has learnt on, as far as anybody says so, and whether it is measured on that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from evoens.errors import CheckpointError, ProblemError
from evoens.settings.classification import ClassificationConfig
from evoens.storage.card import find_parent
from evoens.tasks.data.arrays import npz_images
from evoens.tasks.data.data import Data
from evoens.tasks.data.decode import THREADS, Look
from evoens.tasks.data.folder import ImageFiles
from evoens.tasks.data.folders import Tree
from evoens.tasks.data.images import digest, digests
from evoens.tasks.data.layout import user_cache
from evoens.tasks.data.splits import MEASURED

UNSURE = "may have been seen in training"
_KEYS = ("parent", "learnt_on")


def unsure(config: ClassificationConfig, data: Data, base: Path) -> str:
    """Return what must be said of all that is measured: nothing where the parent has surely not learnt on it.

    That no split comes from `train` where the parent has learnt on it, is checked with the YAML.

    Args:
        config: `learnt_on` is `train` (what the data call so), `unknown`, or where the images are.
        data: none of its search, select and test images may be among those that were learnt on.
        base: the folder from which relative paths start.

    Raises:
        CheckpointError: images that it is measured on are among those that it has learnt on, or these are not there.
    """
    said = config.learnt_on
    if isinstance(said, str):
        return UNSURE if said == "unknown" else ""
    look = Look(data.shape[0], config.problem.image_size, config.problem.resize, (user_cache(),))
    learnt = {key for name in said for key in _learnt(name, look, base)}
    counts = {name: sum(key in learnt for key in digests(data.splits[name])) for name in MEASURED}
    seen = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
    if seen:
        message = f"expected no image of search, select and test in {', '.join(said)}, found {seen}"
        raise CheckpointError(f"parent.learnt_on: {message}", _KEYS)
    return ""


def _learnt(name: str, look: Look, base: Path) -> Iterable[bytes]:
    """Yield by what the images at a path are known, as they would be shown; what is no image is passed over."""
    path = find_parent(str(Path(name).expanduser()), base)
    if path is None:
        raise CheckpointError(f"parent.learnt_on: expected a folder of images or an .npz file, found no {name}", _KEYS)
    if path.suffix == ".npz":
        return (digest(image.permute(1, 2, 0).numpy().tobytes()) for image in npz_images(path, look))
    files = list(Tree(path).images(path)) if path.is_dir() else [path]
    return _of_files(ImageFiles(files, look, None))


def _of_files(images: ImageFiles) -> Iterator[bytes]:
    with ThreadPoolExecutor(THREADS) as threads:
        for keys in threads.map(partial(_key, images), range(len(images.files))):
            yield from keys


def _key(images: ImageFiles, place: int) -> Sequence[bytes]:
    try:
        return [digest(images.load(place).tobytes())]
    except ProblemError:  # not one of those that are measured on, which can be read
        return []
