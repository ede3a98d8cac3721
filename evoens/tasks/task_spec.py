"""What another process opens the same problem by: the settings, where their paths start, and the parent's files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evoens.problem import Problem
from evoens.settings.config import Config
from evoens.storage.card import parent_files
from evoens.tasks import open_task, parse_config


@dataclass(frozen=True)
class TaskSpec:
    """A task and its parent, as they travel.

    Attributes:
        config: the checked YAML, as JSON.
        base: the folder from which its relative paths start, and those of the data.
        parent: what `Task.load` takes.
        files: the bytes of the parent's weights and card, by their names, once they are `packed`.
    """

    config: Mapping[str, Any]
    base: Path
    parent: Path
    files: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, base: Path, parent: Path) -> TaskSpec:
        """Return what `open` needs on this machine."""
        path = parent.absolute() if parent.exists() else parent  # torchvision's own are no files here
        return cls(config.model_dump(mode="json", by_alias=True), base.absolute(), path)

    def packed(self) -> TaskSpec:
        """Return it with the parent's files, for another machine."""
        files = {file.name: file.read_bytes() for file in {self.parent, *parent_files(self.parent)} if file.is_file()}
        return replace(self, files=files)

    def open(self) -> Problem:
        """Return the problem with its parent, opened anew from the data."""
        task = open_task(parse_config(self.config, self.base, strict=False), self.base)  # JSON has no tuples
        with tempfile.TemporaryDirectory(prefix="evoens-") as folder:
            for name, data in self.files.items():
                Path(folder, name).write_bytes(data)
            parent, _ = task.load(Path(folder, self.parent.name) if self.files else self.parent)
        return task.problem(parent)
