"""Selection of the ensemble: the best children are measured on the select split, and the members chosen there."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.errors import EvoensError, SpecError
from evoens.evaluation.backend import Backend, measure
from evoens.experiment import selection
from evoens.experiment.distances import pairwise_distances
from evoens.experiment.distinct import distinct
from evoens.experiment.journal import Journal
from evoens.experiment.state import Experiment, Selection
from evoens.genome import Genome
from evoens.plugins.guest import guest
from evoens.problem import Evaluation
from evoens.search.base import Row, Search
from evoens.settings.config import CANDIDATES, Config


def settle_members(experiment: Experiment, backend: Backend, journal: Journal, search: Search) -> Selection:
    """Return the members of the run's ensemble, chosen once on the select split among the candidates of the search.

    Raises:
        EvoensError: every candidate failed.
    """
    if journal.state.selection is None:
        journal.state.selection = _select(experiment, backend, journal, search).to_json()
        journal.save()
    return Selection.from_json(journal.state.selection)


def with_parent(config: Config, members: Sequence[Genome]) -> list[Genome]:
    """Return the members, and the parent where it votes too."""
    return [*members, Genome()] if config.selection.parent else list(members)


def _select(experiment: Experiment, backend: Backend, journal: Journal, search: Search) -> Selection:
    problem, config = experiment.problem, experiment.config
    journal.stage("choosing members on cases that search never saw")
    backend.kept.clear()  # a run that goes on from here knows nothing of the search split
    measured = _measured(experiment, backend, journal, _candidates(config, journal, search))
    kept = distinct(
        problem.parent, experiment.strategy, [(genome, e.cases) for genome, e in measured], experiment.tuned
    )
    genomes, evaluations = (list(part) for part in zip(*(measured[i] for i in kept), strict=True))
    scores = [evaluation.score for evaluation in evaluations]
    places = _members(experiment, backend, genomes, evaluations, scores)
    best = max(range(len(scores)), key=lambda i: scores[i])
    return Selection(
        rule=config.selection.rule,
        candidates=[{"key": g.key, "select": score} for g, score in zip(genomes, scores, strict=True)],
        members=with_parent(config, [genomes[i] for i in places]),
        best=genomes[best],
        best_select=scores[best],
    )


def _candidates(config: Config, journal: Journal, search: Search) -> list[Genome]:
    """Return the children that the search thinks best, so many for each place, or as many as it has."""
    whose = f"{type(search).__name__}.candidates"
    with guest(whose):
        found = search.candidates(alive(journal.state.population), CANDIDATES * config.selection.size)
    if not found:
        raise SpecError(f"{whose}: expected some of the children, found none")
    return [Genome.from_json(row["genome"]) for row in found]


def alive(population: Sequence[Row]) -> list[Row]:
    """Return the rows of population.jsonl of different children that did not fail."""
    return list({row["key"]: row for row in population if row["status"] == "ok"}.values())


def _measured(
    experiment: Experiment, backend: Backend, journal: Journal, genomes: Sequence[Genome]
) -> list[tuple[Genome, Evaluation]]:
    """Return who could be measured on the select split; measured anew, as outputs are kept for selection alone."""
    split, total = experiment.problem.split("select"), len(genomes)
    outcomes = measure(backend, genomes, split, lambda i, _: journal.progress(i + 1, total, "candidates"))
    for outcome in outcomes:
        journal.ledger.put(split, outcome.genome.key, outcome.evaluation, outcome.error)
    alive = [(o.genome, o.evaluation) for o in outcomes if o.evaluation is not None]
    if not alive:
        raise EvoensError(f"every candidate failed on the select split; the first: {outcomes[0].error}")
    return alive


def _members(
    experiment: Experiment,
    backend: Backend,
    genomes: Sequence[Genome],
    evaluations: Sequence[Evaluation],
    scores: Sequence[float],
) -> list[int]:
    """Return the members' places among the candidates."""
    own = experiment.config.selection
    if own.rule == "top":
        return selection.top(scores, own.size)
    judgement = experiment.problem.judgement(evaluations)
    outputs = judgement.outputs
    if outputs is None:
        outputs = backend.outputs(genomes, judgement.inputs)
    apart = None
    if own.diversity:
        apart = own.diversity * pairwise_distances(experiment, backend, genomes, own.diversity_by, outputs)
    return selection.greedy(
        outputs,
        judgement.score,
        own.size,
        replacement=own.replacement,
        apart=apart,
        rule=own.combine,
        seed=experiment.config.seed,
    )
