"""The whole loop on a tiny problem: what it leaves, that its figures are right, what fails, and how it goes on."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import bootstrap
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import COUNT
from tiny_run import Listener, TinyFrames, config, execute, experiment, right_answers, timeless
from torch import Tensor

from evoens import noise
from evoens.children import TunedWeights, initial_weights
from evoens.ensemble import Ensemble, load_ensemble
from evoens.errors import CheckpointError, EvoensError, SpecError
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Plan
from evoens.experiment import results
from evoens.experiment.distances import pairwise_distances
from evoens.experiment.journal import Journal
from evoens.experiment.run import Run
from evoens.genome import Genome
from evoens.listener import GenerationEnd
from evoens.listener import Listener as BaseListener
from evoens.problem import Split
from evoens.report import listeners, watcher
from evoens.report.listeners import standard
from evoens.settings.config import Config
from evoens.storage.checkpoint import CheckpointStore, RunLock
from evoens.strategy import Strategy

AUTO = config(strategy={"sigma": "auto"})
RACING = config(
    seed=7, strategy={"sigma": 1.0}, search={"racing": {"step": 8, "levels": 40}, "generations": 1, "elites": 5}
)
SEARCH, SELECT, TEST = (Split(name, 0, COUNT) for name in ("search", "select", "test"))
CONTESTANTS = ("parent", "best_child", "random_children", "ensemble")


pytestmark = pytest.mark.usefixtures("same_plan")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, page and all."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    execute(folder, AUTO)
    return folder


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing report.html takes longer than all the rest."""
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def outcome_of(folder: Path) -> tuple[bytes, bytes, Any]:
    """What must not depend on when a run was interrupted."""
    files = (folder / "population.jsonl").read_bytes(), (folder / "ensemble" / "genomes.json").read_bytes()
    return *files, timeless(report_of(folder))


def mean_of(problem: TinyFrames, genome: Genome, split: Split) -> float:
    return float(right_answers(problem, genome, split).mean())


# ---- what a run leaves, against figures of our own


def test_leaves_every_file(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()} - {".lock"}
    files = {"config.resolved.yaml", "environment.json", "history.json", "population.jsonl", "report.json"}
    assert names == files | {"report.html", "ensemble", "tb", "checkpoints", "pictures"}
    assert set(json.loads((finished / "environment.json").read_text())) >= {"versions", "cores", "threads"}
    report = report_of(finished)
    page = re.sub(r"</?a\b[^>]*>", "", (finished / "report.html").read_text())  # terms link to the glossary
    assert report["verdict"] in page
    assert "class: noisy" in (finished / "config.resolved.yaml").read_text()
    history = json.loads((finished / "history.json").read_text())
    assert history["measures"][0]["unit"] == "accuracy" and len(history["generations"]) == 2
    assert history["trust_region"]["sigma"] == history["sigma"] == report["sigma"]


def test_report_has_every_key(finished: Path) -> None:
    report = report_of(finished)
    assert report["unit"] == "accuracy" and set(report["splits"]) == {"search", "select", "test"}
    for name in CONTESTANTS:
        assert set(report[name]["test"]) == {"score", "ci95", "n"}
    assert set(report) >= {"problem", "selection_optimism", "versions", "reliability", "warnings", "seed"}
    assert set(report["ensemble"]) >= {"size", "members"} and len(report["ensemble"]["members"]) == 3
    assert set(report["cost"]) >= {"evaluations", "seconds", "samples_per_second", "peak_rss_mb"}
    assert set(report["artifact"]) == {"bytes", "replayable", "tuned"}
    size = sum(path.stat().st_size for path in (finished / "ensemble").iterdir())
    assert report["artifact"] == {"bytes": size, "replayable": 3, "tuned": 0}


def test_fitness_is_what_the_genome_scores(finished: Path) -> None:
    rows, problem = rows_of(finished), TinyFrames()
    assert [row["generation"] for row in rows] == [0] * 6 + [1] * 6
    for row in rows:
        assert set(row) == {"generation", "key", "genome", "status", "fitness"}
        genome = Genome.from_json(row["genome"])
        assert row["key"] == genome.key and row["status"] == "ok"
        assert row["fitness"] == mean_of(problem, genome, SEARCH)
    assert len({row["fitness"] for row in rows}) > 3
    history = json.loads((finished / "history.json").read_text())["generations"]
    for number, summary in enumerate(history):
        fitness = [row["fitness"] for row in rows if row["generation"] == number]
        expected = {"best": max(fitness), "worst": min(fitness), "mean": float(np.mean(fitness))}
        assert summary["fitness"] == pytest.approx({**expected, "parent": mean_of(problem, Genome(), SEARCH)})


def test_children_of_elites_stack_one_gene(finished: Path) -> None:
    rows = rows_of(finished)
    first, second = rows[:6], rows[6:]
    elites = sorted(first, key=lambda row: -row["fitness"])[:2]
    assert all(len(row["genome"]) == 1 for row in first)
    assert [row["genome"][:-1] for row in second] == [elites[i]["genome"] for i in (0, 0, 0, 0, 1, 1)]
    sigma = report_of(finished)["sigma"]
    assert {row["genome"][-1]["scale"] for row in rows} == {sigma} and 0.05 < sigma < 0.06
    assert len({row["key"] for row in rows}) == 12


def test_members_come_from_the_best_found_and_are_chosen_on_other_cases(finished: Path) -> None:
    rows, report, problem = rows_of(finished), report_of(finished), TinyFrames()
    best = {row["key"]: row for row in sorted(rows, key=lambda row: -row["fitness"])[:6]}
    scores = {key: mean_of(problem, Genome.from_json(row["genome"]), SELECT) for key, row in best.items()}
    assert {row["key"]: row["select"] for row in report["candidates"]} == scores
    assert report["best_child"]["key"] in [key for key in scores if scores[key] == max(scores.values())]
    assert set(report["ensemble"]["members"]) <= set(best)
    test = mean_of(problem, Genome.from_json(best[report["best_child"]["key"]]["genome"]), TEST)
    assert report["selection_optimism"] == pytest.approx(max(scores.values()) - test)


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("tuned", [False, True])
def test_the_parent_votes_where_it_is_asked_to(tmp_path: Path, tuned: bool) -> None:
    problem = Tuned() if tuned else TinyFrames()
    alone, _ = execute(tmp_path / "alone", problem=Tuned() if tuned else TinyFrames())
    execute(tmp_path / "with", config(selection={"parent": True}), problem=problem)
    report, without = report_of(tmp_path / "with"), report_of(tmp_path / "alone")
    assert report["ensemble"]["members"] == [*without["ensemble"]["members"], Genome().key]
    assert report["ensemble"]["size"] == 4 and report["ensemble"]["parent"] and not without["ensemble"]["parent"]
    assert report["artifact"]["tuned"] == (3 if tuned else 0) and report["artifact"]["replayable"] == (
        1 if tuned else 4
    )
    inputs = problem.inputs[2 * COUNT :]
    members, parent = (
        load_ensemble(tmp_path / "alone", trust=True).outputs(inputs),
        alone.experiment.problem.parent.predict(inputs),
    )
    expected = (members.sum(0) + parent) / 4
    assert torch.allclose(load_ensemble(tmp_path / "with", trust=True).predict(inputs), expected, atol=1e-6)


def distances(run: Run, genomes: list[Genome], by: Any) -> Tensor:
    problem, strategy = run.experiment.problem, run.experiment.strategy
    return pairwise_distances(run.experiment, Evaluator(problem.parent, strategy, problem, Plan()), genomes, by)


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("by", ["disagreement", "kl", "perceptual"])
def test_elites_are_bred_by_what_sets_them_apart_too(tmp_path: Path, by: str) -> None:
    run, _ = execute(tmp_path / "run", config(search={"diversity": 50.0, "diversity_by": by}))
    rows = [row for row in rows_of(tmp_path / "run") if row["generation"] == 0]
    genomes = [Genome.from_json(row["genome"]) for row in rows]
    apart = distances(run, genomes, by)
    worth = [row["fitness"] + 50 * float(apart[i].sum()) / (len(rows) - 1) for i, row in enumerate(rows)]
    best = sorted(range(len(rows)), key=lambda i: -worth[i])[:2]
    bred = {json.dumps(row["genome"][:-1]) for row in rows_of(tmp_path / "run") if row["generation"] == 1}
    assert bred == {json.dumps(rows[i]["genome"]) for i in best}
    assert [row["fitness"] for row in rows] == [right_answers(TinyFrames(), g, SEARCH).mean() for g in genomes]


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("by", ["cosine", "difference"])
def test_members_are_chosen_by_what_sets_them_apart_too(tmp_path: Path, by: str) -> None:
    run, _ = execute(tmp_path / "run", config(seed=1, selection={"diversity": 1e6, "diversity_by": by, "size": 2}))
    execute(tmp_path / "other", config(seed=1, selection={"size": 2}))
    report, other = report_of(tmp_path / "run"), report_of(tmp_path / "other")
    assert report["candidates"] == other["candidates"]
    keys = [row["key"] for row in report["candidates"]]
    by_key = {row["key"]: Genome.from_json(row["genome"]) for row in rows_of(tmp_path / "run")}
    apart = distances(run, [by_key[key] for key in keys], by)
    first, second = (keys.index(key) for key in report["ensemble"]["members"])
    assert float(apart[first, second]) >= 0.8 * float(apart[first].max())  # other inputs than those of the selection
    _, usual = (keys.index(key) for key in other["ensemble"]["members"])
    assert float(apart[first, second]) > float(apart[first, usual])


@pytest.mark.usefixtures("no_page")
def test_the_parent_votes_in_the_ensemble_so_far(tmp_path: Path) -> None:
    problem, run = TinyFrames(), tmp_path / "run"
    done, _ = execute(run, config(selection={"parent": True}), problem=problem)
    rows = [row for row in rows_of(run) if row["generation"] == 0]
    best = sorted(rows, key=lambda row: -row["fitness"])[:3]
    voters = [*(Genome.from_json(row["genome"]) for row in best), Genome()]
    answers = Ensemble(problem.parent, done.experiment.strategy, voters).predict(problem.inputs[:16]).argmax(-1)
    history = json.loads((run / "history.json").read_text())
    right = (answers == problem.labels[:16]).double().mean()
    assert history["generations"][0]["ensemble"] == pytest.approx(float(right))


@pytest.mark.usefixtures("no_page")
def test_splits_whose_scores_are_not_alike_give_no_optimism(tmp_path: Path) -> None:
    problem = TinyFrames()
    problem.not_comparable_reason = "cut short here"
    execute(tmp_path, problem=problem)
    report = report_of(tmp_path)
    assert report["selection_optimism"] is None and report["unlike_test"] == "cut short here"


def test_figures_of_the_report_are_right(finished: Path) -> None:
    report, problem = report_of(finished), TinyFrames()
    genomes = {row["key"]: Genome.from_json(row["genome"]) for row in rows_of(finished)}
    parent = right_answers(problem, Genome(), TEST)
    best = right_answers(problem, genomes[report["best_child"]["key"]], TEST)
    outputs = load_ensemble(finished, trust=True).predict(problem.inputs[2 * COUNT :])
    together = (outputs.argmax(-1) == problem.labels[2 * COUNT :]).double().numpy()
    for name, cases in {"parent": parent, "best_child": best, "ensemble": together}.items():
        for block, values in ((report[name]["test"], cases), (report[name]["test_difference"], cases - parent)):
            assert (block["score"], block["n"]) == (pytest.approx(values.mean()), COUNT)
            if np.ptp(values):
                interval = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1)
                assert block["ci95"] == pytest.approx(interval.confidence_interval, abs=0.03)


def test_the_ensemble_on_disk_is_the_members(finished: Path) -> None:
    document = json.loads((finished / "ensemble" / "genomes.json").read_text())
    keys = report_of(finished)["ensemble"]["members"]
    assert [row["key"] for row in document["members"]] == keys
    weights = load_file(finished / "ensemble" / "parent.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in TinyFrames().parent.weights.items())
    genomes = {row["key"]: Genome.from_json(row["genome"]) for row in rows_of(finished)}
    assert load_ensemble(finished, trust=True).genomes == tuple(genomes[key] for key in keys)


def test_costs_count_every_measurement_once(finished: Path) -> None:
    cost = report_of(finished)["cost"]
    parent_and_children, so_far, candidates, contestants = 13, 2, 6, 4
    assert cost["evaluations"] == parent_and_children + so_far + candidates + contestants + 1  # two draws
    assert cost["samples"] == COUNT * (parent_and_children + candidates + contestants) + 16 * so_far
    assert cost["seconds"] > 0 and cost["samples_per_second"] == pytest.approx(
        cost["samples"] / cost["seconds"], rel=0.1
    )


def test_tensorboard_has_every_generation(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tb")).Reload()
    history = json.loads((finished / "history.json").read_text())["generations"]
    best = EventAccumulator(str(finished / "tb" / "best")).Reload().Scalars("fitness/children and parent")
    assert [(e.step, e.value) for e in best] == [
        (g["generation"] + 1, pytest.approx(g["fitness"]["best"])) for g in history
    ]
    assert "trust region/text_summary" in events.Tags()["tensors"]
    assert events.Scalars("results/ensemble")[0].value == pytest.approx(
        report_of(finished)["ensemble"]["test"]["score"]
    )


# ---- the same again, and not the same


@pytest.mark.usefixtures("no_page")
def test_the_same_again(finished: Path, tmp_path: Path) -> None:
    execute(tmp_path / "b", AUTO)
    assert outcome_of(tmp_path / "b") == outcome_of(finished)
    execute(tmp_path / "b", AUTO)  # a finished run only writes its results anew
    assert outcome_of(tmp_path / "b") == outcome_of(finished)


@pytest.mark.usefixtures("no_page")
def test_another_seed_and_rule(finished: Path, tmp_path: Path) -> None:
    settings = config(seed=6, strategy={"sigma": "auto"}, selection={"rule": "top"}, search={"generations": 1})
    execute(tmp_path, settings)
    report = report_of(tmp_path)
    assert {row["key"] for row in rows_of(tmp_path)}.isdisjoint(row["key"] for row in rows_of(finished))
    scores = {row["key"]: row["select"] for row in report["candidates"]}
    assert report["ensemble"]["members"] == sorted(scores, key=lambda key: -scores[key])[:3]


# ---- children that fail

FAILS = """
import torch
from evoens_strategies.noisy import Noisy

class Fails(Noisy):
    told = ()
    def perturb(self, name, weight, gene):
        if {nan}:
            return torch.full_like(weight, torch.nan)
        if {raises}:
            raise ArithmeticError("no such child")
        return super().perturb(name, weight, gene)

    def tell(self, records):
        self.told += tuple(records)
"""


def strategy_file(folder: Path, text: str, **fill: str) -> str:
    path = folder / "mine.py"
    path.write_text(text.format(**fill) if fill else text)
    return str(path)


@pytest.mark.usefixtures("no_page")
def test_failed_children_are_recorded_and_never_selected(tmp_path: Path) -> None:
    nan, raises = "gene.sign < 0 and gene.mask.part == 0", "gene.sign > 0 and gene.mask.part == 1"
    spec = strategy_file(tmp_path, FAILS, nan=nan, raises=raises) + ":Fails"
    run, listener = execute(tmp_path / "run", spec=spec)
    rows = rows_of(tmp_path / "run")
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "ok", "ok", "failed"] * 2
    assert all((row["fitness"] is None) == (row["status"] == "failed") for row in rows)
    alive = {row["key"]: row["fitness"] for row in rows if row["status"] == "ok"}
    assert {r.genome.key: r.score for r in run.experiment.strategy.told} == alive  # type: ignore[attr-defined]
    assert [row["failed"] for row in run.journal.state.generations] == [3, 3]
    assert [g.key for g in results._unselected(run.journal)] == [
        row["key"] for row in rows[:6] if row["status"] == "ok"
    ]
    bad, report = {row["key"] for row in failed}, report_of(tmp_path / "run")
    assert bad.isdisjoint(row["key"] for row in report["candidates"])
    assert all(Genome.from_json(row["genome"][:1]).key not in bad for row in rows[6:])
    for row in failed:
        assert any(row["key"][:12] in warning for warning in listener.warnings)
    reasons = " ".join(report["warnings"])
    assert "ArithmeticError: no such child" in reasons and "outputs are not finite" in reasons
    assert set(load_ensemble(tmp_path / "run", trust=True).genomes).isdisjoint(
        Genome.from_json(row["genome"]) for row in failed
    )


def test_all_failing_stops_the_run(tmp_path: Path) -> None:
    spec = strategy_file(tmp_path, FAILS, nan="False", raises="True") + ":Fails"
    with pytest.raises(EvoensError, match=r"all 6 children of generation 1 failed; the first: .*Arith.* no such child"):
        execute(tmp_path / "run", spec=spec)
    assert not (tmp_path / "run" / "report.json").exists()


def test_a_strategy_must_give_as_many_as_asked(tmp_path: Path) -> None:
    text = "from evoens_strategies.noisy import Noisy\nclass Few(Noisy):\n    def ask(self, n, rng):\n"
    spec = strategy_file(tmp_path, text + "        return super().ask(n, rng)[1:]\n") + ":Few"
    with pytest.raises(SpecError, match=r"Few\.ask\(6\): expected 6 genomes, found 5"):
        execute(tmp_path / "run", spec=spec)


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("spec", ["sparse", "stochastic"])
def test_a_strategy_without_a_scale_is_not_searched_for_one(tmp_path: Path, spec: str) -> None:
    settings = config(strategy={"class": spec, "sigma": "auto"}, search={"generations": 2})
    run, listener = execute(tmp_path, settings, spec=spec)
    assert not any("σ" in stage for stage in listener.stages)
    assert (run.experiment.strategy.sigma, run.journal.state.trust_region) == (1.0, None)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [history["sigma"], *(row["sigma"] for row in history["generations"])] == [None] * 3
    document = json.loads((tmp_path / "ensemble" / "genomes.json").read_text())
    assert document["strategy"]["arguments"] == {"density": 0.5, "parts": 2}
    members = load_ensemble(tmp_path, trust=True).modules()
    weights = [dict(member.named_parameters())["first.weight"] for member in members]
    assert all(0.4 < float((weight == 0).float().mean()) < 0.6 for weight in weights)


# ---- how far fitness can be trusted


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize(("sigma", "says"), [(1e-6, "has no value"), (0.05, "is 0.2"), (2.0, None)])
def test_says_where_selection_picks_noise(tmp_path: Path, sigma: float, says: str | None) -> None:
    run, listener = execute(tmp_path, config(strategy={"sigma": sigma}, search={"generations": 1}))
    sentences = [w for w in listener.warnings if "reliability" in w]
    assert report_of(tmp_path)["warnings"] == listener.warnings
    if says is None:
        assert sentences == [] and run.journal.state.generations[0]["reliability"] > 0.5
    else:
        assert len(sentences) == 1 and f"generation 1: the reliability of fitness {says}" in sentences[0]


@pytest.mark.usefixtures("no_page")
def test_chance_matters_only_where_something_is_chosen(tmp_path: Path) -> None:
    every = {"search": {"generations": 1, "population": 3, "elites": 0}, "selection": {"size": 3}}
    _, listener = execute(tmp_path / "all", config(strategy={"sigma": 1e-6}, **every))
    assert not any("reliability" in warning for warning in listener.warnings)
    one = {"search": {"generations": 1, "population": 1, "elites": 0}, "selection": {"size": 1}}
    run, listener = execute(tmp_path / "one", config(**one))
    assert listener.warnings == [*config(**one).remarks] and report_of(tmp_path / "one")["ensemble"]["size"] == 1
    assert run.journal.state.generations[0]["reliability"] is None
    again = every | {"search": every["search"] | {"generations": 2}}
    _, listener = execute(tmp_path / "again", config(strategy={"class": "sparse"}, **again), spec="sparse")
    (sentence, *_) = [warning for warning in listener.warnings if "reliability" in warning]
    assert "more cases would tell children apart" in sentence and "σ" not in sentence


def contending(cases: dict[str, list[float]], k: int) -> set[str]:
    """Whose mean is within two standard errors of the paired difference from the other side of the k-th border."""
    order = sorted(cases, key=lambda key: -np.mean(cases[key]))
    found = set()
    for place, key in enumerate(order):
        other = order[k] if place < k else order[k - 1]
        n = min(len(cases[key]), len(cases[other]))
        difference = np.subtract(cases[key][:n], cases[other][:n])
        if abs(difference.mean()) <= 2 * difference.std(ddof=1) / np.sqrt(n):
            found.add(key)
    return found if len(found) > 1 else set()


@pytest.mark.usefixtures("no_page")
def test_racing_spends_on_contenders_only(tmp_path: Path) -> None:
    problem = TinyFrames(search=8)
    execute(tmp_path, RACING, problem=problem)
    genomes = {row["key"]: Genome.from_json(row["genome"]) for row in rows_of(tmp_path)}
    whole = {key: right_answers(problem, genome, SEARCH).tolist() for key, genome in genomes.items()}
    cases = {key: values[:8] for key, values in whole.items()}
    for reached in (16, 24, 32, 40):
        for key in contending(cases, 3):
            cases[key] = whole[key][:reached]
    assert {row["key"]: row["fitness"] for row in rows_of(tmp_path)} == {k: np.mean(v) for k, v in cases.items()}
    saved, _ = CheckpointStore(tmp_path / "checkpoints").latest()
    assert saved is not None
    parts = [name.split("/") for name in saved.state["ledger"]]
    spent = {key: sum(int(p[1].split("+")[1]) for p in parts if (p[0], p[2]) == ("search", key)) for key in cases}
    assert spent == {key: len(values) for key, values in cases.items()}
    assert 8 <= min(spent.values()) < max(spent.values()) == 40


@pytest.mark.usefixtures("no_page")
def test_children_that_fail_while_racing_have_failed(tmp_path: Path) -> None:
    broken: list[Split] = []

    def twice(split: Split) -> None:
        if split.name == "search" and split.first == 8 and len(broken) < 2:
            broken.append(split)
            raise ArithmeticError("level 8 is broken")

    run, listener = execute(tmp_path, RACING, problem=TinyFrames(8, twice))
    failed = [row for row in rows_of(tmp_path) if row["status"] == "failed"]
    assert len(broken) == len(failed) == run.journal.state.generations[0]["failed"] == 2
    assert {row["fitness"] for row in failed} == {None}
    assert sum("level 8 is broken" in warning for warning in listener.warnings) == 2
    elites, chosen = run.journal.state.elites, [row["key"] for row in report_of(tmp_path)["candidates"]]
    assert len(elites) == len(chosen) == 4  # of the five that were asked for
    for row in failed:
        assert row["key"] not in chosen and row["genome"] not in [elite["genome"] for elite in elites]
    assert "Infinity" not in (tmp_path / "population.jsonl").read_text() + (tmp_path / "history.json").read_text()


# ---- stopped, and gone on with


def interrupt(at: int) -> Callable[[Split], None]:
    """Return what Ctrl-C does at the `at`-th evaluation from now: it is no child's own failure."""
    calls = iter(range(at))

    def before(_: Split) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return before


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what ends a run at its `at`-th evaluation as a kill does: nothing is saved on the way out."""
    write = Journal._write

    def unless_stopped(journal: Journal) -> None:
        if sys.exc_info()[0] is None:
            write(journal)

    def killed(folder: Path, at: int, settings: Config = AUTO, **of: Any) -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Journal, "_write", unless_stopped)
            execute(folder, settings, problem=TinyFrames(before=interrupt(at)), **of)

    return killed


@pytest.mark.usefixtures("no_page")
def test_ctrl_c_saves_and_loses_no_measurement(finished: Path, tmp_path: Path) -> None:
    """One evaluation more each time until the run is through: the ledger brings it on."""
    for allowed in range(1, 20):
        try:
            execute(tmp_path, AUTO, problem=TinyFrames(before=interrupt(allowed)))
            break
        except KeyboardInterrupt:
            assert CheckpointStore(tmp_path / "checkpoints").latest()[0] is not None
    assert 6 < allowed < 12
    assert outcome_of(tmp_path) == outcome_of(finished)


@pytest.mark.usefixtures("no_page")
def test_ctrl_c_between_telling_and_saving_repeats_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(watcher, "watch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                execute(tmp_path, AUTO)
    assert rows_of(tmp_path) == []  # what is half done is not there
    execute(tmp_path, AUTO)
    assert outcome_of(tmp_path) == outcome_of(finished)


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("at", [3, 9, 18, 23])
def test_goes_on_to_the_same_bits(finished: Path, tmp_path: Path, kill: Callable[..., None], at: int) -> None:
    kill(tmp_path, at)
    execute(tmp_path, AUTO)
    assert outcome_of(tmp_path) == outcome_of(finished)
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    assert [e.step for e in events.Scalars("search/sigma")] == [1, 2]
    assert "trust region/text_summary" in events.Tags()["tensors"]


@pytest.mark.usefixtures("no_page")
def test_a_checkpoint_between_networks_side_by_side_can_be_gone_on_from(
    tmp_path: Path, kill: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then torch has one thread for each of them; what is the same for the whole run is all its threads."""
    found: list[int] = []
    save = CheckpointStore.save

    def seen(self: CheckpointStore, step: int, state: dict[str, Any], *more: Any) -> Path:
        found.append(torch.get_num_threads())
        assert state["identity"]["threads"] == 2
        return save(self, step, state, *more)

    monkeypatch.setattr(CheckpointStore, "save", seen)
    torch.set_num_threads(2)
    try:
        kill(tmp_path, 18)
        execute(tmp_path, AUTO)
    finally:
        torch.set_num_threads(1)
    assert set(found) == {1, 2}


ADAPTS = """
from evoens_strategies.noisy import Noisy

class Adapts(Noisy):
    generations = 0

    def tell(self, records):
        self.generations += 1
        self.sigma *= 0.5

    def state_dict(self):
        return {"generations": self.generations, "sigma": self.sigma}

    def load_state_dict(self, state):
        self.generations, self.sigma = state["generations"], state["sigma"]
"""


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("at", [3, 10, 17])
def test_a_strategy_that_learns_goes_on_with_what_it_knew(tmp_path: Path, kill: Callable[..., None], at: int) -> None:
    of = {"spec": strategy_file(tmp_path, ADAPTS) + ":Adapts"}
    settings = config(strategy={"sigma": 0.4}, search={"generations": 3, "population": 4}, selection={"size": 2})
    unbroken, _ = execute(tmp_path / "a", settings, **of)
    kill(tmp_path / "b", at, settings=settings, **of)
    broken, _ = execute(tmp_path / "b", settings, **of)
    assert (
        unbroken.experiment.strategy.state_dict()
        == broken.experiment.strategy.state_dict()
        == {"generations": 3, "sigma": 0.05}
    )
    scales = [row["genome"][-1]["scale"] for row in rows_of(tmp_path / "b")]
    assert scales == [0.4] * 4 + [0.2] * 4 + [0.1] * 4
    assert outcome_of(tmp_path / "b") == outcome_of(tmp_path / "a")


def test_a_state_that_cannot_be_kept_is_one_sentence(tmp_path: Path) -> None:
    spec = strategy_file(tmp_path, ADAPTS.replace('"sigma": self.sigma}', '"sigma": self.sigma, "log": print}'))
    with pytest.raises(SpecError, match=r"Adapts\.state_dict: .*builtin_function_or_method is not JSON serializable"):
        execute(tmp_path / "a", config(strategy={"sigma": 0.4}), spec=f"{spec}:Adapts")


@pytest.mark.usefixtures("no_page")
def test_a_damaged_newest_checkpoint_falls_back_and_says_so(
    finished: Path, tmp_path: Path, kill: Callable[..., None]
) -> None:
    kill(tmp_path, 17)
    newest = max((tmp_path / "checkpoints").iterdir())
    data = bytearray((newest / "state.json").read_bytes())
    data[len(data) // 2] ^= 4
    (newest / "state.json").write_bytes(data)
    _, listener = execute(tmp_path, AUTO)
    assert any(newest.name in warning and "state.json is damaged" in warning for warning in listener.warnings)
    assert outcome_of(tmp_path) == outcome_of(finished)


# ---- refused, unless forced


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped in its second generation, with a strategy in a file."""
    folder = tmp_path_factory.mktemp("half")
    spec = strategy_file(folder, ADAPTS) + ":Adapts"
    with pytest.raises(KeyboardInterrupt):
        execute(folder / "run", spec=spec, problem=TinyFrames(before=interrupt(10)))
    return folder


def changed_parent() -> TinyFrames:
    problem = TinyFrames()
    problem.parent.weights["last.bias"][0] += 0.25
    return problem


def changes(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        r"config\.search\.generations: expected 2 .*, found 3": {"settings": config(search={"generations": 3})},
        r"config\.seed: expected 5 .*, found 6": {"settings": config(seed=6)},
        r"strategy file \(sha256\): expected '": {"spec": strategy_file(folder, ADAPTS + "# more\n") + ":Adapts"},
        r"parent \(fingerprint\): expected '": {"problem": changed_parent()},
    }


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("place", range(4))
def test_what_has_changed_is_named_and_refused(half: Path, tmp_path: Path, place: int) -> None:
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    says, change = list(changes(tmp_path).items())[place]
    of = {"spec": str(half / "mine.py") + ":Adapts", **change}
    before = (tmp_path / "run" / "config.resolved.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=says):
        execute(tmp_path / "run", **of)
    assert (tmp_path / "run" / "config.resolved.yaml").read_bytes() == before
    run, listener = execute(tmp_path / "run", force=True, **of)
    forced = [w for w in report_of(tmp_path / "run")["warnings"] if w.startswith("went on in spite of")]
    assert forced and set(forced) <= set(listener.warnings)
    assert len(forced) == 1 or {w.split(":")[0].split()[-1] for w in forced} == {"(fingerprint)", "answers"}
    assert len(rows_of(tmp_path / "run")) == 6 * run.experiment.config.search.generations


@pytest.mark.usefixtures("no_page")
def test_a_finished_run_that_is_forced_on_is_measured_anew(finished: Path, tmp_path: Path) -> None:
    """More generations find other members: no figure of the old ones may stay."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    settings = config(strategy={"sigma": "auto"}, search={"generations": 4}, selection={"size": 1, "rule": "top"})
    execute(tmp_path, settings, force=True)
    report, problem = report_of(tmp_path), TinyFrames()
    genomes = {row["key"]: Genome.from_json(row["genome"]) for row in rows_of(tmp_path)}
    assert len(rows_of(tmp_path)) == 24
    (member,) = report["ensemble"]["members"]
    assert report["ensemble"]["test"]["score"] == pytest.approx(mean_of(problem, genomes[member], TEST))
    assert report["ensemble"]["test"]["score"] != report_of(finished)["ensemble"]["test"]["score"]
    assert report["cost"]["evaluations"] > report_of(finished)["cost"]["evaluations"] + 12


def test_one_process_a_folder(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(CheckpointError, match="held by process"):
        execute(tmp_path)


class Tuned(TinyFrames):
    """Children are trained by nothing at all: they stay as they are born."""

    tunes = True

    def tune(
        self, strategy: Strategy, genomes: Sequence[Genome], tuned: TunedWeights, on_progress: Any
    ) -> dict[str, str]:
        tuned.folder.mkdir(exist_ok=True)
        for genome in genomes:
            weights = {**self.parent.weights, **initial_weights(self.parent, strategy, genome)}
            tuned.save(genome, weights)
        return {}


@pytest.mark.usefixtures("no_page")
def test_sigma_is_found_before_any_child_is_trained(tmp_path: Path) -> None:
    plain, _ = execute(tmp_path / "plain", AUTO)
    tuned, _ = execute(tmp_path / "tuned", AUTO, problem=Tuned())
    assert (
        tuned.journal.state.trust_region == plain.journal.state.trust_region
        and tuned.journal.state.sigma == plain.journal.state.sigma
    )
    assert [row["fitness"] for row in tuned.journal.state.population] == [
        row["fitness"] for row in plain.journal.state.population
    ]
    assert len(list((tmp_path / "tuned" / "tuned").iterdir())) == len(tuned.journal.state.population)
    assert (
        load_ensemble(tmp_path / "tuned", trust=True).genomes == load_ensemble(tmp_path / "plain", trust=True).genomes
    )


class Learnt(Tuned):
    """Children learn to be quite another network than they are born as."""

    def tune(
        self, strategy: Strategy, genomes: Sequence[Genome], tuned: TunedWeights, on_progress: Any
    ) -> dict[str, str]:
        super().tune(strategy, genomes, tuned, on_progress)
        for genome in genomes:
            seed = genome.genes[0].seed
            tuned.save(
                genome, {n: w + noise.normals(seed, f"learnt:{n}", w.shape) for n, w in tuned.load(genome).items()}
            )
        return {}


@pytest.mark.usefixtures("no_page")
def test_all_that_is_reported_of_trained_children_is_of_what_they_have_learnt(tmp_path: Path) -> None:
    problem = Learnt()
    run, _ = execute(tmp_path, problem=problem)
    inputs, labels = (all_of[2 * COUNT :] for all_of in (problem.inputs, problem.labels))
    genomes = {row["key"]: Genome.from_json(row["genome"]) for row in rows_of(tmp_path)}

    def learnt(keys: Sequence[str]) -> Tensor:
        modules = [problem.parent.child(TunedWeights(tmp_path / "tuned").load(genomes[key])).module for key in keys]
        with torch.no_grad():
            return torch.stack([module(inputs).softmax(-1) for module in modules])

    def score(keys: Sequence[str]) -> float:
        return float((learnt(keys).mean(0).argmax(-1) == labels).double().mean())

    report = report_of(tmp_path)
    members = report["ensemble"]["members"]
    assert report["ensemble"]["test"]["score"] == pytest.approx(score(members))
    assert report["best_child"]["test"]["score"] == pytest.approx(score([report["best_child"]["key"]]))
    torch.testing.assert_close(load_ensemble(tmp_path, trust=True).outputs(inputs), learnt(members))
    store = TunedWeights(tmp_path / "tuned")
    backend = Evaluator(problem.parent, run.experiment.strategy, problem, Plan(), tuned=store)
    torch.testing.assert_close(backend.outputs([genomes[key] for key in members], inputs), learnt(members))


class Breaks(BaseListener):
    """Watches badly."""

    def on_generation(self, event: GenerationEnd) -> None:
        raise ValueError("cannot draw")


@pytest.mark.usefixtures("no_page")
def test_a_listener_that_raises_is_left_out_and_the_run_goes_on(finished: Path, tmp_path: Path) -> None:
    listener = Listener()
    Run(experiment(AUTO), tmp_path, [Breaks(), *standard(listener)]).execute()
    (told,) = [text for text in listener.warnings if "Breaks" in text]
    assert told == "Breaks has failed and is left out from now on: ValueError: cannot draw"
    assert report_of(tmp_path)["ensemble"] == report_of(finished)["ensemble"]
    assert told in report_of(tmp_path)["warnings"]


@pytest.mark.usefixtures("no_page")
def test_a_run_that_nobody_watches_finds_the_same(finished: Path, tmp_path: Path) -> None:
    Run(experiment(AUTO), tmp_path).execute()
    assert (tmp_path / "population.jsonl").read_bytes() == (finished / "population.jsonl").read_bytes()
    assert report_of(tmp_path)["ensemble"] == report_of(finished)["ensemble"]
    assert not (tmp_path / "tb").exists() and not (tmp_path / "report.html").exists()
