"""The one loop: σ → generations → selection → verdict, a checkpoint after each, in one run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from evoens import selection
from evoens.checkpoint import CheckpointStore, RunLock, require_same
from evoens.console import Reporter
from evoens.distinct import distinct
from evoens.diversity.distances import OF_OUTPUTS, of_saliency
from evoens.errors import EvoensError, SpecError
from evoens.evaluate import Evaluator, Outcome, Plan
from evoens.evolution import evolve
from evoens.files import write_atomic
from evoens.genome import Genome
from evoens.identity import identity_of, known_since
from evoens.json_file import as_written
from evoens.ledger import Ledger
from evoens.measuring import Measuring
from evoens.older import with_precision
from evoens.preflight import preflight
from evoens.problem import Evaluation, Problem, Split
from evoens.results import write_results
from evoens.scope_search import settle_scope
from evoens.settings.config import CANDIDATES, Config
from evoens.settings.diversity import Distance
from evoens.sigma_search import find_sigma
from evoens.spec import Located
from evoens.state import RunState, environment
from evoens.strategy import Strategy, grow, learn, learnt
from evoens.tracker import Tracker

APART = 256  # inputs on which children's answers are compared, where none are known yet
MEASURING = "measuring.txt"  # who is being measured, while the process lives
TUNED = "tuned"  # the folder of the weights that children were trained to


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of: the checked config and its text, the problem with its parent, the Strategy.

    Attributes:
        data: the sha256 of each split's cases (see `Task.contents`).
    """

    config: Config
    resolved: str
    problem: Problem
    strategy: Strategy
    source: Located
    arguments: dict[str, Any]
    parent_card: dict[str, Any]
    data: dict[str, str]
    cautions: Sequence[str] = ()
    unsure: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to go on to the same bits."""
        return identity_of(self)


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
        reporter.digits = experiment.problem.measures[0].digits
        self.config, self.problem, self.strategy = experiment.config, experiment.problem, experiment.strategy
        if self.problem.tunes:
            self.problem.parent.tuned = folder / TUNED
        self.store = CheckpointStore(folder / "checkpoints")
        self.state = RunState()
        self.ledger, self.measuring = Ledger(), Measuring()
        self._saved = self.state.to_json()
        self._identity = experiment.identity()  # now: while networks run side by side torch has fewer threads
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
            if record := self.problem.record():
                write_atomic(self.folder / "data.json", json.dumps(record) + "\n")
            self.measuring = Measuring(self.folder / MEASURING)
            self.reporter.measuring = self.measuring.since
            self.tracker = Tracker(self.folder, first=len(self.state.generations), scaled=self.strategy.scaled)
            try:
                self._stages()
            except KeyboardInterrupt:
                self.state = RunState(**self._saved)  # every measurement stays, nothing else that is half done
                self._write()
                raise
            finally:
                self.measuring.close()
                self.tracker.close()
        return self.folder

    def _stages(self) -> None:
        self._prepare()
        for number in range(len(self.state.generations), self.config.search.generations):
            evolve(self, number)
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
        with as_written(self.store.folder, "the state of a run"):
            identity = saved.state.pop("identity")
            self.state = RunState(**saved.state)
            known, told = known_since(with_precision(self, identity, self._identity), self._identity, self.config)
            changed = require_same(self._identity, known, self.folder, self.force)
            self.ledger = Ledger.load(self.state.ledger, saved.tensors)
        for sentence in told:
            self.reporter.warn(sentence)
        if changed:
            self._go_on_changed(changed)
        self._saved = self.state.to_json()
        self.reporter.stage(f"resumed after {len(self.state.generations)} generations")

    def _go_on_changed(self, changed: Sequence[str]) -> None:
        """Forget what another experiment measured: it still counts as a cost, under names that nobody asks for."""
        for sentence in changed:
            self.warn(f"went on in spite of {sentence}")
        (self.folder / MEASURING).unlink(missing_ok=True)
        self.ledger = Ledger({f"before {self.state.step}: {name}": e for name, e in self.ledger.entries.items()})
        self.state.plan = self.state.selection = None
        self.state.finished = False

    def save(self) -> None:
        """Write a checkpoint, population.jsonl and history.json; say why children share nothing, where they might."""
        for why in filter(None, self.problem.parent.whole.values()):
            sentence = f"children run the whole network, whatever the scope: {why}"
            if sentence not in self.state.warnings:
                self.warn(sentence)
        if self.problem.parent.fingerprint != self._identity["parent (fingerprint)"]:
            raise SpecError(f"{type(self.strategy).__name__} has written into the parent's weights, in place")
        self.state.strategy = learnt(self.strategy)
        self._write()

    def _write(self) -> None:
        self.state.step += 1
        now = time.monotonic()
        self.state.seconds, self._started = self.state.seconds + now - self._started, now
        self.state.ledger = self.ledger.to_json()
        rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in self.state.population)
        write_atomic(self.folder / "population.jsonl", rows)
        write_atomic(self.folder / "history.json", json.dumps(self._history(), indent=1) + "\n")
        self._saved = self.state.to_json()
        self.store.save(self.state.step, {**self._saved, "identity": self._identity}, self.ledger.tensors())

    def _history(self) -> dict[str, Any]:
        names = ("scope", "plan", "trust_region", "generations", "selection", "warnings")
        return {"measures": self.problem.shown(), "sigma": self.sigma, **{n: getattr(self.state, n) for n in names}}

    @property
    def sigma(self) -> float | None:
        """The scale of new genes; None where it is not found yet, or what the Strategy does has no scale."""
        return self.state.sigma if self.strategy.scaled else None

    def warn(self, sentence: str) -> None:
        """Tell the user, and keep the sentence for the report."""
        self.reporter.warn(sentence)
        if sentence not in self.state.warnings:
            self.state.warnings.append(sentence)

    # ---- before the first generation: the plan, the parent's own score, σ

    def _prepare(self) -> None:
        if not self.state.finished:
            preflight(self)
        settle_scope(self)
        plan = Plan.from_json(self.state.plan) if self.state.plan else None
        if plan is None:
            self.reporter.stage("finding how children are evaluated fastest")
        problem, settings, measuring = self.problem, self.config.evaluation, self.measuring
        self.evaluator = Evaluator(problem.parent, self.strategy, problem, plan, settings=settings, measuring=measuring)
        self.state.plan = self.evaluator.plan.to_json()
        if self.evaluator.untraced:
            self.warn("torch.fx cannot trace the network, so that each child runs the whole of it, whatever the scope")
        if self.state.sigma is None:
            self.strategy.sigma = self.state.sigma = find_sigma(self)
            self.save()
        else:
            self.strategy.sigma = self.state.sigma
            learn(self.strategy, self.state.strategy)  # after σ, which a Strategy may have changed since
        if self.state.trust_region is not None and not self.state.generations:
            self.tracker.trust_region(self.state.trust_region)

    def ticker(self, total: int, text: str) -> Callable[[int], None]:
        """Return what tells the user how many of `total` steps are done."""
        return lambda done: self.reporter.progress(done, total, text)

    def tune(self, genomes: Sequence[Genome]) -> dict[str, str]:
        """Train the children that are to be trained; return by key the error of each that could not be."""
        return self.problem.tune(
            self.strategy, genomes, lambda done, total: self.reporter.progress(done, total, "epochs of children")
        )

    def measure(self, genomes: Sequence[Genome], split: Split, text: str) -> list[Outcome]:
        """Return each genome's outcome on `split`, from the ledger where it is there."""
        return self.ledger.measure(self.evaluator, genomes, split, self.ticker(len(genomes), text))

    # ---- the members

    def _select(self) -> None:
        """Choose the members on the select split, among the children that search found best, so many for each place."""
        self.reporter.stage("choosing members on cases that search never saw")
        rows = {row["key"]: row for row in self.state.population if row["status"] == "ok"}
        found = sorted(rows.values(), key=lambda row: -row["fitness"])[: CANDIDATES * self.config.selection.size]
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
        alive = [alive[i] for i in distinct(self.problem.parent, self.strategy, [(g, e.cases) for g, e in alive])]
        scores = [evaluation.score for _, evaluation in alive]
        places = self._members([genome for genome, _ in alive], [evaluation for _, evaluation in alive], scores)
        best = max(range(len(alive)), key=lambda i: scores[i])
        self.state.selection = {
            "rule": self.config.selection.rule,
            "candidates": [{"key": g.key, "select": s} for (g, _), s in zip(alive, scores, strict=True)],
            "members": [genome.to_json() for genome in self.voters([alive[i][0] for i in places])],
            "best": alive[best][0].to_json(),
            "best_select": scores[best],
        }
        self.save()

    def voters(self, members: Sequence[Genome]) -> list[Genome]:
        """Return the members, and the parent where it votes too."""
        return [*members, Genome()] if self.config.selection.parent else list(members)

    def _members(self, genomes: list[Genome], evaluations: list[Evaluation], scores: list[float]) -> list[int]:
        size = self.config.selection.size
        if self.config.selection.rule == "top":
            return selection.top(scores, size)
        judgement = self.problem.judgement(evaluations)
        outputs = judgement.outputs
        if outputs is None:
            outputs = self.evaluator.outputs(genomes, judgement.inputs)
        own = self.config.selection
        apart = own.diversity * self.apart(genomes, own.diversity_by, outputs) if own.diversity else None
        return selection.greedy(
            outputs,
            judgement.score,
            size,
            replacement=own.replacement,
            apart=apart,
            rule=own.combine,
            seed=self.config.seed,
        )

    def apart(self, genomes: Sequence[Genome], distance: Distance, outputs: Tensor | None = None) -> Tensor:
        """Return how far each two children are apart, `(k, k)`; from their `outputs` where these are known already."""
        problem = self.problem
        if distance in OF_OUTPUTS:
            known = outputs if outputs is not None else self.evaluator.outputs(genomes, problem.probe(APART))
            return OF_OUTPUTS[distance](known)
        lookers = (problem.looker(problem.parent.child(grow(problem.parent, self.strategy, g)).module) for g in genomes)
        return of_saliency(lookers, problem.pictures(), self.config.seed, distance)
