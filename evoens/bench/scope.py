"""How fast children are evaluated that touch a late layer only: against whole networks, and against a plain loop."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Generator, Iterator, Sequence
from random import Random
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from evoens.bench.common import machine, noisy, quickest_settings, seconds
from evoens.children import child_weights
from evoens.ensemble import Ensemble
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Plan
from evoens.genome import Genome
from evoens.network.inputs import Inputs
from evoens.parent import Architecture, Parent, Predictor
from evoens.problem import EnsembleObjective, Evaluation, FixedInputs, Measure, Problem, Split, SplitName
from evoens.strategy import Strategy

NETWORK, LAYER = "evoens.tasks.networks.lenet:LeNet", "fc1"
SIDE, CLASSES = 32, 10
MEMBERS = 8
TARGETS = {
    "speedup_vs_whole": (5.0, "the same evaluator, every child the whole network"),
    "speedup_vs_load_state_dict": (4.0, "load_state_dict and a float32 pass for each child"),
    "ensemble_vs_parent": (0.5, f"an ensemble of {MEMBERS}, against the parent alone at its quickest"),
}


class Images(FixedInputs):
    """Random images in batches; a case's result is its first probability, and all probabilities are kept."""

    measures = (Measure("probability", "probability", "probability"),)

    def __init__(self, parent: Parent, count: int, batch: int, shape: tuple[int, int, int] = (3, SIDE, SIDE)) -> None:
        self.parent, self.batch = parent, batch
        self.images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))

    def split(self, name: SplitName) -> Split:
        """Return all images, whatever the name."""
        return Split(name, 0, len(self.images))

    def batches(self, split: Split) -> Iterator[Tensor]:
        """See `FixedInputs.batches`."""
        yield from torch.split(self.images[split.first : split.first + split.count], self.batch)

    def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
        """See `FixedInputs.score_outputs`."""
        return Evaluation(outputs[:, 0].double(), len(outputs), artifacts={"outputs": outputs})

    def probe(self, n: int = 8) -> Tensor:
        """Return the first `n` images."""
        return self.images[:n]

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        """Judge nothing."""
        return EnsembleObjective(self.images, lambda outputs: 0.0)


class Apart(Problem):
    """The same problem, but nobody knows that its inputs are the same for all: children share nothing."""

    measures = (Measure("probability", "probability", "probability"),)

    def __init__(self, images: Images) -> None:
        self.parent, self.images = images.parent, images

    def split(self, name: SplitName) -> Split:
        """Return all images, whatever the name."""
        return self.images.split(name)

    def probe(self, n: int = 8) -> Tensor:
        """Return the first `n` images."""
        return self.images.probe(n)

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        """Judge nothing."""
        return self.images.judgement(evaluations)

    def cases(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """See `Problem.cases`."""
        return (yield from self.images.cases(split))


def measure(
    width: int = 4, *, images: int = 2000, batch: int = 500, children: int = 8, rounds: int = 3
) -> dict[str, Any]:
    """Time children of LeNet that touch its first hidden linear layer only, every way, the ways taking turns.

    Args:
        width: 4 is LeNet-L.
        images: of 32 × 32 pixels in colour, that each child classifies.
        batch: images a pass.
        children: a measurement.
        rounds: of all measurements; every ratio is the median of the rounds' ratios.

    Returns:
        The ratios of `TARGETS`; children a second each way, `first` with the trunk counted in, which the others of a
        split find done; images a second of ensemble and parent; and the largest difference in a probability between
        children evaluated either way: by the plans that were quickest, and by the plain one, where there is none.
    """
    torch.manual_seed(0)
    architecture = Architecture(NETWORK, {"classes": CLASSES, "width": width})
    parent, strategy = Parent(architecture.build(), architecture), noisy().within(scope=(LAYER,))
    problem = Images(parent, images, batch)
    genomes = strategy.ask(max(children, MEMBERS), Random(0))
    shared, whole = (Evaluator(parent, strategy, p, settings=quickest_settings()) for p in (problem, Apart(problem)))
    work = _work(problem, strategy, genomes[:children], genomes[:MEMBERS], (shared, whole))
    for run, _ in work.values():
        run()
    measured = [{name: amount / seconds(run) for name, (run, amount) in work.items()} for _ in range(rounds)]
    settings = {"width": width, "images": images, "batch": batch, "children": children, "rounds": rounds}
    return _result(measured) | _differences(problem, strategy, genomes[0], shared, whole) | machine(shared) | settings


def describe(result: dict[str, Any]) -> Table:
    """Return the result as a table for the terminal."""
    rates = result["per_second"]
    plan = " ".join(result["plan"][key] for key in ("batching", "layout", "precision"))
    table = Table(title=f"{result['cpu']}, {result['threads']} threads, {result['device']}: {plan}")
    for heading in ("measured", "against", "target"):
        table.add_column(heading)
    for name, (target, against) in TARGETS.items():
        share = target < 1
        shown = f"{result[name]:.0%}" if share else f"{result[name]:.1f} ×"
        table.add_row(shown, against, f"≥ {target:.0%}" if share else f"≥ {target:g} ×")
    table.caption = (
        f"children per second: {rates['shared']:.2f} ({rates['first']:.2f} with the trunk), whole "
        f"{rates['whole']:.2f}, load_state_dict {rates['load_state_dict']:.2f}; images per second: ensemble "
        f"{rates['ensemble']:.0f}, parent {rates['parent']:.0f} ({rates['parent_plain']:.0f} as it is); largest "
        f"difference in a probability {result['largest_difference']:.1e}, by the plain plan "
        f"{result['largest_difference_plain']:g}"
    )
    return table


Work = dict[str, tuple[Callable[[], object], float]]


def _work(
    problem: Images,
    strategy: Strategy,
    genomes: Sequence[Genome],
    members: Sequence[Genome],
    evaluators: tuple[Evaluator, Evaluator],
) -> Work:
    """Return what a round runs, by name, each with the number of children (or images) it gets through."""
    (shared, whole), parent, split = evaluators, problem.parent, problem.split("search")
    other = Split("select", 0, split.count)
    ensemble, alone = (Ensemble(parent, strategy, some, shared.device) for some in (members, [Genome()]))
    plain = copy.deepcopy(parent.module)

    def load_state_dict() -> None:
        plain.load_state_dict({**parent.weights, **child_weights(parent, strategy, genomes[0])})
        with torch.no_grad():
            problem.evaluate(lambda images: torch.softmax(plain(images), dim=-1), split)

    def predict(by: Predictor) -> Callable[[], object]:
        return lambda: problem.evaluate(by, split)

    return {
        "first": (lambda: shared.evaluate(genomes, other), len(genomes)),  # another split: its trunk is still to come
        "turn": (lambda: shared.evaluate(genomes[:1], split), 1),
        "shared": (lambda: shared.evaluate(genomes, split), len(genomes)),
        "whole": (lambda: whole.evaluate(genomes, split), len(genomes)),
        "load_state_dict": (load_state_dict, 1),
        "ensemble": (predict(ensemble.predict), split.count),
        "parent": (predict(alone.predict), split.count),
        "parent_plain": (predict(parent.predict), split.count),
    }


def _result(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return medians over the rounds of each rate and of each ratio."""
    for rates in rounds:
        rates["parent"] = max(rates["parent"], rates["parent_plain"])
        del rates["turn"]
    return {
        "speedup_vs_whole": statistics.median(r["shared"] / r["whole"] for r in rounds),
        "speedup_vs_load_state_dict": statistics.median(r["shared"] / r["load_state_dict"] for r in rounds),
        "ensemble_vs_parent": statistics.median(r["ensemble"] / r["parent"] for r in rounds),
        "per_second": {name: statistics.median(r[name] for r in rounds) for name in rounds[0]},
    }


def _differences(
    problem: Images, strategy: Strategy, genome: Genome, shared: Evaluator, whole: Evaluator
) -> dict[str, float]:
    plain = [Evaluator(problem.parent, strategy, p, Plan(), "cpu") for p in (problem, Apart(problem))]
    pairs = {"largest_difference": (shared, whole), "largest_difference_plain": plain}
    return {name: _difference(*(_outputs(e, genome, problem) for e in pair)) for name, pair in pairs.items()}


def _outputs(evaluator: Evaluator, genome: Genome, problem: Images) -> Tensor:
    evaluation = evaluator.evaluate([genome], problem.split("search"))[0].evaluation
    assert evaluation is not None
    return evaluation.artifacts["outputs"]


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())
