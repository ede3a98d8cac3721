"""Every YAML key, its type, bounds and default: data only, so that reading a file never imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

SO_FAR = 16  # search cases on which the ensemble so far is watched: a whole evaluation of it would cost k children
CANDIDATES = 2  # measured on the select split for each member's place, as in the dissertation: 8 of 16
Game = Literal[
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot",
    "heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
]  # fmt: skip
GAMES: tuple[str, ...] = get_args(Game)
LEVELS = 2**31
"""Procgen's level seeds are 0 to LEVELS − 1."""

Fraction = Annotated[float, Field(gt=0, le=1)]
Natural = Annotated[int, Field(ge=1)]
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        json_schema_extra={"expected": 'a name of letters, digits, "_", "." and "-"'},
    ),
]
PathText = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "a path"})]
ClassText = Annotated[
    str,
    Field(
        min_length=1, json_schema_extra={"expected": "a strategy's name, path/to/file.py:Class or package.module:Class"}
    ),
]
Layer = Annotated[str, Field(min_length=1)]
Scope = Annotated[
    Layer
    | Annotated[tuple[Layer, ...], Field(min_length=1)]
    | Annotated[dict[Literal["from"], Layer], Field(min_length=1)]
    | None,
    Field(json_schema_extra={"expected": "a layer, a list of layers, `from: layer` or null"}),
]


class Conflict(NamedTuple):
    """Two values that do not go together: `key` is the one to mend, `other` what it must fit, from the section on."""

    key: str
    other: str
    message: str


class Section(BaseModel):
    """A block of the YAML: frozen, an unknown key is an error, and values that do not go together are named."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the values of this section that are fine alone and wrong together; the base has none."""
        return iter(())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self.conflicts())
        if found:
            text = "; ".join(f"{c.key}: {c.message}" for c in found)
            raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": found})
        return self


class Levels(Section):
    """Level seeds `start` to `start + count − 1` (Procgen); `count` 0 is every level from `start` on."""

    start: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=0)]

    def __str__(self) -> str:
        return f"{self.start} to {self.start + self.count - 1}" if self.count else f"{self.start} and on"

    def overlaps(self, other: Levels) -> bool:
        """Whether some level belongs to both ranges."""
        ends = [float("inf") if s.count == 0 else s.start + s.count for s in (self, other)]
        return self.start < ends[1] and other.start < ends[0]


class SplitLevels(Section):
    """The four disjoint ranges of levels: the parent learns on `train`, the rest it never sees."""

    train: Levels = Levels(start=0, count=100_000)
    search: Levels = Levels(start=1_000_000, count=32)
    select: Levels = Levels(start=2_000_000, count=32)
    test: Levels = Levels(start=3_000_000, count=100)

    @model_validator(mode="before")
    @classmethod
    def _half_given(cls, value: Any) -> Any:
        """Let a split that names only its start, or only its count, have the other by default."""
        if not isinstance(value, dict):
            return value
        return {
            name: {**cls.model_fields[name].default.model_dump(), **given}
            if isinstance(given, dict) and name in cls.model_fields
            else given
            for name, given in value.items()
        }

    def conflicts(self) -> Iterator[Conflict]:
        """The splits must be disjoint, finite where they are evaluated, and within Procgen's seeds."""
        ranges: list[tuple[str, Levels]] = list(self.__dict__.items())
        for i, (a, x) in enumerate(ranges):
            if x.count == 0 and a != "train":
                yield Conflict(f"{a}.count", f"{a}.start", "expected an integer ≥ 1, found 0")
            if x.start + x.count > LEVELS:
                yield Conflict(f"{a}.count", f"{a}.start", f"expected levels below {LEVELS}, found {x}")
            for b, y in ranges[:i]:
                if x.overlaps(y):
                    yield Conflict(a, b, f"expected levels apart from those of {b} ({y}), found {x}")


class ProblemSettings(Section):
    """What is played, and by which rule an action is taken from the policy's probabilities.

    `max_episode_steps` ends the games of the search and select splits early (Salimans et al. 2017, 2.1): the few that
    go on for long leave a batch of one or two. Those of the test split are always played to their end.
    """

    type: Literal["procgen"] = "procgen"
    game: Game
    difficulty: Literal["easy", "hard"] = "easy"
    frame_stack: Annotated[int, Field(ge=1, le=8)] = 2
    action: Literal["sampled", "greedy"] = "sampled"
    max_episode_steps: Natural | None = None
    levels: SplitLevels = SplitLevels()


class PPOSettings(Section):
    """PPO as in dissertation ch. 9 (spec of the defaults: table of hyperparameters for Procgen)."""

    steps: Natural = 8_000_000
    network: tuple[Natural, Natural, Natural] = (16, 32, 32)
    envs: Natural = 64
    rollout: Natural = 256
    minibatches: Natural = 8
    epochs: Natural = 3
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    gamma: Fraction = 0.999
    gae_lambda: Fraction = 0.95
    clip: Fraction = 0.2
    entropy: Annotated[float, Field(ge=0)] = 0.01
    value_coefficient: Annotated[float, Field(gt=0)] = 0.25
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    target_kl: Annotated[float, Field(gt=0)] | None = 0.01

    def conflicts(self) -> Iterator[Conflict]:
        """A rollout must split into whole minibatches."""
        if self.envs * self.rollout % self.minibatches:
            yield Conflict(
                "minibatches",
                "rollout",
                f"expected a divisor of envs × rollout ({self.envs * self.rollout}), found {self.minibatches}",
            )


class ParentSettings(Section):
    """Where the parent's weights are, and how it is trained when they are not there."""

    checkpoint: PathText
    train: PPOSettings = PPOSettings()


class StrategySettings(Section):
    """The Strategy's class and its own arguments; `sigma: auto` is found by the trust-region search.

    `scope` says which layers genes touch: names or patterns, `{from: layer}` for it and all after it, null for all.
    What comes before them is computed once for all children that look at the same frames.
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
    """Search for σ: the largest on the grid whose mean KL(parent ‖ child) stays at the target (dissertation 4.2.1)."""

    target_kl: Annotated[float, Field(gt=0)] = 0.02
    grid: tuple[Annotated[float, Field(gt=0)], ...] = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
    frames: Natural = 256
    children: Natural = 4


class RacingSettings(Section):
    """Give more levels to the children still in contention, `step` at a time, until `levels` are spent on each."""

    step: Natural = 16
    levels: Natural = 96


class SearchSettings(Section):
    """The evolution: children per generation, generations, elites that stay and breed."""

    population: Annotated[int, Field(ge=4)] = 16
    generations: Natural = 1
    elites: Annotated[int, Field(ge=0)] = 4
    racing: RacingSettings | None = None


class SelectionSettings(Section):
    """How members are chosen on the select split: `greedy` for the ensemble's sake, `top` by their own score."""

    rule: Literal["greedy", "top"] = "greedy"
    size: Natural = 8


class ReportSettings(Section):
    """The final comparison: how many draws of random children, and how many bootstrap resamples."""

    random_draws: Natural = 4
    bootstrap: Annotated[int, Field(ge=100)] = 2000


class DataSettings(Section):
    """Where data sets lie; the environment variable EVOENS_DATA serves when `root` is not set."""

    root: PathText | None = None


class Config(Section):
    """One experiment: a whole YAML file, checked."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    problem: ProblemSettings
    parent: ParentSettings
    strategy: StrategySettings
    trust_region: TrustRegionSettings = TrustRegionSettings()
    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    report: ReportSettings = ReportSettings()
    data: DataSettings = DataSettings()

    def conflicts(self) -> Iterator[Conflict]:
        """The ensemble and the elites come from the population."""
        population = self.search.population
        if self.selection.size > population:
            message = f"expected at most search.population ({population}), found {self.selection.size}"
            yield Conflict("selection.size", "search.population", message)
        if self.search.elites >= population:
            message = f"expected fewer than search.population ({population}), found {self.search.elites}"
            yield Conflict("search.elites", "search.population", message)
        yield from self._racing_conflicts()

    def _racing_conflicts(self) -> Iterator[Conflict]:
        """Racing goes on beyond the search levels, and must not reach those of another split."""
        levels, racing = self.problem.levels, self.search.racing
        if racing is None or racing.levels <= levels.search.count:
            return
        reached = Levels(start=levels.search.start, count=racing.levels)
        for name in ("train", "select", "test"):
            other: Levels = getattr(levels, name)
            if other.overlaps(reached):
                message = f"expected levels apart from those of {name} ({other}), found {reached}"
                yield Conflict("search.racing.levels", f"problem.levels.{name}", message)
