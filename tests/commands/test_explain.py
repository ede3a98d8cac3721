"""Every key of every section is explained, from the settings themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from evoens.cli import app
from evoens.commands.explain import explain
from evoens.config.faults import Schema
from evoens.errors import ConfigError
from evoens.plugins.spec import load_class, locate, shipped_strategies
from evoens.strategy import Strategy
from evoens.tasks import TYPES, task_type

ROWS = {row["key"]: row for row in explain() if not row["of"].startswith("strategy.class")}


def keys_of(model: Any, around: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{around}{field.alias or name}"
        yield key
        for inner in (field.annotation, *get_args(field.annotation)):
            if hasattr(inner, "model_fields"):
                yield from keys_of(inner, f"{key}.")


@pytest.mark.parametrize("kind", TYPES)
def test_every_key_of_every_section_is_explained(kind: str) -> None:
    keys = list(keys_of(task_type(kind).settings))
    assert len(keys) > 60 and set(keys) <= ROWS.keys()
    for key in keys:
        assert ROWS[key]["meaning"].endswith("."), key
        assert ROWS[key]["expected"] not in ("", "None"), key


def test_the_paths_of_the_schema_are_all_there() -> None:
    for model in (task_type(kind).settings for kind in TYPES):
        assert set(Schema(model).paths()) <= ROWS.keys()


@pytest.mark.parametrize(
    ("key", "expected", "default"),
    [
        ("search.population", "an integer ≥ 1 and ≤ 1000000", "16"),
        ("search.elites", "an integer ≥ 0", "4"),
        ("strategy.density", "a number > 0 and ≤ 1", "0.5"),
        ("strategy.sigma", "a number > 0 or auto", '"auto"'),
        ("name", 'a name of letters, digits, "_", "." and "-"', "must be given"),
        ("problem.levels.search.count", "an integer ≥ 0", "32"),
        ("problem.splits.test.from", "one of train, test", '"test"'),
        ("problem.splits.search.count", "an integer ≥ 1, a share of the images between 0 and 1, or null", "0.1"),
        ("parent.train.network", "a list of 3, each an integer ≥ 1", "[16, 32, 32]"),
        ("tune.weight_decay", "a number ≥ 0", "0.0"),
        ("tune.critic_warmup", "an integer ≥ 1", "2"),
        ("search.racing", "a section with step, levels or null", "null"),
    ],
)
def test_what_a_key_may_be_and_is_by_default(key: str, expected: str, default: str) -> None:
    assert (ROWS[key]["expected"], ROWS[key]["default"]) == (expected, default)


def test_a_part_of_the_keys() -> None:
    assert [row["key"] for row in explain("search.racing")] == [
        "search.racing", "search.racing.step", "search.racing.levels"
    ]  # fmt: skip
    assert [row["key"] for row in explain("elites")] == ["search.elites"]
    assert [(row["of"], row["expected"]) for row in explain("problem.type")] == [
        ("problem.type: classification", "classification"), ("problem.type: procgen", "procgen")
    ]  # fmt: skip


def test_every_problem_s_keys_come_first_then_each_type_s() -> None:
    of = list(dict.fromkeys(row["of"] for row in explain()))
    assert of[:3] == ["every problem", "problem.type: classification", "problem.type: procgen"]
    assert {row["of"] for row in explain("search.generations")} == {"every problem"}
    assert {row["of"] for row in explain("problem.game")} == {"problem.type: procgen"}


@pytest.mark.parametrize("name", shipped_strategies())
def test_what_a_strategy_that_ships_takes_is_explained(name: str) -> None:
    takes = inspect.signature(load_class(locate(name), Strategy)).parameters
    rows = {row["key"].removeprefix("strategy."): row for row in explain() if row["of"] == f"strategy.class: {name}"}
    assert takes.keys() - {"sigma", "density", "parts"} <= rows.keys() <= takes.keys()
    for key, row in rows.items():
        assert row["expected"] and row["meaning"].endswith("."), row
        expected = takes[key].default
        assert json.loads(row["default"]) == (list(expected) if isinstance(expected, tuple) else expected)
    with pytest.raises(ConfigError, match=r'populatoin: expected a key of a YAML, .*; did you mean "population"'):
        explain("populatoin")


def test_the_command() -> None:
    told = CliRunner().invoke(app, ["inspect", "--explain", "strategy"]).stdout
    assert told.index("keys of every problem") < told.index("keys of strategy.class: sparse") < told.index("rounds")
    result = CliRunner().invoke(app, ["inspect", "--explain", "search.population"])
    assert result.exit_code == 0 and "The children of each generation." in result.stdout
    assert "parent.checkpoint" in CliRunner().invoke(app, ["inspect", "--explain"]).stdout
    nothing = CliRunner().invoke(app, ["inspect"])
    assert nothing.exit_code == 2 and "Missing argument 'path'" in nothing.stderr
