"""How fast features are visualised: many units of several members in one batch, against one picture at a time."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from evoens import noise
from evoens.bench.common import seconds
from evoens.diversity.features import RATE, Member, Unit, gradient, visualise
from evoens.diversity.fourier import motions, moved, painted, spectrum
from evoens.machine.environment import environment
from evoens.tasks.networks.lenet import LeNet

TARGET = 4.0
SHAPE = (3, 32, 32)
LAYERS = ("conv1", "conv2", "fc1", "fc2")


def measure(width: int = 4, *, units: int = 64, members: int = 3, steps: int = 256) -> dict[str, Any]:
    """Time pictures of LeNet's units both ways, those one at a time before the batch and after it.

    One at a time, a picture is a batch of its own from its spectrum to the layer, beyond which no network runs here
    either: what is measured is the batch alone.

    Args:
        width: 4 is LeNet-L; its weights are random.
        units: as many of each layer in `LAYERS`; one at a time, one of each is timed.
        members: networks of different weights.
        steps: a picture.

    Returns:
        speedup_vs_one_at_a_time; pictures per second each way; the largest difference, in grey levels of 255, between
        pictures found either way in one step; and what they rest on.
    """
    networks = [_member(width, seed) for seed in range(members)]
    chosen = [Unit(layer, index) for index in range(units // len(LAYERS)) for layer in LAYERS]
    firsts = chosen[: len(LAYERS)]
    pair = [visualise(networks[:1], firsts, SHAPE, seed=0, steps=1)[0], _one_by_one(networks[0], firsts, 1)]
    before = seconds(lambda: _one_by_one(networks[0], firsts, steps))
    batch = members * len(chosen) / seconds(lambda: visualise(networks, chosen, SHAPE, seed=0, steps=steps))
    alone = 2 * len(firsts) / (before + seconds(lambda: _one_by_one(networks[0], firsts, steps)))
    return {
        "speedup_vs_one_at_a_time": batch / alone,
        "pictures_per_second": batch,
        "one_at_a_time_per_second": alone,
        "largest_difference": float((torch.from_numpy(pair[0]).float() - pair[1]).abs().max()),
        "width": width,
        "units": len(chosen),
        "members": members,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "cpu": environment()["processor"],
    }


def _member(width: int, seed: int) -> Member:
    module = LeNet(10, width=width).eval().requires_grad_(False)
    shapes = {name: weight.shape for name, weight in module.state_dict().items()}
    weights = {name: noise.normals(seed, name, shape) / prod(shape[1:]) ** 0.5 for name, shape in shapes.items()}
    module.load_state_dict(weights)
    return Member(module, lambda frames: frames / 127.5 - 1)


def _one_by_one(member: Member, units: list[Unit], steps: int) -> Tensor:
    """Return the units' pictures, `(n, h, w, 3)` from 0 to 255."""
    return torch.cat([_alone(member, unit, steps) for unit in units]).permute(0, 2, 3, 1)


def _alone(member: Member, unit: Unit, steps: int) -> Tensor:
    name, bias = f"{unit.layer}:{unit.index}", member.module.state_dict()[f"{unit.layer}.bias"]
    direction = torch.eye(len(bias))[unit.index : unit.index + 1]
    spectra = spectrum(0, name, SHAPE)[None].requires_grad_()
    adam = torch.optim.Adam([spectra], RATE)
    for look in motions(0, name, steps):
        seen = moved(painted(spectra, SHAPE[2]), look[None])
        wanted = gradient(member, unit.layer, direction, seen.detach())
        (spectra.grad,) = torch.autograd.grad(seen, spectra, -wanted)
        adam.step()
    return painted(spectra.detach(), SHAPE[2])


def describe(result: dict[str, Any]) -> str:
    """Return the result as lines for the terminal."""
    return (
        f"{result['cpu']}, {result['threads']} threads: {result['units']} units × {result['members']} members, "
        f"{result['steps']} steps a picture\n"
        f"in one batch   {result['pictures_per_second']:6.2f} pictures a second\n"
        f"one at a time  {result['one_at_a_time_per_second']:6.2f} pictures a second\n"
        f"speed-up       {result['speedup_vs_one_at_a_time']:6.2f} × (target ≥ {TARGET:g} ×)"
    )
