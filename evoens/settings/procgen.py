"""The settings of Procgen: games, levels, PPO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from evoens.settings.base import Conflict, Fraction, Natural, ParentSettings, ProblemSettings, Section
from evoens.settings.config import Config

Game = Literal[
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot",
    "heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
]  # fmt: skip
GAMES: tuple[str, ...] = get_args(Game)
ACTION_TEMPERATURES = (1.0, 0.7, 0.5, 0.35)  # what is left at 0 is the other rule
LEVELS = 2**31
"""Procgen's level seeds are 0 to LEVELS − 1."""
NO_PROCGEN = (
    "expected the package procgen, found none; it has wheels for Python 3.10 to 3.12 on x86-64, "
    "and of these for Linux alone from 3.11 on"
)


class Levels(Section):
    """Level seeds `start` to `start + count − 1` (Procgen); `count` 0 is every level from `start` on."""

    start: Annotated[int, Field(ge=0)]
    """The first level's seed."""
    count: Annotated[int, Field(ge=0)]
    """How many levels there are; 0 is every one from `start` on."""

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


class ProcgenSettings(ProblemSettings):
    """What is played, and by which rule an action is taken from the policy's probabilities.

    `max_episode_steps` ends the games of the search and select splits early (Salimans et al. 2017, 2.1): the few that
    go on for long leave a batch of one or two. Those of the test split are always played to their end.
    """

    type: Literal["procgen"] = "procgen"
    """Games of Procgen."""
    game: Game
    """Which game is played; `--set problem.game=…` takes that game's parent with it."""
    difficulty: Literal["easy", "hard"] = "easy"
    """Of the game's levels."""
    frame_stack: Annotated[int, Field(ge=1, le=8)] = 2
    """The frames that the policy sees at once."""
    action: Literal["sampled", "greedy"] = "sampled"
    """Whether an action is drawn from the policy's probabilities, or the likeliest is taken."""
    max_episode_steps: Natural | None = None
    """Where games of the search and select splits are ended; null plays them out, as test games always are."""
    levels: SplitLevels = SplitLevels()
    seen: Natural | None = None
    """How many of the train levels parent and ensemble play, too, in the end; the difference from test levels is what
    was learnt by heart."""

    def conflicts(self) -> Iterator[Conflict]:
        """There must be as many train levels as are to be played."""
        yield from super().conflicts()
        count = self.levels.train.count
        if self.seen and 0 < count < self.seen:
            yield Conflict("seen", "levels.train.count", f"expected at most {count} train levels, found {self.seen}")

    @property
    def counts(self) -> dict[str, int]:
        """How many levels each split has."""
        return {name: getattr(self.levels, name).count for name in ("search", "select", "test")}

    @property
    def action_temperatures(self) -> tuple[float, ...]:
        """At which temperatures parent and ensemble are tried; none, where the likeliest action is taken anyway."""
        return ACTION_TEMPERATURES if self.action == "sampled" else ()


class PPOUpdates(Section):
    """How PPO plays and learns, a parent or a child (dissertation ch. 9; spec of the defaults: its table 9.2).

    `cooldown` is the share of the steps, the last of them, over which the learning rate falls to zero on a line (Zhai
    et al. 2022, section 3.5); without one it stays as it is, as in the dissertation.
    """

    envs: Natural = 64
    """Games that are played side by side."""
    rollout: Natural = 256
    """Steps of each game between two updates."""
    minibatches: Natural = 8
    """Into how many parts a rollout is cut for the updates."""
    epochs: Natural = 3
    """How often each rollout is learnt from."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    """Adam's."""
    cooldown: Fraction | None = None
    """The last share of the steps, over which the learning rate falls to zero on a line; null is none."""
    gamma: Fraction = 0.999
    """The discount of later rewards."""
    gae_lambda: Fraction = 0.95
    """λ of generalised advantage estimation."""
    clip: Fraction = 0.2
    """How far the ratio of new to old probabilities counts."""
    entropy: Annotated[float, Field(ge=0)] = 0.01
    """The weight of the entropy bonus."""
    value_coefficient: Annotated[float, Field(gt=0)] = 0.25
    """The weight of the value loss."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    """To which gradients are clipped."""
    target_kl: Annotated[float, Field(gt=0)] | None = 0.01
    """The KL divergence of an update that ends its epochs early; null never does."""

    @property
    def frames_of_rollout(self) -> int:
        """Environment steps between two updates."""
        return self.envs * self.rollout

    def conflicts(self) -> Iterator[Conflict]:
        """A rollout must split into whole minibatches."""
        if self.frames_of_rollout % self.minibatches:
            yield Conflict(
                "minibatches",
                "rollout",
                f"expected a divisor of envs × rollout ({self.frames_of_rollout}), found {self.minibatches}",
            )


class PPOSettings(PPOUpdates):
    """How PPO trains a parent."""

    steps: Natural = 8_000_000
    """Environment steps of the whole training."""
    network: tuple[Natural, Natural, Natural] = (16, 32, 32)
    """The channels of the IMPALA network's three stages."""


class PolicyTuneSettings(PPOUpdates):
    """How PPO trains each child after it is born; what is not given here is as in `parent.train`.

    A policy is trained on without its value head, which no parent's file has: for the first `critic_warmup` rollouts
    the policy stays as it is, and the value head is fitted to what it meets. These frames count like any others.
    """

    frames: Natural = 200_000
    """Environment steps of each child, made up to whole rollouts."""
    levels: Literal["all", "share"] = "all"
    """The train levels that a child learns on: all, or its own of as many equal parts as there are children."""
    critic_warmup: Natural = 2
    """The first rollouts, in which only the scale of rewards and the value head are found."""

    @property
    def rollouts(self) -> int:
        """How many rollouts a child's frames are."""
        return -(-self.frames // self.frames_of_rollout)

    @property
    def whole_frames(self) -> int:
        """The frames of a child, made up to whole rollouts."""
        return self.rollouts * self.frames_of_rollout

    def conflicts(self) -> Iterator[Conflict]:
        """Something must be left to learn after the value head."""
        yield from super().conflicts()
        if self.rollouts <= self.critic_warmup:
            message = f"expected fewer than the rollouts of a child ({self.rollouts}), found {self.critic_warmup}"
            yield Conflict("critic_warmup", "frames", message)


class ProcgenParent(ParentSettings):
    """Where the policy's weights are, and how PPO trains it when they are not there."""

    train: PPOSettings = PPOSettings()


class ProcgenConfig(Config):
    """An experiment on a Procgen game; `tune` says how each child is trained by PPO, null that it is not."""

    sample: ClassVar[dict[str, Any]] = {**Config.sample, "problem": {"game": "bigfish"}}

    problem: ProcgenSettings
    parent: ProcgenParent
    tune: PolicyTuneSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _tuned_as_the_parent(cls, value: Any) -> Any:
        """Let children be trained as the parent is, but for what `tune` itself says."""
        tune, parent = (value.get(name) for name in ("tune", "parent")) if isinstance(value, dict) else (None, None)
        train = parent.get("train") if isinstance(parent, dict) else None
        if not isinstance(tune, dict) or not isinstance(train, dict):
            return value
        try:
            PPOSettings.model_validate(train)
        except ValidationError:  # which is said where it stands
            return value
        return {**value, "tune": {**{k: train[k] for k in train if k in PPOUpdates.model_fields}, **tune}}

    def conflicts(self) -> Iterator[Conflict]:
        """Every child needs a level of its own; racing must not reach the levels of another split."""
        yield from super().conflicts()
        children, levels = self.search.population, self.problem.levels.train.count
        if self.tune is not None and self.tune.levels == "share" and levels < children:
            message = f"expected at least search.population ({children}): each child has a part, found {levels}"
            yield Conflict("problem.levels.train.count", "tune.levels", message)
        yield from self._racing()

    def _racing(self) -> Iterator[Conflict]:
        levels, racing = self.problem.levels, self.search.racing
        if racing is None or racing.levels <= levels.search.count:
            return
        reached = Levels(start=levels.search.start, count=racing.levels)
        for name in ("train", "select", "test"):
            other: Levels = getattr(levels, name)
            if other.overlaps(reached):
                message = f"expected levels apart from those of {name} ({other}), found {reached}"
                yield Conflict("search.racing.levels", f"problem.levels.{name}", message)
