"""NSGA-II: it finds mixtures between two goals, in genomes of different lengths, and keeps what no other dominates."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
import torch
from bowl import Bowl, generation, mixture, strategy
from torch import Tensor

from evoens.scoring.pareto import hypervolume
from evoens.search import nsga2
from evoens.search.nsga2 import NSGA2, SENSES
from evoens.search.replayed import mixtures
from evoens.settings.config import ObjectiveName
from evoens.strategy import Record

K, N = 8, 16


def search(*objectives: str) -> NSGA2:
    return NSGA2(strategy(), objectives or ("score", "diversity"), K)


def goals(found: NSGA2) -> tuple[Bowl, Bowl]:
    """Two bowls whose bottoms are mixtures, as far from the parent as a child is."""
    rng, genes = Random(5), found.directions(Random("run:generation:0"))
    origin = Bowl(found.strategy, torch.zeros(()))

    def bowl() -> Bowl:
        wanted = [rng.gauss(0, 1) for _ in range(K)]
        return Bowl(found.strategy, origin.weights(mixture(genes, [c / math.hypot(*wanted) for c in wanted])))

    return bowl(), bowl()


def test_all_that_a_yaml_can_name_are_there() -> None:
    assert set(SENSES) == set(ObjectiveName.__args__)


def test_its_front_covers_more_than_as_many_random_mixtures() -> None:
    found, rng = search(), Random(9)
    first, second = goals(found)
    genes = found.directions(Random("run:generation:0"))
    grown = [found.figures()["hypervolume"] for number in range(12) if _told(found, first, second, number)]
    assert grown == sorted(grown) and grown[-1] > 1.2 * grown[0]
    drawn = [mixture(genes, [rng.gauss(0, 1 / math.sqrt(K)) for _ in genes]) for _ in range(12 * N)]
    reached = [[first.score(genome), second.score(genome)] for genome in drawn]
    told = [values for values in found.told for values in values]
    assert hypervolume(told, [-2.0, -2.0]) > 1.1 * hypervolume(reached, [-2.0, -2.0])


def _told(found: NSGA2, first: Bowl, second: Bowl, number: int) -> bool:
    genomes = generation(found, number, N)
    found.tell([Record(g, first.score(g), number, {"diversity": second.score(g)}) for g in genomes])
    return True


def test_the_first_children_have_one_to_k_genes_and_are_as_far_away_as_others() -> None:
    found = search()
    genomes = generation(found, 0, 200)
    sizes = [len(genome.genes) for genome in genomes]
    assert set(sizes) == set(range(1, K + 1))
    sigma = found.strategy.sigma
    lengths = [sum((gene.scale / sigma) ** 2 for gene in genome.genes) for genome in genomes]
    assert sum(lengths) / 200 == pytest.approx(1, abs=0.15)
    assert all(x == pytest.approx(1, abs=0.5) for x in _by_size(sizes, lengths))


def _by_size(sizes: list[int], lengths: list[float]) -> list[float]:
    groups = [[x for size, x in zip(sizes, lengths, strict=True) if size == k] for k in range(1, K + 1)]
    return [sum(group) / len(group) for group in groups]


def test_where_fewer_genes_are_better_genomes_get_shorter() -> None:
    found = search("score", "size")
    mean = []
    for number in range(8):
        genomes = generation(found, number, N)
        found.tell([Record(g, 0.0, number, {"size": float(len(g.genes))}) for g in genomes])
        mean.append(sum(len(genome.genes) for genome in genomes) / N)
    assert mean[-1] < 0.6 * mean[0]


def test_the_best_of_parents_and_children_breed(monkeypatch: pytest.MonkeyPatch) -> None:
    found, bred = search(), list[Tensor]()
    whole = found._bred

    def watched(parents: Tensor, n: int, drawn: torch.Generator) -> Tensor:
        bred.append(parents)
        return whole(parents, n, drawn)

    scores = {0: [3.0, -9.0, 1.0, -9.0], 1: [-9.0, 4.0, -9.0, 2.0]}
    asked = []
    for number, own in scores.items():
        asked.append(generation(found, number, 4))
        found.tell([Record(g, x, number, {"diversity": x}) for g, x in zip(asked[-1], own, strict=True)])
    monkeypatch.setattr(found, "_bred", watched)
    generation(found, 2, 4)
    genes = found.directions(Random("run:generation:0"))
    best = [asked[1][1], asked[0][0], asked[1][3], asked[0][2]]  # 4, 3, 2, 1
    assert mixtures(genes, bred[-1].tolist()) == best


def test_a_child_has_each_coordinate_of_a_parent_of_which_the_best_are_drawn_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nsga2, "_normals", lambda n, k, drawn: torch.zeros(n, k, dtype=torch.float64))
    parents = torch.arange(1, 5, dtype=torch.float64)[:, None].expand(4, K)
    children = search()._bred(parents, 4000, torch.Generator().manual_seed(0))
    shares = [float((children == value).double().mean()) for value in range(5)]
    first = [(7 - 2 * i) / 16 * (1 - 1 / K) for i in range(4)]  # of two draws the better; 1/k are switched off
    assert shares == pytest.approx([1 / K, *first], abs=0.01)
    mixed = [(child[child > 0]).unique().numel() for child in children]
    assert max(mixed) == 2  # a mother and a father


@pytest.mark.parametrize(("objective", "better", "worse"), [("nll", 0.1, 0.9), ("size", 1.0, 9.0), ("sparsity", 1, 0)])
def test_less_is_better_where_it_is(objective: str, better: float, worse: float) -> None:
    rows = [row("a", 0.5, {objective: worse}), row("b", 0.5, {objective: better})]
    assert [r["key"] for r in search("score", objective).candidates(rows, 2)] == ["b", "a"]


def test_who_failed_has_the_worst_of_its_generation_by_each_objective() -> None:
    found = search("score", "nll")
    genomes = generation(found, 0, 5)
    found.tell([Record(g, float(i), 0, {"nll": float(10 * i)}) for i, g in enumerate(genomes) if i])
    assert found.told == [[[1.0, -40.0], [1.0, -10.0], [2.0, -20.0], [3.0, -30.0], [4.0, -40.0]]]


def row(key: str, fitness: float, traits: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "fitness": fitness, "traits": traits}


def test_candidates_are_the_front_first_and_the_report_has_it() -> None:
    rows = [row(key, x, {"diversity": y}) for key, x, y in (("a", 3, 1), ("b", 2, 1), ("c", 1, 3), ("d", 2, 2))]
    rows.append(row("e", 9, {"diversity": None}))
    found = search()
    assert [r["key"] for r in found.candidates(rows, 4)] == ["a", "c", "d", "b"]
    assert [r["key"] for r in found.candidates(rows, 2)] == ["a", "c"]
    front = found.report(rows)["front"]
    assert front["objectives"] == ["score", "diversity"] and front["more"] == [True, True]
    assert front["children"][0] == {"key": "a", "score": 3, "diversity": 1}
    assert [child["key"] for child in front["children"]] == ["a", "c", "d"]


def test_the_hypervolume_is_in_units_of_the_first_generation() -> None:
    found = search()
    found.told = [[[1.0, 10.0], [3.0, 10.0], [1.0, 30.0]], [[2.0, 20.0], [5.0, 50.0]]]
    assert found.figures() == {"hypervolume": pytest.approx(2 * 2)}
    found.told = [[[1.0, 10.0], [3.0, 30.0]]]
    assert found.figures() == {"hypervolume": pytest.approx(1)}
