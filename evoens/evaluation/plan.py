"""How children are sent through the network: the plans, and what runs each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from evoens.errors import CheckpointError
from evoens.graph.cut import Features
from evoens.machine.threads import side_by_side
from evoens.network.inputs import Inputs
from evoens.network.tensors import alias
from evoens.parent import Child
from evoens.settings.evaluation import Precision

Batching = Literal["loop", "vmap"]
Layout = Literal["contiguous", "channels_last"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to evaluate children: `children` at a time, in which memory layout and precision.

    A `loop` has a module for each of them, on threads side by side; `vmap` maps one network over their stacked weights.
    """

    batching: Batching = "loop"
    layout: Layout = "contiguous"
    precision: Precision = "float32"
    children: int = 1

    def __post_init__(self) -> None:
        known = {"batching": get_args(Batching), "layout": get_args(Layout), "precision": get_args(Precision)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise CheckpointError(f"plan.{name}: expected one of {values}, found {getattr(self, name)!r}")
        if self.children < 1:
            raise CheckpointError(f"plan.children: expected 1 or more, found {self.children}")

    def to_json(self) -> dict[str, Any]:
        """Return the plan as strings and numbers; `Plan.from_json` is the exact inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Plan:
        """Rebuild a plan from `to_json`'s row.

        Raises:
            CheckpointError: a key is unknown, or a value none that a plan has.
        """
        try:
            return cls(**row)
        except TypeError as error:
            raise CheckpointError(f"plan: expected {', '.join(cls.__slots__)}, found {dict(row)}") from error

    def fit(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Return `module` on `device`, in this layout and precision; what it is already stays in the same memory."""
        fitted = alias(module).to(device=device, dtype=self._dtype)
        return fitted.to(memory_format=FORMATS[self.layout])  # only tensors with four dimensions have layouts

    def fit_inputs(self, inputs: Inputs, device: torch.device) -> Features:
        """Return `inputs` on `device`: images in this layout, floats in this precision; bytes stay bytes."""
        return tuple(self._fit(part, device) for part in (inputs if isinstance(inputs, tuple) else (inputs,)))

    @property
    def _dtype(self) -> torch.dtype | None:
        """None for float32: parts of a network that are in another precision stay as they are."""
        return None if self.precision == "float32" else DTYPES[self.precision]

    def _fit(self, part: Tensor, device: torch.device) -> Tensor:
        dtype = (self._dtype if part.is_floating_point() else None) or part.dtype
        layout = FORMATS[self.layout] if part.dim() == 4 else torch.contiguous_format
        return part.to(device=device, dtype=dtype, memory_format=layout)


class Branches:
    """Modules whose weights are replaced, each a child: whole networks, or tails behind a trunk that they share.

    The inputs of all children go through the trunk in one batch, then each child's rows through its own tail: its bits
    depend on its inputs alone, since whoever hands over a trunk has seen that it keeps rows apart (`Trunk.alike`).
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        device: torch.device,
        places: int = 1,
        trunk: Callable[[Tensor], Features] | None = None,
    ) -> None:
        self.places = places
        self._plan, self._device, self._trunk = plan, device, trunk
        self._children = [Child(copy.deepcopy(plan.fit(module, device))) for _ in range(places)]
        if plan.layout == "channels_last":
            for child in self._children:
                child.fuse()

    def load(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """Put the tensors in which children differ, by name, in the place of those of the child before."""
        self._children[place].load(weights)

    def answer(self, place: int, inputs: Inputs) -> Tensor:
        """Return float32 probabilities `(n, c)` of the child at `place`, on the inputs' device."""
        return self._children[place].predict(*self._plan.fit_inputs(inputs, self._device)).to(_first(inputs).device)

    def predict(self, inputs: Mapping[int, Inputs]) -> dict[int, Tensor | Exception]:
        """Return for each place what `answer` gives, or raises."""
        found: dict[int, Tensor | Exception] = {}
        for place, own in self._shared(inputs).items():
            try:
                found[place] = self.answer(place, own).to(_first(inputs[place]).device)
            except Exception as error:
                found[place] = error
        return found

    def _shared(self, inputs: Mapping[int, Inputs]) -> Mapping[int, Inputs]:
        if self._trunk is None:
            return inputs
        rows = [_first(own) for own in inputs.values()]
        split = [torch.split(part, list(map(len, rows))) for part in self._trunk(torch.cat(rows))]
        return dict(zip(inputs, zip(*split, strict=True), strict=True))


class Loop:
    """Whole networks or tails, a child each, side by side."""

    def __init__(self, module: nn.Module, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.lanes = [Branches(module, plan, device) for _ in range(plan.children)]

    def load(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """See `Branches.load`."""
        self.lanes[place].load(0, weights)

    def answer(self, place: int, inputs: Inputs) -> Tensor:
        """See `Branches.answer`."""
        return self.lanes[place].answer(0, inputs)

    def predict(self, inputs: Mapping[int, Inputs]) -> dict[int, Tensor]:
        """Return float32 probabilities `(n, c)` for the inputs of each place, on their device; features are shared."""
        if len(inputs) == 1:
            return {place: self.answer(place, x) for place, x in inputs.items()}
        with side_by_side(len(inputs)) as pool:
            return dict(zip(inputs, pool.map(self.answer, inputs, inputs.values()), strict=True))


class Stack:
    """Several children at once: their weights stacked, the network mapped over them by `torch.vmap`.

    The shapes of a pass depend on one child's inputs alone, so its bits do not depend on who shares the pass: the
    stack is always whole, and inputs are filled up with zeros to a power of two. Features serve all as they are.
    """

    def __init__(self, module: nn.Module, own: Collection[str], plan: Plan, device: torch.device) -> None:
        self.plan, self.device, self.places, self.lanes = plan, device, plan.children, [self]
        module = plan.fit(module, device)
        tensors = module.state_dict()
        self._weights = {k: tensors[k].repeat(plan.children, *[1] * tensors[k].dim()) for k in own if k in tensors}
        self._call = lambda weights, x: functional_call(module, weights, x)

    def load(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """See `Branches.load`."""
        for name in weights.keys() & self._weights.keys():
            self._weights[name][place].copy_(weights[name])

    def predict(self, inputs: Mapping[int, Inputs]) -> dict[int, Tensor]:
        """See `Loop.predict`; places of one padded size share a pass."""
        by_size: dict[int, dict[int, Tensor]] = {}
        for place, x in inputs.items():
            if isinstance(x, tuple):
                outputs = self._pass(x, None).to(_first(x).device)
                return {place: outputs[place] for place in inputs}
            by_size.setdefault(1 << (len(x) - 1).bit_length(), {})[place] = x
        answers: dict[int, Tensor] = {}
        for size, some in by_size.items():
            answers |= self._padded(size, some)
        return answers

    def _padded(self, size: int, inputs: Mapping[int, Tensor]) -> dict[int, Tensor]:
        some = next(iter(inputs.values()))
        batch = some.new_zeros(self.plan.children, size, *some.shape[1:])
        for place, x in inputs.items():
            batch[place, : len(x)] = x
        outputs = self._pass(batch, 0).to(some.device)
        return {place: outputs[place, : len(x)] for place, x in inputs.items()}

    def _pass(self, inputs: Inputs, dim: int | None) -> Tensor:
        """Return all places' probabilities, `(children, n, c)`; children are in the dimension `dim` of the inputs."""
        run = torch.vmap(self._call, in_dims=(0, dim))
        with torch.no_grad():
            return torch.softmax(run(self._weights, self.plan.fit_inputs(inputs, self.device)).float(), dim=-1)


Runner = Loop | Stack
"""Room for `plan.children` children at a time."""


def _first(inputs: Inputs) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else inputs[0]


def make_runner(module: nn.Module, own: Collection[str], plan: Plan, device: torch.device) -> Runner:
    """Return room for the children that `plan` runs at a time.

    Args:
        module: the network, or the tail of one, that each child runs.
        own: the tensors in which they differ.
        plan: how many at a time, and how.
        device: where.
    """
    return Loop(module, plan, device) if plan.batching == "loop" else Stack(module, own, plan, device)
