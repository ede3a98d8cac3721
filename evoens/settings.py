"""Every YAML key, its type, bounds and default: data only, so that reading a file never imports torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

GAMES = (
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot",
    "heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
)  # fmt: skip
Game = Literal[
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot",
    "heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
]  # fmt: skip
Fraction = Annotated[float, Field(gt=0, le=1)]
Natural = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A block of the YAML: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Levels(Section):
    """Level seeds `start` to `start + count − 1` (Procgen); `count` 0 is every level from `start` on."""

    start: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=0)]

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

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        ranges = list(self.__dict__.items())
        for i, (a, x) in enumerate(ranges):
            for b, y in ranges[i + 1 :]:
                if x.overlaps(y):
                    raise ValueError(f"levels of {a} and {b} overlap; the splits must be disjoint")
        return self


class ProblemSettings(Section):
    """What is played, and by which rule an action is taken from the policy's probabilities."""

    type: Literal["procgen"] = "procgen"
    game: Game
    difficulty: Literal["easy", "hard"] = "easy"
    frame_stack: Annotated[int, Field(ge=1, le=8)] = 2
    action: Literal["sampled", "greedy"] = "sampled"
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


class ParentSettings(Section):
    """Where the parent's weights are, and how it is trained when they are not there."""

    checkpoint: str
    train: PPOSettings = PPOSettings()


class StrategySettings(BaseModel):
    """The Strategy's class and its own arguments; `sigma: auto` is found by the trust-region search."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, populate_by_name=True)

    class_: str = Field(alias="class")
    sigma: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    density: Fraction = 0.5
    parts: Natural = 2

    @property
    def extra(self) -> dict[str, Any]:
        """The keys that only the named class knows."""
        return dict(self.__pydantic_extra__ or {})


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
    combine: Literal["mean"] = "mean"


class ReportSettings(Section):
    """The final comparison: how many draws of random children, and how many bootstrap resamples."""

    random_draws: Natural = 4
    bootstrap: Annotated[int, Field(ge=100)] = 2000


class DataSettings(Section):
    """Where data sets lie; the environment variable EVOENS_DATA serves when `root` is not set."""

    root: str | None = None


class Config(Section):
    """One experiment: a whole YAML file, checked."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    problem: ProblemSettings
    parent: ParentSettings
    strategy: StrategySettings
    trust_region: TrustRegionSettings = TrustRegionSettings()
    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    report: ReportSettings = ReportSettings()
    data: DataSettings = DataSettings()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.selection.size > self.search.population:
            raise ValueError(
                f"selection.size: expected at most search.population ({self.search.population}), "
                f"found {self.selection.size}"
            )
        if self.search.elites >= self.search.population:
            raise ValueError(
                f"search.elites: expected fewer than search.population ({self.search.population}), "
                f"found {self.search.elites}"
            )
        return self
