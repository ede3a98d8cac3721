"""Procgen as a Problem whose children are trained by PPO after they are born."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoens.children import TunedWeights
from evoens.genome import Genome
from evoens.parent import Parent
from evoens.progress import OnCount, OnProgress
from evoens.scoring.text import number
from evoens.settings.procgen import PolicyTuneSettings, ProcgenSettings
from evoens.strategy import Strategy
from evoens.tasks.policy_further import train_further
from evoens.tasks.ppo_children import PPORecipe, ppo_settings, train_one
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

    def verdict_note(self, blocks: Mapping[str, Mapping[str, Any]]) -> str:
        """See `Problem.verdict_note`: what one network has made of as many frames."""
        if "trained_on" not in blocks:  # it has diverged
            return ""
        own = blocks["trained_on"]
        score = number(own["test"]["score"], self.measures[0].digits)
        return f"The parent trained on for as many frames as all children ({own['frames']:,}) reaches {score}."

    def trained_on(self, children: int, folder: Path, on_progress: OnProgress) -> tuple[Parent, Parent]:
        """See `evoens.methods.trained_on.TrainableFurther`: as children are trained, but on all train levels."""
        own, warmup = ppo_settings(self.parent, self.tuning, children * self.tuned_frames), self.tuning.critic_warmup
        return train_further(self.parent, own, self.settings, self.seed, folder, warmup=warmup, on_progress=on_progress)

    def one_child(
        self, strategy: Strategy, genome: Genome, children: int, folder: Path, on_progress: OnProgress
    ) -> Parent:
        """See `evoens.methods.trained_on.TrainableFurther`: on all train levels."""
        whole = self.tuning.model_copy(update={"frames": children * self.tuned_frames, "levels": "all"})
        recipe = PPORecipe(self.parent, strategy, self.settings, whole, self.seed)
        weights = train_one(recipe, genome, folder, on_progress)
        return Parent.from_weights(self.parent.architecture, {**self.parent.weights, **weights})
