"""The settings of a run that is begun from Python, on labelled tensors: what `evoens.evolve` takes as keywords."""

from __future__ import annotations

from typing import Literal

from evoens.settings.base import ParentSettings, ProblemSettings
from evoens.settings.classification import Fitness, MembersBy, TuneSettings
from evoens.settings.config import Config

TENSORS: Literal["tensors"] = "tensors"
"""The type of such a problem, which is none of a YAML's: there the tensors would be missing."""


class TensorSettings(ProblemSettings):
    """How classifiers of tensors are scored."""

    type: Literal["tensors"] = TENSORS
    """Labelled tensors, from Python."""
    score: Fitness = "accuracy"
    """What fitness is."""
    members_by: MembersBy = "calibrated-nll"
    """What the greedy selection of members aims at."""


class TensorConfig(Config):
    """An experiment that is begun from Python; `tune` says how each child is trained, null that it is not."""

    problem: TensorSettings = TensorSettings()
    parent: ParentSettings = ParentSettings(checkpoint="model")
    tune: TuneSettings | None = None
