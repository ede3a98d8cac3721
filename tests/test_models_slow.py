"""Forty models of torchvision, timm and transformers: children are what whole networks are, whatever the scope."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import model_zoo
import pytest
import torch
from evoens_strategies.noisy import Noisy
from torch import Tensor, nn

from evoens.ensemble import Ensemble, load_ensemble
from evoens.evaluation.evaluator import Evaluator, Plan
from evoens.genome import Genome
from evoens.graph.soundness import check
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import locate
from evoens.problem import EnsembleObjective, Evaluation, FixedInputs, Split, SplitName

FILE = Path(model_zoo.__file__)
COUNT, BATCH = 6, 4


class Pictures(FixedInputs):
    """Random pictures in batches of 4 and 2; all probabilities are kept."""

    def __init__(self, parent: Parent, side: int) -> None:
        self.parent = parent
        self.inputs = torch.randn(COUNT, 3, side, side, generator=torch.Generator().manual_seed(0))

    def split(self, name: SplitName) -> Split:
        return Split(name, 0, COUNT)

    def batches(self, split: Split) -> Iterator[Tensor]:
        yield from self.inputs.split(BATCH)

    def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
        return Evaluation(outputs[:, 0].double(), split.count, artifacts={"outputs": outputs})

    def probe(self, n: int = 8) -> Tensor:
        return self.inputs[:n]

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        return EnsembleObjective(self.inputs, lambda outputs: 0.0)


def parent_of(library: str, name: str) -> Parent:
    """A model of random weights and statistics, so that no two layers are alike."""
    torch.manual_seed(0)
    module = model_zoo.build(library, name)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    return Parent(module, Architecture(f"{FILE}:build", {"library": library, "name": name}, digest))


def children(problem: Pictures, sigma: float, scope: tuple[str, ...]) -> tuple[Evaluator, list[Genome]]:
    strategy = Noisy(sigma)
    strategy = strategy.within(scope=scope)
    plan = Plan(layout="channels_last")
    return Evaluator(problem.parent, strategy, problem, plan, "cpu"), strategy.ask(2, random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name", "side"), model_zoo.MODELS, ids=str)
def test_children_of_a_model_are_its_children(library: str, name: str, side: int, tmp_path: Path) -> None:
    pytest.importorskip(library)
    problem = Pictures(parent_of(library, name), side)
    parent = problem.parent
    assert check(parent, problem.probe(4)) == []
    before, whole = parent.fingerprint, torch.cat([parent.predict(x) for x in problem.batches(problem.split("test"))])
    layers = parent.perturbed
    for scope in ((layers[0],), (layers[len(layers) // 2],), (layers[-1],), ()):
        evaluator, genomes = children(problem, 1e-9, scope)
        for outcome in evaluator.evaluate(genomes, problem.split("test")):
            assert outcome.evaluation is not None, outcome.error
            torch.testing.assert_close(outcome.evaluation.artifacts["outputs"], whole, rtol=0, atol=1e-4)
        genomes = evaluator.strategy.within(sigma=0.05).ask(2, random.Random(0))
        measured = [o.evaluation for o in evaluator.evaluate(genomes, problem.split("test"))]
        ensemble = Ensemble(parent, evaluator.strategy, genomes)
        found = torch.cat([ensemble.outputs(x) for x in problem.inputs.split(BATCH)], dim=1)
        with torch.inference_mode():
            alone = torch.stack([module(problem.inputs).softmax(-1) for module in ensemble.modules()])
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-4)
        for one, expected in zip(measured, alone, strict=True):
            assert one is not None
            torch.testing.assert_close(one.artifacts["outputs"], expected, rtol=0, atol=1e-4)
    ensemble.save(tmp_path, locate("noisy"), {"sigma": 0.05}, {})
    loaded = load_ensemble(tmp_path)
    assert torch.equal(torch.cat([loaded.outputs(x) for x in problem.inputs.split(BATCH)], dim=1), found)
    assert parent.fingerprint == before and not any(parent.whole.values()), parent.whole
