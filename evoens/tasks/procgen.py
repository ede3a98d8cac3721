"""Procgen as a Problem: a policy's mean return on fixed levels, the same for all that are compared."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoens import noise
from evoens.errors import ProblemError
from evoens.parent import Parent, Predictor
from evoens.problem import (
    EnsembleObjective,
    Evaluation,
    Measure,
    Problem,
    Split,
    SplitName,
    drive,
    drive_batched,
    evenly,
)
from evoens.settings.procgen import ProcgenSettings
from evoens.tasks.procgen_env import LevelEnv

LONGEST = 6001  # steps of the longest game (bigfish) before Procgen ends the episode
HORIZON_DISCOUNT = 0.99  # credit for an action fades over about a hundred steps
RECORDED = 16  # one step in so many is kept, at another phase on each level, to judge and probe by
PROBED = 64  # search levels the parent plays for the probe
JUDGED = 2048  # frames at most that a judgement rests on


class ProcgenProblem(Problem):
    """Mean episode return of a policy: stacked frames `(n, c, 64, 64)` to action probabilities `(n, 15)`.

    One case is one level, played once from its start. Actions are sampled by common random numbers, a stream of its own
    for each level, so that two policies meet the same chance and every evaluation can be repeated to the bit.

    Raises:
        ProblemError: the parent's outputs or inputs do not fit the game.
    """

    more_data_hint = "more levels (problem.levels.search.count, search.racing)"
    block = 100

    def __init__(self, settings: ProcgenSettings, parent: Parent, seed: int = 0) -> None:
        self.settings, self.parent, self.seed = settings, parent, seed
        self.rule, cap = settings.action, settings.max_episode_steps
        self.not_comparable_reason = f"games are cut after {cap} steps here, and on the test split never" if cap else ""
        self.action_temperatures = settings.action_temperatures
        self.seen = Split("train", 0, settings.seen) if settings.seen else None
        rules = (self.rule, "greedy" if self.rule == "sampled" else "sampled")
        self.measures = tuple(Measure(rule, f"{rule} actions", "episode return") for rule in rules)
        self._seen: Tensor | None = None
        frame = torch.zeros(1, 3 * settings.frame_stack, 64, 64, dtype=torch.uint8)
        try:
            found = tuple(parent.predict(frame).shape)
        except RuntimeError as error:
            raise ProblemError(f"the parent does not take {tuple(frame.shape)} frames: {error}") from error
        if found != (1, 15):
            raise ProblemError(f"the parent: expected probabilities of 15 actions, found outputs of shape {found}")

    def reported(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        """Play every level by both action rules; the other's returns are beside this one's."""
        other = self.measures[1].name
        settings = self.settings.model_copy(update={"action": other})
        problem = ProcgenProblem(settings, self.parent, self.seed)
        own, beside = yield from drive_batched([self.cases(split), problem.cases(split)])
        return Evaluation(own.cases, own.samples + beside.samples, {other: beside.cases})

    def split(self, name: SplitName) -> Split:
        """Return all levels of a split."""
        return Split(name, 0, getattr(self.settings.levels, name).count)

    def levels(self, split: Split) -> list[int]:
        """Return the level seeds of `split`."""
        start = getattr(self.settings.levels, split.name).start + split.first
        return list(range(start, start + split.count))

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        """Play every level once, all at the same time; yield the frames of those still going on, `(m, c, 64, 64)`."""
        tape = yield from self._play(self.levels(split), self._horizon(split), record=split.name == "select")
        return Evaluation(torch.from_numpy(tape.returns), tape.samples, artifacts=tape.kept())

    def probe(self, n: int = 8) -> Tensor:
        """Return `n` stacked frames the parent saw on search levels, spread evenly over levels and time."""
        if self._seen is None:
            some = self.split("search").part(0, PROBED)
            played = self._play(self.levels(some), self._horizon(some), record=True)
            self._seen = drive(played, self.parent.predict).kept()["frames"]
        frames = self._seen
        return frames[evenly(len(frames), n)]

    def pictures(self, n: int = 8) -> Tensor:
        """See `Pictured.pictures`: frames are what the network takes."""
        return self.probe(n)

    def examples(self, n: int) -> tuple[Tensor, None]:
        """See `Pictured.examples`; no action is known to be right."""
        return self.probe(n), None

    def inputs_of(self, frames: Tensor) -> Tensor:
        """See `Pictured.inputs_of`."""
        return frames

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        """Judge a policy by its surrogate advantage on what the candidates did on the select levels.

        `L(π) = E[π(a|s)/π_b(a|s) · A(s, a)]` over the recorded steps of all candidates π_b (Kakade & Langford 2002;
        Schulman et al. 2015, eq. 14): no further game is played. A is the discounted return from the step on, less
        its mean over all candidates on the same level.
        """
        names = ("level", "action", "probability", "return_to_go")
        rows = {name: torch.cat([e.artifacts[name] for e in evaluations]) for name in names}
        advantage = rows["return_to_go"].clone()
        for level in torch.unique(rows["level"]):
            here = rows["level"] == level
            advantage[here] -= advantage[here].mean()
        places = evenly(len(advantage), JUDGED)
        actions, weight = rows["action"][places], advantage[places] / rows["probability"][places]

        def surrogate(outputs: Tensor) -> float:
            taken = outputs.double().gather(1, actions[:, None])[:, 0]
            return float((taken * weight).mean())

        return EnsembleObjective(_rows([e.artifacts["frames"] for e in evaluations], places), surrogate)

    def describe(self, name: SplitName) -> dict[str, int]:
        """Return the first level seed of a split and how many there are."""
        levels = self.levels(self.split(name))
        return {"start": levels[0], "count": len(levels)}

    def film(self, predict: Predictor, case: Split) -> tuple[list[NDArray[np.uint8]], float]:
        """Play the first level of `case` and return its frames, each `(64, 64, 3)` uint8, and the return."""
        shown: list[NDArray[np.uint8]] = []

        def filmed(inputs: Tensor) -> Tensor:
            shown.append(inputs[0, -3:].permute(1, 2, 0).numpy().copy())
            return predict(inputs)

        tape = drive(self._play(self.levels(case)[:1], self._horizon(case), record=False), filmed)
        return shown, float(tape.returns[0])

    def _horizon(self, split: Split) -> int:
        """Return how many steps a game of `split` may take; what is reported says how a policy does to the very end."""
        cap = None if split.name in ("train", "test") else self.settings.max_episode_steps
        return min(cap or LONGEST, LONGEST)

    def _play(self, levels: Sequence[int], horizon: int, record: bool) -> Generator[Tensor, Tensor, _Tape]:
        env = LevelEnv(self.settings.game, self.settings.difficulty, levels)
        chance = np.stack([_chance(self.seed, level) for level in levels])
        tape = _Tape(np.asarray(levels), record)
        now = env.frames()
        seen = [*[np.zeros_like(now)] * (self.settings.frame_stack - 1), now]  # of those playing, the oldest first
        playing, step = np.arange(len(levels)), 0  # places in `levels`, and for each its slot in `env`
        slots = playing
        while len(playing) and step < horizon:
            if 2 * len(playing) <= len(env):
                env.keep(slots)
                slots = np.arange(len(playing))
            inputs = _stacked(seen)
            probabilities = (yield inputs).double().numpy()
            taken = self._act(probabilities, chance[playing, step])
            frames, rewards, done = env.step(_at(slots, taken, len(env)))
            tape.add(step, playing, inputs=inputs, actions=taken, probabilities=probabilities, rewards=rewards[slots])
            left = ~done[slots]
            playing, slots, step = playing[left], slots[left], step + 1
            seen = [*(frame[left] for frame in seen[1:]), frames[slots]]
        return tape

    def _act(self, probabilities: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.int64]:
        if not np.isfinite(probabilities).all():
            raise ProblemError("the policy's probabilities are not finite")
        if self.rule == "greedy":
            return np.asarray(probabilities.argmax(axis=1))
        below = probabilities.cumsum(axis=1) < chance[:, None] * probabilities.sum(axis=1, keepdims=True)
        return np.asarray(np.minimum(below.sum(axis=1), probabilities.shape[1] - 1))


def _stacked(seen: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return frames `(m, 64, 64, 3)` one upon another, `(m, c, 64, 64)`, in memory as channels_last has it.

    Channel by channel, which is three times as quick as three bytes at a time.
    """
    stack = np.empty((*seen[0].shape[:-1], 3 * len(seen)), np.uint8)
    for place, frame in enumerate(seen):
        for colour in range(3):
            stack[..., 3 * place + colour] = frame[..., colour]
    return torch.from_numpy(stack).permute(0, 3, 1, 2)


def _at(places: NDArray[np.int64], values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return `count` values, zero but for those at `places`."""
    everywhere = np.zeros(count, np.float64 if values.dtype.kind == "f" else values.dtype)
    everywhere[places] = values
    return everywhere


def _rows(parts: Sequence[Tensor], places: Tensor) -> Tensor:
    """Return the rows at `places`, which go up, of all parts in a row, without putting these together."""
    starts = np.cumsum([0, *map(len, parts)])
    return torch.cat(
        [p[places[(places >= s) & (places < s + len(p))] - s] for p, s in zip(parts, starts, strict=False)]
    )


@lru_cache(maxsize=1024)
def _chance(seed: int, level: int) -> NDArray[np.float64]:
    """The uniform numbers in (0, 1) of a level, one a step; a word decides, so no two machines differ."""
    return (noise.words(seed, f"actions:{level}", LONGEST) + 0.5) / 65536


@dataclass
class _Tape:
    """What happened on some levels played at once."""

    levels: NDArray[np.int64]
    record: bool
    samples: int = 0
    rewards: list[NDArray[np.float64]] = field(default_factory=list)
    rows: dict[str, list[Tensor]] = field(default_factory=dict)

    @property
    def returns(self) -> NDArray[np.float64]:
        """The undiscounted return of each level, `(levels,)`."""
        return np.asarray(np.sum(self.rewards, axis=0))

    def add(
        self,
        step: int,
        playing: NDArray[np.int64],
        *,
        inputs: Tensor,
        actions: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        rewards: NDArray[np.float32],
    ) -> None:
        """Note one step of the levels at `playing`; one that has ended earns nothing more."""
        self.rewards.append(_at(playing, rewards, len(self.levels)))
        self.samples += len(playing)
        if self.record:
            self._keep(step, playing, inputs, actions, probabilities)

    def _keep(
        self,
        step: int,
        playing: NDArray[np.int64],
        inputs: Tensor,
        actions: NDArray[np.int64],
        probabilities: NDArray[np.float64],
    ) -> None:
        places = np.flatnonzero(self.levels[playing] % RECORDED == step % RECORDED)
        row = {
            "frames": inputs[places],
            "action": torch.from_numpy(actions[places]),
            "probability": torch.from_numpy(probabilities[places, actions[places]]),
            "slot": torch.from_numpy(playing[places]),
            "step": torch.full((len(places),), step),
        }
        for name, value in row.items():
            self.rows.setdefault(name, []).append(value)

    def kept(self) -> dict[str, Tensor]:
        """Return the recorded steps with the discounted return from each on; empty when nothing was recorded."""
        if not self.record:
            return {}
        rows = {name: torch.cat(values) for name, values in self.rows.items()}
        slot, step = rows.pop("slot"), rows.pop("step")
        rows["level"] = torch.from_numpy(self.levels)[slot]
        rows["return_to_go"] = torch.from_numpy(_discounted(np.stack(self.rewards)))[step, slot]
        return rows


def _discounted(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ γ^i r_{t+i} for each step, `(steps, levels)`, from the rewards of the same shape."""
    out = rewards.copy()
    for t in range(len(out) - 2, -1, -1):
        out[t] += HORIZON_DISCOUNT * out[t + 1]
    return out
