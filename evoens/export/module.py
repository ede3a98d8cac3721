"""A deep ensemble as one torch module: the shared trunk once, each member's own tail, their predictions combined."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from evoens.children import touched
from evoens.errors import EvoensError
from evoens.graph.proof import proved_cut
from evoens.network.inputs import Inputs
from evoens.parent import Parent
from evoens.scoring.calibration import TINY
from evoens.scoring.combine import combine
from evoens.tasks.data.preprocessing import Preprocessing

DRAWN = "majority-vote"  # draws ties by a hash of the case, which is no operation of a graph


class EnsembleModule(nn.Module):
    """Inputs `(n, *input)`, or several tensors, to probabilities `(n, c)`, in float32.

    Args:
        trunk: gives a tuple of tensors of the inputs, which all tails take; None where members share nothing.
        tails: of each different member, to its logits `(n, c)`.
        order: which of them each of the k members is.
        rule: how members' probabilities become one (`evoens.scoring.combine.RULES`); None gives each, `(n, k, c)`.
        temperature: by which the logarithms of what the rule gives are divided; None leaves it as it is.
    """

    def __init__(
        self,
        trunk: nn.Module | None,
        tails: Sequence[nn.Module],
        order: Sequence[int],
        rule: str | None,
        temperature: float | None,
    ) -> None:
        super().__init__()
        self.trunk, self.tails = trunk, nn.ModuleList(tails)
        self.order, self.rule, self.temperature = tuple(order), rule, temperature
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        """`(n, *input)` → `(n, c)`, or `(n, k, c)` of the members."""
        shared = inputs if self.trunk is None else self.trunk(*inputs)
        answers = [tail(*shared).float().softmax(-1) for tail in self.tails]
        outputs = torch.stack([answers[place] for place in self.order])
        if self.rule is None:
            return outputs.transpose(0, 1)
        found = combine(outputs, self.rule)
        if self.temperature is None:
            return found
        # not `tempered`, which goes on in float64: few devices that models are brought to compute in it
        return (found.clamp_min(TINY).log() / self.temperature).softmax(-1)


class OfBytes(nn.Module):
    """A module behind the normalisation of its images: bytes `(n, c, h, w)`, as `(x/255 − mean)/std`.

    Args:
        module: what takes them normalised.
        mean: one number a channel.
        std: one number a channel, above zero.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """`(n, c, h, w)` uint8 → what the module gives."""
        return self.module((images.float() / 255 - self.mean) / self.std)  # type: ignore[no-any-return]


def ensemble_module(
    parent: Parent,
    grown: Sequence[Mapping[str, Tensor]],
    order: Sequence[int],
    inputs: Inputs | None,
    *,
    rule: str | None,
    temperature: float | None,
) -> EnsembleModule:
    """Return the ensemble of some children; tensors in which none differs from the parent are there once.

    Args:
        parent: of the members.
        grown: the tensors of each different member, those that may differ from the parent's, by name.
        order: which of them each member is.
        inputs: on which it is proved that members share a trunk; None has each run the whole network.
        rule: see `EnsembleModule`.
        temperature: see `EnsembleModule`.

    Raises:
        EvoensError: the rule is none of a graph's.
    """
    require_graph(rule)
    changed = touched(parent, grown)
    found = None if inputs is None else proved_cut(parent, changed, parent.laid_out(inputs))
    whole = nn.ModuleList([found.trunk, found.tail] if found else [parent.module])
    *trunk, tail = copy.deepcopy(whole)  # of this module alone, whoever trains it
    tails = [_with(tail, {name: own[name] for name in changed & own.keys()}) for own in grown]
    module = EnsembleModule(trunk[0] if found else None, tails, order, rule, temperature)
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return module


def require_graph(rule: str | None) -> None:
    """See that a rule consists of operations on tensors alone.

    Raises:
        EvoensError: it does not.
    """
    if rule == DRAWN:
        raise EvoensError(f"combine: expected a rule without chance, found {rule}, whose ties are drawn")


def of_bytes(module: nn.Module, preprocessing: Preprocessing | None) -> nn.Module:
    """Return `module` behind the normalisation of its images: bytes `(n, c, h, w)`, uint8.

    Raises:
        EvoensError: nothing is known of how bytes reach the network.
    """
    if preprocessing is None:
        raise EvoensError("raw: expected a classifier of images, whose normalisation is known, found none")
    return OfBytes(module, preprocessing.mean, preprocessing.std)


def _with(tail: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of `tail` that has these tensors of its own, and shares all others with it."""
    tensors = dict[int, Tensor]()
    named = (tail.named_parameters(remove_duplicate=False), tail.named_buffers(remove_duplicate=False))
    for name, value in chain(*named):
        tensors.setdefault(id(value), value)
        if name in weights:
            own = torch.empty_like(value).copy_(weights[name])
            tensors[id(value)] = nn.Parameter(own, False) if isinstance(value, nn.Parameter) else own
    return copy.deepcopy(tail, dict(tensors))
