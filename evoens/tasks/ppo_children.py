"""Children of a policy, trained by PPO: the recipe of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from evoens.children import initial_weights
from evoens.errors import ProblemError
from evoens.genome import Genome
from evoens.parent import Parent
from evoens.progress import OnProgress
from evoens.settings.procgen import Levels, PolicyTuneSettings, PPOSettings, ProcgenSettings
from evoens.strategy import Strategy
from evoens.tasks.masking import GeneMasking
from evoens.tasks.networks.impala import Block, ImpalaPolicy
from evoens.tasks.policy_training import PolicyTraining
from evoens.tasks.ppo import train_in, training_identity
from evoens.tasks.precision import precision_of
from evoens.tasks.tuning import TuningPlan, child_seed


class PPOChild(PolicyTraining):
    """See `evoens.tasks.tuning.ChildTraining`: a turn is a rollout and its update."""

    @property
    def done(self) -> int:
        """See `ChildTraining.done`."""
        return self.steps

    @property
    def finished(self) -> bool:
        """See `ChildTraining.finished`."""
        return self.steps >= self.settings.steps

    def turn(self, on_step: Callable[[], None]) -> None:
        """See `ChildTraining.turn`."""
        self.on_step = on_step
        self.rollout_and_update()

    def finish(self) -> Mapping[str, Tensor]:
        """See `ChildTraining.finish`."""
        self.masking.finish()
        self.games.close()
        return {name: weight.detach() for name, weight in self.policy_weights().items()}

    @property
    def spent(self) -> Mapping[str, float]:
        """See `ChildTraining.spent`: its frames are known beforehand."""
        return {}


class PPORecipe:
    """See `evoens.tasks.tuning.Recipe`.

    Args:
        parent: where each child begins, an `ImpalaPolicy`.
        strategy: perturbs them, and says which of their weights take part.
        problem: the game, and the levels that they learn on.
        settings: for how long, and how.
        seed: of the run.

    Raises:
        ProblemError: the parent is another network.
    """

    def __init__(
        self, parent: Parent, strategy: Strategy, problem: ProcgenSettings, settings: PolicyTuneSettings, seed: int
    ) -> None:
        self.parent, self.strategy, self.problem, self.settings, self.seed = parent, strategy, problem, settings, seed
        self.amount, self.ppo = settings.whole_frames, ppo_settings(parent, settings, settings.whole_frames)

    def plan(self) -> TuningPlan:
        """Return one child a core: two on two cores take 0.75 to 0.85 of the time of one after another, on both cores.

        Measured by the CPU time of the busiest thread: 4.1 to 4.8 s per 1000 frames alone, 2.4 to 3.2 s on two cores.
        """
        return TuningPlan(torch.get_num_threads(), 1, precision_of("auto"), False)

    def begin(self, genome: Genome, place: int, count: int, plan: TuningPlan) -> PPOChild:
        """See `Recipe.begin`; where children share the levels, its place says which are its own."""
        weights = {**self.parent.weights, **initial_weights(self.parent, self.strategy, genome)}
        problem = self.problem
        if self.settings.levels == "share":
            levels = problem.levels.model_copy(update={"train": part_of(problem.levels.train, place, count)})
            problem = problem.model_copy(update={"levels": levels})
        seed = child_seed(self.seed, genome)
        training = PPOChild(
            self.ppo, problem, seed, plan.precision, weights=weights, warmup=self.settings.critic_warmup
        )
        own = {name: weight for name, weight in training.policy_weights().items() if name in self.parent.perturbed}
        training.masking = GeneMasking(self.strategy, genome, own, training.model.policy.optimizer)
        return training


def train_one(
    recipe: PPORecipe, genome: Genome, folder: Path, on_progress: OnProgress | None = None
) -> Mapping[str, Tensor]:
    """Train one child by itself, by all cores, in `folder`, or go on there; return its weights.

    Args:
        recipe: how, and for how long.
        genome: the child's.
        folder: as for `evoens.tasks.ppo.train_parent`.
        on_progress: called after every rollout.

    Raises:
        CheckpointError: as `train_parent`.
        ProblemError: the training has diverged.
    """
    own = {"warmup": recipe.settings.critic_warmup, "parent": recipe.parent.fingerprint, "genome": genome.to_json()}
    identity = {**training_identity(recipe.ppo, recipe.problem, recipe.seed), **own}
    threads = torch.get_num_threads()
    training = train_in(
        lambda precision: recipe.begin(genome, 0, 1, TuningPlan(1, threads, precision, False)),
        identity,
        recipe.amount,
        folder,
        on_progress=on_progress,
    )
    return training.finish()


def part_of(levels: Levels, place: int, count: int) -> Levels:
    """Return the part at `place` of `count` equal parts of `levels`; what is left over belongs to none."""
    size = levels.count // count
    return Levels(start=levels.start + place * size, count=size)


def ppo_settings(parent: Parent, settings: PolicyTuneSettings, frames: int) -> PPOSettings:
    """Return how PPO trains a policy of the parent's shape for so many frames.

    Raises:
        ProblemError: the parent is no policy that PPO can train.
    """
    if not isinstance(parent.module, ImpalaPolicy):
        kind = type(parent.module).__name__
        raise ProblemError(f"tune: expected an ImpalaPolicy, which PPO can train, found a parent that is a {kind}")
    first, second, third = (cast(Block, block).conv.out_channels for block in parent.module.trunk.blocks)
    shared = settings.model_dump(exclude={"frames", "levels", "critic_warmup"})
    return PPOSettings(steps=frames, network=(first, second, third), **shared)
