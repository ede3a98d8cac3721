"""What children are like beside their score: as NumPy finds it, and refused where it cannot be known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyProblem
from tiny_run import FrameNet, TinyFrames, config, execute, experiment

from evoens import noise
from evoens.children import initial_weights
from evoens.errors import EvoensError
from evoens.experiment.distances import INPUTS
from evoens.experiment.traits import require_traits
from evoens.genome import Genome
from evoens.search.base import Search


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]


def answers(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """The probabilities of the parent and of each child, `(k + 1, n, c)`, each from its own network."""
    problem, found = TinyFrames(), []
    strategy = experiment(config()).strategy
    for genome in (Genome(), *(Genome.from_json(row["genome"]) for row in rows)):
        module = FrameNet()
        module.load_state_dict(problem.parent.weights | initial_weights(problem.parent, strategy, genome))
        with torch.no_grad():
            found.append(torch.softmax(module(problem.probe(INPUTS)).double(), -1).numpy())
    return np.stack(found)


@pytest.mark.usefixtures("one_thread")
def test_objectives_are_in_the_population_as_they_are_defined(tmp_path: Path) -> None:
    objectives = ("score", "diversity", "sparsity", "size")
    execute(tmp_path, config(search={"by": "nsga2", "objectives": objectives, "dimensions": 4}))
    rows = rows_of(tmp_path)
    assert all(list(row["traits"]) == ["diversity", "size", "sparsity"] for row in rows)  # keys are sorted there
    assert [row["traits"]["size"] for row in rows] == [len(row["genome"]) for row in rows]
    for row in rows:
        same = total = 0
        for name in ("first.weight", "last.weight"):
            shape = FrameNet().state_dict()[name].shape
            masks = [gene.mask for gene in Genome.from_json(row["genome"]).genes]
            touched = torch.stack([noise.keep(mask, name, shape) for mask in masks if mask]).any(0)
            same, total = same + int((~touched).sum()), total + touched.numel()
        assert row["traits"]["sparsity"] == pytest.approx(same / total, abs=1e-9)
    for number in (0, 1):
        own = [row for row in rows if row["generation"] == number]
        top = answers(own)[1:].argmax(-1)
        distances = (top[:, None] != top[None]).mean(-1).sum(1) / (len(own) - 1)
        assert [row["traits"]["diversity"] for row in own] == pytest.approx(distances.tolist())
    report = json.loads((tmp_path / "report.json").read_text())
    history = json.loads((tmp_path / "history.json").read_text())["generations"]
    assert len(history[1]["search"]) == 1 and history[0]["search"]["hypervolume"] <= history[1]["search"]["hypervolume"]
    values = {
        row["key"]: (row["fitness"], *(row["traits"][n] for n in ("diversity", "sparsity", "size"))) for row in rows
    }
    better = {key: np.array(own) * (1, 1, 1, -1) for key, own in values.items()}
    free = [k for k, x in better.items() if not any((y >= x).all() and (y > x).any() for y in better.values())]
    assert sorted(child["key"] for child in report["front"]["children"]) == sorted(free)
    assert {row["key"] for row in report["candidates"]} >= set(free[:6])


@pytest.mark.usefixtures("one_thread")
def test_measures_are_in_the_population_as_they_are_defined(tmp_path: Path) -> None:
    execute(tmp_path, config(search={"by": "map-elites", "measures": ("kl", "confidence"), "cells": 3}))
    rows = rows_of(tmp_path)
    p = answers(rows)
    logs = np.log(p)
    distances = ((p[1:] * (logs[1:] - logs[:1])).sum(-1) + (p[:1] * (logs[:1] - logs[1:])).sum(-1)).mean(-1) / 2
    assert [row["traits"]["kl"] for row in rows] == pytest.approx(distances.tolist(), rel=1e-4)
    assert [row["traits"]["confidence"] for row in rows] == pytest.approx(p[1:].max(-1).mean(-1).tolist(), rel=1e-4)
    report = json.loads((tmp_path / "report.json").read_text())
    scores = {row["key"]: row["fitness"] for row in rows}
    assert all(one["fitness"] == scores[one["key"]] for one in report["archive"]["elites"])
    assert {one["key"] for one in report["archive"]["elites"]} <= {row["key"] for row in report["candidates"]}
    assert "Heat map of the archive" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("one_thread")
def test_a_hash_tells_kinds_apart_where_there_are_pictures(tmp_path: Path) -> None:
    execute(tmp_path, config(search={"by": "map-elites", "measures": ("average", "balance"), "generations": 1}))
    found = [row["traits"] for row in rows_of(tmp_path)]
    assert all(0 <= traits["average"] <= 1 and 0 <= traits["balance"] <= 1 for traits in found)
    assert len({traits["average"] for traits in found}) > 1


def test_what_the_problem_does_not_know_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(EvoensError, match=r"search\.objectives: nll: expected a problem whose cases have labels"):
        execute(tmp_path / "a", config(search={"by": "nsga2", "objectives": ("score", "nll")}))
    measures = {"by": "map-elites", "measures": ("kl", "wavelet")}
    with pytest.raises(EvoensError, match=r"search\.measures: expected one of kl, .* the problem has no pictures"):
        execute(tmp_path / "b", config(search=measures), problem=TinyProblem())
    assert not (tmp_path / "a" / "population.jsonl").exists() and not (tmp_path / "b" / "population.jsonl").exists()


def test_a_trait_that_nobody_knows_is_named_with_the_nearest() -> None:
    with pytest.raises(EvoensError, match=r'found confidense; did you mean "confidence"\?'):
        require_traits(experiment(config()), ("confidense",))


@pytest.mark.usefixtures("one_thread")
def test_of_a_child_whose_trait_is_not_finite_the_search_hears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    class Counts(Search):
        traits = ("size",)

        def ask(self, n: int, rng: Any, context: Any) -> list[Genome]:
            return self.strategy.ask(n, rng)

        def tell(self, records: Any) -> None:
            heard.append(len(records))

    from evoens.experiment import traits

    monkeypatch.setitem(traits._OWN, "size", lambda e, b, outcomes: [float("nan"), *[1.0] * (len(outcomes) - 1)])
    monkeypatch.setattr("evoens.experiment.setup.Elites", Counts)
    execute(tmp_path, config(search={"generations": 1}))
    assert heard == [5]
    assert [row["traits"]["size"] for row in rows_of(tmp_path)] == [None, 1, 1, 1, 1, 1]
