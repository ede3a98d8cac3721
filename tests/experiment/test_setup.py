"""From a checked config to a run: the Strategy made, the parent loaded, or trained where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tiny_run import Listener, timeless

from evoens.config.load import load, resolved_yaml
from evoens.errors import CheckpointError, SpecError
from evoens.evaluation.plan import Plan
from evoens.experiment.run import Run
from evoens.experiment.setup import open_experiment, scope, strategy_arguments
from evoens.experiment.state import Experiment
from evoens.plugins.spec import load_class, locate
from evoens.report import listeners
from evoens.report.listeners import standard
from evoens.settings.config import StrategySettings
from evoens.settings.procgen import ProcgenConfig
from evoens.storage.checkpoint import CheckpointStore
from evoens.strategy import Strategy
from evoens.tasks.procgen_task import ProcgenTask

ROLLOUT = 4 * 16
WHOLE: dict[str, Any] = {
    "name": "small",
    "seed": 2,
    "problem": {
        "game": "fruitbot",  # its games are short, whoever plays
        "levels": {name: {"count": 2} for name in ("search", "select", "test")},
    },
    "parent": {
        "checkpoint": "fish.safetensors",
        "train": {"steps": 2 * ROLLOUT, "network": (4, 4, 4), "envs": 4, "rollout": 16, "minibatches": 2, "epochs": 1},
    },
    "strategy": {"class": "noisy", "sigma": 0.05, "density": 0.25, "parts": 4},
    "search": {"population": 4, "generations": 1, "elites": 1},
    "selection": {"size": 2},
    "report": {"bootstrap": 100},
}


OWN = """
from evoens_strategies.noisy import Noisy

class Own(Noisy):
    def __init__(self, sigma, density, parts, decay):
        super().__init__(sigma, density, parts)
"""


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan("loop", "channels_last"))
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def opened(base: Path, folder: Path, **changes: Any) -> Experiment:
    config = ProcgenConfig.model_validate({**WHOLE, **changes})
    return open_experiment(ProcgenTask(config), config, resolved_yaml(config, base), base, folder, listener=Listener())


def finished(experiment: Experiment, folder: Path) -> dict[str, Any]:
    Run(experiment, folder, standard(Listener())).execute()
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_a_missing_parent_is_trained_and_evolved(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    experiment = opened(tmp_path, folder)
    saved, _ = CheckpointStore(folder / "parent" / "checkpoints").latest()
    assert saved is not None and saved.step == 2 * ROLLOUT
    assert experiment.parent_card["steps"] == 2 * ROLLOUT and experiment.parent_card["seed"] == 2
    report = finished(experiment, folder)
    assert report["parent_card"] == experiment.parent_card
    assert set(report["ensemble"]) >= {"test", "test_greedy", "test_difference", "test_greedy_difference"}
    assert report["splits"]["test"] == {"start": 3_000_000, "count": 2}
    assert {path.name for path in (folder / "pictures").iterdir()} == {"parent.gif", "ensemble.gif", "saliency.png"}

    again = opened(tmp_path, folder)  # trained already: taken as it is
    assert again.problem.parent.fingerprint == experiment.problem.parent.fingerprint
    assert timeless(finished(again, folder)) == timeless(report)


def test_a_parent_that_is_there_is_loaded(tmp_path: Path) -> None:
    trained = opened(tmp_path, tmp_path / "run")
    for name in ("parent.safetensors", "parent.json"):
        (tmp_path / "run" / "parent" / name).rename(tmp_path / name.replace("parent", "fish"))
    loaded = opened(tmp_path, tmp_path / "other")
    assert loaded.problem.parent.fingerprint == trained.problem.parent.fingerprint
    assert loaded.parent_card["architecture"]["arguments"] == {"widths": [4, 4, 4], "in_channels": 6}
    assert not (tmp_path / "other").exists()
    data = bytearray((tmp_path / "fish.safetensors").read_bytes())
    data[-5] ^= 1
    (tmp_path / "fish.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"fish\.safetensors: expected .* as its card says, found"):
        opened(tmp_path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_strategy_arguments_are_those_of_the_yaml() -> None:
    noisy = load_class(locate("noisy"), Strategy)
    fixed = StrategySettings.model_validate({"class": "noisy", "sigma": 0.05, "density": 0.25, "parts": 4})
    assert strategy_arguments(noisy, fixed) == {"sigma": 0.05, "density": 0.25, "parts": 4}
    assert strategy_arguments(noisy, StrategySettings.model_validate({"class": "noisy"}))["sigma"] == 1.0


def test_a_strategy_without_a_scale_is_made_without_it() -> None:
    sparse = load_class(locate("sparse"), Strategy)
    settings = StrategySettings.model_validate({"class": "sparse", "rounds": 2})
    assert strategy_arguments(sparse, settings) == {"density": 0.5, "parts": 2, "rounds": 2}
    with pytest.raises(SpecError, match=r"strategy\.sigma: Sparse has no scale; expected none, found 0\.05"):
        strategy_arguments(sparse, StrategySettings.model_validate({"class": "sparse", "sigma": 0.05}))


def test_the_strategy_is_shown_the_parent(tmp_path: Path) -> None:
    experiment = opened(tmp_path, tmp_path / "run", strategy={"class": "sparse", "structure": "channels"})
    assert experiment.strategy.parent is experiment.problem.parent
    (genome,) = experiment.strategy.ask(1, Random(0))
    assert genome.genes[0].scope == ("not head.weight",)


def test_the_scope_is_the_parents_layers(tmp_path: Path) -> None:
    experiment = opened(tmp_path, tmp_path / "run", strategy={"class": "noisy", "scope": {"from": "trunk.linear"}})
    task = ProcgenTask(ProcgenConfig.model_validate(WHOLE))
    assert experiment.strategy.scope == ("trunk.linear.weight", "head.weight")
    assert scope(experiment.config, task.untrained()) == experiment.strategy.scope
    wrong = ProcgenConfig.model_validate({**WHOLE, "strategy": {"class": "noisy", "scope": "trunk.liner"}})
    with pytest.raises(SpecError, match=r'strategy\.scope: .* found "trunk\.liner"; did you mean "trunk\.linear"'):
        scope(wrong, task.untrained())


def test_keys_that_do_not_fit_name_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    own = load_class(locate("own.py:Own", [tmp_path]), Strategy)

    def settings(**extra: float) -> StrategySettings:
        return StrategySettings.model_validate({"class": "own.py:Own", **extra})

    assert strategy_arguments(own, settings(decay=0.5))["decay"] == 0.5
    with pytest.raises(
        SpecError,
        match=r'strategy\.decai: Own takes sigma, density, parts, decay, and not this; did you mean "decay"\?',
    ):
        strategy_arguments(own, settings(decai=0.5))
    with pytest.raises(SpecError, match="missing a required argument: 'decay'"):
        strategy_arguments(own, settings())
    noisy = load_class(locate("noisy"), Strategy)
    with pytest.raises(SpecError, match=r'strategy\.densty: Noisy takes .*; did you mean "density"\?'):
        strategy_arguments(noisy, settings(densty=0.5))


def test_the_shipped_problems_fit_their_strategy() -> None:
    for name in ("procgen_bigfish", "procgen_bigfish_paper"):
        settings = load(name, retrain=True).config.strategy
        arguments = strategy_arguments(load_class(locate(settings.class_), Strategy), settings)
        assert arguments["density"] * arguments["parts"] == pytest.approx(1)
