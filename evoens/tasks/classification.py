"""Image classification as a Problem: accuracy or likelihood on splits that lie in memory, and how well it is known."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoens.genome import Genome
from evoens.parent import Parent
from evoens.problem import Evaluation, FixedInputs, Judgement, Score, Split, SplitName, answered
from evoens.progress import OnProgress
from evoens.scoring import calibration
from evoens.settings.classification import ClassificationSettings, TuneSettings
from evoens.strategy import Strategy
from evoens.tasks.acceptance import accept
from evoens.tasks.classifier_report import calibration_details, measures_of, remark_on, rows_of
from evoens.tasks.corrupted import Corrupted
from evoens.tasks.data.data import Data
from evoens.tasks.data.images import Images
from evoens.tasks.data.normalise import Normalise
from evoens.tasks.data.preprocessing import Preprocessing, batch_of
from evoens.tasks.independent import curve, worth
from evoens.tasks.sgd import Examples
from evoens.tasks.tuning import Tuner


class ClassificationProblem(FixedInputs):
    """A classifier's accuracy, or mean log-likelihood: normalised images `(n, c, h, w)` to probabilities `(n, k)`.

    One case is one image. The report has beside the score the negative log-likelihood and the expected calibration
    error, as they are and after temperature scaling (Guo et al. 2017) fitted on the select split: what a single number
    could have gained; and balanced accuracy where the test split's classes are of unequal sizes.

    Args:
        settings: the score, and how members are judged.
        parent: its outputs are logits.
        data: the splits.
        normalise: from bytes to what the parent takes.
        tuning: how children are trained; None where they are not.
        independent: trains further networks in a folder, to say how many of them an ensemble is worth.
        seed: of the run.

    Raises:
        ProblemError: the parent does not take these images, or gives no logits, one for each class.
    """

    more = "more images (problem.splits.search.count)"

    def __init__(
        self,
        settings: ClassificationSettings,
        parent: Parent,
        data: Data,
        normalise: Normalise | None = None,
        *,
        tuning: TuneSettings | None = None,
        independent: Callable[[Path, OnProgress], list[Parent]] | None = None,
        seed: int = 0,
    ) -> None:
        self.settings, self.parent, self.data = settings, parent, data
        self.tuning, self.seed = tuning, seed
        self._independent, self._networks = independent, list[Parent]()
        self.tunes, self.epochs = tuning is not None, tuning.epochs if tuning else 0
        self.normalise = normalise or data.normalise
        look = settings.image_size, settings.resize, self.normalise.mean, self.normalise.std
        self.preprocessing = Preprocessing(data.shape, *look, data.classes)
        self.measures = measures_of(settings, data.splits["test"].labels)
        tried = self.normalise(data.splits["search"].part(0, 2).all())
        accept(parent, tried, data.classes, self.tunes)
        self.normalise = self.normalise.laid_out(parent.layout)

    def tune(
        self, strategy: Strategy, genomes: Sequence[Genome], on_progress: Callable[[int, int], None]
    ) -> dict[str, str]:
        """See `Problem.tune`; children learn from the train split, as the parent did."""
        if self.tuning is None:
            return {}
        examples = Examples(self.data.splits["train"], self.normalise, self.settings.augment)
        return Tuner(self.parent, strategy, examples, self.tuning, self.seed).tune(genomes, on_progress)

    def split(self, name: SplitName) -> Split:
        """Return all images of a split."""
        return Split(name, 0, len(self.data.splits[name]))

    def _images(self, split: Split) -> Images:
        return self.data.splits[split.name].part(split.first, split.count)

    def batches(self, split: Split) -> Iterator[Tensor]:
        """See `FixedInputs.batches`."""
        for pixels, _ in self._images(split).batches(batch_of(self.data.shape)):
            yield self.normalise(pixels)

    def judge(self, split: Split, outputs: Tensor) -> Evaluation:
        """See `FixedInputs.judge`; the probabilities of the select split are kept."""
        labels = self._images(split).labels
        kept = {"outputs": outputs} if split.name == "select" else {}
        return Evaluation(self._scores(outputs, labels), len(labels), kept=kept)

    def _scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self.settings.score == "accuracy":
            return calibration.correct(outputs, labels)
        return -calibration.nll(outputs, labels)

    def reported(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        """See `Problem.reported`."""
        return self._report(split, *(yield from self._asked(split)))

    def reported_with_members(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        """See `Problem.reported_with_members`."""
        asked = yield from self._asked(split)
        ensemble, *members = (self._report(split, *own) for own in zip(*asked, strict=True))
        return replace(ensemble, members=tuple(replace(member, samples=0) for member in members))

    def _asked(self, split: Split) -> Generator[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return the probabilities, `(…, n, c)`, of the select split, of `split`, and of what is corrupted of it."""
        select, outputs = (yield from self.answers(self.split("select"))), (yield from self.answers(split))
        corrupted, images = [outputs[..., :0, :]], self.corrupted
        for pixels in images.batches(split.first, split.count, batch_of(self.data.shape)) if images else ():
            corrupted.append((yield self.normalise(pixels)))
        return select, outputs, torch.cat(corrupted, dim=-2)

    def _report(self, split: Split, chosen_on: Tensor, outputs: Tensor, corrupted: Tensor) -> Evaluation:
        """Return what the report shows of one predictor; its temperature is fitted to what it says on select."""
        select, labels = self.split("select"), self._images(split).labels
        beside = rows_of(outputs, labels, calibration.temperature(chosen_on, self._images(select).labels))
        beside.pop(self.settings.score, None)
        if self.corrupted is not None:
            beside["corrupted"] = self.corrupted.rows(corrupted, self.corrupted.labels(split.first, split.count))
        return Evaluation(self._scores(outputs, labels), len(labels) + select.count + len(corrupted), beside)

    @property
    def aim(self) -> str:
        """See `Problem.aim`."""
        names = {"accuracy": "accuracy", "nll": "log-likelihood, nats"}
        return names.get(self.settings.members_by, "calibrated log-likelihood, nats")

    def aimed(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        """See `Problem.aimed`: by `members_by` of the settings; a temperature is fitted to the split itself."""
        outputs, labels = (yield from self.answers(split)), self._images(split).labels
        if self.settings.members_by == "accuracy":
            return Evaluation(calibration.correct(outputs, labels), len(labels))
        if self.settings.members_by == "calibrated-nll":
            outputs = calibration.tempered(outputs, calibration.temperature(outputs, labels))
        return Evaluation(-calibration.nll(outputs, labels), len(labels))

    @cached_property
    def corrupted(self) -> Corrupted | None:
        """The corrupted images of the test split, where they are asked for."""
        settings = self.settings.corruption
        if settings is None:
            return None
        return Corrupted(self.data.splits["test"], settings, self.seed, self.data.published)

    def prepare(self, folder: Path, on_progress: OnProgress) -> None:
        """Train the independent networks, where there are to be some."""
        if self._independent is not None and not self._networks:
            self._networks = self._independent(folder / "independent", on_progress)

    def details(self, results: Mapping[str, Evaluation]) -> dict[str, Any]:
        """Return how sure and how right competitors are, what corruption does, what independent networks reach."""
        more = self._corruption_details(results) | self._independent_details(results)
        return calibration_details(results) | more

    def _independent_details(self, results: Mapping[str, Evaluation]) -> dict[str, Any]:
        if not self._networks:
            return {}
        networks = [self.parent, *self._networks]
        select, test = (
            (
                torch.stack([answered(self.answers(split), network.predict) for network in networks]),
                self._images(split).labels,
            )
            for split in (self.split("select"), self.split("test"))
        )
        points = curve(select, test, self.seed)
        nll = float(results["ensemble"].beside["calibrated_nll"].mean())
        return {"independent": {"curve": points, "worth": worth(points, nll)}}

    def _corruption_details(self, results: Mapping[str, Evaluation]) -> dict[str, Any]:
        if self.corrupted is None:
            return {}
        table = self.corrupted.table({name: result.beside["corrupted"] for name, result in results.items()})
        official = self.corrupted.folder.name if self.corrupted.folder else None
        return {"corruption": {"images": len(self.corrupted), "official": official, "kinds": table}}

    def probe(self, n: int = 8) -> Tensor:
        """Return `n` normalised images of the search split, spread evenly over it."""
        return self.normalise(self.pictures(n))

    def pictures(self, n: int = 8) -> Tensor:
        """See `Problem.pictures`."""
        return self.data.splits["search"].spread(n).all()

    def examples(self, n: int) -> tuple[Tensor, Tensor]:
        """See `Problem.examples`; they are spread evenly over the test split."""
        images = self.data.splits["test"].spread(n)
        return images.all(), images.labels

    def inputs_of(self, frames: Tensor) -> Tensor:
        """See `Problem.inputs_of`."""
        own = self.normalise
        mean, std = (torch.tensor(v, device=frames.device).view(-1, 1, 1) for v in (own.mean, own.std))
        return ((frames / 255 - mean) / std).contiguous(memory_format=self.parent.layout)

    def judgement(self, evaluations: Sequence[Evaluation]) -> Judgement:
        """Judge probabilities by `members_by` of the settings, on all select images; no network runs for it."""
        select = self._images(self.split("select"))
        score = scores(select.labels)[self.settings.members_by]
        return Judgement(self.probe(), score, torch.stack([e.kept["outputs"] for e in evaluations]))

    def remark(self, blocks: Mapping[str, Mapping[str, Any]]) -> str:
        """See `Problem.remark`."""
        return remark_on(blocks)

    def describe(self, name: SplitName) -> dict[str, Any]:
        """Return which images a split has."""
        return {"from": getattr(self.settings.splits, name).from_, "count": len(self.data.splits[name])}

    def record(self) -> dict[str, Any]:
        """Return which image of the data is in which split, and how they are normalised."""
        own = {"mean": list(self.normalise.mean), "std": list(self.normalise.std)}
        return {**self.data.describe(("search", "select", "test")), "normalise": own}


def scores(labels: Tensor) -> dict[str, Score]:
    """Return by name what probabilities `(n, c)` of cases with these `labels` are worth, higher is better."""
    return {
        "accuracy": lambda outputs: float(calibration.correct(outputs, labels).mean()),
        "nll": lambda outputs: -float(calibration.nll(outputs, labels).mean()),
        "calibrated-nll": lambda outputs: -calibration.calibrated_nll(outputs, labels),
    }
