"""MotherNets (Wasay et al. 2020): networks of several sizes that begin as the largest network which all contain.

That one, the mother, is trained once; each member is hatched of it, by widening and deepening that leave what it
computes as it is (Chen et al. 2016; Wei et al. 2016), and trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evoens.architecture import Architecture
from evoens.errors import SpecError
from evoens.graph.proof import close
from evoens.methods.converting import NORMS, refusal
from evoens.parent import PERTURBED


def mother_of(members: Sequence[Architecture]) -> Architecture:
    """Return the largest network that all `members` contain: each number of its arguments is the smallest of theirs.

    Of lists, such as the widths of hidden layers, it has as many numbers as the shortest, of which the last is the
    smallest from there on: what a deeper member has after it passes it all on.

    Raises:
        SpecError: they are of different classes, or differ in an argument that is no number.
    """
    first, *others = members
    for other in others:
        if (other.target, other.sha256, other.helpers) != (first.target, first.sha256, first.helpers):
            raise SpecError(f"members: expected networks of one class, found {first.target} and {other.target}")
    names = dict.fromkeys(name for member in members for name in member.arguments)
    smallest = {name: _smallest(name, [_argument(member, name) for member in members]) for name in names}
    return Architecture(first.target, smallest, first.sha256, first.helpers)


def _argument(member: Architecture, name: str) -> Any:
    if name not in member.arguments:
        raise SpecError(f"members: expected `{name}` for each of them, found one of {member.target} without it")
    return member.arguments[name]


def _smallest(name: str, values: Sequence[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    if all(type(value) is int for value in values):
        return min(values)
    if all(isinstance(value, list | tuple) and len(value) for value in values):
        last = min(len(value) for value in values) - 1
        leading = [min(value[place] for value in values) for place in range(last)]
        return [*leading, min(min(value[last:]) for value in values)]
    raise SpecError(f"members: expected `{name}` to be the same for all of them, or numbers, found {list(values)}")


@torch.no_grad()
def hatch(mother: nn.Module, member: nn.Module, inputs: Tensor) -> None:
    """Give `member`, which contains `mother`, weights with which it computes the same; proved on inputs `(n, *input)`.

    What it has beyond the mother keeps the weights it has, so that it can learn what it likes: of a wider layer the
    further outputs, which the layers after it begin by leaving out. A further block begins as nothing beside its
    shortcut, and a further layer as the identity.

    Raises:
        SpecError: a layer does not contain the mother's, or the member computes something else.
    """
    _grow("", mother, member)
    expected, found = mother.eval()(inputs), member.eval()(inputs)
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
