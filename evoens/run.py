"""The one loop: σ → generations → selection → verdict, a checkpoint after each, in one run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evoens import selection, trust_region
from evoens.checkpoint import CheckpointStore, RunLock, require_same, write_atomic
from evoens.console import Reporter
from evoens.diversity.watch import watch
from evoens.ensemble import Ensemble
from evoens.errors import EvoensError, SpecError
from evoens.evaluate import Evaluator, Outcome, Plan
from evoens.genome import Genome
from evoens.ledger import Ledger
from evoens.metrics import reliability
from evoens.problem import Evaluation, Problem, Split
from evoens.results import write_results
from evoens.settings import Config
from evoens.spec import Located
from evoens.state import RunState, environment, versions
from evoens.strategy import Record, Strategy
from evoens.tracker import Generation, Tracker

SO_FAR = 16  # search cases on which the ensemble so far is watched: a whole evaluation of it would cost k children
UNRELIABLE = 0.3  # below this correlation between two halves of the cases, fitness ranks mostly chance


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of: the checked config and its text, the problem with its parent, the Strategy's source."""

    config: Config
    resolved: str
    problem: Problem
    strategy: Strategy
    source: Located
    arguments: dict[str, Any]
    parent_card: dict[str, Any]

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to go on to the same bits."""
        return {
            "config": self.config.model_dump(mode="json", by_alias=True),
            "strategy file (sha256)": self.source.sha256,
            "parent (fingerprint)": self.problem.parent.fingerprint,
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }


class Run:
    """One experiment in one folder; what was interrupted there goes on.

    Args:
        experiment: what is run.
        folder: where everything is written.
        reporter: is told what happens.
        force: go on even when something has changed since the last checkpoint.
    """

    def __init__(self, experiment: Experiment, folder: Path, reporter: Reporter, force: bool = False) -> None:
        self.experiment, self.folder, self.reporter, self.force = experiment, folder, reporter, force
        self.config, self.problem, self.strategy = experiment.config, experiment.problem, experiment.strategy
        self.store = CheckpointStore(folder / "checkpoints")
        self.state = RunState()
        self.ledger = Ledger()
        self._started = time.monotonic()

    def execute(self) -> Path:
        """Run to the end, or from where it stopped to the end; return the folder.

        Raises:
            CheckpointError: another process holds the folder, or the experiment has changed since its checkpoint.
            EvoensError: every child of a generation failed.
        """
        with RunLock(self.folder):
            self._resume()
            write_atomic(self.folder / "config.resolved.yaml", self.experiment.resolved)
            write_atomic(self.folder / "environment.json", json.dumps(environment(), indent=1) + "\n")
            self.tracker = Tracker(self.folder, first=len(self.state.generations))
            try:
                self._stages()
            except KeyboardInterrupt:
                self.save()
                raise
            finally:
                self.tracker.close()
        return self.folder

    def _stages(self) -> None:
        self._prepare()
        for number in range(len(self.state.generations), self.config.search.generations):
            self._generation(number)
        if self.state.selection is None:
            self._select()
        write_results(self)
        self.state.finished = True
        self.save()

    def _resume(self) -> None:
        saved, skipped = self.store.latest()
        for sentence in skipped:
            self.reporter.warn(sentence)
        if saved is None:
            return
        identity = saved.state.pop("identity")
        changed = require_same(self.experiment.identity(), identity, self.folder, self.force)
        for sentence in changed:
            self.reporter.warn(sentence)
        self.state = RunState(**saved.state)
        self.ledger = Ledger(self.state.ledger)
        self.strategy.load_state_dict(self.state.strategy)
        self.reporter.stage(f"resumed after {len(self.state.generations)} generations")

    def save(self) -> None:
        """Write a checkpoint, population.jsonl and history.json."""
        self.state.step += 1
        now = time.monotonic()
        self.state.seconds, self._started = self.state.seconds + now - self._started, now
        self.state.ledger, self.state.strategy = self.ledger.entries, self.strategy.state_dict()
        rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in self.state.population)
        write_atomic(self.folder / "population.jsonl", rows)
        write_atomic(self.folder / "history.json", json.dumps(self._history(), indent=1) + "\n")
        self.store.save(self.state.step, {**self.state.to_json(), "identity": self.experiment.identity()})

    def _history(self) -> dict[str, Any]:
        names = ("plan", "trust_region", "sigma", "generations", "selection", "warnings")
        return {name: getattr(self.state, name) for name in names}

    def warn(self, sentence: str) -> None:
        """Tell the user, and keep the sentence for the report."""
        self.reporter.warn(sentence)
        if sentence not in self.state.warnings:
            self.state.warnings.append(sentence)

    # ---- before the first generation: the plan, the parent's own score, σ

    def _prepare(self) -> None:
        plan = Plan.from_json(self.state.plan) if self.state.plan else None
        if plan is None:
            self.reporter.stage("measuring how children are evaluated fastest")
        self.evaluator = Evaluator(self.problem.parent, self.strategy, self.problem, plan)
        self.state.plan = self.evaluator.plan.to_json()
        if self.state.sigma is None:
            self._find_sigma()
            self.save()
        self.strategy.sigma = self.state.sigma or self.strategy.sigma

    def _find_sigma(self) -> None:
        fixed, settings = self.config.strategy.sigma, self.config.trust_region
        if fixed != "auto":
            self.state.sigma = fixed
            return
        self.reporter.stage(f"searching for σ at KL {settings.target_kl}")
        inputs = self.problem.probe(settings.frames)
        rows = trust_region.kl_curve(
            self.evaluator, self.strategy, inputs, settings, self.config.seed, self._ticker(len(settings.grid), "σ")
        )
        self.state.sigma = trust_region.choose(rows, settings.target_kl)
        self.state.trust_region = {
            "target_kl": settings.target_kl,
            "sigma": self.state.sigma,
            "inputs": len(inputs),
            "rows": [dict(row) for row in rows],
        }
        if not rows[0]["kl"] <= settings.target_kl <= rows[-1]["kl"]:
            self.warn(f"no σ of the grid reaches KL {settings.target_kl}; {self.state.sigma} is the grid's nearest end")
        self.tracker.trust_region(self.state.trust_region)

    def _ticker(self, total: int, text: str) -> Callable[[int], None]:
        return lambda done: self.reporter.progress(done, total, text)

    # ---- one generation

    def _generation(self, number: int) -> None:
        started, spent = time.monotonic(), self.ledger.samples
        self.reporter.stage(f"generation {number + 1} of {self.config.search.generations}")
        split = self.problem.split("search")
        (parent,) = self.measure([Genome()], split, "the parent")
        outcomes = self.measure(self._ask(number), split, "children")
        alive = [o for o in outcomes if o.evaluation is not None]
        if not alive:
            raise EvoensError(
                f"all {len(outcomes)} children of generation {number} failed; the first: {outcomes[0].error}"
            )
        cases = [o.evaluation.cases for o in alive if o.evaluation is not None]
        reliable = reliability(torch.stack(cases), self.config.seed)
        pool = [
            (Genome.from_json(e["genome"]), torch.tensor(e["cases"], dtype=torch.float64)) for e in self.state.elites
        ]
        pool += zip([o.genome for o in alive], cases, strict=True)
        pool = self._race(pool, split)
        scores = {genome.key: float(result.mean()) for genome, result in pool}
        self._tell(number, outcomes, scores)
        ranked = [pool[i] for i in selection.top([scores[g.key] for g, _ in pool], len(pool))]
        self.state.elites = [
            {"genome": genome.to_json(), "cases": result.tolist()}
            for genome, result in ranked[: self.config.search.elites]
        ]
        fitness = self._fitness([scores[o.genome.key] for o in alive], parent)
        self._watch(number, ranked, fitness, reliable, len(outcomes) - len(alive), (started, spent))

    def _ask(self, number: int) -> list[Genome]:
        n = self.config.search.population
        self.strategy.elites = tuple(Genome.from_json(e["genome"]) for e in self.state.elites)
        genomes = self.strategy.ask(n, Random(f"{self.config.seed}:generation:{number}"))
        if len(genomes) != n or not all(isinstance(g, Genome) for g in genomes):
            raise SpecError(f"{type(self.strategy).__name__}.ask({n}): expected {n} genomes, found {len(genomes)}")
        return genomes

    def measure(self, genomes: Sequence[Genome], split: Split, text: str) -> list[Outcome]:
        """Return each genome's outcome on `split`, from the ledger where it is there."""
        return self.ledger.measure(self.evaluator, genomes, split, self._ticker(len(genomes), text))

    def _race(self, pool: list[tuple[Genome, Tensor]], split: Split) -> list[tuple[Genome, Tensor]]:
        racing = self.config.search.racing
        if racing is None:
            return pool

        def more(places: Sequence[int], part: Split) -> list[Tensor]:
            outcomes = self.measure([pool[i][0] for i in places], part, f"racing, {part.first + part.count} cases")
            return [
                torch.full((part.count,), -torch.inf) if o.evaluation is None else o.evaluation.cases for o in outcomes
            ]

        whole = Split(split.name, 0, racing.levels)
        start = [cases[: split.count] for _, cases in pool]  # what an elite has beyond is in the ledger
        results = selection.race(start, more, whole, racing.step, self.config.selection.size)
        return [(genome, result) for (genome, _), result in zip(pool, results, strict=True)]

    def _tell(self, number: int, outcomes: Sequence[Outcome], scores: dict[str, float]) -> None:
        self.strategy.tell(
            [Record(o.genome, scores[o.genome.key], number) for o in outcomes if o.evaluation is not None]
        )
        for outcome in outcomes:
            failed = outcome.evaluation is None
            row = {"generation": number, "key": outcome.genome.key, "genome": outcome.genome.to_json()}
            row |= {"status": "failed" if failed else "ok", "fitness": None if failed else scores[outcome.genome.key]}
            self.state.population.append(row)
            if failed:
                self.warn(f"generation {number}: child {outcome.genome.key[:12]} failed: {outcome.error}")

    def _fitness(self, scores: Sequence[float], parent: Outcome) -> dict[str, float]:
        if parent.evaluation is None:
            raise EvoensError(f"the parent itself failed: {parent.error}")
        mean = sum(scores) / len(scores)
        return {"best": max(scores), "mean": mean, "worst": min(scores), "parent": parent.evaluation.score}

    def _watch(
        self,
        number: int,
        ranked: Sequence[tuple[Genome, Tensor]],
        fitness: dict[str, float],
        reliable: float | None,
        failed: int,
        began: tuple[float, int],
    ) -> None:
        """Write down and show what a generation has brought: the ensemble so far, its diversity, its cost."""
        members = [genome for genome, _ in ranked[: self.config.selection.size]]
        ensemble = Ensemble(self.problem.parent, self.strategy, members, self.evaluator.device)
        some = self.problem.split("search").part(0, SO_FAR)
        so_far = self.ledger.once(
            some, f"ensemble so far:{number}", lambda: self.problem.evaluate(ensemble.predict, some)
        )
        seen = watch(ensemble.modules(), self.problem.probe(), self.config.seed, self.problem.parent.module)
        if reliable is not None and reliable < UNRELIABLE:
            self.warn(
                f"generation {number}: the reliability of fitness is {reliable:.2f}: its ranking is mostly chance; "
                "more levels (problem.levels.search.count, search.racing) or a larger σ would tell children apart"
            )
        seconds = time.monotonic() - began[0]
        summary = Generation(
            generation=number,
            sigma=self.strategy.sigma,
            fitness=fitness,
            ensemble=float(so_far.mean()),
            reliability=reliable,
            diversity=seen.to_json(),
            failed=failed,
            evaluations=self.ledger.evaluations,
            samples_per_second=(self.ledger.samples - began[1]) / seconds,
            seconds=seconds,
        )
        self.state.generations.append(asdict(summary))
        self.tracker.generation(summary, seen.picture)
        (self.folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(seen.picture).save(self.folder / "pictures" / "saliency.png")
        self.reporter.generation(summary)
        self.save()

    # ---- the members

    def _select(self) -> None:
        """Choose the members on the select split, among the children that search found best."""
        self.reporter.stage("choosing members on cases that search never saw")
        rows = {row["key"]: row for row in self.state.population if row["status"] == "ok"}
        found = sorted(rows.values(), key=lambda row: -row["fitness"])[: self.config.search.population]
        genomes = [Genome.from_json(row["genome"]) for row in found]
        split = self.problem.split("select")
        outcomes = self.evaluator.evaluate(
            genomes, split, lambda i, _: self.reporter.progress(i + 1, len(genomes), "candidates")
        )
        for outcome in outcomes:
            self.ledger.note(split, outcome.genome.key, outcome.evaluation, outcome.error)
        alive = [(o.genome, o.evaluation) for o in outcomes if o.evaluation is not None]
        if not alive:
            raise EvoensError(f"every candidate failed on the select split; the first: {outcomes[0].error}")
        scores = [evaluation.score for _, evaluation in alive]
        places = self._members([genome for genome, _ in alive], [evaluation for _, evaluation in alive], scores)
        best = max(range(len(alive)), key=lambda i: scores[i])
        self.state.selection = {
            "rule": self.config.selection.rule,
            "candidates": [{"key": g.key, "select": s} for (g, _), s in zip(alive, scores, strict=True)],
            "members": [alive[i][0].to_json() for i in places],
            "best": alive[best][0].to_json(),
            "best_select": scores[best],
        }
        self.save()

    def _members(self, genomes: list[Genome], evaluations: list[Evaluation], scores: list[float]) -> list[int]:
        size = self.config.selection.size
        if self.config.selection.rule == "top":
            return selection.top(scores, size)
        judgement = self.problem.judgement(evaluations)
        return selection.greedy(self.evaluator.outputs(genomes, judgement.inputs), judgement.score, size)
