"""One generation: ask for children, measure all on the same cases, keep the best, and say what it brought."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from evoens.diversity.distances import mean_to_others
from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.evaluation.backend import Backend, Outcome
from evoens.experiment import selection
from evoens.experiment.distances import pairwise_distances
from evoens.experiment.distinct import distinct
from evoens.experiment.journal import Journal
from evoens.experiment.membership import with_parent
from evoens.experiment.state import Experiment
from evoens.experiment.traits import traits
from evoens.genome import Genome
from evoens.listener import GenerationEnd
from evoens.machine.allocator import let_go
from evoens.plugins.guest import guest
from evoens.problem import FixedInputs, Split
from evoens.progress import Generation
from evoens.scoring.metrics import reliability
from evoens.search.base import Search
from evoens.settings.config import SO_FAR
from evoens.strategy import Context, Record, ask, learnt, tell

UNRELIABLE = 0.3  # below this correlation between two halves of the cases, fitness ranks mostly chance

Measured = tuple[Genome, Tensor]
"""A genome and its results, float64 `(cases,)`."""


def evolve(experiment: Experiment, backend: Backend, search: Search, journal: Journal, number: int) -> Generation:
    """Measure generation `number`; its children, elites and summary go into the run's state, which is saved.

    Raises:
        EvoensError: every child failed, or the parent.
        SpecError: the Strategy did not give as many genomes as it was asked for.
    """
    began, config, problem = (time.monotonic(), journal.ledger.samples), experiment.config, experiment.problem
    journal.stage(f"generation {number + 1} of {config.search.generations}")
    split, asked = problem.split("search"), _ask(experiment, search, journal, number)
    parent, *outcomes = _measured(experiment, backend, journal, asked, split)
    if parent.evaluation is None:
        raise EvoensError(f"the parent itself failed: {parent.error}")
    outcomes = _different(experiment, journal, number, outcomes)
    alive = _alive(number, outcomes)
    reliable = reliability(torch.stack([cases for _, cases in alive]), config.seed)
    pool, errors = _race(experiment, backend, journal, [*_elites(journal), *alive], split)
    outcomes = [
        replace(o, evaluation=None, error=errors[key]) if (key := o.genome.key) in errors else o for o in outcomes
    ]
    children = [genome.key for genome, _ in _alive(number, outcomes)]
    scores = {genome.key: float(cases.mean()) for genome, cases in pool}
    shaped = _shaped(experiment, backend, [genome for genome, _ in pool], scores)
    measured = [outcome for outcome in outcomes if outcome.evaluation is not None]
    rows = traits(experiment, backend, search.traits, measured)
    records = [Record(o.genome, shaped[o.genome.key], number, row) for o, row in zip(measured, rows, strict=True)]
    tell(search, [record for record in records if all(map(math.isfinite, record.traits.values()))])
    journal.state.strategy = learnt(search)
    _note(journal, number, outcomes, scores, {record.genome.key: record.traits for record in records})
    ranked = [pool[i] for i in selection.top([shaped[genome.key] for genome, _ in pool], len(pool))]
    journal.state.elites = [
        {"genome": genome.to_json(), "cases": cases.tolist()} for genome, cases in ranked[: config.search.elites]
    ]
    _warn_of_chance(experiment, journal, number, reliable)
    ensemble = _ensemble(experiment, backend, [genome for genome, _ in ranked])
    with guest(f"{type(search).__name__}.figures"):
        reached = search.figures()
    figures = {
        "fitness": _fitness([scores[key] for key in children], parent.evaluation.score),
        "ensemble": _score_so_far(experiment, journal, number, ensemble),
        "reliability": reliable,
        "failed": len(outcomes) - len(children),
        "sigma": search.strategy.sigma if experiment.strategy.scaled else None,
        "search": reached,
    }
    return _kept(journal, ensemble, began, {"generation": number, **figures})


def _kept(journal: Journal, ensemble: Ensemble, began: tuple[float, int], figures: dict[str, Any]) -> Generation:
    """Tell of a generation, and keep its record with what listeners have added."""
    seconds = time.monotonic() - began[0]
    summary = Generation(
        **figures,
        diversity={},
        evaluations=journal.ledger.evaluations,
        samples_per_second=(journal.ledger.samples - began[1]) / seconds,
        seconds=seconds,
    )
    let_go()  # listeners look at whole networks
    event = GenerationEnd(summary, ensemble, journal.state.population, journal.warn)
    journal.tell(lambda listener: listener.on_generation(event))
    journal.state.generations.append(asdict(event.summary))
    journal.save()
    return event.summary


def _ensemble(experiment: Experiment, backend: Backend, ranked: Sequence[Genome]) -> Ensemble:
    """Return the ensemble of the best so far."""
    own, problem, seed = experiment.config.selection, experiment.problem, experiment.config.seed
    members = with_parent(experiment.config, ranked[: own.size])
    return Ensemble(
        problem.parent,
        experiment.strategy,
        members,
        backend.device,
        rule=own.combine,
        seed=seed,
        tuned=experiment.tuned,
        kept=backend.kept,
    )


def _score_so_far(experiment: Experiment, journal: Journal, number: int, ensemble: Ensemble) -> float:
    """Return what the ensemble of the best so far scores on the search split, on some cases where each costs a pass."""
    problem = experiment.problem
    some = problem.split("search")
    if not isinstance(problem, FixedInputs):
        some = some.part(0, SO_FAR)
    name = f"ensemble so far:{number}"
    return float(journal.ledger.get_or_run(some, name, lambda: problem.evaluate(ensemble.predict, some)).mean())


def _measured(
    experiment: Experiment, backend: Backend, journal: Journal, genomes: Sequence[Genome], split: Split
) -> list[Outcome]:
    """Return the parent's outcome and the children's, in order; one that could not be trained has failed."""
    errors = _tuned(experiment, journal, genomes)
    trained = [genome for genome in genomes if genome.key not in errors]
    parent, *measured = journal.measure(backend, [Genome(), *trained], split, "parent and children")
    found = iter(measured)
    failed = [Outcome(genome, None, errors.get(genome.key)) for genome in genomes]
    return [parent, *(outcome if outcome.error else next(found) for outcome in failed)]


def _tuned(experiment: Experiment, journal: Journal, genomes: Sequence[Genome]) -> dict[str, str]:
    """Train the children, where they are trained; return by key the error of each that could not be."""
    if experiment.tuned is None:
        return {}

    def told(done: int, total: int) -> None:
        journal.progress(done, total, f"{'frames' if experiment.problem.tuned_frames else 'epochs'} of children")

    return experiment.problem.tune(experiment.strategy, genomes, experiment.tuned, told)


def _different(experiment: Experiment, journal: Journal, number: int, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes without those of children that one before them equals: a network counts once."""
    alive = [(i, o.genome, o.evaluation.cases) for i, o in enumerate(outcomes) if o.evaluation is not None]
    measured = [(genome, cases) for _, genome, cases in alive]
    places = distinct(experiment.problem.parent, experiment.strategy, measured, experiment.tuned)
    if len(places) < len(alive):
        journal.warn(
            f"generation {number + 1}: {len(alive)} children are {len(places)} different networks; each counts once"
        )
    again = {i for i, *_ in alive} - {alive[place][0] for place in places}
    return [outcome for i, outcome in enumerate(outcomes) if i not in again]


def _ask(experiment: Experiment, search: Search, journal: Journal, number: int) -> list[Genome]:
    config, strategy = experiment.config, experiment.strategy
    elites = tuple(genome for genome, _ in _elites(journal))
    context = Context(strategy.sigma, strategy.scope, elites, strategy.parent)
    return ask(search, config.search.population, Random(f"{config.seed}:generation:{number}"), context)


def _elites(journal: Journal) -> list[Measured]:
    rows = journal.state.elites
    return [(Genome.from_json(row["genome"]), torch.tensor(row["cases"], dtype=torch.float64)) for row in rows]


def _alive(number: int, outcomes: Sequence[Outcome]) -> list[Measured]:
    alive = [(o.genome, o.evaluation.cases) for o in outcomes if o.evaluation is not None]
    if not alive:
        raise EvoensError(
            f"all {len(outcomes)} children of generation {number + 1} failed; the first: {outcomes[0].error}"
        )
    return alive


def _race(
    experiment: Experiment, backend: Backend, journal: Journal, pool: list[Measured], split: Split
) -> tuple[list[Measured], dict[str, str]]:
    """Measure those in contention on more cases; return who is left with all results, and the error of who is not."""
    racing = experiment.config.search.racing
    if racing is None:
        return pool, {}
    errors: dict[str, str] = {}

    def more(places: Sequence[int], part: Split) -> list[Tensor]:
        """Measure some on more cases; one that fails there scores worst on all of them."""
        text = f"racing, {part.first + part.count} cases"
        outcomes = journal.measure(backend, [pool[i][0] for i in places], part, text)
        errors.update({o.genome.key: o.error for o in outcomes if o.error is not None})
        return [torch.full((part.count,), -torch.inf) if o.evaluation is None else o.evaluation.cases for o in outcomes]

    whole = Split(split.name, 0, racing.levels)
    start = [cases[: split.count] for _, cases in pool]  # what an elite has beyond is in the ledger
    results = selection.race(start, more, whole, racing.step, experiment.config.selection.size)
    raced = [(genome, cases) for (genome, _), cases in zip(pool, results, strict=True) if genome.key not in errors]
    return raced, errors


def _shaped(
    experiment: Experiment, backend: Backend, genomes: Sequence[Genome], scores: dict[str, float]
) -> dict[str, float]:
    """What the children and elites are bred by: their scores, and what their distance from the others is worth."""
    own = experiment.config.search
    if not own.diversity:
        return scores
    bonus = own.diversity * mean_to_others(pairwise_distances(experiment, backend, genomes, own.diversity_by))
    return {genome.key: scores[genome.key] + float(more) for genome, more in zip(genomes, bonus, strict=True)}


def _note(
    journal: Journal,
    number: int,
    outcomes: Sequence[Outcome],
    scores: dict[str, float],
    reached: Mapping[str, Mapping[str, float]],
) -> None:
    """Write a row of population.jsonl for each child, with the traits it has `reached`, and say who failed."""
    for outcome in outcomes:
        failed = outcome.evaluation is None
        row = {"generation": number, "key": outcome.genome.key, "genome": outcome.genome.to_json()}
        row |= {"status": outcome.status, "fitness": None if failed else scores[outcome.genome.key]}
        if own := reached.get(outcome.genome.key):
            row["traits"] = {name: x if math.isfinite(x) else None for name, x in own.items()}
        journal.state.population.append(row)
        if failed:
            journal.warn(f"generation {number + 1}: child {outcome.genome.key[:12]} failed: {outcome.error}")


def _fitness(scores: Sequence[float], parent: float) -> dict[str, float]:
    return {"best": max(scores), "mean": sum(scores) / len(scores), "worst": min(scores), "parent": parent}


def _warn_of_chance(experiment: Experiment, journal: Journal, number: int, reliable: float | None) -> None:
    search, more = experiment.config.search, experiment.problem.more_data_hint
    if search.generations == 1 and search.population <= experiment.config.selection.size:
        return  # all children become members, so that nothing hangs on their ranking
    if reliable is None or reliable < UNRELIABLE:
        alike = "has no value (all children score alike, or there are too few)"
        found = alike if reliable is None else f"is {reliable:.2f}"
        more += " or a larger σ" if experiment.strategy.scaled else ""
        journal.warn(
            f"generation {number + 1}: the reliability of fitness {found}: its ranking is mostly chance; "
            f"{more} would tell children apart"
        )
