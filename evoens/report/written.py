"""The kinds of what a run writes as JSON: what who reads it counts on. Keys that are not named may hold anything."""

from __future__ import annotations

from typing import Any

from typing_extensions import NotRequired, TypedDict


class Child(TypedDict):
    """A row of population.jsonl."""

    generation: int
    key: str
    genome: list[dict[str, Any]]
    status: str
    fitness: float | None


class Measure(TypedDict):
    """What one measure of the verdict is."""

    key: str
    label: str
    unit: str
    higher_is_better: bool
    digits: int


class Generation(TypedDict):
    """A summary of one generation."""

    generation: int
    fitness: dict[str, float | None]


class History(TypedDict, total=False):
    """history.json: what a run knows, finished or not."""

    measures: list[Measure]
    sigma: float | None
    generations: list[Generation]
    warnings: list[str]


class Stats(TypedDict):
    """A score with its interval."""

    score: float | None
    n: int
    ci95: list[float | None]


class Contestant(TypedDict, total=False):
    """One of those that are compared."""

    test: Stats
    members: list[str]
    alone: list[dict[str, Any]]


class Report(TypedDict, total=False):
    """report.json: the verdict; a further Method's block is under its own name, which is none of these."""

    name: str
    verdict: str
    stopping: Any
    problem: dict[str, Any]
    unit: str
    measures: list[Measure]
    splits: dict[str, Any]
    unlike_test: Any
    unsure: Any
    parent: Contestant
    best_child: Contestant
    random_children: Contestant
    trained_on: Contestant
    averaged: Contestant
    one_child: Contestant
    soup: Contestant
    ensemble: Contestant
    parent_tempered: Contestant
    ensemble_tempered: Contestant
    selection_optimism: Any
    reliability: Any
    plan: Any
    scope: Any
    sigma: Any
    trust_region: Any
    generations: int
    candidates: list[dict[str, Any]]
    front: dict[str, Any]
    archive: dict[str, Any]
    cost: dict[str, Any]
    artifact: dict[str, Any]
    parent_card: Any
    seed: int
    warnings: list[str]
    versions: Any
    details: Any


class Shown(TypedDict):
    """A picture of an analysis: its file, in the folder of the analysis itself."""

    file: str
    description: str
    caption: str


class Table(TypedDict):
    """A table of an analysis."""

    head: NotRequired[list[str]]
    rows: list[list[str]]
    caption: NotRequired[str]


class Analysis(TypedDict):
    """What one part of an analysis has found."""

    key: str
    title: str
    text: list[str]
    tables: list[Table]
    pictures: list[Shown]
    figures: dict[str, Any]
