"""How children are sent through the network: the plans, what each needs in memory, and which is quickest here."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from evoens.cut import Features, Given
from evoens.errors import CheckpointError
from evoens.parent import Child
from evoens.threads import lanes, side_by_side

Batching = Literal["loop", "vmap"]
Layout = Literal["contiguous", "channels_last"]
Precision = Literal["float32", "bfloat16"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

GROUP = 8  # children a vmap pass
GLANCE = 4  # inputs of a first, short look
CLOSE = 1.25  # times the quickest at that look: such a plan is measured however long a pass takes
SECONDS = 0.3  # spent on each plan that is measured; one whose only pass takes longer must be close
GAIN = 1.1  # what a later plan must be quicker by than an earlier, plainer one


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
        """Return a copy of `module` on `device`, in this layout and precision."""
        fitted = copy.deepcopy(module).to(device=device, dtype=DTYPES[self.precision])
        return fitted.to(memory_format=FORMATS[self.layout])  # only tensors with four dimensions have layouts

    def fit_inputs(self, inputs: Given, device: torch.device) -> Features:
        """Return `inputs` on `device`: images in this layout, floats in this precision; bytes stay bytes."""
        return tuple(self._fit(part, device) for part in (inputs if isinstance(inputs, tuple) else (inputs,)))

    def _fit(self, part: Tensor, device: torch.device) -> Tensor:
        dtype = DTYPES[self.precision] if part.is_floating_point() else part.dtype
        layout = FORMATS[self.layout] if part.dim() == 4 else torch.contiguous_format
        return part.to(device=device, dtype=dtype, memory_format=layout)


class Loop:
    """Modules whose weights are replaced, one for each child at a time."""

    def __init__(self, module: nn.Module, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self._children = [Child(plan.fit(module, device)) for _ in range(plan.children)]
        if plan.layout == "channels_last":
            for child in self._children:
                child.fuse()

    def load(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """Put the tensors in which children differ, by name, in the place of those of the child before."""
        self._children[place].load(weights)

    def answer(self, place: int, inputs: Given) -> Tensor:
        """Return float32 probabilities `(n, c)` of the child at `place`, on the inputs' device."""
        return self._children[place].predict(*self.plan.fit_inputs(inputs, self.device)).to(_first(inputs).device)

    def predict(self, inputs: Mapping[int, Given]) -> dict[int, Tensor]:
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
        self.plan, self.device = plan, device
        module = plan.fit(module, device)
        tensors = module.state_dict()
        self._weights = {k: tensors[k].repeat(plan.children, *[1] * tensors[k].dim()) for k in own}
        self._call = lambda weights, x: functional_call(module, weights, x)

    def load(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """See `Loop.load`."""
        for name, value in weights.items():
            self._weights[name][place].copy_(value)

    def predict(self, inputs: Mapping[int, Given]) -> dict[int, Tensor]:
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

    def _pass(self, inputs: Given, dim: int | None) -> Tensor:
        """Return all places' probabilities, `(children, n, c)`; children are in the dimension `dim` of the inputs."""
        run = torch.vmap(self._call, in_dims=(0, dim))
        with torch.no_grad():
            return torch.softmax(run(self._weights, self.plan.fit_inputs(inputs, self.device)).float(), dim=-1)


Scratch = Loop | Stack
"""Room for `plan.children` children at a time."""


def _first(inputs: Given) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else inputs[0]


def scratch(module: nn.Module, own: Collection[str], plan: Plan, device: torch.device) -> Scratch:
    """Return room for the children that `plan` runs at a time.

    Args:
        module: the network, or the tail of one, that each child runs.
        own: the tensors in which they differ.
        plan: how many at a time, and how.
        device: where.
    """
    return Loop(module, plan, device) if plan.batching == "loop" else Stack(module, own, plan, device)


def candidates(image: bool) -> list[Plan]:
    """Return the plans worth a try, the plainest first; `image`: the inputs are `(n, c, h, w)`."""
    layouts: tuple[Layout, ...] = ("channels_last", "contiguous") if image else ("contiguous",)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    loops = [Plan("loop", layout, precision) for precision in precisions for layout in layouts]
    return loops + [Plan("vmap", "contiguous", precision, GROUP) for precision in precisions]


def quickest(module: nn.Module, own: Collection[str], inputs: Given, device: torch.device) -> Plan:
    """Return the plan that sends most children through `inputs` in a second, measured here and now.

    A plan that raises is left out, and so is one that is slow and falls behind at a first glance. The others take
    turns, so that a busy moment of the machine strikes all alike. An earlier plan stays unless one is a tenth quicker.
    `module`, `own` and `device` are those of `scratch`.
    """
    image = any(part.dim() == 4 for part in (inputs if isinstance(inputs, tuple) else (inputs,)))
    make = partial(scratch, module, own, device=device)
    plan = _quickest(candidates(image), make, inputs)
    if plan.batching == "vmap" or lanes(device) == 1:
        return plan
    # Side by side comes first: with few inputs, as at the end of games, it is quicker by more than with `inputs`.
    return _quickest([replace(plan, children=lanes(device)), plan], make, inputs)


def _quickest(plans: Sequence[Plan], make: Callable[[Plan], Scratch], inputs: Given) -> Plan:
    glance = inputs[:GLANCE] if isinstance(inputs, Tensor) else tuple(part[:GLANCE] for part in inputs)
    rooms = [room for plan in plans if (room := _try(make, plan, glance))]
    if not rooms:
        return Plan()
    times = _alternate(rooms, glance)
    whole = len(_first(inputs)) / len(_first(glance))
    worth = [
        spent <= max(CLOSE * min(times), SECONDS / whole / room.plan.children)
        for spent, room in zip(times, rooms, strict=True)
    ]
    rooms = [room for room, good in zip(rooms, worth, strict=True) if good]
    times = _alternate(rooms, inputs, SECONDS) if len(rooms) > 1 else [0.0]
    return next(room.plan for room, spent in zip(rooms, times, strict=True) if spent <= GAIN * min(times))


def _try(make: Callable[[Plan], Scratch], plan: Plan, inputs: Given) -> Scratch | None:
    """Return the plan's room after a first pass, which also compiles kernels; None when it cannot be run."""
    try:
        room = make(plan)
        _seconds(room, inputs)
    except Exception:  # whatever a module or a backend does not support
        return None
    return room


def _seconds(room: Scratch, inputs: Given) -> float:
    """Return the seconds a child that one pass takes."""
    if isinstance(inputs, tuple):  # features are where and as they are needed before the first child comes
        inputs = room.plan.fit_inputs(inputs, room.device)
    start = time.perf_counter()
    for outputs in room.predict(dict.fromkeys(range(room.plan.children), inputs)).values():
        outputs.cpu()  # waits for the device
    return (time.perf_counter() - start) / room.plan.children


def _alternate(rooms: Sequence[Scratch], inputs: Given, seconds: float = 0.0) -> list[float]:
    """Return each room's least seconds a child, the rooms taking turns for `seconds` each, twice at least.

    The least, since whatever else the machine does only ever adds to it.
    """
    rounds: list[list[float]] = []
    deadline = time.perf_counter() + seconds * len(rooms)
    while len(rounds) < 2 or time.perf_counter() < deadline:
        rounds.append([_seconds(room, inputs) for room in rooms])
    return [min(spent) for spent in zip(*rounds, strict=True)]
