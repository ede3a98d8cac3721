"""The verdict: parent, best child, k random children and the ensemble side by side, on cases that nothing has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import torch
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.evaluation.result_cache import Ledger
from evoens.evaluation.trials import Trial, run
from evoens.genome import Genome
from evoens.machine.threads import lanes
from evoens.parent import Parent, Predictor
from evoens.problem import Evaluation, Problem, Split
from evoens.scoring.combine import combine
from evoens.scoring.metrics import Statistic, bootstrap, difference
from evoens.scoring.text import interval, number
from evoens.strategy import Strategy

NAMES = ("parent", "best_child", "random_children", "ensemble")


@dataclass(frozen=True)
class Bout:
    """One measurement of a contest: the mean of `genomes` plays a part of the test split, by every measure."""

    name: str
    part: Split
    genomes: Sequence[Genome]


@dataclass(frozen=True)
class Contest:
    """Who is compared: the members, the best child, and the unselected children from which k are drawn at random.

    The test split is cut in as many parts as there are draws. Each draw of k random children plays one of them, so that
    their mean costs what one ensemble costs; where the parent is among the members, it is among them too. The others
    play it whole, in large batches, which are fast. Where members can be measured with their ensemble, they are.
    """

    parent: Parent
    strategy: Strategy
    members: Sequence[Genome]
    best: Genome
    unselected: Sequence[Genome]
    draws: int
    seed: int
    device: torch.device
    rule: str = "mean"

    def run(
        self, problem: Problem, ledger: Ledger, resamples: int, on_done: Callable[[str, int, int], None]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Measure all four by the problem's score and the measures beside it.

        Returns:
            A block of report.json for each, that of the ensemble with its members' figures, as far as these were
            measured, under `alone`; and what else the problem has to say of their results.

        Args:
            problem: what they are measured on.
            ledger: has what was measured before, and takes what is new.
            resamples: of the bootstrap.
            on_done: told the name of each finished measurement, how many are done, and of how many.
        """
        bouts = list(self._bouts(problem.split("test")))
        missing = [bout for bout in bouts if not ledger.has(bout.part, bout.name)]
        for i, (bout, evaluation) in enumerate(self._play(missing, problem), 1):
            ledger.note(bout.part, bout.name, evaluation, None)
            for genome, own in zip(self._alone() if evaluation.members else (), evaluation.members, strict=True):
                ledger.note(bout.part, genome.key, own, None)
            on_done(bout.name, len(bouts) - len(missing) + i, len(bouts))
        results = {name: _whole([ledger.evaluation(b.part, name) for b in bouts if b.name == name]) for name in NAMES}
        blocks, whole = self._blocks(problem, results, resamples), problem.split("test")
        alone = [
            {"key": genome.key, **_scores(problem, ledger.evaluation(whole, genome.key))}
            for genome in self._alone()
            if ledger.has(whole, genome.key)
        ]
        blocks["ensemble"] |= {"alone": alone} if alone else {}
        return blocks, problem.details(results)

    def _blocks(self, problem: Problem, results: Mapping[str, Evaluation], resamples: int) -> dict[str, dict[str, Any]]:
        blocks: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
        found = {name: _statistics(problem, result) for name, result in results.items()}
        for label in found["parent"]:
            statistics = {name: own[label] for name, own in found.items()}
            for name, statistic in statistics.items():
                blocks[name][label] = bootstrap(statistic, resamples, self.seed).to_json()
                less = difference(statistic, statistics["parent"])
                blocks[name][f"{label}_difference"] = bootstrap(less, resamples, self.seed).to_json()
        return blocks

    def _bouts(self, split: Split) -> Iterator[Bout]:
        who: dict[str, Sequence[Genome]] = {"parent": [Genome()], "best_child": [self.best], "ensemble": self.members}
        for name in reversed(NAMES):  # the long ones first, so that at the end no core waits long for another
            parts = self.draws if name == "random_children" else 1
            size = -(-split.count // parts)
            for part in range(-(-split.count // size)):
                genomes = self._draw(part) if name == "random_children" else who[name]
                yield Bout(name, split.part(part * size, size), genomes)

    def _alone(self) -> list[Genome]:
        """The members that can be measured by themselves: each once, and not the parent, which is a contestant."""
        return [genome for genome in dict.fromkeys(self.members) if genome.genes]

    def _play(self, bouts: Sequence[Bout], problem: Problem) -> Iterator[tuple[Bout, Evaluation]]:
        """Play all bouts, several at once, and give each one's evaluation when it ends.

        Raises:
            Exception: whatever ended a bout.
        """
        playing: dict[Trial, Bout] = {}

        def trials() -> Iterator[tuple[Trial, Predictor]]:
            """Start each when there is room for it."""
            for bout in bouts:
                ensemble = self._ensemble(bout.genomes)
                cases = problem.reported_with_members(bout.part) if bout.name == "ensemble" else None
                trial = Trial(cases or problem.reported(bout.part))
                playing[trial] = bout
                trial.start()
                yield trial, partial(self._with_members, ensemble) if cases else ensemble.predict

        for trial in run(trials(), lanes(self.device)):
            if isinstance(trial.result, Exception):
                raise trial.result
            yield playing.pop(trial), trial.result

    def _with_members(self, ensemble: Ensemble, inputs: Tensor) -> Tensor:
        """Return the probabilities of an ensemble and of its members, `(1 + k, n, c)`."""
        outputs, places = ensemble.outputs(inputs), [ensemble.genomes.index(genome) for genome in self._alone()]
        return torch.cat([combine(outputs, ensemble.rule, seed=ensemble.seed)[None], outputs[places]])

    def _ensemble(self, genomes: Sequence[Genome]) -> Ensemble:
        return Ensemble(self.parent, self.strategy, genomes, self.device, rule=self.rule, seed=self.seed)

    def _draw(self, draw: int) -> list[Genome]:
        pool, parent = list(self.unselected), [genome for genome in self.members if not genome.genes]
        k = min(len(self.members) - len(parent), len(pool))
        return Random(f"{self.seed}:random-children:{draw}").sample(pool, k) + parent


def _statistics(problem: Problem, result: Evaluation) -> dict[str, Statistic]:
    """Return each measure of the verdict of one competitor, by the name under which its block has it."""
    own, *beside = problem.measures
    more = {measure.key: measure.statistic(result.beside[measure.rows or measure.name]) for measure in beside}
    return {"test": own.statistic(result.cases), **more}


def _scores(problem: Problem, result: Evaluation) -> dict[str, float]:
    return {label: statistic.score for label, statistic in _statistics(problem, result).items()}


def _whole(parts: Sequence[Evaluation]) -> Evaluation:
    """Put the evaluations of a split's parts together."""
    beside = {name: torch.cat([part.beside[name] for part in parts]) for name in parts[0].beside}
    return Evaluation(torch.cat([part.cases for part in parts]), sum(part.samples for part in parts), beside)


def verdict(problem: Problem, blocks: dict[str, dict[str, Any]], unsure: str = "") -> str:
    """Return honest words: whether the ensemble beats the parent on unseen cases, and whether selection paid.

    unsure: why they may not be unseen; empty where they are.
    """
    ensemble, parent, drawn = (blocks[name]["test"]["score"] for name in ("ensemble", "parent", "random_children"))
    difference = blocks["ensemble"]["test_difference"]
    low, high = difference["ci95"]
    word = "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
    better = "above" if ensemble > drawn else "below" if ensemble < drawn else "level with"
    digits, remark = problem.measures[0].digits, problem.remark(blocks)
    cases = f"cases, which {unsure}," if unsure else "unseen cases"
    return (
        f"On {difference['n']} {cases} the ensemble {word} the parent: {problem.unit} {number(ensemble, digits)} "
        f"against {number(parent, digits)}, difference {interval(difference, digits, '+')} (95 %, paired); "
        f"it is {better} as many random children ({number(drawn, digits)}).{remark and f' {remark}'}"
    )
