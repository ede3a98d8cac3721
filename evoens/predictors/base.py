"""What every predictor with members can do: its members' answers made one, calibrated, of images as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from evoens.architecture import unset
from evoens.errors import EvoensError
from evoens.network.inputs import Inputs
from evoens.scoring.calibration import tempered
from evoens.scoring.combine import combine
from evoens.scoring.uncertainty import Answer, answer
from evoens.tasks.data.preprocessing import Preprocessing


class Members(ABC):
    """Members that answer together.

    Attributes:
        rule: how their probabilities become one (`evoens.scoring.combine.RULES`).
        seed: of the rule, which may draw ties.
        temperature: what temperature scaling, or a policy's action temperature, has found on select; None without one.
        preprocessing: how images reach the network; None where it takes its inputs as they are.
        report: what report.json of its run holds; None where it does not come from a run's folder.
    """

    def __init__(
        self,
        rule: str,
        seed: int,
        temperature: float | None,
        preprocessing: Preprocessing | None,
        report: Mapping[str, Any] | None,
    ) -> None:
        self.rule, self.seed, self.temperature, self.preprocessing = rule, seed, temperature, preprocessing
        self.report = report

    @abstractmethod
    def outputs(self, inputs: Inputs) -> Tensor:
        """Return each member's probabilities, `(k, n, c)`, for inputs `(n, *input)`.

        Raises:
            ShapeError: the network does not take these inputs.
        """

    @abstractmethod
    def modules(self) -> list[nn.Module]:
        """Return the members' modules, made anew, since they have gradients."""

    @unset()
    def predict(self, inputs: Inputs, calibrated: bool = False) -> Tensor:
        """Return the members' probabilities made one by the rule, `(n, c)`, for inputs `(n, *input)`.

        calibrated: scale them by `temperature`, which leaves their order as it is; then in float64.

        Raises:
            ShapeError: the network does not take these inputs, or they are images that were not normalised.
            EvoensError: they are to be calibrated, and there is no temperature.
        """
        if calibrated and self.temperature is None:
            raise EvoensError("calibrated: expected an ensemble that was saved with a temperature, found none")
        return self._together(self.outputs(inputs), calibrated)

    @unset()
    def predict_full(self, inputs: Inputs) -> Answer:
        """Return what `predict` says of inputs `(n, *input)`, calibrated where it can be, and how sure that is."""
        members = self.outputs(inputs)
        return answer(members, self._together(members, calibrated=True))

    def _together(self, outputs: Tensor, calibrated: bool) -> Tensor:
        found = combine(outputs, self.rule, seed=self.seed)
        return tempered(found, self.temperature) if calibrated and self.temperature is not None else found

    @unset()
    def predict_images(self, images: Tensor | Sequence[str | Path | Image.Image], calibrated: bool = False) -> Tensor:
        """Return what `predict` says of images, brought to size and normalised as in the run.

        images: bytes `(n, c, h, w)`, or n paths of files or PIL images.

        Raises:
            ShapeError: they are no such images. EvoensError: nothing is known of how images reach the network.
        """
        if self.preprocessing is None:
            raise EvoensError(
                "predict_images: expected a classifier's ensemble, saved with its preprocessing, found none"
            )
        return torch.cat([self.predict(inputs, calibrated) for inputs in self.preprocessing.batches(images)])

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, in the order of the outputs; None where they are not known."""
        return self.preprocessing.classes if self.preprocessing else None
