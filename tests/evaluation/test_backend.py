"""The Backend: jobs are JSON, outcomes come in any order, and one from outside finds what the local one does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evoens.evaluation.backend import Job, Outcome, measure
from evoens.evaluation.evaluator import Evaluator
from evoens.experiment.run import Run
from evoens.genome import Gene, Genome, Mask
from evoens.problem import Evaluation, Split
from tests.support.tiny_run import config, experiment


class Elsewhere:
    """Sends every job as text to a worker of its own, one by one, and hands the outcomes back, the last first."""

    def __init__(self, local: Evaluator) -> None:
        own = local.strategy, local.problem, local.plan, "cpu"
        self.worker, self.local, self.sent = Evaluator(local.parent, *own), local, list[str]()
        self.device, self.kept = local.device, local.kept

    def map(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        for place in reversed(range(len(jobs))):
            text = json.dumps(jobs[place].to_json())
            self.sent.append(text)
            ((_, outcome),) = self.worker.map([Job.from_json(json.loads(text))])
            yield place, outcome

    def outputs(self, genomes: Sequence[Genome], inputs: Tensor, *more: Any) -> Tensor:
        return self.local.outputs(genomes, inputs, *more)


def test_a_job_comes_back_from_its_text_as_it_was() -> None:
    genome = Genome((Gene(2**62 + 1, 0.1, -1, Mask(5, 0.25, 4, 3, "exact"), scope=("a", "b")),))
    for job in (Job(genome, Split("select", 3, 7)), Job(Genome(), Split("search", 0, 1))):
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_an_outcome_comes_back_to_the_bit() -> None:
    genome = Genome((Gene(1, 0.1),))
    table = torch.tensor([[0.1, -0.0], [5e-324, torch.inf]], dtype=torch.float64)
    kept = {
        "outputs": torch.rand(3, 4).T,
        "cases": torch.tensor([True, False]),
        "a/b": torch.zeros((), dtype=torch.int),
    }
    sent = Outcome(genome, Evaluation(table[:, 0], 7, {"nll": table[0], "extra/": table}, kept), None)
    row, tensors = sent.packed()
    found = Outcome.unpacked(json.loads(json.dumps(row)), tensors)
    assert found.genome == genome and found.error is None and found.evaluation is not None
    assert found.evaluation.samples == 7
    assert found.evaluation.cases.numpy().tobytes() == np.array([0.1, 5e-324]).tobytes()
    assert sent.evaluation is not None
    for mine, theirs in (
        (found.evaluation.extra_metrics, sent.evaluation.extra_metrics),
        (found.evaluation.artifacts, sent.evaluation.artifacts),
    ):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert value.dtype == theirs[name].dtype and value.numpy().tobytes() == theirs[name].numpy().tobytes()
    failed = Outcome(genome, None, "ValueError: no")
    assert Outcome.unpacked(*failed.packed()) == failed


@pytest.mark.usefixtures("one_thread")
def test_one_from_outside_finds_the_same_in_whatever_order(tmp_path: Path) -> None:
    settings = config(search={"generations": 2, "racing": {"step": 4, "levels": 24}})
    Run(experiment(settings), tmp_path / "here").execute()
    made = list[Elsewhere]()

    def elsewhere(local: Evaluator) -> Elsewhere:
        made.append(Elsewhere(local))
        return made[0]

    Run(experiment(settings), tmp_path / "there", backend=elsewhere).execute()
    assert len(made[0].sent) > 12 + 3 and '"select"' in made[0].sent[-1]
    for name in ("population.jsonl", "ensemble/genomes.json"):
        assert (tmp_path / "here" / name).read_text() == (tmp_path / "there" / name).read_text()
    here, there = (json.loads((tmp_path / place / "report.json").read_text()) for place in ("here", "there"))
    for name in ("parent", "best_child", "random_children", "ensemble", "candidates", "verdict"):
        assert here[name] == there[name]


def test_results_are_told_in_order_however_they_come(tiny_problem: Any) -> None:
    genomes = [Genome((Gene(seed, 0.1),)) for seed in range(3)]

    class Shuffled:
        def map(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
            for place in (2, 0, 1):
                yield place, Outcome(jobs[place].genome, None, str(place))

    told: list[tuple[int, str | None]] = []
    found = measure(Shuffled(), genomes, Split("search", 0, 1), lambda i, o: told.append((i, o.error)))  # type: ignore[arg-type]
    assert told == [(0, "0"), (1, "1"), (2, "2")] and [o.genome for o in found] == genomes


def test_jobs_on_different_cases_go_together(tiny_problem: Any) -> None:
    from evoens_strategies.noisy import Noisy

    local = Evaluator(tiny_problem.parent, Noisy(sigma=0.3), tiny_problem, None, "cpu")
    genomes, splits = [Genome((Gene(seed, 0.3),)) for seed in range(2)], [Split("search", 0, 4), Split("search", 4, 3)]
    jobs = [Job(genome, split) for genome in genomes for split in splits]
    found = dict(local.map(jobs))
    for place, job in enumerate(jobs):
        (alone,) = local.evaluate([job.genome], job.split)
        assert found[place].evaluation is not None and alone.evaluation is not None
        assert torch.equal(found[place].evaluation.cases, alone.evaluation.cases)
