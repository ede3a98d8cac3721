"""How one network is trained, and what has come of it: its weights, copies from on the way, and what that has cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from evoens.network.tensors import load, tensors
from evoens.network.wrapper import Wrapper
from evoens.parent import fingerprint
from evoens.settings.classification import TrainSettings
from evoens.storage.files import write_atomic
from evoens.storage.tensor_file import load_tensors
from evoens.tasks.distilled import taught
from evoens.tasks.examples import Examples
from evoens.tasks.masking import FixedMasking, Masking
from evoens.tasks.schedules import Cycles
from evoens.tasks.sgd import Rate, Training, seeded, spent_on

COPIES = "copies"  # the folder of what a training leaves on its way


class Masks(ABC):
    """Which weights take part in a training: makes what holds the others back, and is told from others by its own."""

    @abstractmethod
    def masking(
        self, weights: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, steps: int, seed: int
    ) -> Masking:
        """Return it at the beginning of a training of so many steps.

        weights: the parameters of the network, by name. seed: of the training.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what decides the masks, JSON."""


@dataclass(frozen=True)
class FixedMasks(Masks):
    """The same masks throughout: where weights take part, bool, by name."""

    masks: Mapping[str, Tensor]

    def masking(
        self, weights: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, steps: int, seed: int
    ) -> Masking:
        """See `Masks.masking`."""
        return FixedMasking(self.masks, weights)

    def identity(self) -> dict[str, Any]:
        """See `Masks.identity`."""
        return {"fingerprint": fingerprint(self.masks)}


@dataclass(frozen=True)
class Lesson:
    """What decides a training, beside the network and the examples.

    Attributes:
        seed: of the first weights, and of the order of examples.
        settings: for how long, and how.
        share: of the train split that is learnt from, drawn by the seed.
        cycles: what the learning rate does in the stead of the settings' schedule.
        wrapper: what the network is made into before.
        start: the weights that it begins with, the names being those of the wrapped network.
        masks: says which weights take part; all of them where it is None.
        answers: a teacher's probabilities of each image of the train split, `(n, c)`, learnt in the labels' stead.
        keep: the epochs at whose ends a copy of the weights is kept.
    """

    seed: int
    settings: TrainSettings
    share: float = 1.0
    cycles: Cycles | None = None
    wrapper: Wrapper | None = None
    start: Mapping[str, Tensor] | None = None
    masks: Masks | None = None
    answers: Tensor | None = None
    keep: Sequence[int] = ()

    def identity(self) -> dict[str, Any]:
        """Return what tells the lesson from others, JSON; what is as in an ordinary training is left out."""
        further: dict[str, Any] = {
            "share": self.share if self.share != 1 else None,
            "cycles": {"name": type(self.cycles).__name__, **vars(self.cycles)} if self.cycles else None,
            "wrapper": self.wrapper.to_json() if self.wrapper else None,
            "start": fingerprint(self.start) if self.start else None,
            "masks": {"name": type(self.masks).__name__, **self.masks.identity()} if self.masks else None,
            "answers": None if self.answers is None else fingerprint({"answers": self.answers}),
            "keep": list(self.keep) or None,
        }
        own = {"train": self.settings.model_dump(mode="json"), "seed": self.seed}
        return {**own, **{key: value for key, value in further.items() if value is not None}}

    def begun(self, network: nn.Module) -> nn.Module:
        """Return what is trained, made of a network with its first weights."""
        module = network
        if self.wrapper is not None:
            with seeded(f"wrapper:{self.seed}"):
                module = self.wrapper.wrap(network)
        if self.start is not None:
            load(module, self.start)
        return module

    def examples(self, all_of_them: Examples) -> Examples:
        """Return what is learnt from."""
        told = all_of_them if self.answers is None else taught(all_of_them, self.answers)
        return told if self.share == 1 else told.drawn(self.share, self.seed)

    def masked(self, training: Training) -> Training:
        """Return a training at its beginning, in which only some weights take part, where that is so."""
        if self.masks is not None:
            weights, steps = (
                dict(training.module.named_parameters()),
                training.steps_per_epoch * training.settings.epochs,
            )
            training.masking = self.masks.masking(weights, training.optimiser, steps, self.seed)
        return training

    @property
    def rate(self) -> Rate | None:
        """The learning rate by steps, where the settings do not say it."""
        own = self.cycles
        return None if own is None else lambda step, steps: own.rate(self.settings, step, steps)

    def copy(self, training: Training, folder: Path) -> None:
        """Keep a copy of the weights in `folder`, where one of this epoch is to be kept."""
        if training.epochs in self.keep:
            path = _copy(folder, training.epochs)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, save({n: w.contiguous() for n, w in tensors(training.module).items()}))


@dataclass(frozen=True)
class Spent:
    """What trainings have cost.

    Attributes:
        images: that were learnt from, each as often as it was.
        epochs: the same, in passes over the whole train split.
        flops: floating-point operations, of weights that took part; None where they could not be counted.
        seconds: by the clock.
    """

    images: int = 0
    epochs: float = 0.0
    flops: float | None = 0.0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        flops = None if self.flops is None or other.flops is None else self.flops + other.flops
        more = self.images + other.images, self.epochs + other.epochs, flops, self.seconds + other.seconds
        return Spent(*more)

    @classmethod
    def of(cls, curve: Sequence[Mapping[str, float]], images: int) -> Spent:
        """Return what a training has cost, by its curve; the train split has so many `images`."""
        own = spent_on(curve)
        seen = int(own.get("images", images * len(curve)))
        return cls(seen, seen / images, own.get("flops"), sum(row["seconds"] for row in curve))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `Spent(**values)` is the inverse."""
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    """A network that was trained.

    Attributes:
        weights: its tensors, each once.
        spent: what that has cost.
        folder: where it was trained.
        curve: a row for each epoch.
    """

    weights: Mapping[str, Tensor]
    spent: Spent
    folder: Path
    curve: Sequence[Mapping[str, float]] = field(default=(), repr=False)

    @classmethod
    def of(cls, training: Training, folder: Path, images: int) -> Trained:
        """Return what a finished training has come to."""
        weights = {name: value.detach().clone() for name, value in tensors(training.module).items()}
        return cls(weights, Spent.of(training.curve, images), folder, training.curve)

    def copy(self, epoch: int) -> dict[str, Tensor]:
        """Return the weights at the end of an epoch of which a copy was kept.

        Raises:
            CheckpointError: it is not there, or damaged.
        """
        return load_tensors(_copy(self.folder, epoch), "a network's weights from on the way")


def _copy(folder: Path, epoch: int) -> Path:
    return folder / COPIES / f"{epoch:05d}.safetensors"


def mean_of(network: nn.Module, copies: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of weights, by `torch.optim.swa_utils.AveragedModel`; `network` is of their kind, and changed.

    Statistics of BatchNorm are those of the last copy: whoever asks the mean takes them anew.
    """
    load(network, copies[0])
    average = torch.optim.swa_utils.AveragedModel(network)
    for weights in copies:
        load(network, weights)
        average.update_parameters(network)
    return {name: value.detach().clone() for name, value in tensors(average.module).items()}
