"""How fast LeNet-L learns: against bare loops of PyTorch, and with children's masks against without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor, nn

from evoens.bench.common import seconds
from evoens.machine.environment import environment
from evoens.machine.threads import WAIT_POLICY
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.settings.classification import TrainSettings
from evoens.strategy import Strategy
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.masking import GeneMasking
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training

IMAGES, BATCH, ROUNDS = 2048, 128, 5
LONG = TrainSettings(epochs=10_000, batch=BATCH)  # so long that nothing settles while it is measured
CHILDREN: dict[str, dict[str, Any]] = {"sparse": {}, "stochastic": {"over": 1.0}}
TARGETS = {
    "ratio_to_bare_loop": (1.15, "at most", "a bare loop of the same precision, layout and allocator"),
    "speedup_vs_float32_loop": (2.0, "at least", "a plain float32 loop"),
    "sparse_vs_unmasked": (1.1, "at most", "a sparse child's epoch, against one without masks"),
    "stochastic_vs_unmasked": (1.3, "at most", "an annealing child's epoch, against one without masks"),
}


def measure() -> dict[str, Any]:
    """Return seconds of an epoch of each, the least of some that take turns, and their ratios; takes some minutes."""
    precision = precision_of("auto")
    epochs: dict[str, Callable[[], object]] = {
        "ours": Training(_network(), _examples(), LONG, seed=0, precision=precision).epoch,
        "bare": _bare(precision),
        **{name: _child(name, arguments, precision) for name, arguments in CHILDREN.items()},
    }
    rounds = [{name: seconds(epoch) for name, epoch in epochs.items()} for _ in range(ROUNDS)]
    least = {name: min(row[name] for row in rounds[1:]) for name in epochs}  # the first compiles kernels
    least["plain"] = _plain_in_process()
    return {
        "seconds": least,
        "images": IMAGES,
        "precision": precision,
        "ratio_to_bare_loop": least["ours"] / least["bare"],
        "speedup_vs_float32_loop": least["plain"] / least["ours"],
        **{f"{name}_vs_unmasked": least[name] / least["ours"] for name in CHILDREN},
        "environment": environment(),
    }


def describe(result: dict[str, Any]) -> Table:
    """Return the ratios beside what they should be."""
    title = f"LeNet-L, {result['images']} images, {result['precision']}, on {result['environment']['processor']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("ratio", "aim", "of"):
        table.add_column(head)
    for name, (ensemble_metric, word, what) in TARGETS.items():
        table.add_row(f"{result[name]:.2f}", f"{word} {ensemble_metric:g}", what)
    return table


def _network() -> LeNet:
    torch.manual_seed(0)
    return LeNet(10).to(memory_format=torch.channels_last)


def _examples() -> Examples:
    pixels = torch.randint(0, 256, (IMAGES, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels.permute(0, 3, 1, 2), torch.arange(IMAGES), torch.arange(IMAGES) % 10)
    return Examples(images, Normalise((0.5,) * 3, (0.25,) * 3))


def _child(name: str, arguments: dict[str, Any], precision: str) -> Callable[[], object]:
    strategy: Strategy = load_class(locate(name), Strategy)(**arguments)
    parent = Parent(_network(), Architecture("evoens.tasks.networks.lenet:LeNet", {"classes": 10}))
    (genome,) = strategy.within(parent=parent).ask(1, Random(0))
    training = Training(_network(), _examples(), LONG, seed=0, precision=precision)
    weights = {n: w for n, w in training.module.named_parameters() if n in parent.perturbed}
    training.masking = GeneMasking(strategy, genome, weights, training.optimiser)
    return training.epoch


def _bare(precision: str) -> Callable[[], object]:
    """The loop as one writes it by hand, on inputs that are floats already."""
    network = _network()
    inputs, labels = _inputs()
    inputs = inputs.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    return lambda: _loop(network, optimiser, inputs, labels, precision)


def _inputs() -> tuple[Tensor, Tensor]:
    examples = _examples()
    return examples.normalise(examples.images.pixels).contiguous(), examples.images.labels


def _loop(network: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, precision: str) -> None:
    for batch in torch.split(torch.randperm(len(labels)), BATCH):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = network(inputs[batch])
        loss = F.cross_entropy(outputs.float(), labels[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _plain_in_process() -> float:
    """The plain loop in a process of its own, whose allocator and threads are as they come."""
    kept = {name: value for name, value in os.environ.items() if name != WAIT_POLICY}
    command = [sys.executable, "-m", "evoens.bench.train"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=kept)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _plain() -> float:
    network, (inputs, labels) = _network(), _inputs()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    return min(seconds(lambda: _loop(network, optimiser, inputs, labels, "float32")) for _ in range(ROUNDS))


if __name__ == "__main__":
    print(json.dumps(_plain()))
