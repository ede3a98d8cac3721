"""Children of a classifier, trained on labelled examples by gradient descent: the recipe of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from evoens.children import initial_weights
from evoens.genome import Genome
from evoens.network.tensors import tensors
from evoens.parent import Parent
from evoens.settings.classification import TuneSettings
from evoens.strategy import Strategy
from evoens.tasks.masking import GeneMasking
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training, draws, re_estimate, require_finite, spent_on
from evoens.tasks.tuning import TuningPlan, child_seed


class SGDChild(Training):
    """See `evoens.tasks.tuning.ChildTraining`: a turn is an epoch."""

    settings: TuneSettings

    @property
    def done(self) -> int:
        """See `ChildTraining.done`."""
        return self.epochs

    def turn(self, on_step: Callable[[], None]) -> None:
        """See `ChildTraining.turn`."""
        self.epoch(lambda _: on_step())
        require_finite(self.module)

    def finish(self) -> Mapping[str, Tensor]:
        """See `ChildTraining.finish`."""
        self.masking.finish()
        if self.settings.batch_norm == "re-estimated":
            batches = self.examples.batches(self.settings.batch, self.seed, self.epochs)
            re_estimate(self.module, (inputs for inputs, _ in batches))
        return tensors(self.module)

    @property
    def spent(self) -> Mapping[str, float]:
        """See `ChildTraining.spent`."""
        return spent_on(self.curve)


class SGDRecipe:
    """See `evoens.tasks.tuning.Recipe`.

    Args:
        parent: where each child begins.
        strategy: perturbs them, and says which of their weights take part.
        examples: what they learn.
        settings: for how long, and how.
        seed: of the run.
    """

    def __init__(
        self, parent: Parent, strategy: Strategy, examples: Examples, settings: TuneSettings, seed: int
    ) -> None:
        self.parent, self.strategy, self.examples, self.settings = parent, strategy, examples, settings
        self.seed, self.amount = seed, max(1, settings.epochs)

    def plan(self) -> TuningPlan:
        """Return one child a core, since another number of threads adds up in another order."""
        inputs, _ = next(self.examples.batches(self.settings.batch, self.seed, 0))
        precision, random = precision_of(self.settings.precision, inputs.device), draws(self.parent.trainable(), inputs)
        cores = torch.get_num_threads()
        if random or inputs.device.type != "cpu":  # torch has one generator for all threads
            return TuningPlan(1, cores, precision, random)
        return TuningPlan(cores, 1, precision, random)

    def begin(self, genome: Genome, place: int, count: int, plan: TuningPlan) -> SGDChild:
        """See `Recipe.begin`; its place decides nothing."""
        module = self.parent.trainable()
        own = module.state_dict()
        for name, value in initial_weights(self.parent, self.strategy, genome).items():
            own[name].copy_(value)
        seed = child_seed(self.seed, genome)
        training = SGDChild(module, self.examples, self.settings, seed=seed, precision=plan.precision, draws=plan.draws)
        weights = {n: w for n, w in module.named_parameters() if n in self.parent.perturbed}
        training.masking = GeneMasking(self.strategy, genome, weights, training.optimiser)
        return training
