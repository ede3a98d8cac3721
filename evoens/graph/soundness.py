"""One check before any run: is the network a function of each input alone, and the same one when it is built again?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from evoens.architecture import global_state
from evoens.errors import ProblemError
from evoens.graph.proof import close, prove_fused
from evoens.network.inputs import Inputs, each, several
from evoens.parent import Parent, fingerprint
from evoens.plugins.guest import guest

ASKED = 4  # inputs
SEED = 1  # of torch while the network is built again: another than a process starts with

Question = tuple[nn.Module, Inputs]
"""A network and what it is asked."""

Look = Callable[[str, Any], None]


@guest("the parent's network", ProblemError)
@torch.inference_mode(False)
@torch.no_grad()  # not inference mode, in which tensors do not count how often they are written to
def check(parent: Parent, inputs: Inputs) -> list[str]:
    """Ask a copy of the parent's network the same few `inputs` as a run does; return what to warn of.

    Raises:
        ProblemError: results would not repeat, since it writes into its inputs, moves its own tensors, draws or counts
            when it predicts, answers by what else is in the batch, or is another network when it is built again.
        SpecError: it cannot be built again.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module, inputs = copy.deepcopy(parent.module), _copied(inputs)
        _require_inputs_left(module, inputs)
        _require_nothing_drawn(module, inputs)
        first = _answer(module, inputs)
        _require_tensors_left(module, parent)
        remarks = _require_again((module, inputs), first)
        _require_alone((module, inputs), first)
        _require_rebuilt((module, inputs), parent, first)
        prove_fused(parent, inputs)
    return remarks


@guest("the parent's network", ProblemError)
@torch.inference_mode()
def answers(parent: Parent, inputs: Inputs) -> str:
    """Return the sha256 of what the parent's network answers `inputs`; empty where no bit repeats."""
    module, inputs = copy.deepcopy(parent.module), _copied(inputs)
    first, again = (_answer(module, inputs).float() for _ in range(2))
    return fingerprint({"logits": first}) if _same(first, again) else ""


def _copied(inputs: Inputs) -> Inputs:
    return each(inputs, lambda part: part.cpu().clone())


def _answer(module: nn.Module, inputs: Inputs) -> Tensor:
    answer: Tensor = module(*several(_copied(inputs)))
    return answer


def _require_inputs_left(module: nn.Module, inputs: Inputs) -> None:
    given, writers = several(_copied(inputs)), list[str]()

    def look(place: str) -> None:
        if any(part._version or not _same(part, whole) for part, whole in zip(given, several(inputs), strict=True)):
            writers.append(place)

    with _watched(module, lambda name, _: look(f"in {name}"), lambda name, _: look(f"before {name}")):
        module(*given)
    if writers:
        raise ProblemError(f"the parent's network writes into its inputs, {writers[0]}; expected it to leave them")


def _require_nothing_drawn(module: nn.Module, inputs: Inputs) -> None:
    """What shows once in a thousand answers shows in the generators' states each time."""
    entered, drew = dict[str, dict[str, bytes]](), list[str]()

    def look(name: str, _: Any) -> None:
        if global_state() != entered[name]:
            drew.append(name)

    with _watched(module, look, lambda name, _: entered.update({name: global_state()})):
        _answer(module, inputs)
    if drew:
        raise ProblemError(
            f"the parent's network draws when it predicts, first in {drew[0]}; expected nothing to be drawn in eval "
            "mode (F.dropout takes training=self.training)"
        )


def _require_tensors_left(module: nn.Module, parent: Parent) -> None:
    found = module.state_dict()
    moved = [name for name, value in parent.weights.items() if not _same(found[name], value)]
    if moved:
        raise ProblemError(
            f"the parent's network moves its own {moved[0]} when it predicts; expected tensors that stay in eval mode"
        )


def _require_again(question: Question, first: Tensor) -> list[str]:
    again = _answer(*question)
    if _same(again, first):
        return []
    if not close(again, first):
        raise ProblemError(
            "the parent's network answers the same inputs otherwise when it is asked again, first in "
            f"{_parting(question, question)}; expected nothing to be drawn or counted in eval mode "
            "(F.dropout takes training=self.training)"
        )
    return [
        "the parent's network answers the same inputs otherwise, by rounding, when it is asked again: no bit repeats"
    ]


def _require_alone(question: Question, first: Tensor) -> None:
    module, first_alone = question[0], each(question[1], lambda part: part[:1])
    with guest("the parent's network cannot be asked for one input alone", ProblemError):
        alone = _answer(module, first_alone)
    if not close(alone, first[:1]):
        raise ProblemError(
            "the parent's network answers an input by what else is in its batch, first in "
            f"{_parting(question, (module, first_alone))}; expected the same answer alone (a BatchNorm keeps running "
            "statistics unless track_running_stats=False)"
        )


def _require_rebuilt(question: Question, parent: Parent, first: Tensor) -> None:
    again = Parent.from_weights(parent.architecture, parent.weights).module
    if not close(_answer(again, question[1]), first):
        raise ProblemError(
            "the parent's network, built again with the same weights, gives other outputs, first in "
            f"{_parting(question, (again, question[1]))}; expected all that it draws when it is made to be in its "
            "state dict (register_buffer keeps it there)"
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


class _Call(NamedTuple):
    """What a module was given and gave; of each tensor the first row."""

    name: str
    given: list[Tensor]
    gave: list[Tensor]


def _parting(one: Question, other: Question) -> str:
    """Return the first module, from the inside out, that is given the same by both but gives something else."""
    for a, b in zip(_calls(one), _calls(other), strict=False):
        if a.name == b.name and _alike(a.given, b.given) and not _alike(a.gave, b.gave):
            return a.name
    return "a layer that could not be found"


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(close(a, b) for a, b in zip(some, others, strict=True))


def _calls(question: Question) -> list[_Call]:
    calls, given = list[_Call](), dict[str, list[Tensor]]()
    with _watched(
        question[0],
        lambda name, outputs: calls.append(_Call(name, given[name], _rows(outputs))),
        lambda name, inputs: given.update({name: _rows(inputs)}),
    ):
        _answer(*question)
    return calls


def _rows(values: Any) -> list[Tensor]:
    return [
        value[:1].clone() if value.dim() else value.clone()
        for value in tree_leaves(values)
        if isinstance(value, Tensor)
    ]


@contextmanager
def _watched(module: nn.Module, after: Look, before: Look = lambda *_: None) -> Iterator[None]:
    """Tell of each module that is called its name and what it is given, and after the call what it gives."""
    handles = list[RemovableHandle]()
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        called = f"{name} ({kind})" if name else f"the forward of {kind}"
        handles.append(layer.register_forward_pre_hook(lambda _, given, called=called: before(called, given)))
        handles.append(layer.register_forward_hook(lambda _, __, gave, called=called: after(called, gave)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
