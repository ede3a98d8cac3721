"""MAP-Elites: the best of each cell stays and breeds, and all of them are candidates."""

from __future__ import annotations

import json
import sys
from random import Random
from typing import Any

import numpy as np
import pytest
from bowl import generation, strategy
from evoens_strategies.sparse import Sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from evoens.errors import SpecError
from evoens.genome import Gene, Genome
from evoens.search.archive import Archive, Elite
from evoens.search.map_elites import MapElites
from evoens.strategy import Record, Strategy

N = 16
CHILD = st.tuples(st.integers(-3, 3), st.integers(-2, 12), st.integers(-2, 12))


def elite(number: int, score: float, *measures: float) -> Elite:
    return Elite(Genome((Gene(number, 0.1),)), score, measures)


def search(cells: int = 4, whose: Strategy | None = None) -> MapElites:
    return MapElites(whose or strategy(), ("kl", "confidence"), cells)


def told(found: MapElites, number: int, genomes: list[Genome], *values: tuple[float, float, float]) -> None:
    rows = zip(genomes, values, strict=True)
    found.tell([Record(g, score, number, {"kl": x, "confidence": y}) for g, (score, x, y) in rows])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(CHILD, min_size=1, max_size=8), min_size=1, max_size=3))
def test_each_cell_keeps_the_best_that_ever_fell_into_it_and_of_equals_the_first(
    batches: list[list[tuple[int, int, int]]],
) -> None:
    """By hand, on a grid of five cells of 2 from 0 to 10; whoever is beyond belongs to the edge."""
    archive, best, number = Archive(5, [(0.0, 10.0), (0.0, 10.0)]), dict[tuple[int, int], Elite](), 0
    for batch in batches:
        children = [elite(number + i, score, x + 0.5, y + 0.5) for i, (score, x, y) in enumerate(batch)]
        number += len(batch)
        archive.add(children)
        for child in children:
            cell = tuple(int(np.clip(x // 2, 0, 4)) for x in child.measures)
            if cell not in best or child.score > best[cell].score:
                best[cell] = child
    assert archive.elites == sorted(best.items(), key=lambda item: item[0])
    again = Archive.from_json(json.loads(json.dumps(archive.to_json())))
    assert again.elites == archive.elites and again.ranges == archive.ranges


def test_the_grid_is_laid_around_the_first_generation() -> None:
    archive = Archive.around([elite(0, 1, 0.1, 5.0), elite(1, 1, 0.5, 7.0)], 8)
    assert np.allclose(archive.ranges, [(0.0, 0.7), (4.0, 8.0)])  # half as wide again at either side, not below zero
    assert [cell for cell, _ in archive.elites] == [(1, 2), (5, 6)]
    alike = Archive.around([elite(0, 1, 2.0, 0.0), elite(1, 2, 2.0, 0.0)], 8)
    assert np.allclose(alike.ranges, [(1.5, 2.5), (0.0, 0.5)])
    assert [one.score for _, one in alike.elites] == [2]


def test_elites_of_the_archive_breed_and_nobody_else() -> None:
    found = search()
    first = generation(found, 0, N)
    scores = [(float(i), 1.0 if i % 2 else 3.0, 0.5) for i in range(N)]
    told(found, 0, first, *scores)
    assert found.archive is not None
    kept = [one.genome for _, one in found.archive.elites]
    assert sorted(kept, key=first.index) == first[-2:]  # the best on either side
    bred = generation(found, 1, N)
    assert {genome.genes[:-1] for genome in bred} == {genome.genes for genome in kept}
    assert found.figures() == {"coverage": 2 / 16}


def test_which_elites_breed_first_is_drawn_for_each_generation() -> None:
    found = search(8)
    told(found, 0, generation(found, 0, N), *[(1.0, i / N, i / N) for i in range(N)])
    bred = [[genome.genes[:-1] for genome in generation(found, number, 8)] for number in (1, 2, 3)]
    assert generation(found, 1, 8)[0].genes[:-1] == bred[0][0]
    assert len({own[0] for own in bred}) > 1


def test_every_elite_is_a_candidate_and_the_fittest_of_the_others_where_these_are_few() -> None:
    found, keys = search(), list[str]()
    first = generation(found, 0, 6)
    told(found, 0, first, *[(float(i), 1.0 if i < 3 else 3.0, 0.5) for i in range(6)])  # kept: 2 and 5
    keys = [genome.key for genome in first]
    rows: list[dict[str, Any]] = [{"key": key, "fitness": float(i)} for i, key in enumerate(keys)]
    assert [keys.index(row["key"]) for row in found.candidates(rows, 4)] == [5, 2, 4, 3]
    assert [keys.index(row["key"]) for row in found.candidates(rows, 1)] == [5, 2]  # the whole archive all the same
    report = found.report(rows)["archive"]
    assert report["measures"] == ["kl", "confidence"] and report["cells"] == 4
    assert [(keys.index(e["key"]), e["fitness"], e["measures"]) for e in report["elites"]] == [
        (2, 2.0, [1.0, 0.5]),
        (5, 5.0, [3.0, 0.5]),
    ]


def test_it_goes_on_from_its_state_with_the_strategys_own() -> None:
    class Learns(Sparse):
        heard = 0

        def tell(self, records: Any) -> None:
            self.heard += len(records)

        def state_dict(self) -> dict[str, Any]:
            return {"heard": self.heard}

        def load_state_dict(self, state: Any) -> None:
            self.heard = state["heard"]

    whose = Learns().within(parent=strategy().parent)  # which has no scale
    found, resumed = search(8, whose), search(8, Learns().within(parent=whose.parent))
    rng = Random(1)
    for number in range(3):
        genomes = generation(found, number, N)
        told(found, number, genomes, *[(rng.random(), rng.random(), rng.random()) for _ in genomes])
    resumed.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert resumed.strategy.heard == 3 * N  # type: ignore[attr-defined]
    assert generation(resumed, 3, N) == generation(found, 3, N)
    assert resumed.report([]) == found.report([])


def test_without_pyribs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ribs", None)
    with pytest.raises(SpecError, match=r"search\.by: expected the package ribs .* pip install 'evoens\[qd\]'"):
        search()
