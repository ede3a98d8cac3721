"""Train a classifier, a parent or a child, on whole batches from memory; an interruption changes no bit.

What an epoch does depends on the state at its beginning, on the seed and on its number alone, so a checkpoint holds
weights, the optimiser's state and the curve, and no generator's.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens.errors import ProblemError
from evoens.graph.flops import Operations, operations
from evoens.network.tensors import load, tensors
from evoens.settings.classification import TrainSettings
from evoens.tasks.examples import Examples as Examples  # noqa: PLC0414 (asked for here too)
from evoens.tasks.masking import Masking, NoMasking
from evoens.tasks.schedules import momentum, rate

Rate = Callable[[int, int], float]
"""From the number of a step, from 0, and that of all steps to the learning rate."""
PASSES = 3  # of a training step: forward, and as much again for the gradient of each layer's inputs and of its weights


@runtime_checkable
class Together(Protocol):
    """A network with several members inside, whose outputs are logits `(k, n, c)` (see `evoens.methods.joint`)."""

    def training_batch(self, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what a step is given of inputs `(m, *input)` and classes `(m,)`, and the targets, `(k, n)`."""

    def undecayed(self) -> Collection[str]:
        """Return the names of the parameters that no weight decay may pull to zero."""


class Training:
    """A network on its way through some epochs.

    Args:
        module: trained in place, logits `(n, c)`, or `(k, n, c)` of several members, whose losses are averaged; what is
            frozen in it stays.
        examples: what it learns.
        settings: for how long, and how.
        seed: of the order of examples, their augmentation and whatever the network itself draws.
        precision: `float32` or `bfloat16` (by autocast).
        masking: which weights take part.
        draws: whether the network itself draws while it trains (dropout): from torch's one generator, which is then
            seeded for the epoch, so that no other thread may draw meanwhile.
        rate: the learning rate, where it is not as the settings say.
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
        rate: Rate | None = None,
    ) -> None:
        self.module = module
        self.examples, self.settings, self.seed, self.precision = examples, settings, seed, precision
        self.masking: Masking = masking or NoMasking()
        self.draws, self.rate = draws, rate
        self._operations: Operations | None = None
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
        """Train for one epoch; return its row of the curve.

        It has the mean loss in nats, the accuracy on what was learnt from, how many images these were, the
        floating-point operations (those of weights that take part; none where they cannot be counted), and seconds.

        on_step: told, after each step, how many are done since the training began.
        """
        began, number, seen = time.monotonic(), self.epochs, _Seen()
        batches = self.examples.batches(self.settings.batch, self.seed, number)
        self.module.train()
        with seeded(f"{self.seed}:{number}") if self.draws else nullcontext():
            for place, (inputs, labels) in enumerate(batches):
                step = number * self.steps_per_epoch + place
                given, targets = given_to(self.module, inputs, labels, self.seed, step)
                outputs, loss = self._step(step, given, targets)
                seen.add(outputs, targets, loss, len(labels))
                seen.flops += self._flops(given)
                on_step(step + 1)
        self.module.eval()
        self.curve.append({**seen.row(), "seconds": time.monotonic() - began})
        return self.curve[-1]

    def _step(self, step: int, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        steps = self.steps_per_epoch * self.settings.epochs
        progress = step / steps
        _set_rates(self.optimiser, self.settings, progress)
        if self.rate is not None:
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate(step, steps)
        self.masking.before(progress, step)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = self.module(inputs)
        loss = F.cross_entropy(outputs.float().flatten(0, -2), targets.flatten(0, outputs.dim() - 2))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.masking.after()
        self.optimiser.step()
        return outputs.detach(), loss.detach()

    def _flops(self, inputs: Tensor) -> float:
        """Return the operations of a step on these inputs, NaN where they cannot be counted."""
        if self._operations is None:
            self._operations = Operations(-1, {})
            with contextlib.suppress(Exception):  # whatever a user's network finds wrong with one input
                self._operations = operations(self.module, inputs[:1])
        own = self._operations
        return PASSES * len(inputs) * own.at(self.masking.shares()) if own.total >= 0 else math.nan

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


@dataclass
class _Seen:
    """What an epoch has seen so far."""

    loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    right: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    targets: int = 0
    images: int = 0
    flops: float = 0.0

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor, images: int) -> None:
        """Count a step; targets are classes `(…,)`, or probabilities `(…, c)`, of which the likeliest is right."""
        classes = targets.argmax(-1) if targets.is_floating_point() else targets
        self.loss += loss.double() * images
        self.right += (outputs.argmax(-1) == classes).sum()
        self.targets += classes.numel()
        self.images += images

    def row(self) -> dict[str, float]:
        """Return the epoch's row of the curve, but for its seconds."""
        known = {} if math.isnan(self.flops) else {"flops": self.flops}
        mean = {"loss": float(self.loss) / self.images, "accuracy": float(self.right) / self.targets}
        return {**mean, "images": self.images, **known}


def spent_on(curve: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the images and operations of all epochs, by name, those that were counted in every one."""
    return {name: sum(row[name] for row in curve) for name in ("images", "flops") if all(name in row for row in curve)}


def given_to(module: nn.Module, inputs: Tensor, labels: Tensor, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return what a training step gives `module` of a batch, and the targets of its outputs."""
    if not isinstance(module, Together):
        return inputs, labels
    generator = torch.Generator().manual_seed(_number(f"{seed}:{step}"))
    return module.training_batch(inputs, labels, generator)


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
        torch.manual_seed(_number(text))
        yield


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the layers of a network that keep running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def re_estimate(module: nn.Module, inputs: Iterator[Tensor]) -> None:
    """Take the running statistics of BatchNorm anew, as means over all batches of `inputs`; nothing else changes."""
    found = norms(module)
    momenta = [norm.momentum for norm in found]
    module.eval()
    for norm in found:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    with torch.no_grad():
        for batch in inputs if found else ():
            module(batch)
    for norm, momentum_before in zip(found, momenta, strict=True):
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
    peak, decay, apart = settings.learning_rate, settings.weight_decay, _undecayed(module)
    own = [parameter for parameter in _learning(module) if id(parameter) not in apart]
    parameters: Any = own
    if apart:
        parameters = [{"params": own}, {"params": list(apart.values()), "weight_decay": 0.0}]
    if settings.optimiser == "adam":
        return torch.optim.Adam(parameters, peak, betas=(settings.momentum, 0.999), weight_decay=decay, fused=True)
    nesterov = settings.momentum > 0
    return torch.optim.SGD(
        parameters, peak, momentum=settings.momentum, nesterov=nesterov, weight_decay=decay, fused=True
    )


def _learning(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen, in the order of the optimiser: those that do not decay come last."""
    apart = _undecayed(module)
    found = [parameter for parameter in module.parameters() if parameter.requires_grad and id(parameter) not in apart]
    return [*found, *apart.values()]


def _undecayed(module: nn.Module) -> dict[int, nn.Parameter]:
    """Return the parameters that no weight decay may pull to zero, by their ids."""
    names = module.undecayed() if isinstance(module, Together) else ()
    return {id(own): own for name, own in module.named_parameters() if name in names and own.requires_grad}


def _set_rates(optimiser: torch.optim.Optimizer, settings: TrainSettings, progress: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate(settings, progress)
        if "betas" in group:
            group["betas"] = (momentum(settings, progress), group["betas"][1])
        else:
            group["momentum"] = momentum(settings, progress)
