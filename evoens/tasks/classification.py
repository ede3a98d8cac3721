"""Image classification as a Problem: bytes that are normalised, pictures to look at, corrupted and further networks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoens.network.inputs import Inputs
from evoens.parent import Parent
from evoens.problem import Evaluation, Split, SplitName
from evoens.progress import OnProgress
from evoens.settings.classification import ClassificationSettings, TuneSettings
from evoens.tasks.classifier_report import CORRUPTED
from evoens.tasks.corrupted import Corrupted
from evoens.tasks.data.data import Data
from evoens.tasks.data.preprocessing import Normalise, Preprocessing, batch_of
from evoens.tasks.labelled import LabelledProblem
from evoens.tasks.sgd import Examples


class ClassificationProblem(LabelledProblem):
    """A classifier of images: bytes `(n, c, h, w)`, normalised, to probabilities `(n, k)`; see `LabelledProblem`.

    Args:
        settings: the score, how members are judged, how images are shown.
        parent: its outputs are logits.
        data: the splits.
        normalise: from bytes to what the parent takes.
        tuning: how children are trained; None where they are not.
        independent: trains further networks in a folder, to say how many of them an ensemble is worth.
        seed: of the run.

    Raises:
        ProblemError: the parent does not take these images, or gives no logits, one for each class.
    """

    more_data_hint = "more images (problem.splits.search.count)"

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
        self.settings, self.data = settings, data
        self._independent = independent
        self.normalise = normalise or data.normalise
        look = settings.image_size, settings.resize, self.normalise.mean, self.normalise.std
        self.preprocessing = Preprocessing(data.shape, *look, data.classes)
        super().__init__(
            parent,
            data.splits,
            data.classes,
            score=settings.score,
            members_by=settings.members_by,
            tuning=tuning,
            seed=seed,
        )
        self.measures += CORRUPTED if settings.corruption else ()
        self.normalise = self.normalise.laid_out(parent.layout)

    def as_taken(self, inputs: Tensor) -> Tensor:
        """See `LabelledProblem.as_taken`: bytes are normalised."""
        return self.normalise(inputs)

    @property
    def training_examples(self) -> Examples:
        """See `LabelledProblem.training_examples`; images are augmented as the settings say."""
        return replace(super().training_examples, augment=self.settings.augment)

    def _asked(self, split: Split) -> Generator[Inputs, Tensor, tuple[Tensor, ...]]:
        """See `LabelledProblem`; after these, the probabilities of what is corrupted of `split`."""
        select, outputs = yield from super()._asked(split)
        corrupted, images = [outputs[..., :0, :]], self.corrupted
        for pixels in images.batches(split.first, split.count, batch_of(self.data.shape)) if images else ():
            corrupted.append((yield self.normalise(pixels)))
        return select, outputs, torch.cat(corrupted, dim=-2)

    def _report(self, split: Split, chosen_on: Tensor, outputs: Tensor, *corrupted: Tensor, sets: bool) -> Evaluation:
        """See `LabelledProblem`; with what the corrupted images rest on, where there are some."""
        found, (answers,) = super()._report(split, chosen_on, outputs, sets=sets), corrupted
        if self.corrupted is not None:
            found.extra_metrics["corrupted"] = self.corrupted.rows(
                answers, self.corrupted.labels(split.first, split.count)
            )
        return replace(found, samples=found.samples + len(answers))

    @cached_property
    def corrupted(self) -> Corrupted | None:
        """The corrupted images of the test split, where they are asked for."""
        settings = self.settings.corruption
        if settings is None:
            return None
        return Corrupted(self.data.splits["test"], settings, self.seed, self.data.published)

    def retrained(self, folder: Path, on_progress: OnProgress) -> list[Parent]:
        """Train the independent networks, where there are to be some."""
        return self._independent(folder, on_progress) if self._independent else []

    def details(self, results: Mapping[str, Evaluation]) -> dict[str, Any]:
        """Return how sure and how right competitors are, and what corruption does to them."""
        found = super().details(results)
        if self.corrupted is None:
            return found
        table = self.corrupted.table({name: result.extra_metrics["corrupted"] for name, result in results.items()})
        official = self.corrupted.folder.name if self.corrupted.folder else None
        return found | {"corruption": {"images": len(self.corrupted), "official": official, "kinds": table}}

    def pictures(self, n: int = 8) -> Tensor:
        """See `Pictured.pictures`."""
        return self.data.splits["search"].spread(n).all()

    def examples(self, n: int) -> tuple[Tensor, Tensor]:
        """See `Pictured.examples`; they are spread evenly over the test split."""
        images = self.data.splits["test"].spread(n)
        return images.all(), images.labels

    def inputs_of(self, frames: Tensor) -> Tensor:
        """See `Pictured.inputs_of`."""
        own = self.normalise
        mean, std = (torch.tensor(v, device=frames.device).view(-1, 1, 1) for v in (own.mean, own.std))
        return ((frames / 255 - mean) / std).contiguous(memory_format=self.parent.layout)

    def describe(self, name: SplitName) -> dict[str, Any]:
        """Return which images a split has."""
        return {"from": getattr(self.settings.splits, name).from_, "count": len(self.data.splits[name])}

    def record(self) -> dict[str, Any]:
        """Return which image of the data is in which split, and how they are normalised."""
        own = {"mean": list(self.normalise.mean), "std": list(self.normalise.std)}
        return {**self.data.describe(("search", "select", "test")), "normalise": own}
