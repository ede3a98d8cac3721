"""Networks that were trained by themselves, as one predictor: the mean of their probabilities."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from evoens.architecture import Architecture, unset
from evoens.graph.flops import nonzero_flops
from evoens.network.inputs import Inputs, each, several, taken, usable
from evoens.network.tensors import load, tensors
from evoens.network.wrapper import Wrapper
from evoens.parent import Parent
from evoens.predictors.base import Members
from evoens.tasks.data.preprocessing import Preprocessing


class Networks(Members):
    """Networks of one architecture, each of one member or, inside a wrapper, of several.

    Attributes:
        architecture: of the network.
        weights: of each network, its tensors, each once.
        wrapper: what the network is made into, whose outputs are logits `(n, c)` or `(k, n, c)`; the weights are its.
        layout: in which images are given to it.
        device: where the networks are; inputs and outputs stay where the caller has them.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Sequence[Mapping[str, Tensor]],
        *,
        wrapper: Wrapper | None = None,
        layout: torch.memory_format = torch.channels_last,
        device: torch.device | str = "cpu",
        seed: int = 0,
        temperature: float | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__("mean", seed, temperature, preprocessing, None)
        self.architecture, self.weights, self.wrapper, self.layout = architecture, tuple(weights), wrapper, layout
        self.device = usable(device)
        self._networks = [self._network(own).requires_grad_(False) for own in self.weights]

    def _network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        network = Parent(self.architecture.build(), self.architecture).trainable()
        module = network if self.wrapper is None else self.wrapper.wrap(network)
        load(module, weights)
        return module.eval().to(self.device).to(memory_format=self.layout)

    @unset()
    def outputs(self, inputs: Inputs) -> Tensor:
        """See `Members.outputs`."""
        with taken(inputs), torch.inference_mode():
            if self.preprocessing is not None and isinstance(inputs, Tensor):
                self.preprocessing.check(inputs)
            given = several(each(inputs, self._laid_out))
            found = [torch.softmax(network(*given).float(), dim=-1) for network in self._networks]
        own = [answers if answers.dim() == 3 else answers[None] for answers in found]
        return torch.cat(own).to(several(inputs)[0].device)

    def _laid_out(self, part: Tensor) -> Tensor:
        images = part.to(self.device)
        return images if self.layout == torch.channels_last else images.contiguous()

    def modules(self) -> list[nn.Module]:
        """See `Members.modules`: the networks, wrapped."""
        return [copy.deepcopy(network).requires_grad_(True) for network in self._networks]

    def answer_flops(self, shape: tuple[int, ...]) -> int | None:
        """Return the floating-point operations of one answer to one input of this `shape`, of weights that are kept.

        None where they cannot be counted.
        """
        with suppress(Exception):  # whatever a network finds wrong with plain zeros
            return sum(nonzero_flops(network, shape) for network in self._networks)
        return None

    def stored_weights(self) -> int:
        """Return how many numbers must be kept: those that are not zero."""
        return sum(int(value.count_nonzero()) for own in self._networks for value in tensors(own).values())
