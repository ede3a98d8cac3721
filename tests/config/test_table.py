"""A table's YAML: its rows, and every fault at once, with the place of the key that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_table import TABLE, written

from evoens.commands.compare import seeds_of
from evoens.config.load import load
from evoens.config.shipped import shipped_problems, shipped_tables
from evoens.config.table import Table, load_table
from evoens.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(folder: Path, methods: str, *settings: str) -> Table:
    return load_table(written(folder, methods), settings)


def faults(folder: Path, methods: str, *settings: str, text: str = TABLE) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_table(written(folder, methods, text), settings)
    return str(caught.value).splitlines()


def test_rows_share_what_the_table_says_and_have_their_own_over_it(here: Path) -> None:
    methods = """\
methods:
  single: {}
  big: {method: bagging, members: 3, epochs: 6, train: {batch: 8}}
  sparse: {tune: {epochs: 1}, strategy: {density: 0.25, parts: 4}}
"""
    single, big, sparse = table(here, methods).rows
    assert single.source is not None and single.source.name == "Single" and single.arguments == {}
    assert (big.method, big.arguments, big.epochs) == ("bagging", {"members": 3}, 6)
    assert sparse.source is None and (sparse.epochs, sparse.children) == (4, 2)
    config = big.config(7, here)
    assert (config.seed, config.parent.train.epochs, config.parent.train.batch) == (7, 6, 8)
    config = sparse.config(0, here, Path("/a/b.safetensors"))
    assert config.parent.train.epochs == 2 and config.parent.checkpoint == "/a/b.safetensors"
    assert (config.strategy.class_, config.strategy.density, config.tune.epochs) == ("sparse", 0.25, 1)
    assert config.name == "sparse" and config.problem == single.config(0, here).problem


def test_every_fault_at_once_each_with_its_place(here: Path) -> None:
    methods = """\
methods:
  single: {}
  bagging: {membres: 3}
  snapshto: {}
  mine: {method: nothing.py:Mine}
  sparse: {strategy: {denisty: 0.5}, tune: {epochs: 1, bacth: 8}}
  dense: {epochs: 0}
  noisy: {train: {batch: 0}}
"""
    first = TABLE.count("\n") + 1
    own = faults(here, methods)
    expected = {
        2: 'methods.bagging.membres: unknown key; did you mean "members"?',
        3: "methods.snapshto: expected one of single, dropout,",
        4: 'methods.mine.method: "nothing.py:Mine": expected a Python file, found none',
        5: "methods.sparse.",
        6: "methods.dense.epochs: expected an integer ≥ 1, found 0",
        7: "methods.noisy.train.batch: expected an integer ≥ 1, found 0",
    }
    for line, text in expected.items():
        assert any(f"tiny.yaml:{first + line}:" in one and text in one for one in own), (line, own)
    assert any('strategy.denisty: unknown key; did you mean "density"?' in one for one in own)
    assert any('tune.bacth: unknown key; did you mean "batch"?' in one for one in own)
    assert any(one.endswith('did you mean "snapshot"?') for one in own)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("budgte: {epochs: 3}", 'budgte: unknown key; did you mean "budget"?'),
        ("seed: 3", "seed: unknown key"),
        ("baseline: other", "baseline: expected one of single, bagging, snapshot, sparse, found other"),
    ],
)
def test_keys_of_the_table_itself(here: Path, wrong: str, says: str) -> None:
    assert any(
        says in line for line in faults(here, f"{wrong}\nmethods: {{single: {{}}, bagging: , snapshot: , sparse: }}")
    )


def test_what_is_common_is_said_once_and_where_it_stands(here: Path) -> None:
    wrong = TABLE.replace("network: mlp", "network: mpl").replace("count: 60", "count: x")
    lines = faults(here, "methods: {single: {}, bagging: {}, sparse: {}}\n", text=wrong)
    assert len(lines) == 2 and 'parent.network: "mpl"' in "".join(lines) and "problem.splits.search.count" in lines[0]


def test_the_budget_says_for_how_long_and_no_parent_is_brought_along(here: Path) -> None:
    wrong = TABLE.replace("train: {batch", "checkpoint: x.safetensors\n  train: {epochs: 3, batch")
    lines = faults(here, "methods: {single: {}}\n", text=wrong)
    assert "parent.checkpoint: expected none, since a table trains its networks, found one" in lines[0]
    assert "parent.train.epochs: expected none beside budget.epochs, found 3" in lines[1]
    (line,) = faults(here, "methods: {single: {}, sparse: {tune: {epochs: 2}}}\n")
    assert (
        "methods.sparse: expected children that leave their parent some of 4 epochs, found 2 × 1 children of 2" in line
    )


def test_the_command_line_sets_rows_too_and_chooses_among_them(here: Path) -> None:
    found = table(here, "methods: {single: {}, bagging: {}}\n", "methods.bagging.members=2", "parent.train.batch=8")
    assert found.rows[1].arguments == {"members": 2} and found.rows[0].config(0, here).parent.train.batch == 8
    assert [row.label for row in found.chosen("bagging")] == ["bagging"] and len(found.chosen(None)) == 2
    with pytest.raises(
        ConfigError, match='--methods: expected some of single, bagging, found baging; did you mean "bagging"'
    ):
        found.chosen("single,baging")
    (line,) = faults(here, "methods: {single: {}}\n", "budget.epochs=x")
    assert line == '--set budget.epochs=x: expected an integer ≥ 1, found "x"'
    assert seeds_of("0..2,5") == [0, 1, 2, 5] and seeds_of("3") == [3]
    with pytest.raises(ConfigError, match="--seeds: expected at most 1000 numbers"):
        seeds_of("a")


def test_pruning_is_an_evolution_of_one_child(here: Path) -> None:
    found = table(
        here, "baseline: one-shot\nmethods:\n  one-shot: {tune: {epochs: 1}}\n  magnitude: {strategy: {density: 0.1}}\n"
    )
    one, magnitude = (row.config(0, here) for row in found.rows)
    assert (one.strategy.class_, one.strategy.parts, one.search.population, one.selection.size) == ("sparse", 1, 1, 1)
    assert one.parent.train.epochs == 3 and magnitude.strategy.density == 0.1
    assert magnitude.strategy.extra["by"] == "magnitude"


def test_tables_are_no_problems(here: Path) -> None:
    assert {
        "digits_methods",
        "table_5_1",
    } <= shipped_tables().keys() and not shipped_tables().keys() & shipped_problems().keys()
    with pytest.raises(ConfigError, match="expected a problem, found a table; python -m evoens compare makes it"):
        load("digits_methods")


@pytest.mark.parametrize("name", shipped_tables())
def test_tables_that_ship_are_fine(name: str) -> None:
    if name.startswith("digits"):
        assert load_table(name).rows


@pytest.mark.parametrize("text", ["3..1", "", "0..1000000000000", "9" * 19, "0..2000", "-1", "1.5"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds: expected at most 1000 numbers, as in"):
        seeds_of(text)


def test_no_row_is_none_of_them(tmp_path: Path) -> None:
    found = load_table(written(tmp_path, "methods: {single: {}, bagging: {members: 2}}\n"))
    with pytest.raises(ConfigError, match="--methods: expected some of single, bagging, found nothing"):
        found.chosen("")
