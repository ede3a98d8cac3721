"""Knowledge distillation: examples whose labels are a teacher's probabilities (Hinton, Vinyals & Dean 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from evoens.tasks.examples import Examples


@dataclass(frozen=True)
class TaughtExamples(Examples):
    """See `Examples`; the labels of its images are their places in the split.

    Attributes:
        answers: the teacher's probabilities of each image of the split, `(n, c)`. Of an image that is shifted or
            mirrored they are those of the image as it is: the teacher is asked once, not at every step.
    """

    answers: Tensor = field(kw_only=True)

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's inputs `(m, c, h, w)` and the teacher's probabilities `(m, c)`; see `Examples.batches`."""
        for inputs, places in super().batches(size, seed, epoch):
            yield inputs, self.answers[places]


def taught(examples: Examples, answers: Tensor) -> TaughtExamples:
    """Return the same examples with a teacher's answers in the stead of their labels."""
    own = {one.name: getattr(examples, one.name) for one in fields(examples)}
    places = replace(examples.images, labels=torch.arange(len(examples.images)))
    return TaughtExamples(**{**own, "images": places}, answers=answers)
