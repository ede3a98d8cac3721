"""What a finished run leaves behind: the verdict, report.json and the ensemble's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evoens.ensemble import Ensemble
from evoens.errors import SpecError
from evoens.evaluation.backend import Backend
from evoens.experiment.comparison import Comparison, verdict
from evoens.experiment.cost import cost, training
from evoens.experiment.journal import Journal
from evoens.experiment.state import Experiment, Selection
from evoens.experiment.stopping import stopping
from evoens.genome import Genome
from evoens.listener import RunEnd
from evoens.machine.allocator import let_go
from evoens.machine.environment import versions
from evoens.methods.base import Evolved, Fitted
from evoens.methods.compared import compared
from evoens.plugins.guest import guest

ENSEMBLE = "ensemble"  # the folder of what is handed back
TRAININGS = "trainings"  # the folder of networks that Methods train


def conclude(
    experiment: Experiment, backend: Backend, journal: Journal, selection: Selection, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure the competitors on the test split, write what a run leaves, and return its report; idempotent.

    found: what the report has of the search alone.
    """
    members, config, problem = selection.members, experiment.config, experiment.problem
    different, size = len({genome.key for genome in members if genome.genes}), config.selection.size
    if different < size:
        journal.warn(f"the members are {different} different networks, where selection.size asks for {size}")
    evolved = _evolved(experiment, backend, journal, selection)
    journal.stage("comparing on cases that neither search nor selection saw")
    competitors = _fitted(experiment, evolved, journal)

    def on_done(name: str, done: int, total: int) -> None:
        journal.progress(done, total, _words(name))
        journal.save()

    own = config.report
    comparison = Comparison(
        problem, competitors, backend.device, own.bootstrap, config.seed, own.precision, evolved.ensemble(members)
    )
    blocks, details = comparison.run(journal.ledger, on_done)
    backend.kept.clear()
    backend.kept.close()
    let_go()
    temperature = details.get("temperature", {}).get("ensemble")
    ensemble = evolved.ensemble(members, temperature=temperature, preprocessing=problem.preprocessing)
    _save_ensemble(experiment, journal, ensemble)
    report = {**found, **_report(experiment, journal, selection, blocks, ensemble), "details": details}
    journal.write("report.json", json.dumps(report, indent=1) + "\n")
    journal.tell(lambda listener: listener.on_report(RunEnd(journal.folder, ensemble, report)))
    return report


def _evolved(experiment: Experiment, backend: Backend, journal: Journal, selection: Selection) -> Evolved:
    """What every Method is given."""
    return Evolved(
        problem=experiment.problem,
        config=experiment.config,
        device=backend.device,
        task=experiment.task,
        epochs=sum(n or 0 for n in training(experiment, journal)["epochs"].values()),
        trainings=journal.folder / TRAININGS,
        strategy=experiment.strategy,
        members=tuple(selection.members),
        best=selection.best,
        unselected=tuple(_unselected(journal)),
        tuned=experiment.tuned,
        ledger=journal.ledger,
        kept=backend.kept,
    )


def _fitted(experiment: Experiment, evolved: Evolved, journal: Journal) -> dict[str, Fitted]:
    """Let every Method make what it competes with; each has a folder of its own."""
    methods, fitted = compared([own for _, own in experiment.methods]), dict[str, Fitted]()
    for place, method in enumerate(methods):
        journal.progress(place, len(methods), f"fitting {_words(method.name)}")
        with guest(f"{method.name} cannot be fitted"):
            known = journal.ledger.evaluations
            found = method.fit(evolved, journal.folder / method.name, journal.training)
            if not isinstance(found, Fitted):
                raise SpecError(f"{method.name}: expected fit to return Fitted, found {type(found).__name__}")
            fitted |= {method.name: found, **found.also}
        if journal.ledger.evaluations > known:
            journal.save()
    return fitted


def _words(name: str) -> str:
    return name.replace("_", " ")


def _unselected(journal: Journal) -> list[Genome]:
    """The children of the first generation: what k draws of the Strategy give without any search."""
    rows = [row for row in journal.state.population if row["generation"] == 0 and row["status"] == "ok"]
    return [Genome.from_json(row["genome"]) for row in rows]


def _save_ensemble(experiment: Experiment, journal: Journal, ensemble: Ensemble) -> None:
    about = {"problem": _settings(experiment), "unit": experiment.problem.unit, "seed": experiment.config.seed}
    found = {} if experiment.sigma is None else {"sigma": experiment.sigma}
    ensemble.save(journal.folder / ENSEMBLE, experiment.source, {**experiment.arguments, **found}, about)


def _settings(experiment: Experiment) -> dict[str, Any]:
    return experiment.config.problem.model_dump(mode="json", by_alias=True)


def _report(
    experiment: Experiment,
    journal: Journal,
    selection: Selection,
    blocks: dict[str, dict[str, Any]],
    ensemble: Ensemble,
) -> dict[str, Any]:
    state, config, problem, members = journal.state, experiment.config, experiment.problem, ensemble.genomes
    generations, precision = state.generations, config.report.precision
    difference, cases = blocks["ensemble"]["test_difference"], problem.split("test").count
    tuned = sum(bool(genome.genes) for genome in members) if problem.tunes else 0
    return {
        "name": config.name,
        "verdict": verdict(problem, blocks, experiment.unsure, precision),
        "stopping": stopping(difference, cases, problem.block, precision),
        "problem": _settings(experiment),
        "unit": problem.unit,
        "measures": problem.measure_schema(),
        "splits": {name: problem.describe(name) for name in ("search", "select", "test")},
        "unlike_test": problem.not_comparable_reason,
        "unsure": experiment.unsure,
        **blocks,
        "selection_optimism": _optimism(experiment, selection, blocks),
        "reliability": generations[-1]["reliability"],
        "plan": state.plan,
        "scope": state.scope,
        "sigma": experiment.sigma,
        "trust_region": state.trust_region,
        "generations": len(generations),
        "candidates": list(selection.candidates),
        "cost": cost(experiment, journal, ensemble),
        "artifact": {
            "bytes": sum(path.stat().st_size for path in (journal.folder / ENSEMBLE).rglob("*") if path.is_file()),
            "replayable": len(members) - tuned,
            "tuned": tuned,
        },
        "parent_card": experiment.parent_card,
        "seed": config.seed,
        "warnings": state.warnings,
        "versions": versions(),
    }


def _optimism(experiment: Experiment, selection: Selection, blocks: dict[str, dict[str, Any]]) -> float | None:
    """The best child's score where it was chosen, less that on the test split; None where the two are not alike."""
    test: float = blocks["best_child"]["test"]["score"]
    return None if experiment.problem.not_comparable_reason else selection.best_select - test
