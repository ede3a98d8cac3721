"""A pool from a table: every ensemble of a few of its predictors, the best by select, and a page of it."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_table import written
from typer.testing import CliRunner

from evoens.cli import app
from evoens.config.table import load_table
from evoens.errors import CheckpointError, ConfigError
from evoens.progress import no_progress
from evoens.report.console import Reporter
from evoens.tables.cell import Cell
from evoens.tables.pool import Members, members_of, pool, write_pool
from evoens.tables.pool_page import page
from evoens.tables.work import make_table

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = "methods:\n  single: {}\n  snapshot: {cycles: 2}\n"


@pytest.fixture(scope="module")
def members() -> Members:
    generator = torch.Generator().manual_seed(0)
    labels = {name: torch.randint(4, (120,), generator=generator) for name in ("select", "test")}
    noise = torch.linspace(1, 3, 5)[:, None, None]
    outputs = {
        name: (noise * torch.randn(5, 120, 4, generator=generator) + 2 * torch.eye(4)[own]).softmax(-1)
        for name, own in labels.items()
    }
    return Members([f"m {i}" for i in range(5)], outputs, labels, [100.0, 200, 300, 400, 500])


def nll(members: Members, split: str, subset: tuple[int, ...]) -> float:
    mean, labels = members.outputs[split][list(subset)].double().mean(0), members.labels[split]
    return float(-mean[range(len(labels)), labels].log().mean())


def test_the_best_are_those_of_the_least_nll_on_select(members: Members) -> None:
    found = pool(members, 2)
    order = sorted(combinations(range(5), 2), key=lambda pair: nll(members, "select", pair))
    best = found["chosen"]["best"]
    assert found["subsets"] == 10
    assert [own["members"] for own in best] == [[f"m {a}", f"m {b}"] for a, b in order]
    assert best[0]["nll"] == pytest.approx(nll(members, "test", order[0]), rel=1e-5)
    assert best[0]["weights"] == sum(100 * (place + 1) for place in order[0])


def test_a_budget_bounds_what_the_best_need_together(members: Members) -> None:
    best = pool(members, 2, budget=500)["chosen"]["best"]
    assert {tuple(own["members"]) for own in best} == {
        (f"m {a}", f"m {b}") for a, b in combinations(range(5), 2) if a + b + 2 <= 5
    }


def test_one_after_another_begins_with_the_best(members: Members) -> None:
    own = pool(members, 3)["chosen"]["greedy"]["members"]
    alone = [nll(members, "select", (place,)) for place in range(5)]
    assert own[0] == f"m {int(np.argmin(alone))}" and len(set(own)) == 3


@pytest.mark.parametrize("size", [1, 5, 9])
def test_an_ensemble_is_smaller_than_the_pool(members: Members, size: int) -> None:
    with pytest.raises(CheckpointError, match=rf"--size: expected 2 to 4, less than the pool .* found {size}"):
        pool(members, size)


@pytest.mark.parametrize("budget", [-1.0, 0.0, float("nan")])
def test_a_budget_is_a_number_above_zero(members: Members, budget: float) -> None:
    with pytest.raises(ConfigError, match="--budget: expected a number above 0"):
        pool(members, 2, budget)


def test_a_budget_that_buys_none_says_what_is_needed(members: Members) -> None:
    with pytest.raises(
        ConfigError, match="--budget: expected at least 300, what the smallest ensemble needs, found 250"
    ):
        pool(members, 2, 250)


def test_a_pool_of_too_few_says_who_is_finished(members: Members) -> None:
    few = Members(["m 0"], {name: own[:1] for name, own in members.outputs.items()}, members.labels, [1.0])
    with pytest.raises(CheckpointError, match="at least 3 predictors that are finished, found m 0"):
        pool(few, 2)


def test_the_page_has_every_figure(members: Members) -> None:
    found = pool(members, 3)
    text = page("tiny", found)
    assert text.count("<img") == 2 and "10 ensembles of 3 of 5" in text
    for own in found["chosen"]["best"]:
        assert ", ".join(own["members"]) in text


def test_the_predictors_of_a_table_are_pooled(tmp_path: Path) -> None:
    table, folder = load_table(written(tmp_path, METHODS)), tmp_path / "tiny"
    make_table(table, table.rows, (0, 1), folder, Reporter(quiet=True))
    own = members_of(folder, no_progress)
    cells = {name: Cell.load(folder / "rows" / Path(*name.rsplit(" ", 1))) for name in own.names}
    assert all(
        cell is not None and torch.equal(cell.outputs["test"], row)
        for cell, row in zip(cells.values(), own.outputs["test"], strict=True)
    )
    right = (own.outputs["test"].argmax(-1) == own.labels["test"]).double().mean(1)
    found = write_pool(folder, 2, None, no_progress)
    assert [row["accuracy"] for row in found["members"]] == pytest.approx(right.tolist())
    assert json.loads((folder / "pool.json").read_text()) == found and (folder / "pool.html").is_file()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["pool", str(tmp_path)])
    assert done.exit_code and "expected the folder of a table that compare has made" in done.output
