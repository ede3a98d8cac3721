"""What a finished run leaves behind: the verdict, report.json, the ensemble's folder, films, report.html."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.compare import NAMES, Contest, verdict
from evoens.cost import cost
from evoens.ensemble import Ensemble
from evoens.files import write_atomic
from evoens.genome import Genome
from evoens.play import gif
from evoens.problem import Problem
from evoens.report.page import write_report
from evoens.state import versions

if TYPE_CHECKING:
    from evoens.run import Run


def write_results(run: Run) -> None:
    """Measure the contestants on the test split and write everything a run leaves; idempotent."""
    chosen = run.state.selection
    assert chosen is not None
    members = [Genome.from_json(rows) for rows in chosen["members"]]
    different, size = len({genome.key for genome in members if genome.genes}), run.config.selection.size
    if different < size:
        run.warn(f"the members are {different} different networks, where selection.size asks for {size}")
    settings = run.config.report
    contest = Contest(
        parent=run.problem.parent,
        strategy=run.strategy,
        members=members,
        best=Genome.from_json(chosen["best"]),
        unselected=_unselected(run),
        draws=settings.random_draws,
        seed=run.config.seed,
        device=run.evaluator.device,
        rule=run.config.selection.combine,
    )
    run.problem.prepare(run.folder, run.reporter.training)
    run.reporter.stage("comparing on cases that neither search nor selection saw")
    on_done = partial(_tick, run)
    blocks, details = contest.run(run.problem, run.ledger, settings.bootstrap, on_done)
    ensemble = Ensemble(
        run.problem.parent,
        run.strategy,
        members,
        contest.device,
        rule=contest.rule,
        seed=contest.seed,
        temperature=details.get("temperature", {}).get("ensemble"),
        preprocessing=run.problem.preprocessing,
    )
    size = _save_ensemble(run, ensemble)
    _film(run.problem, ensemble, run.folder / "pictures")
    report = {**_report(run, blocks, ensemble, size), "details": details}
    write_atomic(run.folder / "report.json", json.dumps(report, indent=1) + "\n")
    run.tracker.results(report)
    page = write_report(run.folder)
    run.reporter.table(report)
    run.reporter.next_commands(_next(run.folder, page))


def _tick(run: Run, name: str, done: int, total: int) -> None:
    run.reporter.progress(done, total, name.replace("_", " "))
    run.save()


def _unselected(run: Run) -> list[Genome]:
    """The children of the first generation: what k draws of the Strategy give without any search."""
    rows = [row for row in run.state.population if row["generation"] == 0 and row["status"] == "ok"]
    return [Genome.from_json(row["genome"]) for row in rows]


def _save_ensemble(run: Run, ensemble: Ensemble) -> int:
    experiment, folder = run.experiment, run.folder / "ensemble"
    about = {"problem": _settings(run), "unit": run.problem.unit, "seed": run.config.seed}
    found = {"sigma": run.strategy.sigma} if run.strategy.scaled else {}
    ensemble.save(folder, experiment.source, {**experiment.arguments, **found}, about)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _settings(run: Run) -> dict[str, Any]:
    return run.config.problem.model_dump(mode="json", by_alias=True)


def _film(problem: Problem, ensemble: Ensemble, pictures: Path) -> None:
    """Film parent and ensemble on the first test case, where the problem can be filmed."""
    pictures.mkdir(exist_ok=True)
    parent = Ensemble(problem.parent, ensemble.strategy, [Genome()])
    for name, player in (("parent", parent), ("ensemble", ensemble)):
        film = problem.film(player.predict, problem.split("test").part(0, 1))
        if film is not None:
            gif(film[0], pictures / f"{name}.gif", caption=f"{name}: return {film[1]:g}")


def _report(run: Run, blocks: dict[str, dict[str, Any]], ensemble: Ensemble, size: int) -> dict[str, Any]:
    state, config, problem, members = run.state, run.config, run.problem, ensemble.genomes
    assert state.selection is not None
    generations = state.generations
    report: dict[str, Any] = {
        "name": config.name,
        "verdict": verdict(problem, blocks, run.experiment.unsure),
        "problem": _settings(run),
        "unit": problem.unit,
        "measures": problem.shown(),
        "splits": {name: problem.describe(name) for name in ("search", "select", "test")},
        "unlike_test": problem.unlike_test,
        "unsure": run.experiment.unsure,
        **{name: blocks[name] for name in NAMES},
    }
    tuned = sum(bool(genome.genes) for genome in members) if problem.tunes else 0
    alike = {"size": len(members), "parent": config.selection.parent}
    report["ensemble"] |= {**alike, "members": [g.key for g in members], "rule": state.selection["rule"]}
    report["random_children"] |= {**alike, "draws": config.report.random_draws, "of": "first generation"}
    report["best_child"] |= {"key": Genome.from_json(state.selection["best"]).key}
    return report | {
        "selection_optimism": _optimism(run, blocks),
        "reliability": generations[-1]["reliability"],
        "plan": state.plan,
        "scope": state.scope,
        "sigma": run.sigma,
        "trust_region": state.trust_region,
        "generations": len(generations),
        "candidates": state.selection["candidates"],
        "cost": cost(run, ensemble),
        "artifact": {
            "bytes": size,
            "replayable": len(members) - tuned,
            "tuned": tuned,
        },
        "parent_card": run.experiment.parent_card,
        "seed": config.seed,
        "warnings": state.warnings,
        "versions": versions(),
    }


def _optimism(run: Run, blocks: dict[str, dict[str, Any]]) -> float | None:
    """The best child's score where it was chosen, less that on the test split; None where the two are not alike."""
    assert run.state.selection is not None
    here: float = run.state.selection["best_select"]
    return here - blocks["best_child"]["test"]["score"] if not run.problem.unlike_test else None


def _next(folder: Path, page: Path) -> list[str]:
    film = [f"python -m evoens play {folder}"] if (folder / "pictures" / "ensemble.gif").is_file() else []
    return [
        f"tensorboard --logdir {folder / 'tb'}  # then http://localhost:6006/#custom_scalars&_smoothingWeight=0",
        *film,
        f"python -m evoens diversity {folder}",
        f"python -m evoens verify {folder}",
        f"python -m evoens inspect {folder}",
        f"open {page} in a browser",
    ]
