"""Classification of labelled inputs as a Problem: accuracy or likelihood on splits in memory, and calibration."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from evoens.children import TunedWeights
from evoens.errors import ProblemError
from evoens.genome import Genome
from evoens.network.inputs import Inputs
from evoens.parent import Parent
from evoens.problem import EnsembleObjective, Evaluation, FixedInputs, Score, Split, SplitName
from evoens.progress import OnCount
from evoens.scoring import calibration
from evoens.settings.classification import Fitness, MembersBy, TuneSettings
from evoens.strategy import Strategy
from evoens.tasks.acceptance import accept
from evoens.tasks.classifier_report import calibration_details, measures_of, remark_on, rows_of, set_rows, use_details
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import batch_of
from evoens.tasks.sgd import Examples
from evoens.tasks.sgd_children import SGDRecipe
from evoens.tasks.tuning import Tuner


class LabelledProblem(FixedInputs):
    """A classifier's accuracy, or mean log-likelihood: inputs `(n, *input)` to probabilities `(n, k)`.

    One case is one input. The report has beside the score the negative log-likelihood and the expected calibration
    error, as they are and after temperature scaling (Guo et al. 2017) fitted on the select split: what a single number
    could have gained; and balanced accuracy where the test split's classes are of unequal sizes.

    Args:
        parent: its outputs are logits.
        splits: `search`, `select` and `test`; `train` too where children are trained.
        classes: their names, in the order of the labels.
        score: what fitness is.
        members_by: what the greedy selection of members aims at.
        tuning: how children are trained; None where they are not.
        seed: of the run.

    Raises:
        ProblemError: the parent does not take these inputs, or gives no logits, one for each class.
    """

    beside_the_score = ("nll",)
    more_data_hint = "more cases in the search split"

    def __init__(
        self,
        parent: Parent,
        splits: Mapping[str, Images],
        classes: Sequence[str],
        *,
        score: Fitness = "accuracy",
        members_by: MembersBy = "calibrated-nll",
        tuning: TuneSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.parent, self.splits, self.scored_by, self.members_by = parent, splits, score, members_by
        self.tuning, self.seed = tuning, seed
        self.tunes, self.epochs = tuning is not None, tuning.epochs if tuning else 0
        for name in ("search", "select", "test", *(("train",) if tuning else ())):  # what nobody asks for is not read
            low, high = (int(end) for end in splits[name].labels.aminmax())
            if low < 0 or high >= len(classes):
                expected = f"expected classes from 0 to {len(classes) - 1}, of which the network knows {len(classes)}"
                raise ProblemError(f"{name}: {expected}, found {low} to {high}")
        self.measures = measures_of(score, splits["test"].labels)
        accept(parent, self.as_taken(splits["search"].part(0, 2).all()), classes, self.tunes)

    def as_taken(self, inputs: Tensor) -> Tensor:
        """Return the inputs of a split, `(n, *input)`, as the network takes them."""
        return inputs.contiguous(memory_format=self.parent.layout) if inputs.dim() == 4 else inputs

    @property
    def training_examples(self) -> Examples:
        """What children learn from: the train split, as the parent did."""
        return Examples(self.splits["train"], self.as_taken)

    def tune(
        self, strategy: Strategy, genomes: Sequence[Genome], tuned: TunedWeights, on_progress: OnCount
    ) -> dict[str, str]:
        """See `Problem.tune`."""
        if self.tuning is None:
            return {}
        recipe = SGDRecipe(self.parent, strategy, self.training_examples, self.tuning, self.seed)
        return Tuner(recipe, tuned).tune(genomes, on_progress)

    def split(self, name: SplitName) -> Split:
        """Return all inputs of a split."""
        return Split(name, 0, len(self.splits[name]))

    def part(self, split: Split) -> Images:
        """Return the labelled inputs of a split."""
        return self.splits[split.name].part(split.first, split.count)

    def batches(self, split: Split) -> Iterator[Tensor]:
        """See `FixedInputs.batches`."""
        images = self.part(split)
        for inputs, _ in images.batches(batch_of(images.pixels.shape[1:])):
            yield self.as_taken(inputs)

    def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
        """See `FixedInputs.score_outputs`; the probabilities of the select split are kept."""
        labels = self.part(split).labels
        kept = {"outputs": outputs} if split.name == "select" else {}
        beside = {"nll": calibration.nll(outputs, labels).mean()[None]} if split.name == "search" else {}
        return Evaluation(self._scores(outputs, labels), len(labels), beside, kept)

    def _scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self.scored_by == "accuracy":
            return calibration.correct(outputs, labels)
        return -calibration.nll(outputs, labels)

    def reported(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """See `Problem.reported`."""
        return self._report(split, *(yield from self._asked(split)), sets=True)

    def reported_with_members(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """See `Problem.reported_with_members`."""
        asked = yield from self._asked(split)
        ensemble, *members = (self._report(split, *own, sets=i == 0) for i, own in enumerate(zip(*asked, strict=True)))
        return replace(ensemble, members=tuple(replace(member, samples=0) for member in members))

    def _asked(self, split: Split) -> Generator[Inputs, Tensor, tuple[Tensor, ...]]:
        """Return the probabilities, `(…, n, c)`, of the select split and of `split`, and whatever else is reported."""
        return (yield from self.answers(self.split("select"))), (yield from self.answers(split))

    def _report(self, split: Split, chosen_on: Tensor, outputs: Tensor, *_: Tensor, sets: bool) -> Evaluation:
        """Return what the report shows of one predictor; temperature and sets are fitted to what it says on select."""
        select, labels = self.split("select"), self.part(split).labels
        known = self.part(select).labels
        beside = rows_of(outputs, labels, calibration.temperature(chosen_on, known))
        beside |= set_rows(outputs, labels, chosen_on, known) if sets else {}
        beside.pop(self.scored_by, None)
        return Evaluation(self._scores(outputs, labels), len(labels) + select.count, beside)

    @property
    def ensemble_metric(self) -> str:
        """See `Problem.ensemble_metric`."""
        names = {"accuracy": "accuracy", "nll": "log-likelihood, nats"}
        return names.get(self.members_by, "calibrated log-likelihood, nats")

    def ensemble_cases(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """See `Problem.ensemble_cases`: by `members_by`; a temperature is fitted to the split itself."""
        outputs, labels = (yield from self.answers(split)), self.part(split).labels
        if self.members_by == "accuracy":
            return Evaluation(calibration.correct(outputs, labels), len(labels))
        if self.members_by == "calibrated-nll":
            outputs = calibration.tempered(outputs, calibration.temperature(outputs, labels))
        return Evaluation(-calibration.nll(outputs, labels), len(labels))

    def details(self, results: Mapping[str, Evaluation]) -> dict[str, Any]:
        """See `Problem.details`: how sure and right competitors are; what sets of classes and silence are worth."""
        return {**calibration_details(results), **use_details(results, self.splits["test"].labels)}

    def probe(self, n: int = 8) -> Tensor:
        """Return `n` inputs of the search split, as the network takes them, spread evenly over it."""
        return self.as_taken(self.splits["search"].spread(n).all())

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        """Judge probabilities by `members_by`, on all of the select split; no network runs for it."""
        score = scores(self.part(self.split("select")).labels)[self.members_by]
        return EnsembleObjective(self.probe(), score, torch.stack([e.artifacts["outputs"] for e in evaluations]))

    def verdict_note(self, blocks: Mapping[str, Mapping[str, Any]]) -> str:
        """See `Problem.verdict_note`."""
        return remark_on(blocks)


def scores(labels: Tensor) -> dict[str, Score]:
    """Return by name what probabilities `(n, c)` of cases with these `labels` are worth, higher is better."""
    return {
        "accuracy": lambda outputs: float(calibration.correct(outputs, labels).mean()),
        "nll": lambda outputs: -float(calibration.nll(outputs, labels).mean()),
        "calibrated-nll": lambda outputs: -calibration.calibrated_nll(outputs, labels),
    }
