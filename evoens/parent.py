"""The parent: one trained network, its weights, its fingerprint, and which of its tensors may be perturbed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from evoens.architecture import Architecture as Architecture  # noqa: PLC0414 (asked for here too)
from evoens.network.inputs import Inputs, each, several
from evoens.network.tensors import first_names, load, plain, tensors

Predictor = Callable[[Any], Tensor]
"""`(n, *input)`, or a tuple of such tensors, to `(n, c)` probabilities: a parent, a child, an ensemble."""

LogitsFn = Callable[[Tensor], Tensor]
"""Frames `(n, c, h, w)`, floats from 0 to 255, to logits `(n, classes)`: a network, or one behind a normalisation."""


PERTURBED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@runtime_checkable
class Fusible(Protocol):
    """A layer that can make itself quicker, not those inside it, where it only predicts on a CPU in `channels_last`."""

    def fuse(self) -> None:
        """Give up gradients and hooks, and take up the weights as they are now; outputs stay the same to rounding."""


class Parent:
    """A trained network whose outputs are logits `(n, c)`, with the tensors a Strategy may perturb.

    Perturbed are the weights of convolutions and linear layers; biases and normalisation stay (dissertation ch. 4).

    Attributes:
        weights: its tensors, each once: one that has two names, as of a layer used twice, under the first.
        perturbed: the names of those that a Strategy may perturb.
        frozen: the names of the parameters that the network's own code has frozen; no training moves them.
        layout: in which images are given to it and to its children: `channels_last` but where they take no other than
            `contiguous_format`; whoever has images finds it out (`evoens.network.adapt.layout`).
        notes: how its outputs are understood, where that is not plain, a sentence each; a run says them.
        whole: why children that touch these tensors share nothing, where they might (see `evoens.graph.proof`).
        proved: whether those layers that can be fused have been proved to stay the same.
    """

    def __init__(self, module: nn.Module, architecture: Architecture) -> None:
        plain(module)
        frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
        whole = len(frozen) == len(list(module.parameters()))  # only to be asked: it says nothing of training
        self.frozen: frozenset[str] = frozenset() if whole else frozenset(frozen)
        self.module = module.eval().requires_grad_(False)
        self.architecture = architecture
        self.whole: dict[frozenset[str], str] = {}
        self.layout, self.notes = torch.channels_last, tuple[str, ...]()
        self.proved = False
        self.weights: dict[str, Tensor] = tensors(self.module)
        self.perturbed: tuple[str, ...] = _perturbed(self.module)

    @classmethod
    def from_weights(cls, architecture: Architecture, weights: Mapping[str, Tensor]) -> Parent:
        """Build the architecture and load `weights` into it.

        Raises:
            ShapeError: a tensor is missing, unknown, of another shape, or has two values under two names.
        """
        module = architecture.build()
        load(module, weights)
        return cls(module, architecture)

    @property
    def fingerprint(self) -> str:
        """The sha256 over every tensor's name, dtype, shape and bytes, in the order of the names."""
        return fingerprint(self.weights)

    def on(self, device: torch.device) -> Parent:
        """Return the parent with its tensors on a device, to make children of there; itself where they are there."""
        if all(weight.device.type == device.type for weight in self.weights.values()):
            return self
        found = copy.copy(self)
        found.module = copy.deepcopy(self.module).to(device)
        found.weights = tensors(found.module)
        return found

    def laid_out(self, inputs: Inputs) -> Inputs:
        """Return inputs as the network takes them."""
        return inputs if self.layout == torch.channels_last else each(inputs, Tensor.contiguous)

    def predict(self, inputs: Inputs) -> Tensor:
        """Return the parent's probabilities, `(n, c)` for inputs `(n, *input)`, in float32."""
        with torch.inference_mode():
            return torch.softmax(self.module(*several(self.laid_out(inputs))).float(), dim=-1)

    def trainable(self) -> nn.Module:
        """Return a copy in the parent's layout that can be trained, but for what its own code has frozen."""
        module = copy.deepcopy(self.module).to(memory_format=self.layout)
        for name, value in module.named_parameters():
            value.requires_grad_(name not in self.frozen)
        return module

    def child(self, weights: Mapping[str, Tensor]) -> Child:
        """Return a child of its own module, holding the parent's tensors except those in `weights`.

        Raises:
            KeyError: the parent has no tensor of such a name.
        """
        for name in weights.keys() - self.weights.keys():
            raise KeyError(name)
        child = Child(copy.deepcopy(self.module))
        child.load({**self.weights, **weights})
        return child


def _perturbed(module: nn.Module) -> tuple[str, ...]:
    first = first_names(module)
    layers = [name for name, layer in module.named_modules() if isinstance(layer, PERTURBED)]
    return tuple(dict.fromkeys(first[f"{name}.weight" if name else "weight"] for name in layers))


class Child:
    """A copy of the parent's module whose weights can be replaced, in place, by one child's after another's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)
        self._tensors = self.module.state_dict()
        self._fused = False

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy `weights` over the tensors of these names; layout, dtype and device of the module stay.

        A network's tail has none of some: of layers in its trunk, or of those that work in training alone.
        """
        for name in weights.keys() & self._tensors.keys():
            self._tensors[name].copy_(weights[name])
        if self._fused:
            fuse(self.module)

    def fuse(self) -> None:
        """From now on only predict, quicker where the module can be; to be called in `channels_last`."""
        self._fused = True
        fuse(self.module)

    def predict(self, *inputs: Tensor) -> Tensor:
        """Return probabilities `(n, c)` for inputs `(n, *input)`, in float32; a network's tail may take several."""
        with torch.inference_mode():
            return torch.softmax(self.module(*inputs).float(), dim=-1)


def fuse(module: nn.Module) -> None:
    """Fuse all layers of `module` that can, as far as they are on a CPU; to be called in `channels_last`.

    One that was proved to be another once it is fused (`evoens.graph.proof`) has `stays_plain`.
    """
    for layer in module.modules():
        plain = getattr(layer, "stays_plain", False)
        if isinstance(layer, Fusible) and not plain and all(p.device.type == "cpu" for p in layer.parameters()):
            layer.fuse()


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return the sha256 over every tensor's name, dtype, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
