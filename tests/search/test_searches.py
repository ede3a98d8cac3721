"""What every search keeps: new children from the run's randomness alone, the same after a resume, whatever fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from bowl import SIGMA, Bowl, generation, go, strategy

from evoens.cli import main
from evoens.errors import EvoensError, SpecError
from evoens.experiment.setup import open_search, require_search
from evoens.genome import Genome
from evoens.report import listeners
from evoens.search.base import Search
from evoens.settings.base import SCALING, SEARCHES
from evoens.strategy import Context, Record, Strategy
from tests.support.tiny_run import TinyFrames, config, execute, experiment

N = 7  # odd, though some go in pairs

Make = Callable[[Strategy], Search]


@pytest.fixture(params=SEARCHES)
def make(request: pytest.FixtureRequest) -> Make:
    return open_search(config(search={"by": request.param}), Path())[0]


@pytest.fixture
def bowl() -> Bowl:
    return Bowl(strategy(), torch.zeros(()))


@pytest.mark.parametrize("n", [N, 8])
def test_children_are_new_networks_and_genomes_that_read_back(make: Make, bowl: Bowl, n: int) -> None:
    asked = go(make(bowl.whose), bowl, 3, n)
    for genomes in asked:
        assert len(genomes) == n == len({genome.key for genome in genomes})
        assert all(genome.genes for genome in genomes)  # the parent is measured anyway
        assert all(Genome.from_json(json.loads(json.dumps(genome.to_json()))) == genome for genome in genomes)
        assert len({bowl.weights(genome).numpy().tobytes() for genome in genomes}) == n


def test_all_randomness_is_the_runs(make: Make, bowl: Bowl) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    asked = go(make(bowl.whose), bowl, 3, N)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert go(make(bowl.whose), bowl, 3, N) == asked
    other = make(bowl.whose)
    assert other.ask(N, Random("another run"), Context(SIGMA, parent=other.strategy.parent)) != asked[0]


def test_one_that_is_asked_again_before_it_is_told_asks_for_the_same(make: Make, bowl: Bowl) -> None:
    search = make(bowl.whose)
    go(search, bowl, 2, N)
    state = json.loads(json.dumps(search.state_dict()))
    asked = generation(search, 2, N)
    assert generation(search, 2, N) == asked
    resumed = make(bowl.whose)  # in another process, in the middle of a generation
    resumed.load_state_dict(state)
    assert generation(resumed, 2, N) == asked
    assert go(resumed, bowl, 2, N, first=2) == go(search, bowl, 2, N, first=2)


@pytest.mark.parametrize("by", SCALING)
def test_a_child_that_failed_counts_as_the_worst_that_was_measured(by: str) -> None:
    search = open_search(config(search={"by": by}), Path())[0](strategy())
    genomes = generation(search, 0, N)
    traits = dict.fromkeys(search.traits, 0.5)
    search.tell([Record(g, 3.0 - place, 0, traits) for place, g in enumerate(genomes) if place])  # all but the first
    scores = [score[0] if by == "nsga2" else score for score in search.state_dict()["told"][0]]
    assert scores[0] == min(scores) and scores[1:] == [3.0 - place for place in range(1, len(scores))]
    assert len({genome.key for genome in generation(search, 1, N)}) == N


FAILS = """
import torch
from evoens_strategies.noisy import Noisy


class Fails(Noisy):
    def perturb(self, name, weight, gene):
        found = super().perturb(name, weight, gene)
        return found * torch.nan if gene.sign * gene.scale > {limit} else found
"""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("by", ["es", "cma-es", pytest.param("ga", marks=pytest.mark.slow), "nsga2", "map-elites"])
def test_a_run_goes_on_where_it_was_stopped_in_the_middle_of_a_generation(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children that are not finite are among those before."""
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")  # which takes the longest
    (tmp_path / "fails.py").write_text(FAILS.format(limit=0.29 if by in ("es", "map-elites") else 0.15))
    spec, settings = f"{tmp_path / 'fails.py'}:Fails", config(search={"by": by, "generations": 3})

    def rows(folder: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / folder / "population.jsonl").read_text().splitlines()]

    def report(folder: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((tmp_path / folder / "report.json").read_text())
        return found

    execute(tmp_path / "whole", settings, spec=spec)
    found = rows("whole")
    assert {row["status"] for row in found} > {"ok"}
    splits: list[Any] = []

    def stop(split: Any) -> None:
        splits.append(split)
        if len(splits) == 2 * 7 + 3:  # six children and the parent each
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, EvoensError)):
        execute(tmp_path / "cut", settings, spec=spec, problem=TinyFrames(before=stop))
    execute(tmp_path / "cut", settings, spec=spec)
    assert rows("cut") == found
    front, archive = ([report(folder).get(key) for folder in ("whole", "cut")] for key in ("front", "archive"))
    assert front[0] == front[1] and bool(front[0]) == (by == "nsga2")
    assert archive[0] == archive[1] and bool(archive[0]) == (by == "map-elites")


def test_what_goes_together_is_checked_before_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*settings: str) -> str:
        with pytest.raises(SystemExit):
            main(["run", "digits_noisy", "--dry-run", *(f"--set={text}" for text in settings)])
        return capsys.readouterr().err

    names = ", ".join(SEARCHES)
    assert f"search.by=cma: expected one of {names}" in said("search.by=cma")
    assert 'found "cma"; did you mean "cma-es"?' in said("search.by=cma")
    assert "search.dimensions=8: expected null, since elites is none of cma-es" in said("search.dimensions=8")
    assert "search.by=es: sparse has no scale to search by; expected elites, found es" in said(
        "search.by=es", "strategy={class: sparse}", "tune={}"
    )
    assert "expected at least 5 for snes, found 4" in said("search.by=snes", "search.population=4")
    assert "search.by=nsga: expected one of" in said("search.by=nsga")
    few = "search.objectives=[score]: expected two or more for nsga2, each once, found [score]"
    assert few in said("search.by=nsga2", "search.objectives=[score]")
    assert 'found "diversty"; did you mean "diversity"?' in said("search.by=nsga2", "search.objectives=[nll, diversty]")
    assert "two or more for nsga2, each once" in said("search.by=nsga2", "search.objectives=[nll, nll]")
    unknown = said("search.by=map-elites", "search.measures=[kl, confidense]")
    assert "search.measures[1]: expected one of kl, " in unknown and 'did you mean "confidence"?' in unknown
    assert "expected a list of 2" in said("search.by=map-elites", "search.measures=[kl]")
    assert "each once, found [kl, kl]" in said("search.by=map-elites", "search.measures=[kl, kl]")
    assert "search.cells=4: expected null, since elites is not map-elites; found 4" in said("search.cells=4")
    assert "since ga is not nsga2; found [score, nll]" in said("search.by=ga", "search.objectives=[score, nll]")
    assert "since nsga2 keeps different children itself" in said("search.by=nsga2", "search.diversity=0.1")


def test_a_search_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from evoens.search.base import Search\n\n\nclass Own(Search):\n"
        "    def __init__(self):\n        pass\n\n    def ask(self, n, rng, context):\n        return []\n"
    )
    found = experiment(config(search={"by": f"{tmp_path / 'own.py'}:Own"}))
    with pytest.raises(SpecError, match=r"search\.by: it cannot be made: TypeError"):
        require_search(found.search, found.strategy)
