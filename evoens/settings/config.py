"""The settings of any run: strategy, σ, search, selection, report; and the whole YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from evoens.settings.base import (
    ClassText,
    Conflict,
    Fraction,
    Name,
    Natural,
    ParentSettings,
    PathText,
    ProblemSettings,
    Scope,
    Section,
)
from evoens.settings.diversity import Distance, DiversitySettings
from evoens.settings.evaluation import EvaluationSettings

SO_FAR = 16  # games by which the ensemble so far is watched: a whole evaluation of it would cost k children
CANDIDATES = 2  # measured on the select split for each member's place, as in the dissertation: 8 of 16
ELITES, MEMBERS = 4, 8  # where nothing is said, of a population that is large enough: else half of it, and all


class StrategySettings(Section):
    """The Strategy's class and its own arguments; `sigma: auto` is found by the trust-region search.

    `scope` says which layers genes touch: names or patterns, `{from: layer}` for it and all after it, null for all;
    `auto` tries each layer alone and takes the best. What comes before them is computed once for all children that look
    at the same inputs.
    """

    model_config = ConfigDict(extra="allow")

    class_: ClassText = Field(alias="class")
    sigma: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    density: Fraction = 0.5
    parts: Natural = 2
    scope: Scope = None

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
    """Search for σ: the largest on the grid whose mean KL(parent ‖ child) stays at the target (dissertation 4.2.1).

    `frames` are the inputs on which it is measured; null is 256, or fewer, 8 at least, with a network so large that
    these would take minutes.
    """

    target_kl: Annotated[float, Field(gt=0)] = 0.02
    grid: tuple[Annotated[float, Field(gt=0)], ...] = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
    frames: Natural | None = None
    children: Natural = 4


class RacingSettings(Section):
    """Give more levels to the children still in contention, `step` at a time, until `levels` are spent on each."""

    step: Natural = 16
    levels: Natural = 96


class SearchSettings(Section):
    """The evolution: children per generation, generations, elites that stay and breed.

    With `diversity` a child's fitness is its score and that many times its mean distance, `diversity_by`, to the other
    children and the elites.
    """

    population: Natural = 16
    generations: Natural = 1
    elites: Annotated[int, Field(ge=0)] = ELITES
    diversity: Annotated[float, Field(ge=0)] = 0.0
    diversity_by: Distance = "disagreement"
    racing: RacingSettings | None = None


class SelectionSettings(Section):
    """How members are chosen on the select split, and how they become one predictor.

    `greedy` adds the member that helps the ensemble most, with `replacement` one that is in it already too, which then
    counts twice (Caruana et al. 2004), and with `diversity` times its mean distance, `diversity_by`, to those chosen as
    a bonus; `top` takes the best by their own score. `combine` is the rule by which the members' outputs become one.
    With `parent` the parent votes beside the members, as in the dissertation's algorithms 1 to 3; in its tables it does
    not.
    """

    rule: Literal["greedy", "top"] = "greedy"
    size: Natural = MEMBERS
    replacement: bool = False
    diversity: Annotated[float, Field(ge=0)] = 0.0
    diversity_by: Distance = "disagreement"
    combine: Literal["mean", "logit-mean", "geometric-mean", "majority-vote", "median"] = "mean"
    parent: bool = False

    def conflicts(self) -> Iterator[Conflict]:
        """Only the greedy rule knows replacement and diversity."""
        for name in ("replacement", "diversity"):
            if self.rule == "top" and getattr(self, name):
                yield Conflict(name, "rule", f"expected the rule greedy, which alone knows it, found {self.rule}")


class ReportSettings(Section):
    """The final comparison: how many draws of random children, and how many bootstrap resamples."""

    random_draws: Natural = 4
    bootstrap: Annotated[int, Field(ge=100)] = 2000


class DataSettings(Section):
    """Where data sets lie; the environment variable EVOENS_DATA serves when `root` is not set."""

    root: PathText | None = None


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
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    problem: ProblemSettings
    parent: ParentSettings
    strategy: StrategySettings
    evaluation: EvaluationSettings = EvaluationSettings()
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

    def conflicts(self) -> Iterator[Conflict]:
        """The ensemble and the elites come from the population."""
        population = self.search.population
        if self.selection.size > population:
            message = f"expected at most search.population ({population}), found {self.selection.size}"
            yield Conflict("selection.size", "search.population", message)
        if self.search.elites >= population:
            message = f"expected fewer than search.population ({population}), found {self.search.elites}"
            yield Conflict("search.elites", "search.population", message)
