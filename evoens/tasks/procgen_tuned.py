"""Procgen as a Problem whose children are trained by PPO after they are born."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evoens.children import TunedWeights
from evoens.genome import Genome
from evoens.parent import Parent
from evoens.progress import OnCount, OnProgress
from evoens.settings.procgen import PolicyTuneSettings, ProcgenSettings
from evoens.strategy import Strategy
from evoens.tasks.ppo import train_further
from evoens.tasks.ppo_children import PPORecipe, ppo_settings
from evoens.tasks.procgen import ProcgenProblem
from evoens.tasks.tuning import Tuner


class TunedProcgen(ProcgenProblem):
    """See `ProcgenProblem`; `tuning` says how children are trained."""

    tunes = True

    def __init__(self, settings: ProcgenSettings, parent: Parent, seed: int, tuning: PolicyTuneSettings) -> None:
        super().__init__(settings, parent, seed)
        self.tuning, self.tuned_frames = tuning, tuning.whole_frames

    def tune(
        self, strategy: Strategy, genomes: Sequence[Genome], tuned: TunedWeights, on_progress: OnCount
    ) -> dict[str, str]:
        """See `Problem.tune`."""
        recipe = PPORecipe(self.parent, strategy, self.settings, self.tuning, self.seed)
        return Tuner(recipe, tuned).tune(genomes, on_progress)

    def trained_on(self, children: int, folder: Path, on_progress: OnProgress) -> Parent:
        """See `evoens.methods.trained_on.TrainableFurther`: as children are trained, but on all train levels."""
        own, warmup = ppo_settings(self.parent, self.tuning, children * self.tuned_frames), self.tuning.critic_warmup
        return train_further(self.parent, own, self.settings, self.seed, folder, warmup=warmup, on_progress=on_progress)
