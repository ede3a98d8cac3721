"""Feature visualisation: the pictures that a member's units answer most, or least, to (Olah et al. 2017; IDA III-A)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens.diversity.fourier import Shape, motions, moved, painted, spectrum
from evoens.diversity.pictures import newest
from evoens.diversity.reading import evaluating, read
from evoens.errors import EvoensError, ShapeError
from evoens.progress import OnCount, no_progress

Pixels = npt.NDArray[np.uint8]

RATE = 0.05  # of Adam
STEPS = 1024
PASS = 16
"""Pictures a pass through a network, never more or fewer: a matrix product rounds otherwise with other numbers of rows,
and hundreds of steps make of that a difference one can see. More are hardly quicker, and need more memory."""


def as_they_are(frames: Tensor) -> Tensor:
    """Return the frames, for a network that takes them from 0 to 255."""
    return frames


@dataclass(frozen=True, slots=True)
class Member:
    """A network, and how it takes frames `(n, c, h, w)`, floats from 0 to 255; gradients go through both."""

    module: nn.Module
    inputs_of: Callable[[Tensor], Tensor] = as_they_are


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of a layer, a convolution's channel or a linear layer's neuron: to be raised (1), or lowered (−1)."""

    layer: str
    index: int
    sign: Literal[1, -1] = 1


@dataclass(frozen=True, slots=True)
class Goal:
    """A picture to be found: the one for which `layer`, its positions averaged, points most to `direction`.

    Attributes:
        name: from which, and the seed, all draws for the picture come.
        layer: of every member.
        direction: `(units,)`.
    """

    name: str
    layer: str
    direction: Tensor


def visualise(
    members: Sequence[Member],
    units: Sequence[Unit],
    shape: Shape,
    *,
    seed: int,
    steps: int = STEPS,
    on_step: OnCount = no_progress,
) -> Pixels:
    """Find for each member the pictures that its `units` answer most to, or least: RGB `(k, n, h, w, 3)` uint8.

    All are found at once, and each as if it were alone: its first spectrum and its motions hang on the seed and the
    unit only. They are the same for every member, so two members' pictures differ by what the members are; how far one
    member's pictures differ between two seeds is the floor that this must be held against.

    Args:
        members: networks of one architecture on one device.
        units: of any layers; see `evoens.diversity.reading.layers`.
        shape: of the frames: channels, height, width. Each three channels are a frame; the last is shown.
        seed: from 0 on; the global random state is neither read nor changed.
        steps: of Adam.
        on_step: told how many are done.

    Raises:
        EvoensError: a member has no such layer, or does not call it.
        ShapeError: no members or units, a layer without an axis of units, or a unit that it does not have.
    """
    widths = _widths(members, [unit.layer for unit in units], shape)
    goals = [Goal(f"{unit.layer}:{unit.index}", unit.layer, _direction(unit, widths[unit.layer])) for unit in units]
    return _shown(optimise(members, goals, shape, seed=seed, steps=steps, on_step=on_step))


def activation_grid(
    member: Member,
    layer: str,
    frame: Tensor,
    *,
    seed: int,
    side: int = 8,
    steps: int = STEPS,
    on_step: OnCount = no_progress,
) -> Pixels:
    """Find for each patch of a frame the picture of what a layer sees in it: RGB `(rows, columns, h, w, 3)` uint8.

    It maximises the dot product with the layer's activation there (NMS III-C), of which a relu is taken: units that the
    patch does not raise have no say, else those that nothing ever raises would make noise of every picture.

    Args:
        member: the network.
        layer: of which each position of `(units, rows, columns)` is a patch.
        frame: `(c, h, w)`, 0 to 255.
        seed: see `visualise`; two members' grids of one seed have the same draws.
        side: rows and columns at most; in a finer layer each patch is the mean of several positions.
        steps: of Adam.
        on_step: told how many are done.

    Raises:
        EvoensError: see `visualise`.
        ShapeError: the frame is of another shape, or the layer has no rows and columns.
    """
    if frame.dim() != 3:
        raise ShapeError(f"frame: expected shape (c, h, w), found {tuple(frame.shape)}")
    seen = _activation(member, layer, frame[None].float())
    if seen.dim() != 4:
        raise ShapeError(f'layer "{layer}": expected an output (n, units, rows, columns), found {tuple(seen.shape)}')
    patches = F.adaptive_avg_pool2d(seen[0].relu(), (min(side, seen.shape[2]), min(side, seen.shape[3])))
    places = list(product(*map(range, patches.shape[1:])))
    goals = [Goal(f"{layer}@{row},{column}", layer, patches[:, row, column]) for row, column in places]
    c, h, w = frame.shape
    found = optimise([member], goals, (c, h, w), seed=seed, steps=steps, on_step=on_step)
    return _shown(found).reshape(*patches.shape[1:], h, w, 3)


def optimise(
    members: Sequence[Member],
    goals: Sequence[Goal],
    shape: Shape,
    *,
    seed: int,
    steps: int = STEPS,
    on_step: OnCount = no_progress,
) -> Tensor:
    """Return the picture of each goal for each member, `(k, n, c, h, w)` from 0 to 255; see `visualise`."""
    device = _device(members[0])
    first = torch.stack([spectrum(seed, goal.name, shape) for goal in goals])
    looks = torch.stack([motions(seed, goal.name, steps) for goal in goals], 1).to(device)
    spectra = first.repeat(len(members), 1, 1, 1, 1).to(device)
    adam = torch.optim.Adam([spectra], RATE)
    with torch.enable_grad(), evaluating(*(member.module for member in members)):
        for step in range(steps):
            spectra.requires_grad_()
            seen = moved(painted(spectra, shape[2]), looks[step].repeat(len(members), 1, 1))
            wanted = _gradients(members, goals, _by_member(seen.detach(), members))
            (spectra.grad,) = torch.autograd.grad(seen, spectra, -wanted.flatten(0, 1))
            adam.step()
            on_step(step + 1, steps)
    return _by_member(painted(spectra.detach(), shape[2]), members).cpu()


def _by_member(frames: Tensor, members: Sequence[Member]) -> Tensor:
    return frames.reshape(len(members), -1, *frames.shape[1:])


def _gradients(members: Sequence[Member], goals: Sequence[Goal], frames: Tensor) -> Tensor:
    """Return how the goals' values change with each pixel of the frames, `(k, n, c, h, w)`."""
    gradients = torch.empty_like(frames)
    for layer in dict.fromkeys(goal.layer for goal in goals):
        places = torch.tensor([place for place, goal in enumerate(goals) if goal.layer == layer])
        for part in torch.split(places, PASS):
            full = torch.cat([part, part[-1:].expand(PASS - len(part))])
            directions = torch.stack([goals[place].direction for place in full]).to(frames.device)
            for k, member in enumerate(members):
                gradients[k, full] = gradient(member, layer, directions, frames[k, full])
    return gradients


def gradient(member: Member, layer: str, directions: Tensor, frames: Tensor) -> Tensor:
    """Return the gradient by the frames `(n, c, h, w)` of how far the layer points to each one's of the directions.

    That is the dot product of `(n, units)` with what the layer gives, its positions averaged.
    """
    frames = frames.contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = read(member.module, layer, member.inputs_of(frames.clone()))  # a network may scale them in place
    averaged = seen.flatten(2).mean(2) if seen.dim() > 2 else seen
    (found,) = torch.autograd.grad((averaged * directions).sum(), frames)
    return found


def _widths(members: Sequence[Member], layers: Sequence[str], shape: Shape) -> dict[str, int]:
    """Return how many units each of the layers has, the same in all members."""
    if not members or not layers:
        raise ShapeError(f"expected members and units, found {len(members)} members and {len(layers)} units")
    black = torch.zeros(1, *shape, device=_device(members[0]))
    found = [_members_widths(k, member, layers, black) for k, member in enumerate(members, 1)]
    for k, widths in enumerate(found, 1):
        for layer, width in widths.items():
            if width != found[0][layer]:
                expected = f"{found[0][layer]} units, as in member 1"
                raise ShapeError(f'member {k}: layer "{layer}": expected {expected}, found {width}')
    return found[0]


def _members_widths(k: int, member: Member, layers: Sequence[str], black: Tensor) -> dict[str, int]:
    try:
        return {layer: _activation(member, layer, black).shape[1] for layer in dict.fromkeys(layers)}
    except EvoensError as error:
        raise type(error)(f"member {k}: {error}") from None


def _activation(member: Member, layer: str, frames: Tensor) -> Tensor:
    with torch.no_grad(), evaluating(member.module):
        return read(member.module, layer, member.inputs_of(frames.to(_device(member), copy=True)))


def _device(member: Member) -> torch.device:
    tensor = next(member.module.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _direction(unit: Unit, width: int) -> Tensor:
    if not 0 <= unit.index < width:
        raise ShapeError(f'layer "{unit.layer}": expected a unit from 0 to {width - 1}, found {unit.index}')
    direction = torch.zeros(width)
    direction[unit.index] = unit.sign
    return direction


def _shown(frames: Tensor) -> Pixels:
    """The newest frame of each of `(…, c, h, w)`: RGB `(…, h, w, 3)`."""
    pictures = newest(frames.flatten(0, -4).round())
    return pictures.reshape(*frames.shape[:-3], *pictures.shape[1:])
