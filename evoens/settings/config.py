"""The settings of any run: strategy, σ, search, selection, report; and the whole YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from evoens.settings.backend import BackendSettings
from evoens.settings.base import (
    ARCHIVE,
    PARETO,
    SCALING,
    SUBSPACES,
    ClassText,
    Conflict,
    Fraction,
    Many,
    MethodText,
    Name,
    Natural,
    ParentSettings,
    PathText,
    ProblemSettings,
    Scope,
    SearchText,
    Section,
)
from evoens.settings.diversity import BehaviourName, DiversitySettings, MeasureName
from evoens.settings.evaluation import EvaluationSettings

SO_FAR = 16  # games by which the ensemble so far is watched: a whole evaluation of it would cost k children
CANDIDATES = 2  # measured on the select split for each member's place, as in the dissertation: 8 of 16
FEWEST, DIMENSIONS = 5, 16  # children of a generation from which a search learns; directions where nothing is said
OBJECTIVES, MEASURES, CELLS = ("score", "diversity"), ("kl", "confidence"), 8  # of nsga2 and map-elites
ELITES, MEMBERS = 4, 8  # where nothing is said, of a population that is large enough: else half of it, and all


ObjectiveName = Literal["score", "diversity", "nll", "sparsity", "size"]


class StrategySettings(Section):
    """The Strategy's class and its own arguments.

    What comes before the scope's layers is computed once for all children that look at the same inputs.
    """

    model_config = ConfigDict(extra="allow")

    class_: ClassText = Field(alias="class")
    """A Strategy that ships, or one of your own."""
    sigma: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """The scale of the noise; `auto` searches for the one at which children leave the parent by `target_kl`."""
    density: Fraction = 0.5
    """The share of the weights that a gene touches."""
    parts: Natural = 2
    """2: a mask and its anti-mask; more: so many equal parts; 1: a mask alone."""
    scope: Scope = None
    """The layers that genes touch: names or patterns, or `from: layer`; null is all, `auto` tries each alone."""

    @property
    def extra(self) -> dict[str, Any]:
        """The keys that only the named class knows."""
        return dict(self.__pydantic_extra__ or {})

    def conflicts(self) -> Iterator[Conflict]:
        """More than two parts are equal parts."""
        if self.parts > 2 and abs(self.density * self.parts - 1) >= 1e-2:
            share = f"{1 / self.parts:.4g}, as {self.parts} equal parts have"
            yield Conflict("density", "parts", f"expected {share}, found {self.density}")


class TrustRegionSettings(Section):
    """Search for σ: the largest on the grid whose mean KL(parent ‖ child) stays at the target (dissertation 4.2.1)."""

    target_kl: Annotated[float, Field(gt=0)] = 0.02
    """The mean KL(parent ‖ child), in nats, at which σ is taken."""
    grid: tuple[Annotated[float, Field(gt=0)], ...] = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
    """The σ that are tried; it goes on beyond its ends where they do not reach the target."""
    frames: Natural | None = None
    """The inputs on which it is measured; null is 256, or down to 8 where a large network would take minutes."""
    children: Natural = 4
    """The children that are drawn at each σ."""


class RacingSettings(Section):
    """Give more levels to the children still in contention, `step` at a time, until `levels` are spent on each."""

    step: Natural = 16
    """The cases that are added at a time."""
    levels: Natural = 96
    """The cases that each child is measured on at most."""


class SearchSettings(Section):
    """The evolution: children per generation, generations, elites that stay and breed."""

    population: Many = 16
    """The children of each generation."""
    generations: Many = 1
    """How many generations there are."""
    elites: Annotated[int, Field(ge=0)] = ELITES
    """The best children that stay and breed; half the population at most, unless more are given."""
    by: SearchText = "elites"
    """Who asks for children: `elites` has the Strategy breed the best, `map-elites` the best of each kind.

    The others need its scale: `es` moves a centre by all draws (Salimans et al. 2017); `cma-es`, `snes`, `xnes`,
    `pgpe`, `cem` and `ga` are EvoTorch's, in a few random directions, where `nsga2` has several objectives (Deb et al.
    2002). Or a Search of your own.
    """
    dimensions: Annotated[int, Field(ge=2, le=1000)] | None = None
    """In how many directions EvoTorch's algorithms and `nsga2` search; null is 16 for these."""
    objectives: tuple[ObjectiveName, ...] | None = None
    """What `nsga2` weighs, two or more; null is `score` and `diversity` for it.

    `diversity` is the mean distance to the others of a generation, by `diversity_by`; `nll` needs labels; `sparsity` is
    the share of weights that are as in the parent; `size` is the number of genes, and fewer are better.
    """
    measures: tuple[BehaviourName, BehaviourName] | None = None
    """By which two measures `map-elites` tells kinds of children apart; null is `kl` and `confidence` for it.

    The distance to the parent by a measure of diversity, or `confidence`, or `balance` of the answered classes.
    """
    cells: Annotated[int, Field(ge=2, le=100)] | None = None
    """Into how many kinds `map-elites` divides each of its two measures; null is 8 for it."""
    diversity: Annotated[float, Field(ge=0)] = 0.0
    """What a child's mean distance to the others is worth in its fitness."""
    diversity_by: MeasureName = "disagreement"
    """How that distance is measured."""
    racing: RacingSettings | None = None
    """More cases for the children that are still in contention; null measures all alike."""

    def conflicts(self) -> Iterator[Conflict]:
        """A key belongs to searches that know it; a distribution is learnt from several children."""
        knows = {"dimensions": SUBSPACES, "objectives": (PARETO,), "measures": (ARCHIVE,), "cells": (ARCHIVE,)}
        for key, searches in knows.items():
            found = getattr(self, key)
            if found is not None and self.by not in searches:
                one = f"none of {', '.join(searches)}" if len(searches) > 1 else f"not {searches[0]}"
                text = found if isinstance(found, int) else f"[{', '.join(found)}]"
                yield Conflict(key, "by", f"expected null, since {self.by} is {one}; found {text}")
        for key in ("objectives", "measures"):
            several = getattr(self, key)
            if several is not None and not 2 <= len(several) == len(set(several)):
                text = f"[{', '.join(several)}]"
                yield Conflict(key, "by", f"expected two or more for {self.by}, each once, found {text}")
        if self.diversity and self.by in (PARETO, ARCHIVE):
            message = f"expected 0, since {self.by} keeps different children itself, found {self.diversity}"
            yield Conflict("diversity", "by", message)
        if self.by in SCALING and self.population < FEWEST:
            yield Conflict("population", "by", f"expected at least {FEWEST} for {self.by}, found {self.population}")


class SelectionSettings(Section):
    """How members are chosen on the select split, and how they become one predictor.

    With `parent` the parent votes as in the dissertation's algorithms 1 to 3; in its tables it does not.
    """

    rule: Literal["greedy", "top"] = "greedy"
    """`greedy` adds the member that helps the ensemble most, `top` takes the best by their own score."""
    size: Natural = MEMBERS
    """The members of the ensemble; the whole population at most, unless more are given."""
    replacement: bool = False
    """Whether a member may be added again, and then counts twice (Caruana et al. 2004)."""
    diversity: Annotated[float, Field(ge=0)] = 0.0
    """What a candidate's mean distance to those chosen is worth."""
    diversity_by: MeasureName = "disagreement"
    """How that distance is measured."""
    combine: Literal["mean", "logit-mean", "geometric-mean", "majority-vote", "median"] = "mean"
    """The rule by which the members' outputs become one."""
    parent: bool = False
    """Whether the parent votes beside the members."""

    def conflicts(self) -> Iterator[Conflict]:
        """Only the greedy rule knows replacement and diversity."""
        for name in ("replacement", "diversity"):
            if self.rule == "top" and getattr(self, name):
                yield Conflict(name, "rule", f"expected the rule greedy, which alone knows it, found {self.rule}")


class ReportSettings(Section):
    """The final comparison of the ensemble with the parent, the best child, random children and further Methods."""

    random_draws: Many = 4
    """How many ensembles of random children the ensemble is compared with."""
    bootstrap: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    """The resamples from which intervals are taken."""
    precision: Annotated[float, Field(gt=0)] | None = None
    """Half the width that the interval of the ensemble's difference may have, in the score's unit: Procgen plays test
    levels until it is reached, and a narrower one that holds 0 is called no gain; null plays all."""
    methods: tuple[MethodText, ...] = ()
    """Methods of your own that are compared too, `path/to/file.py:Class` or `package.module:Class` each."""


class DataSettings(Section):
    """Where data sets lie; the environment variable EVOENS_DATA serves when `root` is not set."""

    root: PathText | None = None
    """The folder of data sets; the environment variable EVOENS_DATA serves when it is not set."""


class Config(Section):
    """One experiment: a whole YAML file, checked; each problem narrows `problem` and `parent`.

    `sample` stands in for required keys that are wrong or missing, so that the rest can still be checked.
    """

    sample: ClassVar[dict[str, Any]] = {
        "name": "sample",
        "parent": {"checkpoint": "sample"},
        "strategy": {"class": "noisy"},
    }

    name: Name
    """The run's name, and its folder's."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of all that is drawn."""
    problem: ProblemSettings
    parent: ParentSettings
    strategy: StrategySettings
    evaluation: EvaluationSettings = EvaluationSettings()
    backend: BackendSettings = BackendSettings()
    trust_region: TrustRegionSettings = TrustRegionSettings()
    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    report: ReportSettings = ReportSettings()
    diversity: DiversitySettings = DiversitySettings()
    data: DataSettings = DataSettings()

    @model_validator(mode="before")
    @classmethod
    def _small_population(cls, value: Any) -> Any:
        """Let the numbers of elites and members, where they are not given, follow a population of a few children."""
        search: Any = value.get("search") if isinstance(value, dict) else None
        selection: Any = value.get("selection", {}) if isinstance(value, dict) else None
        population = search.get("population") if isinstance(search, dict) else None
        if type(population) is not int or population < 1 or not isinstance(selection, dict):
            return value
        elites, size = min(ELITES, population // 2), min(MEMBERS, population)
        return {**value, "search": {"elites": elites, **search}, "selection": {"size": size, **selection}}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What goes together, and may yet not be meant, a line each."""
        if self.selection.size < self.search.population:
            return ()
        every = f"selection.size is search.population ({self.search.population})"
        one = "members and random children are the same networks, and nothing is selected"
        several = "every draw of random children is the whole first generation"
        return (f"{every}: {one if self.search.generations == 1 else several}",)

    def conflicts(self) -> Iterator[Conflict]:
        """The ensemble and the elites come from the population; a cluster does not see what children learnt here."""
        population = self.search.population
        if self.selection.size > population:
            message = f"expected at most search.population ({population}), found {self.selection.size}"
            yield Conflict("selection.size", "search.population", message)
        if self.search.elites >= population:
            message = f"expected fewer than search.population ({population}), found {self.search.elites}"
            yield Conflict("search.elites", "search.population", message)
        if self.backend.address is not None and getattr(self, "tune", None) is not None:
            message = f"expected null with tune, as trained children lie on this machine, found {self.backend.address}"
            yield Conflict("backend.address", "tune", message)
