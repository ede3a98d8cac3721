"""One generation: ask for children, measure all on the same cases, keep the best, and say what it brought."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from random import Random
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from evoens import selection
from evoens.distinct import distinct
from evoens.diversity.distances import mean_to_others
from evoens.diversity.pictures import png
from evoens.diversity.watch import Diversity, watch, watch_answers
from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.evaluate import Outcome
from evoens.files import write_atomic
from evoens.genome import Genome
from evoens.guest import guest
from evoens.metrics import reliability
from evoens.problem import FixedInputs, Split
from evoens.report.lineage import lineage
from evoens.settings.config import SO_FAR
from evoens.strategy import Record, ask
from evoens.tracker import Generation

if TYPE_CHECKING:
    from evoens.run import Run

NO_GRADIENT = "the network has no gradient by its inputs"
UNRELIABLE = 0.3  # below this correlation between two halves of the cases, fitness ranks mostly chance

Measured = tuple[Genome, Tensor]
"""A genome and its results, float64 `(cases,)`."""


def evolve(run: Run, number: int) -> None:
    """Measure generation `number`, and add its children, elites and summary to the run's state; a checkpoint follows.

    Raises:
        EvoensError: every child failed, or the parent.
        SpecError: the Strategy did not give as many genomes as it was asked for.
    """
    began = time.monotonic(), run.ledger.samples
    run.reporter.stage(f"generation {number + 1} of {run.config.search.generations}")
    split, asked = run.problem.split("search"), _ask(run, number)
    parent, *outcomes = _measured(run, asked, split)
    if parent.evaluation is None:
        raise EvoensError(f"the parent itself failed: {parent.error}")
    outcomes = _different(run, number, outcomes)
    alive = _alive(number, outcomes)
    reliable = reliability(torch.stack([cases for _, cases in alive]), run.config.seed)
    pool, errors = _race(run, [*_elites(run), *alive], split)
    outcomes = [
        replace(o, evaluation=None, error=errors[key]) if (key := o.genome.key) in errors else o for o in outcomes
    ]
    children = [genome.key for genome, _ in _alive(number, outcomes)]
    scores = {genome.key: float(cases.mean()) for genome, cases in pool}
    worth = _worth(run, [genome for genome, _ in pool], scores)
    _tell(run, number, outcomes, scores, worth)
    ranked = [pool[i] for i in selection.top([worth[genome.key] for genome, _ in pool], len(pool))]
    run.state.elites = [
        {"genome": genome.to_json(), "cases": cases.tolist()} for genome, cases in ranked[: run.config.search.elites]
    ]
    fitness = _fitness([scores[key] for key in children], parent.evaluation.score)
    failed = len(outcomes) - len(children)
    _watch(run, number, [g for g, _ in ranked], fitness=fitness, reliable=reliable, failed=failed, began=began)


def _measured(run: Run, genomes: Sequence[Genome], split: Split) -> list[Outcome]:
    """Return the parent's outcome and the children's, in order; one that could not be trained has failed."""
    errors = run.tune(genomes)
    trained = [genome for genome in genomes if genome.key not in errors]
    parent, *measured = run.measure([Genome(), *trained], split, "parent and children")
    found = iter(measured)
    failed = [Outcome(genome, None, errors.get(genome.key)) for genome in genomes]
    return [parent, *(outcome if outcome.error else next(found) for outcome in failed)]


def _different(run: Run, number: int, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes without those of children that one before them equals: a network counts once."""
    alive = [(i, o.genome, o.evaluation.cases) for i, o in enumerate(outcomes) if o.evaluation is not None]
    places = distinct(run.problem.parent, run.strategy, [(genome, cases) for _, genome, cases in alive])
    if len(places) < len(alive):
        run.warn(
            f"generation {number + 1}: {len(alive)} children are {len(places)} different networks; each counts once"
        )
    again = {i for i, *_ in alive} - {alive[place][0] for place in places}
    return [outcome for i, outcome in enumerate(outcomes) if i not in again]


def _ask(run: Run, number: int) -> list[Genome]:
    n = run.config.search.population
    run.strategy.elites = tuple(genome for genome, _ in _elites(run))
    return ask(run.strategy, n, Random(f"{run.config.seed}:generation:{number}"))


def _elites(run: Run) -> list[Measured]:
    return [(Genome.from_json(e["genome"]), torch.tensor(e["cases"], dtype=torch.float64)) for e in run.state.elites]


def _alive(number: int, outcomes: Sequence[Outcome]) -> list[Measured]:
    alive = [(o.genome, o.evaluation.cases) for o in outcomes if o.evaluation is not None]
    if not alive:
        raise EvoensError(
            f"all {len(outcomes)} children of generation {number + 1} failed; the first: {outcomes[0].error}"
        )
    return alive


def _race(run: Run, pool: list[Measured], split: Split) -> tuple[list[Measured], dict[str, str]]:
    """Measure those in contention on more cases; return who is left with all results, and the error of who is not."""
    racing = run.config.search.racing
    if racing is None:
        return pool, {}
    errors: dict[str, str] = {}

    def more(places: Sequence[int], part: Split) -> list[Tensor]:
        outcomes = run.measure([pool[i][0] for i in places], part, f"racing, {part.first + part.count} cases")
        errors.update({o.genome.key: o.error for o in outcomes if o.error is not None})
        return [torch.full((part.count,), -torch.inf) if o.evaluation is None else o.evaluation.cases for o in outcomes]

    whole = Split(split.name, 0, racing.levels)
    start = [cases[: split.count] for _, cases in pool]  # what an elite has beyond is in the ledger
    results = selection.race(start, more, whole, racing.step, run.config.selection.size)
    raced = [(genome, cases) for (genome, _), cases in zip(pool, results, strict=True) if genome.key not in errors]
    return raced, errors


def _worth(run: Run, genomes: Sequence[Genome], scores: dict[str, float]) -> dict[str, float]:
    """What the children and elites are bred by: their scores, and what their distance from the others is worth."""
    own = run.config.search
    if not own.diversity:
        return scores
    bonus = own.diversity * mean_to_others(run.apart(genomes, own.diversity_by))
    return {genome.key: scores[genome.key] + float(more) for genome, more in zip(genomes, bonus, strict=True)}


def _tell(
    run: Run, number: int, outcomes: Sequence[Outcome], scores: dict[str, float], worth: dict[str, float]
) -> None:
    with guest(f"{type(run.strategy).__name__}.tell"):
        run.strategy.tell([Record(o.genome, worth[o.genome.key], number) for o in outcomes if o.evaluation is not None])
    for outcome in outcomes:
        failed = outcome.evaluation is None
        row = {"generation": number, "key": outcome.genome.key, "genome": outcome.genome.to_json()}
        row |= {"status": outcome.status, "fitness": None if failed else scores[outcome.genome.key]}
        run.state.population.append(row)
        if failed:
            run.warn(f"generation {number + 1}: child {outcome.genome.key[:12]} failed: {outcome.error}")


def _fitness(scores: Sequence[float], parent: float) -> dict[str, float]:
    return {"best": max(scores), "mean": sum(scores) / len(scores), "worst": min(scores), "parent": parent}


def _watch(
    run: Run,
    number: int,
    ranked: Sequence[Genome],
    *,
    fitness: dict[str, float],
    reliable: float | None,
    failed: int,
    began: tuple[float, int],
) -> None:
    """Write down and show what a generation has brought: the ensemble so far, its diversity, its cost."""
    members = run.voters(ranked[: run.config.selection.size])
    rule, seed = run.config.selection.combine, run.config.seed
    ensemble = Ensemble(run.problem.parent, run.strategy, members, run.evaluator.device, rule=rule, seed=seed)
    some = run.problem.split("search")
    if not isinstance(run.problem, FixedInputs):
        some = some.part(0, SO_FAR)
    so_far = run.ledger.once(some, f"ensemble so far:{number}", lambda: run.problem.evaluate(ensemble.predict, some))
    seen = _look(run, ensemble)
    _warn_of_chance(run, number, reliable)
    seconds = time.monotonic() - began[0]
    summary = Generation(
        generation=number,
        sigma=run.strategy.sigma if run.strategy.scaled else None,
        fitness=fitness,
        ensemble=float(so_far.mean()),
        reliability=reliable,
        diversity=seen.to_json(),
        failed=failed,
        evaluations=run.ledger.evaluations,
        samples_per_second=(run.ledger.samples - began[1]) / seconds,
        seconds=seconds,
    )
    run.state.generations.append(asdict(summary))
    run.tracker.generation(summary, seen.picture, _lineage(run, members, fitness["parent"]))
    (run.folder / "pictures").mkdir(exist_ok=True)
    if seen.picture is not None:
        write_atomic(run.folder / "pictures" / "saliency.png", png(seen.picture))
    run.reporter.generation(summary)
    run.save()


def _lineage(run: Run, members: Sequence[Genome], parent: float) -> Figure:
    """All children so far; generations are counted from 1 there."""
    rows = [row | {"generation": row["generation"] + 1} for row in run.state.population if row["status"] == "ok"]
    return lineage(rows, [genome.key for genome in members], parent, run.problem.unit)


def _look(run: Run, ensemble: Ensemble) -> Diversity:
    """Watch the members, and beside them the parent, on the same pictures; their answers where no more can be had."""
    problem, seed = run.problem, run.config.seed
    members = [problem.looker(module) for module in ensemble.modules()]
    parent = problem.parent.child({}).module  # a copy: a network may keep what it has just computed
    try:
        with guest(NO_GRADIENT):
            return watch(members, problem.pictures(), seed, problem.looker(parent))
    except EvoensError as error:
        sentence = f"what members look at is neither drawn nor compared: {error}"
        if sentence not in run.state.warnings:
            run.warn(sentence)
        return watch_answers(members, problem.pictures(), seed)


def _warn_of_chance(run: Run, number: int, reliable: float | None) -> None:
    search = run.config.search
    if search.generations == 1 and search.population <= run.config.selection.size:
        return  # all children become members, so that nothing hangs on their ranking
    if reliable is None or reliable < UNRELIABLE:
        alike = "has no value (all children score alike, or there are too few)"
        found = alike if reliable is None else f"is {reliable:.2f}"
        more = f"{run.problem.more} or a larger σ" if run.strategy.scaled else run.problem.more
        run.warn(
            f"generation {number + 1}: the reliability of fitness {found}: its ranking is mostly chance; "
            f"{more} would tell children apart"
        )
