from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_parent
from tiny_run import config, execute
from torch import Tensor

from evoens.experiment.distinct import distinct
from evoens.genome import Gene, Genome
from evoens.report import listeners
from evoens.strategy import Strategy

SOURCE = """
from evoens import Strategy, noise


class Coarse(Strategy):
    def perturb(self, name, weight, gene):
        return weight + gene.scale * noise.normals(gene.seed % 4, name, weight.shape)
"""


class Halved(Strategy):
    """Of two seeds that follow each other, one child."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        return weight + gene.seed // 2


def test_only_equal_weights_are_one_network() -> None:
    cases = [torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])]
    measured = [(Genome((Gene(seed, 1.0),)), cases[which]) for seed, which in [(0, 0), (2, 0), (1, 0), (4, 1), (3, 0)]]
    assert distinct(tiny_parent(), Halved(1.0), measured) == [0, 1, 3]
    assert distinct(tiny_parent(), Halved(1.0), []) == []


def test_a_network_counts_once_and_the_run_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight children of a run are four networks at most, found by hand from their seeds."""
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder)
    (tmp_path / "coarse.py").write_text(SOURCE)
    settings = config(search={"population": 8, "generations": 1}, selection={"size": 5})
    run, listener = execute(tmp_path / "run", settings, spec=f"{tmp_path / 'coarse.py'}:Coarse")
    seeds = [row["genome"][0]["seed"] % 4 for row in run.journal.state.population]
    count = len(seeds)
    assert count == len(set(seeds)) < 5
    assert f"generation 1: 8 children are {count} different networks; each counts once" in listener.warnings
    assert f"the members are {count} different networks, where selection.size asks for 5" in listener.warnings
    assert run.journal.state.selection is not None
    assert sorted(row[0]["seed"] % 4 for row in run.journal.state.selection["members"]) == sorted(seeds)
