"""What a run is made of, and what it knows between two stages: all of that JSON, all of it in every checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from evoens.children import TunedWeights
from evoens.genome import Genome
from evoens.methods.base import Method
from evoens.plugins.spec import Located
from evoens.problem import Problem
from evoens.search.base import Search
from evoens.search.elites import Elites
from evoens.settings.config import Config
from evoens.strategy import Strategy
from evoens.tasks.supervised import SupervisedTask
from evoens.tasks.task_spec import TaskSpec


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of: the checked config and its text, the problem with its parent, the Strategy.

    Attributes:
        config: the checked YAML.
        resolved: its text with every default filled in.
        problem: what children are measured on, with their parent.
        strategy: makes the children.
        source: where its class comes from.
        arguments: what it was made with.
        parent_card: what is known of the parent's training.
        data: the sha256 of each split's cases (see `Task.contents`).
        cautions: what the user should know before the run, a sentence each.
        unsure: what must be said of all that the parent is measured on.
        methods: a user's own that are compared too, each with its source.
        task_files: the sha256 of each file of a task of the user's own.
        search: makes who asks for children; `search_source`, where a user's own comes from.
        tuned: where the weights of its children are, where they are trained.
        spec: what another process opens the problem by; None where nothing but memory has it.
        task: trains further networks like the parent; None where it cannot.
    """

    config: Config
    resolved: str
    problem: Problem
    strategy: Strategy
    source: Located
    arguments: dict[str, Any]
    parent_card: dict[str, Any]
    data: dict[str, str]
    cautions: Sequence[str] = ()
    unsure: str = ""
    methods: Sequence[tuple[Located, Method]] = ()
    task_files: Mapping[str, str] = field(default_factory=dict)
    search: Callable[[Strategy], Search] = Elites
    search_source: Located | None = None
    tuned: TunedWeights | None = None
    spec: TaskSpec | None = None
    task: SupervisedTask | None = None

    @property
    def sigma(self) -> float | None:
        """The scale of new genes; None where what the Strategy does has no scale."""
        return self.strategy.sigma if self.strategy.scaled else None

    def within(self, **known: Any) -> Experiment:
        """Return the experiment with a Strategy that asks with what is `known`."""
        return replace(self, strategy=self.strategy.within(**known))


@dataclass(frozen=True)
class Selection:
    """Which children became members, by which rule, and what each candidate scored on the select split.

    Attributes:
        rule: by which they were chosen.
        candidates: key and score of each, those that search ranked higher first.
        members: of the ensemble, the parent among them where it votes.
        best: the candidate with the highest score, and `best_select`, that score.
    """

    rule: str
    candidates: Sequence[dict[str, Any]]
    members: Sequence[Genome]
    best: Genome
    best_select: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `from_json` is the inverse."""
        return {
            "rule": self.rule,
            "candidates": list(self.candidates),
            "members": [genome.to_json() for genome in self.members],
            "best": self.best.to_json(),
            "best_select": self.best_select,
        }

    @classmethod
    def from_json(cls, rows: dict[str, Any]) -> Selection:
        """Return what `to_json` gave."""
        members = [Genome.from_json(genome) for genome in rows["members"]]
        return cls(**{**rows, "members": members, "best": Genome.from_json(rows["best"])})


@dataclass
class RunState:
    """The progress of a run. Genomes are in their JSON form; `generations` holds one summary each."""

    step: int = 0
    seconds: float = 0.0
    scope: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    trust_region: dict[str, Any] | None = None
    sigma: float | None = None
    strategy: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    population: list[dict[str, Any]] = field(default_factory=list)
    elites: list[dict[str, Any]] = field(default_factory=list)
    generations: list[dict[str, Any]] = field(default_factory=list)
    selection: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which stay as they are now; `RunState(**rows)` is the inverse."""
        return {one.name: _copied(getattr(self, one.name)) for one in fields(self)}


def _copied(value: Any) -> Any:
    """Return a copy of a JSON value, many times as fast as `asdict`: long genomes are most of a run's state."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, (list, tuple)) else value
