"""The search for a scope in a whole run: what it tries, what it takes, and that it is done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from evoens_strategies.noisy import Noisy
from tiny import COUNT
from tiny_run import Listener, TinyFrames, config, execute, experiment, timeless

from evoens.children import TunedWeights, initial_weights
from evoens.errors import EvoensError
from evoens.experiment import scope_search
from evoens.experiment.run import Run
from evoens.experiment.scope_search import settle_scope
from evoens.genome import Gene
from evoens.parent import Architecture, Parent
from evoens.problem import Evaluation, FixedInputs, Split, drive
from evoens.report import listeners
from evoens.report.listeners import standard
from evoens.scoring.calibration import calibrated_nll
from evoens.settings.classification import ClassificationSettings
from evoens.settings.config import Config
from evoens.tasks.classification import ClassificationProblem
from evoens.tasks.data.data import open_data
from evoens.tasks.networks.mlp import MLP
from tests.experiment.test_sigma_search import WORK

AUTO = config(strategy={"sigma": "auto", "scope": "auto"}, search={"generations": 1})
LAYERS = ["first.weight", "last.weight"]


@pytest.fixture(scope="module", autouse=True)
def _no_page(same_plan: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "auto"
    execute(folder, AUTO)
    return folder


def settled(folder: Path, settings: Config, **of: Any) -> Run:
    """A run that has come as far as the search for its scope."""
    folder.mkdir(exist_ok=True)
    run = Run(experiment(settings, **of), folder, standard(Listener()))
    settle_scope(run.experiment, run.journal)
    return run


def history(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "history.json").read_text())
    return found


def outcome_of(folder: Path) -> Any:
    report = json.loads((folder / "report.json").read_text())
    return (folder / "population.jsonl").read_bytes(), history(folder)["scope"], timeless(report)


def alone(problem: TinyFrames, layer: str, sigma: float, seed: int = 5) -> torch.Tensor:
    """The probabilities of four children of one layer, from modules of their own: all frames, `(4, n, c)`."""
    strategy = Noisy(sigma=sigma)
    strategy = strategy.within(scope=(layer,))
    genomes = strategy.ask(4, Random(f"{seed}:trust-region"))
    return torch.stack(
        [problem.parent.child(initial_weights(problem.parent, strategy, g)).predict(problem.inputs) for g in genomes]
    )


def test_each_layer_is_tried_alone_at_the_same_divergence(finished: Path) -> None:
    found, problem = history(finished)["scope"], TinyFrames()
    assert [row["layer"] for row in found["rows"]] == LAYERS and found["unit"] == "accuracy"
    parent = problem.parent.predict(problem.inputs)
    right = (parent.argmax(-1) == problem.labels)[:COUNT].double().numpy()
    assert found["parent"] == pytest.approx(right.mean()) and found["cases"] == COUNT
    for row in found["rows"]:
        outputs = alone(problem, row["layer"], row["sigma"])
        frames = slice(0, found["inputs"])
        kl = (parent[frames] * (parent[frames] / outputs[:, frames]).log()).sum(-1).mean()
        assert row["kl"] == pytest.approx(float(kl), rel=1e-3) and 0.015 < row["kl"] < 0.027
        cases = (outputs.mean(0).argmax(-1) == problem.labels)[:COUNT].double().numpy()
        assert row["worth"] == pytest.approx(cases.mean())
        assert row["difference"] == pytest.approx((cases - right).mean())
        assert row["standard_error"] == pytest.approx((cases - right).std(ddof=1) / np.sqrt(COUNT))


def test_the_best_layer_is_what_children_touch(finished: Path) -> None:
    whole = history(finished)
    found = whole["scope"]
    best = max(found["rows"], key=lambda row: row["worth"])
    assert found["chosen"] == [best["layer"]]
    assert whole["sigma"] == whole["trust_region"]["sigma"] == best["sigma"]
    genes = [json.loads(line)["genome"][-1] for line in (finished / "population.jsonl").read_text().splitlines()]
    assert {(tuple(gene["scope"]), gene["scale"]) for gene in genes} == {((best["layer"],), best["sigma"])}
    assert json.loads((finished / "report.json").read_text())["scope"] == found


def test_what_is_decided_is_not_tried_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = outcome_of(finished)
    monkeypatch.setattr(scope_search, "find_scope", lambda *_: pytest.fail("tried again"))
    run, _ = execute(finished, AUTO)
    assert outcome_of(finished) == before and list(run.experiment.strategy.scope) == before[1]["chosen"]


def interrupt(at: int) -> Callable[[Split], None]:
    calls = iter(range(at))

    def before(_: Split) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return before


@pytest.mark.parametrize("at", [2, 5])
def test_an_interrupted_search_goes_on(finished: Path, tmp_path: Path, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        execute(tmp_path, AUTO, problem=TinyFrames(before=interrupt(at)))
    seen: list[Split] = []
    execute(tmp_path, AUTO, problem=TinyFrames(before=seen.append))
    assert outcome_of(tmp_path) == outcome_of(finished)
    cost = json.loads((tmp_path / "report.json").read_text())["cost"]["evaluations"]
    assert len(seen) == cost - at  # no measurement that was made is made again


def test_a_fixed_sigma_is_every_layer_s(tmp_path: Path) -> None:
    run = settled(tmp_path, config(strategy={"sigma": 0.3, "scope": "auto"}))
    assert run.journal.state.scope is not None and run.journal.state.trust_region is None
    assert [row["sigma"] for row in run.journal.state.scope["rows"]] == [
        0.3,
        0.3,
    ] and run.experiment.strategy.sigma == 0.3


@pytest.mark.parametrize("grid", [(0.002, 0.004), (3.0, 5.0)], ids=["too small", "too large"])
def test_the_grid_grows_where_it_does_not_reach_the_target(tmp_path: Path, grid: tuple[float, ...]) -> None:
    search = {"grid": grid, "target_kl": 0.01}
    run = settled(tmp_path, config(strategy={"sigma": "auto", "scope": "auto"}, trust_region=search))
    assert run.journal.state.scope is not None and run.journal.state.trust_region is not None
    sigmas = [row["sigma"] for row in run.journal.state.trust_region["rows"]]
    assert len(sigmas) > 2 and sigmas == sorted(sigmas)
    for row in run.journal.state.scope["rows"]:
        assert row["kl"] == pytest.approx(0.01, rel=0.5) or row["sigma"] in (grid[0] / 16, grid[1] * 16)


class SameForAll(TinyFrames, FixedInputs):
    def batches(self, split: Split) -> Iterator[torch.Tensor]:
        yield self.inputs[: split.count]

    def score_outputs(self, split: Split, outputs: torch.Tensor) -> Evaluation:
        return Evaluation((outputs.argmax(-1) == self.labels[: split.count]).double(), split.count)


@pytest.mark.parametrize(("allowed", "expected"), [(20, 20), (1, 6), (10**9, COUNT)])
def test_a_large_network_s_layers_are_tried_on_fewer_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, expected: int
) -> None:
    monkeypatch.setattr(scope_search, "EFFORT", allowed * 2 * 4 * WORK)  # two layers, four children of each
    monkeypatch.setattr(scope_search, "FEWEST", 6)
    found, problem = settled(tmp_path, AUTO, problem=SameForAll()).journal.state.scope, SameForAll()
    assert found is not None and found["cases"] == expected
    for row in found["rows"]:
        right = alone(problem, row["layer"], row["sigma"])[:, :expected].mean(0).argmax(-1) == problem.labels[:expected]
        assert row["worth"] == pytest.approx(float(right.double().mean()))


def test_each_sigma_of_each_layer_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    class Ticks(Listener):
        def on_progress(self, done: int, total: int, text: str) -> None:
            told.append((done, total))

    run = Run(experiment(AUTO), tmp_path, [Ticks()])
    settle_scope(run.experiment, run.journal)
    assert told == [(step, 12) for step in range(1, 13)]  # five σ, and the ensemble, of two layers


class Picky(Noisy):
    """Has no children for some layers."""

    refuses = ("last.weight",)

    def perturb(self, name: str, weight: torch.Tensor, gene: Gene) -> torch.Tensor:
        if name in self.refuses:
            raise EvoensError(f"not {name}")
        return super().perturb(name, weight, gene)


def test_a_layer_without_children_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = settled(tmp_path / "a", AUTO, spec=f"{__name__}:Picky")
    assert run.journal.state.scope is not None
    rows = {row["layer"]: row for row in run.journal.state.scope["rows"]}
    assert rows["last.weight"]["worth"] is None and rows["last.weight"]["error"] == "not last.weight"
    assert run.journal.state.scope["chosen"] == ["first.weight"]
    from tests.experiment.test_scope_search import Picky as Imported

    monkeypatch.setattr(Imported, "refuses", tuple(LAYERS))
    with pytest.raises(EvoensError, match=r"no layer could be tried; the first: not first\.weight"):
        settled(tmp_path / "b", AUTO, spec=f"{__name__}:Picky")


def test_children_that_will_be_tuned_are_tried_as_they_are_born(tmp_path: Path) -> None:
    class Tunes(TinyFrames):
        tunes = True

    run = settled(tmp_path, AUTO, problem=Tunes())
    assert run.journal.state.scope is not None and run.experiment.tuned == TunedWeights(tmp_path / "tuned")


def test_other_scopes_are_left_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_search, "find_scope", lambda *_: pytest.fail("searched"))
    run = settled(tmp_path, config(strategy={"scope": "last"}))
    assert run.journal.state.scope is None


@pytest.mark.parametrize("members_by", ["accuracy", "nll", "calibrated-nll"])
def test_classifiers_are_tried_by_what_members_are_chosen_by(tmp_path: Path, members_by: str) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", x=rng.integers(0, 256, (90, 4, 4), np.uint8), y=np.arange(90) % 3)
    cuts = {name: {"from": "train", "count": 20} for name in ("search", "select", "test")}
    value = {"data": str(tmp_path / "set.npz"), "splits": {"train": {"from": "train"}, **cuts}}
    settings = ClassificationSettings.model_validate({"type": "classification", "members_by": members_by, **value})
    torch.manual_seed(0)
    data = open_data(settings, None, 0, Path())
    problem = ClassificationProblem(settings, Parent(MLP(3, 16, []), Architecture("")), data)
    split = problem.split("search")
    outputs, labels = drive(problem.answers(split), problem.parent.predict), data.splits["search"].labels
    expected = {
        "accuracy": float((outputs.argmax(-1) == labels).double().mean()),
        "nll": float(outputs.double()[torch.arange(20), labels.long()].log().mean()),
        "calibrated-nll": -calibrated_nll(outputs, labels),
    }
    found = drive(problem.ensemble_cases(split), problem.parent.predict)
    assert found.score == pytest.approx(expected[members_by], rel=1e-6) and len(found.cases) == found.samples == 20
    assert ("calibrated" in problem.ensemble_metric, "accuracy" in problem.ensemble_metric) == (
        members_by == "calibrated-nll",
        members_by == "accuracy",
    )
