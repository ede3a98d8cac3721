"""Train a classifier, a parent or a child, on whole batches from memory; an interruption changes no bit.

What an epoch does depends on the state at its beginning, on the seed and on its number alone, so a checkpoint holds
weights, the optimiser's state and the curve, and no generator's.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens.errors import ProblemError
from evoens.network.tensors import load, tensors
from evoens.settings.classification import TrainSettings
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import augmented
from evoens.tasks.schedules import momentum, rate


@dataclass(frozen=True)
class Examples:
    """Labelled images to learn from.

    Attributes:
        images: of the train split.
        normalise: from bytes to what the network takes.
        augment: of `crop` and `flip`, what each batch goes through.
    """

    images: Images
    normalise: Callable[[Tensor], Tensor]
    augment: tuple[str, ...] = ()

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's inputs `(m, c, h, w)` float32 and their classes `(m,)`, decided by `seed` and `epoch` alone.

        A last batch of one is left out: BatchNorm has no statistics of it.
        """
        crop, flip = "crop" in self.augment, "flip" in self.augment
        for place, (pixels, labels) in enumerate(self.images.shuffled(size, seed, epoch)):
            if len(labels) > 1 or size == 1 or place == 0:
                seen = augmented(pixels, seed, epoch, place, crop=crop, flip=flip) if self.augment else pixels
                yield self.normalise(seen), labels

    def steps(self, size: int) -> int:
        """Return how many batches an epoch has."""
        whole, rest = divmod(len(self.images), size)
        return whole + (rest > 1 or not whole)


class Masking(Protocol):
    """Holds some weights out of the steps of a training; see `evoens.tasks.masking`."""

    def before(self, progress: float, step: int) -> None:
        """Take out what does not take part in this step's passes."""

    def after(self) -> None:
        """Take its gradients away, and put back what was only lent out."""

    def finish(self) -> None:
        """Take out for good what the finished child does not have."""

    def checkpoint(self) -> Mapping[str, Tensor]:
        """Return what `restore` needs beside weights and steps."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""


class NoMasking:
    """Every weight takes part."""

    def before(self, progress: float, step: int) -> None:
        """See `Masking.before`."""

    def after(self) -> None:
        """See `Masking.after`."""

    def finish(self) -> None:
        """See `Masking.finish`."""

    def checkpoint(self) -> Mapping[str, Tensor]:
        """See `Masking.checkpoint`."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Masking.restore`."""


class Training:
    """A network on its way through some epochs.

    Args:
        module: trained in place, logits `(n, c)`; what is frozen in it stays.
        examples: what it learns.
        settings: for how long, and how.
        seed: of the order of examples, their augmentation and whatever the network itself draws.
        precision: `float32` or `bfloat16` (by autocast).
        masking: which weights take part.
        draws: whether the network itself draws while it trains (dropout): from torch's one generator, which is then
            seeded for the epoch, so that no other thread may draw meanwhile.
    """

    def __init__(
        self,
        module: nn.Module,
        examples: Examples,
        settings: TrainSettings,
        *,
        seed: int,
        precision: str = "float32",
        masking: Masking | None = None,
        draws: bool = True,
    ) -> None:
        self.module = module
        self.examples, self.settings, self.seed, self.precision = examples, settings, seed, precision
        self.masking: Masking = masking or NoMasking()
        self.draws = draws
        self.optimiser = _optimiser(settings, module)
        self.steps_per_epoch = examples.steps(settings.batch)
        self.curve: list[dict[str, float]] = []

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.curve)

    @property
    def finished(self) -> bool:
        """Whether all are."""
        return self.epochs >= self.settings.epochs

    def epoch(self, on_step: Callable[[int], None] = lambda _: None) -> dict[str, float]:
        """Train for one epoch; return its mean loss in nats, its accuracy on what it learnt from, and its seconds.

        on_step: told, after each step, how many are done since the training began.
        """
        began, number, n = time.monotonic(), self.epochs, 0
        loss, right = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        batches = self.examples.batches(self.settings.batch, self.seed, number)
        self.module.train()
        with seeded(f"{self.seed}:{number}") if self.draws else nullcontext():
            for place, (inputs, labels) in enumerate(batches):
                outputs, batch_loss = self._step(number * self.steps_per_epoch + place, inputs, labels)
                loss += batch_loss.double() * len(labels)
                right += (outputs.argmax(-1) == labels).sum()
                n += len(labels)
                on_step(number * self.steps_per_epoch + place + 1)
        self.module.eval()
        self.curve.append({"loss": float(loss) / n, "accuracy": float(right) / n, "seconds": time.monotonic() - began})
        return self.curve[-1]

    def _step(self, step: int, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        progress = step / (self.steps_per_epoch * self.settings.epochs)
        _set_rates(self.optimiser, self.settings, progress)
        self.masking.before(progress, step)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = self.module(inputs)
        loss = F.cross_entropy(outputs.float(), labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.masking.after()
        self.optimiser.step()
        return outputs.detach(), loss.detach()

    def checkpoint(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return everything that `restore` needs, as JSON and tensors."""
        found = {f"module/{name}": value for name, value in tensors(self.module).items()}
        for place, values in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser/{place}/{name}": value for name, value in values.items() if value is not None}
        found |= {f"masking/{name}": value for name, value in self.masking.checkpoint().items()}
        return {"curve": self.curve}, found

    def restore(self, state: Mapping[str, Any], saved: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""
        self.curve = list(state["curve"])
        load(self.module, {name.removeprefix("module/"): v for name, v in saved.items() if name.startswith("module/")})
        slots: dict[int, dict[str, Tensor]] = {}
        parameters = _learning(self.module)
        for name, value in saved.items():
            if name.startswith("optimiser/"):
                _, place, slot = name.split("/")
                slots.setdefault(int(place), {})[slot] = _laid_out(value, parameters[int(place)])
        self.optimiser.load_state_dict({"state": slots, "param_groups": self.optimiser.state_dict()["param_groups"]})
        masking = {name.removeprefix("masking/"): v for name, v in saved.items() if name.startswith("masking/")}
        self.masking.restore(masking)


def require_finite(module: nn.Module) -> None:
    """Raise where a training has diverged.

    Raises:
        ProblemError: a weight, or a statistic, is not finite.
    """
    for name, value in tensors(module).items():
        if not value.isfinite().all():
            raise ProblemError(f"the training has diverged: {name} is not finite any more")


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return `value` in the parameter's layout in memory: a fused step goes through both byte by byte."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


@contextmanager
def seeded(text: str) -> Iterator[None]:
    """Seed torch's own generator by `text`; afterwards it is as it was before."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
        yield


def re_estimate(module: nn.Module, inputs: Iterator[Tensor]) -> None:
    """Take the running statistics of BatchNorm anew, as means over all batches of `inputs`; nothing else changes."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    with torch.no_grad():
        for batch in inputs if norms else ():
            module(batch)
    for norm, momentum_before in zip(norms, momenta, strict=True):
        norm.momentum = momentum_before
    module.eval()


def draws(module: nn.Module, inputs: Tensor) -> bool:
    """Whether `module` draws from torch's generator while it trains, tried on some inputs; it stays as it was."""
    tried = copy.deepcopy(module).train()
    with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        before = torch.get_rng_state()
        tried(inputs)
        return not torch.equal(before, torch.get_rng_state())


def _optimiser(settings: TrainSettings, module: nn.Module) -> torch.optim.Optimizer:
    peak, decay, parameters = settings.learning_rate, settings.weight_decay, _learning(module)
    if settings.optimiser == "adam":
        return torch.optim.Adam(parameters, peak, betas=(settings.momentum, 0.999), weight_decay=decay, fused=True)
    nesterov = settings.momentum > 0
    return torch.optim.SGD(
        parameters, peak, momentum=settings.momentum, nesterov=nesterov, weight_decay=decay, fused=True
    )


def _learning(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _set_rates(optimiser: torch.optim.Optimizer, settings: TrainSettings, progress: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate(settings, progress)
        if "betas" in group:
            group["betas"] = (momentum(settings, progress), group["betas"][1])
        else:
            group["momentum"] = momentum(settings, progress)
