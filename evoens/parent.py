"""The parent: one trained network, its weights, its fingerprint, and which of its tensors may be perturbed."""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from evoens.errors import ShapeError, SpecError

Predictor = Callable[[Tensor], Tensor]
"""`(n, *input)` -> `(n, c)` probabilities: a parent, a child and an ensemble are all predictors."""


PERTURBED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@runtime_checkable
class Fusible(Protocol):
    """A layer that can make itself quicker, not those inside it, where it only predicts on a CPU in `channels_last`."""

    def fuse(self) -> None:
        """Give up gradients and hooks, and take up the weights as they are now; outputs stay the same to rounding."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build the module anew: an importable class, `package.module:Class`, and its keyword arguments."""

    target: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Build the module, its weights not yet loaded.

        Raises:
            SpecError: the class cannot be imported or does not take these arguments.
        """
        module, _, name = self.target.partition(":")
        try:
            cls = getattr(importlib.import_module(module), name)
            if not (
                isinstance(cls, type) and issubclass(cls, nn.Module)
            ):  # before the call: the name comes from a file
                raise TypeError("expected a torch.nn.Module class")
            return cls(**self.arguments)
        except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise SpecError(f'"{self.target}" cannot be built: {error}') from error


class Parent:
    """A trained network whose outputs are logits `(n, c)`, with the tensors a Strategy may perturb.

    Perturbed are the weights of convolutions and linear layers; biases and normalisation stay (dissertation ch. 4).
    """

    def __init__(self, module: nn.Module, architecture: Architecture) -> None:
        self.module = module.eval().requires_grad_(False)
        self.architecture = architecture
        self.weights: dict[str, Tensor] = {k: v.detach() for k, v in self.module.state_dict().items()}
        self.perturbed: tuple[str, ...] = tuple(
            f"{name}.weight" if name else "weight"
            for name, layer in self.module.named_modules()
            if isinstance(layer, PERTURBED)
        )

    @classmethod
    def from_weights(cls, architecture: Architecture, weights: Mapping[str, Tensor]) -> Parent:
        """Build the architecture and load `weights` into it.

        Raises:
            ShapeError: a tensor is missing, unknown or of another shape.
        """
        module = architecture.build()
        expected = {k: tuple(v.shape) for k, v in module.state_dict().items()}
        found = {k: tuple(v.shape) for k, v in weights.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise ShapeError(
                    f"{name}: expected shape {expected.get(name, 'no such tensor')}, "
                    f"found {found.get(name, 'no such tensor')}"
                )
        module.load_state_dict(dict(weights))
        return cls(module, architecture)

    @property
    def fingerprint(self) -> str:
        """The sha256 over every tensor's name, dtype, shape and bytes, in the order of the names."""
        return fingerprint(self.weights)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the parent's probabilities, `(n, c)` for inputs `(n, *input)`, in float32."""
        with torch.inference_mode():
            return torch.softmax(self.module(inputs).float(), dim=-1)

    def child(self, weights: Mapping[str, Tensor]) -> Child:
        """Return a child of its own module, holding the parent's tensors except those in `weights`."""
        child = Child(copy.deepcopy(self.module))
        child.load({**self.weights, **weights})
        return child


class Child:
    """A copy of the parent's module whose weights can be replaced, in place, by one child's after another's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)
        self._tensors = self.module.state_dict()
        self._fused = False

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy `weights` over the tensors of these names; layout, dtype and device of the module stay."""
        for name, value in weights.items():
            self._tensors[name].copy_(value)
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
    """Fuse all layers of `module` that can, as far as they are on a CPU; to be called in `channels_last`."""
    for layer in module.modules():
        if isinstance(layer, Fusible) and all(p.device.type == "cpu" for p in layer.parameters()):
            layer.fuse()


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return the sha256 over every tensor's name, dtype, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.view(torch.uint8).numpy().tobytes() if value.dim() else value.numpy().tobytes())
    return digest.hexdigest()
