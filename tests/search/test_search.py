"""The Search: the one that ships is a Strategy's own breeding, and one of a user's own takes its place."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from evoens_strategies.noisy import Noisy

from evoens.errors import EvoensError, SpecError
from evoens.experiment.identity import identity_of
from evoens.genome import Genome
from evoens.problem import Split
from evoens.search.elites import Elites
from evoens.strategy import Context
from tests.support.tiny_run import TinyFrames, config, execute, experiment

OWN = '''
from evoens.genome import Genome
from evoens.search.base import Search


class Same(Search):
    """What the search by elites does, written once more."""

    def ask(self, n, rng, context):
        return self.strategy.within(elites=context.elites).ask(n, rng)


class Best(Search):
    """Breeds the one best child of all generations, which it remembers, with ever less noise."""

    best, sigma = None, None

    def ask(self, n, rng, context):
        self.sigma = (self.sigma or 2 * context.sigma) / 2
        base = [Genome.from_json(self.best[1])] if self.best else []
        return self.strategy.within(elites=tuple(base), sigma=self.sigma).ask(n, rng)

    def tell(self, records):
        top = max(records, key=lambda record: record.score)
        if self.best is None or top.score > self.best[0]:
            self.best = [top.score, top.genome.to_json()]

    def state_dict(self):
        return {"best": self.best, "sigma": self.sigma}

    def load_state_dict(self, state):
        self.best, self.sigma = state["best"], state["sigma"]


class Few(Search):
    def ask(self, n, rng, context):
        return self.strategy.ask(n - 1, rng)
'''


@pytest.fixture
def by(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return str(tmp_path / "own.py")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("one_thread")
def test_one_from_outside_that_does_the_same_finds_the_same(tmp_path: Path, by: str) -> None:
    execute(tmp_path / "usual")
    execute(tmp_path / "own", config(search={"by": f"{by}:Same"}))
    assert rows_of(tmp_path / "own") == rows_of(tmp_path / "usual")
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("usual", "own")]
    assert reports[0]["ensemble"] == reports[1]["ensemble"]


@pytest.mark.usefixtures("one_thread")
def test_one_with_a_memory_breeds_its_best_and_goes_on_where_it_was_stopped(tmp_path: Path, by: str) -> None:
    settings = config(search={"by": f"{by}:Best", "generations": 3})
    run, _ = execute(tmp_path / "whole", settings)
    rows = rows_of(tmp_path / "whole")
    first = [row for row in rows if row["generation"] == 0]
    best = max(first, key=lambda row: row["fitness"])
    bred = [row["genome"] for row in rows if row["generation"] == 1]
    assert len(bred) == 6 and all(genome[:-1] == best["genome"] for genome in bred)
    assert {Genome.from_json(genome).genes[-1].scale for genome in bred} == {0.15}  # half of 0.3
    assert run.journal.state.strategy["best"][0] == max(row["fitness"] for row in rows)
    asked: list[Split] = []

    def stop(split: Split) -> None:
        asked.append(split)
        if len(asked) == 2 * 7 + 3:  # six children and the parent each
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, EvoensError)):
        execute(tmp_path / "cut", settings, problem=TinyFrames(before=stop))
    execute(tmp_path / "cut", settings)
    assert rows_of(tmp_path / "cut") == rows


def test_what_does_not_do_its_part_is_said(tmp_path: Path, by: str) -> None:
    with pytest.raises(SpecError, match=r"Few\.ask\(6\): expected 6 genomes, found 5"):
        execute(tmp_path / "few", config(search={"by": f"{by}:Few"}))
    with pytest.raises(SpecError, match="no class Gone there"):
        experiment(config(search={"by": f"{by}:Gone"}))


def test_its_file_belongs_to_the_identity_of_a_run_and_its_absence_is_no_news(by: str) -> None:
    assert "files of the search" not in identity_of(experiment(config()))
    own = identity_of(experiment(config(search={"by": f"{by}:Same"})))
    assert list(own["files of the search"]) == ["sha256", "helpers"]


def test_elites_ask_the_strategy_on_the_best_and_leave_its_sigma_alone() -> None:
    search, elites = Elites(Noisy(sigma=0.5)), (Genome(Noisy(sigma=0.1).ask(1, Random(1))[0].genes),)
    genomes = search.ask(4, Random(0), Context(9.0, elites=elites))
    assert all(genome.genes[:-1] == elites[0].genes and genome.genes[-1].scale == 0.5 for genome in genomes)
