"""A part of an analysis: small steps, each kept as soon as it is done, and what they show in the end."""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save
from torch import Tensor

from evoens.errors import CheckpointError
from evoens.report.facts import read_finding
from evoens.report.parts import Table
from evoens.storage.files import write_atomic
from evoens.storage.tensor_file import load_tensors

Kept = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a part: the file's name, its bytes, its words for who cannot see it, and what stands below it."""

    file: str
    data: bytes
    description: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a part has found: sentences, tables and pictures for the page, and the figures themselves as JSON."""

    text: Sequence[str]
    figures: Mapping[str, Any]
    tables: Sequence[Table] = ()
    pictures: Sequence[Shown] = field(default_factory=list)


class Part(ABC):
    """One way to look at a subject. Steps are independent of each other, and the same whenever they are taken.

    Attributes:
        name: of the part, in the YAML and in files.
        title: of its section on the page.
        cost: what it takes, in words, before it begins.
        steps: how many there are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    cost: str
    steps: int

    @abstractmethod
    def step(self, place: int) -> dict[str, Tensor]:
        """Take one step, and return what is to be kept of it."""

    @abstractmethod
    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Return what all steps together show."""


def carry_out(part: Part, folder: Path, key: str, on_step: Callable[[int], None]) -> dict[str, Any]:
    """Do what is not done yet of a part, and return what `folder`/NAME.json then holds.

    A step that was taken is read, not taken again, as long as the `key` is the same: it says what is looked at and how.

    Args:
        part: what is done.
        folder: where its file, its pictures and, meanwhile, its steps are kept.
        key: of the subject and the part's settings.
        on_step: told after each step how many are done.
    """
    place, steps = folder / f"{part.name}.json", folder / f".{part.name}"
    done = read_finding(place)
    if done.get("key") == key:
        return done
    steps.mkdir(parents=True, exist_ok=True)
    kept = []
    for number in range(part.steps):
        kept.append(_step(part, number, steps / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{number:04d}"))
        on_step(number + 1)
    found = _write(part, folder, key, part.finish(kept))
    shutil.rmtree(steps)
    return found


def _step(part: Part, number: int, path: Path) -> Kept:
    try:
        return load_tensors(path)
    except CheckpointError:  # not there yet, or cut off by a full disk
        kept = part.step(number)
        write_atomic(path, save({name: value.contiguous() for name, value in kept.items()}))
        return kept


def _write(part: Part, folder: Path, key: str, finding: Finding) -> dict[str, Any]:
    """Write the pictures, then the file that names them."""
    for picture in finding.pictures:
        write_atomic(folder / picture.file, picture.data)
    named = ("file", "description", "caption")
    document = {
        "key": key,
        "title": part.title,
        "text": list(finding.text),
        "tables": [asdict(table) for table in finding.tables],
        "pictures": [{name: getattr(picture, name) for name in named} for picture in finding.pictures],
        "figures": dict(finding.figures),
    }
    text = json.dumps(document, indent=1) + "\n"
    write_atomic(folder / f"{part.name}.json", text)
    found: dict[str, Any] = json.loads(text)
    return found
