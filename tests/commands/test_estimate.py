from pathlib import Path

import pytest

from evoens.commands.estimate import estimate
from evoens.config.load import load
from evoens.settings.config import Config


@pytest.fixture
def config() -> Config:
    sets = [
        "search.population=10", "search.generations=3", "search.elites=2", "selection.size=4", "strategy.scope=",
        "problem.levels.search.count=20", "problem.levels.select.count=30", "problem.levels.test.count=100",
    ]  # fmt: skip
    return load("procgen_bigfish", sets, retrain=True).config


CARD = {"steps": 6000, "seconds": 10.0, "ppo": {"epochs": 3}, "curve": [{"length_mean": 40.0}, {"length_mean": None}]}


def test_evaluations_counted_by_hand(config: Config) -> None:
    found = estimate(config, None)
    # search: 3 × 10 children and the parent, 20 levels; 3 ensembles on 16; 8 candidates on 30;
    # test: parent, best child, random children, ensemble, two rules each, 100 levels
    # parent and ensemble at four temperatures on 30 levels, and at one of them on 100
    assert found["episodes"] == 31 * 20 + 3 * 16 + 8 * 30 + 8 * 100 + 8 * 30 + 2 * 100
    assert found["training_steps"] == 8_000_000
    assert "seconds" not in found


def test_cost_from_the_parents_own_training(config: Config) -> None:
    found = estimate(config, CARD)
    passes = 40 * (31 * 20 + 3 * 16 * 4 + 8 * 30 + 4 * 30 * (1 + 4) + 5 * 100 + 5 * 100 * 4)
    assert found["passes"] == passes
    # 600 steps a second, each a rollout's forward pass and three epochs of a forward and a backward (two forwards) one
    assert found["seconds"] == round(passes / 6000)
    assert found["training_steps"] == 0


def test_games_that_are_cut_cost_less_but_for_those_on_test(config: Config) -> None:
    cut = config.model_copy(update={"problem": config.problem.model_copy(update={"max_episode_steps": 25})})
    passes = 25 * (31 * 20 + 3 * 16 * 4 + 8 * 30 + 4 * 30 * (1 + 4)) + 40 * (5 * 100 + 5 * 100 * 4)
    assert estimate(cut, CARD)["passes"] == passes


def test_members_that_share_a_trunk_cost_about_one_network(config: Config) -> None:
    shared = config.model_copy(update={"strategy": config.strategy.model_copy(update={"scope": "trunk.linear"})})
    saved = estimate(config, CARD)["passes"] - estimate(shared, CARD)["passes"]
    assert saved == 40 * (3 * 16 * 3 + 4 * 30 * 3 + 5 * 100 * 3)


def test_a_parent_that_votes_costs_what_a_member_costs(config: Config) -> None:
    voting = config.model_copy(update={"selection": config.selection.model_copy(update={"parent": True})})
    assert estimate(voting, CARD)["passes"] - estimate(config, CARD)["passes"] == 40 * (3 * 16 + 4 * 30 + 5 * 100)


def test_racing_counts_all_the_levels_it_may_use(config: Config) -> None:
    racing = load("procgen_bigfish", ["search.racing.levels=100"], retrain=True).config.search.racing
    raced = config.model_copy(update={"search": config.search.model_copy(update={"racing": racing})})
    assert estimate(raced, None)["episodes"] - estimate(config, None)["episodes"] == 31 * 80


def test_a_card_without_figures_gives_no_cost(config: Config) -> None:
    assert "seconds" not in estimate(config, {"steps": 5, "seconds": 0.0, "curve": []})


def test_epochs_of_children_and_of_independent_networks_are_counted() -> None:
    config = load(
        "digits_sparse", ["parent.independent=2", "search.population=12", "tune.epochs=5"], retrain=True
    ).config
    own = config.parent.train.epochs
    first = estimate(config, None)
    assert first["training_epochs"] == {"parent": own, "children": 12 * 5, "independent": 2 * own}
    assert "training_seconds" not in first
    later = estimate(config, {"epochs": 10, "seconds": 25.0})
    assert later["training_epochs"]["parent"] == 0 and later["training_seconds"] == round((60 + 2 * own) * 2.5)


def test_frames_of_children_and_of_one_network_as_long_are_counted(config: Config) -> None:
    sets = ["search.population=10", "search.generations=3", "search.elites=2", "selection.size=4"]
    small = ["tune.frames=1000", "tune.envs=10", "tune.rollout=30", "tune.minibatches=1", "tune.epochs=2"]
    tuned = load("procgen_bigfish", [*sets, *small, "strategy={class: sparse}"], retrain=True).config
    plain = load("procgen_bigfish", [*sets, "strategy={class: sparse}"], retrain=True).config
    first, later = estimate(tuned, None), estimate(tuned, CARD)
    frames = 30 * 1200  # 1000 are four rollouts of 300
    assert first["training_frames"] == {"children": frames, "parent trained on": frames, "one child": frames}
    assert "training_seconds" not in first and "training_frames" not in estimate(plain, CARD)
    # 6000 passes a second, and each frame is one of the rollout's and two epochs' of three
    assert later["training_seconds"] == round(3 * frames * 7 / 6000)
    assert later["episodes"] - estimate(plain, CARD)["episodes"] == 4 * 2 * plain.problem.counts["test"]


def test_further_methods_are_counted(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("class Own: ...\n")
    counted = estimate(load("digits_noisy", [f"report.methods=[{own}:Own]"], retrain=True).config, None)["evaluations"]
    assert counted["test, further methods"] == 1
    assert "test, further methods" not in estimate(load("digits_noisy", retrain=True).config, None)["evaluations"]


def test_the_shipped_problem_can_be_estimated() -> None:
    assert estimate(load("procgen_bigfish", retrain=True).config, CARD)["episodes"] > 1000
