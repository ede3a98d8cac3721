"""MotherNets (Wasay et al. 2020): networks of several sizes that begin as the largest network which all contain.

That one, the mother, is trained once; each member is hatched of it, by widening and deepening that leave what it
computes as it is (Chen et al. 2016; Wei et al. 2016), and trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.graph.proof import close
from evoens.methods.base import Baseline, Fitted
from evoens.methods.converting import NORMS, refusal
from evoens.methods.joint import Joint
from evoens.methods.setting import Setting, fraction
from evoens.network.adapt import adapted
from evoens.network.inputs import Inputs, several
from evoens.network.tensors import load, tensors
from evoens.network.wrapper import Wrapper
from evoens.parent import PERTURBED
from evoens.progress import OnProgress
from evoens.tasks.lesson import Trained
from evoens.tasks.sgd import seeded

Arguments = Mapping[str, Any]
"""What a network is built with."""


class MotherNets(Baseline):
    """Networks of several sizes; the largest one that all contain is trained first, then each of them from there on.

    Args:
        sizes: for each member the arguments of the network in which it differs, such as `{width: 2}`.
        first: the share of the budget that the largest common one has; the others have equal parts of the rest.
    """

    name = "mother_nets"

    def __init__(self, sizes: Sequence[Arguments] = ({}, {}, {}, {}), first: float = 0.5) -> None:
        self.sizes, self.first = sizes, fraction("first", first)
        if not sizes or not all(isinstance(size, Mapping) for size in sizes):
            raise SpecError(f"sizes: expected a list of a network's arguments, found {sizes!r}", ("sizes",))

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        self._each(epochs)

    def _each(self, epochs: int) -> int:
        """How many epochs a member has; the mother has the others."""
        each = int(epochs * (1 - self.first) / len(self.sizes))
        if not each:
            found = f"{self.first:g} of {epochs} epochs with {len(self.sizes)} members"
            raise SpecError(f"first: expected a share that leaves every member an epoch, found {found}", ("first",))
        return each

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        architecture, each = setting.problem.parent.architecture, self._each(setting.epochs)
        sizes = [{**architecture.arguments, **size} for size in self.sizes]
        smallest = mother_of(sizes)
        epochs = setting.epochs - each * len(sizes)
        mother = setting.train(on_progress, epochs=epochs, wrapper=of_size(smallest))
        trained = [mother]
        for place, size in enumerate(sizes):
            begins = self._hatched(setting, mother, smallest, size, place)
            trained.append(setting.train(on_progress, place, epochs=each, wrapper=of_size(size), start=begins))
        weights = {
            f"networks.{place}.{name}": value
            for place, one in enumerate(trained[1:])
            for name, value in one.weights.items()
        }
        family = Wrapper("evoens.methods.mother_nets:Family", {"sizes": sizes})
        return Fitted.of(setting.networks([weights], family), trained)

    def _hatched(
        self, setting: Setting, mother: Trained, smallest: Arguments, size: Arguments, place: int
    ) -> dict[str, Tensor]:
        network, seed = setting.problem.parent.architecture.build(), setting.config.seed
        small = resized(network, smallest)
        load(small, mother.weights)
        with seeded(f"hatched:{seed}:{place}"):
            member = resized(network, size)
        hatch(small, member, setting.problem.probe(PROVED))
        return {name: value.detach().clone() for name, value in tensors(member).items()}


PROVED = 4  # inputs


class Family(Joint):
    """Networks of one class and several sizes, one after another.

    Args:
        network: of the class.
        sizes: what each is built with.
    """

    def __init__(self, network: nn.Module, sizes: Sequence[Arguments]) -> None:
        super().__init__(len(sizes))
        self.networks = nn.ModuleList(resized(network, size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        """See `Joint.forward`."""
        return torch.stack([network(part) for network, part in zip(self.networks, self.given(x), strict=True)])


def of_size(arguments: Arguments) -> Wrapper:
    """Return what makes a network another of its class, built with these `arguments`."""
    return Wrapper("evoens.methods.mother_nets:resized", {"arguments": dict(arguments)})


def resized(network: nn.Module, arguments: Arguments) -> nn.Module:
    """Return another network of the class of `network`, built with these `arguments`: its own code, and no other."""
    return adapted(type(network)(**arguments), type(network).__name__).train()


def mother_of(members: Sequence[Arguments]) -> dict[str, Any]:
    """Return the largest network that all `members` contain: each number of its arguments is the smallest of theirs.

    Of lists, such as the widths of hidden layers, it has as many numbers as the shortest, of which the last is the
    smallest from there on: what a deeper member has after it passes it all on.

    Raises:
        SpecError: they differ in an argument that is no number.
    """
    names = dict.fromkeys(name for member in members for name in member)
    return {name: _smallest(name, [_argument(member, name) for member in members]) for name in names}


def _argument(member: Arguments, name: str) -> Any:
    if name not in member:
        raise SpecError(f"sizes: expected `{name}` for each of them, found one without it", ("sizes",))
    return member[name]


def _smallest(name: str, values: Sequence[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    if all(type(value) is int for value in values):
        return min(values)
    if all(isinstance(value, list | tuple) and len(value) for value in values):
        last = min(len(value) for value in values) - 1
        leading = [min(value[place] for value in values) for place in range(last)]
        return [*leading, min(min(value[last:]) for value in values)]
    raise SpecError(f"sizes: expected `{name}` the same for all, or numbers, found {list(values)}", ("sizes",))


@torch.no_grad()
def hatch(mother: nn.Module, member: nn.Module, inputs: Inputs) -> None:
    """Give `member`, which contains `mother`, weights with which it computes the same; proved on inputs `(n, *input)`.

    What it has beyond the mother keeps the weights it has, so that it can learn what it likes: of a wider layer the
    further outputs, which the layers after it begin by leaving out. A further block begins as nothing beside its
    shortcut, and a further layer as the identity.

    Raises:
        SpecError: a layer does not contain the mother's, or the member computes something else.
    """
    _grow("", mother, member)
    expected, found = (network.eval()(*several(inputs)) for network in (mother, member))
    if not close(found, expected):
        most = float((found - expected).abs().max()) if found.shape == expected.shape else float("nan")
        raise SpecError(
            f"{type(member).__name__}: expected a network that can be widened and deepened and still compute what the "
            f"smaller one does, found logits that are {most:.2g} apart; channels that are joined or padded cannot"
        )


def _grow(name: str, small: nn.Module, large: nn.Module) -> None:
    """Widen a layer and those inside; of a longer sequence the first ones and the last are the mother's."""
    if type(small) is not type(large):
        raise refusal(name, large, f"{type(small).__name__}, as the smaller network has there")
    _widen(name, small, large)
    ours, theirs = list(small.children()), dict(large.named_children())
    longer = isinstance(large, nn.Sequential) and 0 < len(ours) < len(theirs)
    if len(ours) != len(theirs) and not longer:
        raise refusal(name, large, f"{len(ours)} parts, as the smaller network has there, found {len(theirs)}")
    lead = max(1, len(ours) - 1)
    further = list(theirs)[lead : lead + len(theirs) - len(ours)]
    for key in further:
        _pass_on(theirs.pop(key))
    for one, (key, other) in zip(ours, theirs.items(), strict=True):
        _grow(f"{name}.{key}" if name else key, one, other)


def _widen(name: str, small: nn.Module, large: nn.Module) -> None:
    """Put a layer's own tensors in the corner of a larger one's, with zeros for what they now take in beside."""
    others = large.state_dict()
    for key, old in small.state_dict().items():
        if "." in key:  # of a layer inside
            continue
        new = others[key]
        if old.dim() != new.dim() or any(a > b for a, b in zip(old.shape, new.shape, strict=True)):
            raise refusal(name, large, f"a {key} that contains one of {tuple(old.shape)}, found {tuple(new.shape)}")
        if old.dim() > 1:
            new[: len(old)] = 0
        new[tuple(map(slice, old.shape))] = old


def _pass_on(layer: nn.Module) -> None:
    """Have a further layer give what it is given, or a further block add nothing to its shortcut."""
    if isinstance(layer, PERTURBED):
        rows = min(layer.weight.shape[:2])  # those beyond stay as they were drawn: all zeros would never learn
        layer.weight[:rows] = _identity(layer.weight)[:rows]
        if layer.bias is not None:
            layer.bias[:rows] = 0
        return
    last = [inner for inner in layer.modules() if isinstance(inner, (*PERTURBED, *NORMS))][-1:]
    for value in (value for inner in last for value in inner.parameters()):
        value.zero_()


def _identity(weight: Tensor) -> Tensor:
    empty = torch.empty_like(weight)
    return nn.init.eye_(empty) if weight.dim() == 2 else nn.init.dirac_(empty)
