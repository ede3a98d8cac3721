"""What a run folder holds, read for its report: of a run finished or still going."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from evoens.errors import CheckpointError
from evoens.report.written import Analysis, Child, History, Report
from evoens.scoring.text import number
from evoens.settings.diversity import PARTS
from evoens.storage.json_file import read_json, read_rows

Json = Mapping[str, Any]
T = TypeVar("T")
IMAGES = (".png", ".gif")
PLAYERS = {"parent.gif": "The parent", "ensemble.gif": "The ensemble"}


@dataclass(frozen=True)
class Facts:
    """A run folder as read: what is not there yet is empty. `pictures` maps file names to their bytes.

    `analyses` holds what each part of `python -m evoens diversity` has found, its pictures' bytes under `data`.
    """

    folder: Path
    config: str
    report: Json
    history: Json
    population: Sequence[Json]
    pictures: Mapping[str, bytes]
    analyses: Mapping[str, Json] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.report.get("name") or self.folder.resolve().name)

    @property
    def begun(self) -> bool:
        """Whether there is a run at all: networks that come from none can be analysed, too."""
        return bool(self.generations or not self.analyses)

    @property
    def place(self) -> str:
        """The folder as commands name it: from the working folder where it lies in there."""
        folder, here = self.folder.resolve(), Path.cwd()
        return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)

    @property
    def measures(self) -> list[Json]:
        """What each measure of the verdict is: `{key, label, unit, higher_is_better, digits}`; the score first."""
        return list(self.report.get("measures") or self.history.get("measures") or [])

    @property
    def unit(self) -> str:
        """The unit of every score."""
        return str(self.measures[0]["unit"]) if self.measures else "score"

    @property
    def unsure(self) -> str:
        """Why the test split may not be unseen: what it may have been; empty where it is unseen."""
        return str(self.report.get("unsure", ""))

    @property
    def filmed(self) -> bool:
        """Whether parent or ensemble has been filmed."""
        return not PLAYERS.keys().isdisjoint(self.pictures)

    @property
    def generations(self) -> Sequence[Json]:
        """One summary for each generation that is done."""
        return list(self.history.get("generations") or [])

    def from_one(self) -> Facts:
        """Return the same facts with generations counted from 1, as people count; files count from 0."""

        def counted(rows: Sequence[Json]) -> list[Json]:
            return [{**row, "generation": row["generation"] + 1} for row in rows]

        history = {**self.history, "generations": counted(self.generations)}
        return replace(self, population=counted(self.population), history=history)

    @property
    def scored(self) -> Sequence[Json]:
        """The population's children that did not fail."""
        return [row for row in self.population if row["fitness"] is not None]

    @property
    def members(self) -> Sequence[str]:
        """The keys of the ensemble's members, in the order in which they were chosen."""
        return list(self.report.get("ensemble", {}).get("members", []))

    @property
    def alone(self) -> Sequence[Json]:
        """What each member reaches by itself on the test split: `{key, test, …}`; empty where that is not measured."""
        return list(self.report.get("ensemble", {}).get("alone", []))

    @property
    def candidates(self) -> Sequence[Json]:
        """The children that selection looked at: `{key, search, select}`, a score on either split."""
        search = {row["key"]: row["fitness"] for row in self.scored}
        found = self.report.get("candidates", [])
        return [{**row, "search": search[row["key"]]} for row in found if row["key"] in search]

    def number(self, value: float | None, sign: str = "") -> str:
        """Return a score as text."""
        return number(value, self.measures[0]["digits"] if self.measures else 2, sign)


def read_facts(folder: Path) -> Facts:
    """Read a run folder; a file that is not there yet counts as empty.

    Raises:
        CheckpointError: the folder has no config.resolved.yaml, or one of its files is damaged.
    """
    config = folder / "config.resolved.yaml"
    if not config.is_file():
        raise CheckpointError(f"{folder}: expected a run's folder with a config.resolved.yaml in it, found none")
    pictures = sorted((folder / "pictures").glob("*"))
    return Facts(
        folder=folder,
        config=config.read_text(encoding="utf-8", errors="replace"),
        report=_there(read_json, folder / "report.json", "a run's report", Report, {}),
        history=_there(read_json, folder / "history.json", "a run's history", History, {}),
        population=_there(read_rows, folder / "population.jsonl", "a child a line", Child, []),
        pictures={path.name: path.read_bytes() for path in pictures if path.suffix in IMAGES},
        analyses={part: found for part in PARTS if (found := _analysis(folder / "diversity" / f"{part}.json"))},
    )


def read_finding(path: Path) -> dict[str, Any]:
    """Return what a part of an analysis has written; empty where it, or a picture of it, is not there or damaged.

    That is no fault of the run: the part is done again when it is asked for.
    """
    try:
        found = read_json(path, "what an analysis has found", Analysis)
    except CheckpointError:
        return {}
    files = [row["file"] for row in found["pictures"]]
    return found if all(Path(name).name == name and (path.parent / name).is_file() for name in files) else {}


def _analysis(path: Path) -> Json:
    """What a part has found, with the bytes of its pictures."""
    found = read_finding(path)
    rows = [{**row, "data": (path.parent / row["file"]).read_bytes()} for row in found.get("pictures", [])]
    return {**found, "pictures": rows} if found else {}


def _there(read: Callable[[Path, str, Any], T], path: Path, what: str, kind: Any, otherwise: T) -> T:
    return read(path, what, kind) if path.is_file() else otherwise
