"""The verdict: parent, best child, k random children and the ensemble side by side, on cases that nothing has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from evoens.ensemble import Ensemble
from evoens.genome import Genome
from evoens.ledger import Ledger
from evoens.metrics import mean_interval, paired_difference
from evoens.parent import Parent, Predictor
from evoens.problem import Evaluation, Problem, Split
from evoens.strategy import Strategy

NAMES = ("parent", "best_child", "random_children", "ensemble")


@dataclass(frozen=True)
class Contest:
    """Who is compared: the members, the best child, and the unselected children from which k are drawn at random.

    `draws` ensembles of k random children share the test cases between them, so that their mean costs what one costs.
    """

    parent: Parent
    strategy: Strategy
    members: Sequence[Genome]
    best: Genome
    unselected: Sequence[Genome]
    draws: int
    seed: int
    device: torch.device | str = "cpu"

    def run(
        self, problem: Problem, ledger: Ledger, resamples: int, on_done: Callable[[str, int, int], None]
    ) -> dict[str, dict[str, Any]]:
        """Measure all four by the problem's own rule and by those beside it; return a block of report.json for each.

        on_done: told the name of each finished measurement, how many are done, and of how many.
        """
        rules: dict[str, Problem] = {"test": problem}
        rules |= {f"test_{name}": other for name, other in problem.beside().items()}
        blocks: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
        done = 0
        for label, ruled in rules.items():
            split, results = ruled.split("test"), {}
            for name in NAMES:
                results[name] = ledger.once(split, f"{name}:{label}", lambda n=name, p=ruled: self._measure(n, p))  # type: ignore[misc]
                done += 1
                on_done(name, done, len(rules) * len(NAMES))
            for name, cases in results.items():
                blocks[name][label] = mean_interval(cases, resamples, self.seed).to_json()
                difference = paired_difference(cases, results["parent"], resamples, self.seed)
                blocks[name][f"{label}_difference"] = difference.to_json()
        return blocks

    def _measure(self, name: str, problem: Problem) -> Evaluation:
        parts = [problem.evaluate(predict, part) for predict, part in self._predictors(name, problem.split("test"))]
        return Evaluation(torch.cat([p.cases for p in parts]), sum(p.samples for p in parts))

    def _predictors(self, name: str, split: Split) -> Iterator[tuple[Predictor, Split]]:
        if name == "random_children":
            size = -(-split.count // self.draws)
            for draw in range(self.draws):
                if draw * size < split.count:
                    yield self._ensemble(self._draw(draw)).predict, split.part(draw * size, size)
        else:
            genomes = {"parent": [Genome()], "best_child": [self.best], "ensemble": self.members}[name]
            yield self._ensemble(genomes).predict, split

    def _draw(self, draw: int) -> list[Genome]:
        pool = list(self.unselected)
        return Random(f"{self.seed}:random-children:{draw}").sample(pool, min(len(self.members), len(pool)))

    def _ensemble(self, genomes: Sequence[Genome]) -> Ensemble:
        return Ensemble(self.parent, self.strategy, genomes, self.device)


def verdict(blocks: dict[str, dict[str, Any]], unit: str) -> str:
    """Return one honest sentence: whether the ensemble beats the parent on unseen cases, and whether selection paid."""
    ensemble, parent, drawn = (blocks[name]["test"]["score"] for name in ("ensemble", "parent", "random_children"))
    difference = blocks["ensemble"]["test_difference"]
    low, high = difference["ci95"]
    word = "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
    better = "above" if ensemble > drawn else "not above"
    return (
        f"On {difference['n']} unseen cases the ensemble {word} the parent: {unit} {ensemble:.3g} "
        f"against {parent:.3g}, difference {difference['score']:+.3g} [{low:+.3g}, {high:+.3g}] (95 %, paired); "
        f"it is {better} as many random children ({drawn:.3g})."
    )
