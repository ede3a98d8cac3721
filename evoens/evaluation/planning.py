"""Which plan children are run by: a stopwatch chooses only among plans that were shown to give equal bits.

Precision is a setting. The layout and how many run side by side follow from the network, the machine and the settings:
kernels of another layout add up in another order, and so do those of another number of threads, at some batch sizes
(IMPALA: seven frames; a mapped network: nearly always).
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evoens.errors import EvoensError
from evoens.evaluation.memory import budget, nbytes
from evoens.evaluation.plan import Layout, Plan, Runner, make_runner
from evoens.machine.threads import lanes
from evoens.network.inputs import Inputs
from evoens.plugins.guest import guest
from evoens.settings.evaluation import EvaluationSettings

GROUP = 8  # children a vmap pass
MAPPED = 64  # at most, on a GPU, where they differ in linear layers alone
PROBE_INPUTS = 4  # inputs of a first, short look
PROBED = 64  # inputs of a pass that is measured
SECONDS = 0.3  # spent on each plan that is measured; where one pass of a child takes longer nothing is
MIN_SPEEDUP = 1.1  # what a later plan must be quicker by than an earlier one
COPIES = 0.5  # of the memory for copies of the network, at most
SIZES = (1, 2, 3, 7, 16)  # of batches on which bits are compared, beside those of the problem

Weights = Mapping[str, Tensor]


class Batches(NamedTuple):
    """What children are given: some rows of it, and how many come at once, as far as that is known.

    own: whether each child has several tensors of its own, which no `Stack` takes.
    """

    rows: Inputs
    sizes: Collection[int] = ()
    own: bool = False


def quickest(
    module: nn.Module, own: Collection[str], batches: Batches, device: torch.device, settings: EvaluationSettings
) -> Plan:
    """Return the plan for children on this machine: the same bits whenever it is asked for, busy or idle.

    Images go in channels_last, where the network takes that, and as many children side by side as the processor and
    the memory have room for. Another way stands in where it gives the same bits, on batches of all sizes, and sends a
    tenth more children through in a second; with a large network that is not tried. On a GPU, children behind whose
    trunk are linear layers alone are mapped, as many as there is room for: each layer is one batched matrix product.

    `module`, `own` and `device` are those of `make_runner`.
    """
    inputs = batches.rows
    make, glance = partial(make_runner, module, own, device=device), _rows(inputs, PROBE_INPUTS)
    with _unheard():
        room = next((room for plan in _layouts(inputs, settings) if (room := _try(make, plan, glance))), None)
        if room is None:
            return Plan(precision=settings.precision)
        places = int(COPIES * budget(settings.memory) / max(1, nbytes(module)))
        if device.type == "cuda" and (mapped := _mapped(make, module, batches, places, settings)):
            return mapped
        first = replace(room.plan, children=max(1, min(lanes(device), places)))
        if _seconds(room, glance) * PROBED / PROBE_INPUTS > SECONDS:
            return first
        others = [replace(first, children=1)] if first.children > 1 else []
        if places >= GROUP and not batches.own:
            others.append(Plan("vmap", "contiguous", settings.precision, GROUP))
        found = module.state_dict()  # a tail has none of what only training uses
        weights = [tensors := {name: found[name] for name in own if name in found}, _flipped(tensors)]
        trials = [_rows(inputs, size) for size in sorted({*SIZES, *batches.sizes, PROBED} - {0})]
        rooms = [make(first)]
        for plan in others:
            if (other := _try(make, plan, glance)) and _equal(rooms[0], other, weights, trials):
                rooms.append(other)
        return _winner(rooms, _rows(inputs, PROBED))


def _mapped(
    make: Callable[[Plan], Runner], module: nn.Module, batches: Batches, places: int, settings: EvaluationSettings
) -> Plan | None:
    """Return the plan that maps as many children as the memory takes at the largest batch; None where few would gain.

    What does not fit is found by trying, halved, and tried again.
    """
    layers = [layer for layer in module.modules() if any(True for _ in layer.parameters(recurse=False))]
    if batches.own or not all(isinstance(layer, nn.Linear) for layer in layers):
        return None
    inputs, children = _rows(batches.rows, max({PROBED, *batches.sizes})), min(MAPPED, places)
    while children > 1:
        plan = Plan("vmap", "contiguous", settings.precision, children)
        if _try(make, plan, inputs):
            return plan
        children //= 2
    return None


def _layouts(inputs: Inputs, settings: EvaluationSettings) -> Iterator[Plan]:
    image = any(part.dim() == 4 for part in (inputs if isinstance(inputs, tuple) else (inputs,)))
    layouts: tuple[Layout, ...] = ("channels_last", "contiguous") if image else ("contiguous",)
    return (Plan("loop", layout, settings.precision) for layout in layouts)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep to ourselves what torch says of plans that are only tried; one whose operations vmap cannot map raises."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # torch.fx prints its tracebacks
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*batching rule")
        yield


def _try(make: Callable[[Plan], Runner], plan: Plan, inputs: Inputs) -> Runner | None:
    """Return the plan's room after a first pass, which also compiles kernels; None when it cannot be run."""
    try:
        with guest("the network"):  # and whatever a backend does not support
            room = make(plan)
            _seconds(room, inputs)
    except EvoensError:
        return None
    return room


def _equal(one: Runner, other: Runner, weights: Sequence[Weights], trials: Sequence[Inputs]) -> bool:
    """Whether two plans give each child the same bits on all inputs of `trials`."""
    return all(torch.equal(_answer(one, own, x), _answer(other, own, x)) for x in trials for own in weights)


def _answer(room: Runner, own: Weights, inputs: Inputs) -> Tensor:
    room.load(0, own)
    return room.predict(dict.fromkeys(range(room.plan.children), _fitted(room, inputs)))[0].cpu()


def _flipped(weights: Weights) -> dict[str, Tensor]:
    """Return another child's weights, of the same scale."""
    return {name: weight.flip(0) for name, weight in weights.items()}


def _rows(inputs: Inputs, n: int) -> Inputs:
    """Return `n` rows of the inputs, which come again where there are fewer: bits are a matter of shapes."""
    if isinstance(inputs, tuple):
        return tuple(torch.cat([part] * -(-n // len(part)))[:n] for part in inputs)
    return torch.cat([inputs] * -(-n // len(inputs)))[:n]


def _fitted(room: Runner, inputs: Inputs) -> Inputs:
    """Features are where and as they are needed before the first child comes; inputs come as they are."""
    return room.plan.fit_inputs(inputs, room.device) if isinstance(inputs, tuple) else inputs


def _winner(rooms: Sequence[Runner], inputs: Inputs) -> Plan:
    times = _alternate(rooms, inputs) if len(rooms) > 1 else [0.0]
    return next(room.plan for room, spent in zip(rooms, times, strict=True) if spent <= MIN_SPEEDUP * min(times))


def _seconds(room: Runner, inputs: Inputs) -> float:
    """Return the seconds a child that one pass takes."""
    inputs = _fitted(room, inputs)
    start = time.perf_counter()
    for outputs in room.predict(dict.fromkeys(range(room.plan.children), inputs)).values():
        outputs.cpu()  # waits for the device
    return (time.perf_counter() - start) / room.plan.children


def _alternate(rooms: Sequence[Runner], inputs: Inputs) -> list[float]:
    """Return each room's least seconds a child, the rooms taking turns for `SECONDS` each, twice at least.

    The least, since whatever else the machine does only ever adds to it.
    """
    rounds: list[list[float]] = []
    deadline = time.perf_counter() + SECONDS * len(rooms)
    while len(rounds) < 2 or time.perf_counter() < deadline:
        rounds.append([_seconds(room, inputs) for room in rooms])
    return [min(spent) for spent in zip(*rounds, strict=True)]
