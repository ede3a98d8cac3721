"""What a GPU does: the bits of noise, outputs against the CPU, passes against its own matrix product and `torch.vmap`.

`sh tests/gpu_check.sh` prints it as one JSON object. It needs no game, no data set and no network of the internet.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from evoens import noise
from evoens.architecture import Architecture
from evoens.bench.common import noisy, seconds
from evoens.bench.scope import Images
from evoens.children import child_weights
from evoens.contract.verify import vectors
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Loop, Plan, Stack
from evoens.machine.environment import environment
from evoens.parent import Parent
from evoens.settings.evaluation import EvaluationSettings, Precision

Room = TypeVar("Room", Loop, Stack)
ROUNDS = 5  # of which the middle one counts
SQUARE = 8192  # side of the matrices
VALUES = 1 << 26  # of noise
MAPPED = 4  # children of `torch.vmap`: each has a whole network's activations
LATE = 64  # children that differ in the last layer
IMAGES = 2048  # that each of them classifies


@dataclass(frozen=True)
class Subject:
    """A network with random weights, and the batch that it is measured at."""

    name: str
    target: str
    arguments: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, int, int] = (3, 32, 32)
    batch: int = 512
    dtype: torch.dtype = torch.float32

    def parent(self) -> Parent:
        """Return the network as a parent."""
        architecture = Architecture(self.target, self.arguments)
        torch.manual_seed(0)
        return Parent(architecture.build(), architecture)

    def inputs(self, n: int) -> Tensor:
        """Return random inputs `(n, *shape)`."""
        images = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(0))
        return (images * 40 + 128).clamp(0, 255).byte() if self.dtype == torch.uint8 else images


SUBJECTS = (
    Subject(
        "impala",
        "evoens.tasks.networks.impala:ImpalaPolicy",
        {"widths": [32, 64, 128], "in_channels": 6},
        (6, 64, 64),
        1024,
        torch.uint8,
    ),
    Subject("wrn-28-10", "evoens.tasks.networks.wrn:WideResNet", {"classes": 10, "depth": 28, "width": 10}),
    Subject("resnet-50", "torchvision.models:resnet50", {}, (3, 224, 224), 128),
)


def measure(device: str = "cuda", subjects: Sequence[Subject] = SUBJECTS, values: int = VALUES) -> dict[str, Any]:
    """Return all figures; some minutes on a GPU.

    Args:
        device: where.
        subjects: the networks.
        values: of noise a draw.

    Returns:
        `bits`: whether the published vectors are drawn; `noise`: normals a second, and the share of what copying the
        same bytes reaches; for each network what `_network` returns; `environment`.
    """
    there = torch.device(device)
    return {
        "bits": {check.name: check.ok for check in vectors()},
        "noise": _noise(there, values),
        **{subject.name: _network(subject, there) for subject in subjects},
        "environment": environment(),
    }


def _noise(device: torch.device, values: int) -> dict[str, float]:
    source = torch.empty(values, device=device)

    def draw() -> None:
        noise.normals(1, "weight", (values,), device)

    drawn, copied = _rate(draw, values, device), _rate(source.clone, 2 * values, device)  # a copy reads and writes
    return {"normals_per_second": drawn, "share_of_bandwidth": drawn / copied}


def _network(subject: Subject, device: torch.device) -> dict[str, Any]:
    """Return GFLOP a second of the plan's passes, as a share of the matrix product's, against vmap, and of children."""
    precision: Precision = "bfloat16" if device.type == "cuda" else "float32"
    parent, plan = subject.parent(), Plan("loop", "channels_last", precision)
    inputs = subject.inputs(subject.batch).to(device)
    children = [child_weights(parent.on(device), noisy(), genome) for genome in noisy().ask(MAPPED, Random(0))]
    loop = _loaded(Loop(parent.module, plan, device), children[:1])
    stack = _loaded(
        Stack(parent.module, parent.perturbed, Plan("vmap", "contiguous", precision, MAPPED), device), children
    )
    own = _rate(lambda: loop.answer(0, inputs), subject.batch, device)
    mapped = _rate(lambda: stack.predict(dict.fromkeys(range(MAPPED), inputs)), MAPPED * subject.batch, device)
    gflop = _gflop(parent, subject.inputs(1))
    found = {
        "images_per_second": own,
        "share_of_matrix_product": own * gflop / _product(precision, device),
        "speedup_vs_vmap": own / mapped,
        "gflop_per_image": gflop,
        "largest_difference": _difference(subject, parent, children[0], device),
        **(_late(subject, parent, device) if subject.dtype == torch.float32 else {}),
    }
    if device.type == "cuda":
        found["peak_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
    return found


def _loaded(room: Room, children: Sequence[dict[str, Tensor]]) -> Room:
    for place, own in enumerate(children):
        room.load(place, own)
    return room


def _difference(subject: Subject, parent: Parent, weights: dict[str, Tensor], device: torch.device) -> float:
    """Return the largest difference in a probability of one child, in float32, here and on the CPU."""
    inputs, here = subject.inputs(16), torch.device("cpu")
    answers = [_loaded(Loop(parent.module, Plan(), d), [weights]).answer(0, inputs.to(d)).cpu() for d in (device, here)]
    return float((answers[0] - answers[1]).abs().max())


def _late(subject: Subject, parent: Parent, device: torch.device) -> dict[str, float]:
    """Return children a second that differ in their last layer, and against a pass of the whole network for each."""
    strategy = noisy().within(scope=(parent.perturbed[-1],))
    problem = Images(parent, min(IMAGES, 4 * subject.batch), subject.batch, subject.shape)
    settings = EvaluationSettings(precision="bfloat16" if device.type == "cuda" else "float32")
    evaluator = Evaluator(parent, strategy, problem, device=device, settings=settings)
    genomes, split = strategy.ask(LATE, Random(0)), problem.split("search")
    shared = _rate(lambda: evaluator.evaluate(genomes, split), LATE, device)
    plain, images = parent.on(device), problem.images.to(device)
    network = copy.deepcopy(plain.module)  # loading a child into the parent itself would change the next one

    def whole() -> None:
        """Load one child, and send all images through the whole network."""
        network.load_state_dict({**plain.weights, **child_weights(plain, strategy, genomes[0])})
        with torch.no_grad():
            for part in torch.split(images, subject.batch):
                network(part).float().softmax(-1).cpu()

    alone = _rate(whole, 1, device)
    return {"late_children_per_second": shared, "late_speedup_vs_loop": shared / alone}


def _product(precision: str, device: torch.device) -> float:
    """Return the GFLOP a second of a large matrix product."""
    side = SQUARE if device.type == "cuda" else SQUARE // 16
    a, b = (torch.rand(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    return _rate(lambda: a @ b, 2 * side**3 / 1e9, device)


def _gflop(parent: Parent, inputs: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        parent.module(inputs)
    return float(counter.get_total_flops()) / 1e9


def _rate(run: Callable[[], object], amount: float, device: torch.device) -> float:
    """Return the amount a second that `run` gets through: the middle of several turns, after one that warms up."""

    def waited() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    waited()
    return amount / statistics.median(seconds(waited) for _ in range(ROUNDS))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1] if len(sys.argv) > 1 else "cuda"), indent=1))
