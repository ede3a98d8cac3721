"""The Ray backend: the bits of the local one, whatever becomes of its workers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Listener, timeless
from torch import Tensor, nn

import evoens
from evoens import noise
from evoens.config.load import build, load
from evoens.errors import EvoensError
from evoens.evaluation.backend import Job
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Plan
from evoens.evaluation.ray_backend import RayBackend, ray_workers
from evoens.experiment.run import Run, opening_of
from evoens.experiment.state import Experiment
from evoens.genome import Gene, Genome, Mask
from evoens.problem import Split
from evoens.report import listeners
from evoens.settings.backend import BackendSettings

SMALL = (
    "strategy.sigma=0.2",
    "search.population=6",
    "selection.size=2",
    "problem.splits.search.count=60",
    "problem.splits.select.count=60",
    "report.bootstrap=100",
    "report.random_draws=2",
)
EVIL = '''
import ctypes, os, signal, time
from pathlib import Path

from evoens_strategies.noisy import Noisy


class Evil(Noisy):
    """Noise; a gene's `extra` ends the process that it is made a child in, as often as it says, or holds it up."""

    def __init__(self, sigma=1.0, density=0.5, parts=2, folder=""):
        super().__init__(sigma=sigma, density=density, parts=parts)
        self.folder = Path(folder)

    def perturb(self, name, weight, gene):
        for what, times in gene.extra:
            deaths = self.folder / f"{what} {gene.seed}"
            died = deaths.stat().st_size if deaths.exists() else 0
            if died < times:
                deaths.write_text("x" * (died + 1))
                getattr(self, what)()
        return super().perturb(name, weight, gene)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def term(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def leave(self):
        os._exit(0)

    def crash(self):
        ctypes.string_at(0)

    def hang(self):
        time.sleep(600)

    def quit(self):
        raise SystemExit

    def press(self):
        raise KeyboardInterrupt
'''


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray for all, as starting it takes seconds; threads as a run on two cores has them, whatever machine it is."""
    import ray

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _one_plan_and_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of several lanes, each with a part of the threads."""
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan(children=2))


def run_of(folder: Path, *settings: str, problem: str = "digits_noisy") -> Run:
    return build(load(problem, [*SMALL, *settings]), folder, Listener())


def assert_same(one: Path, other: Path) -> None:
    for name in ("population.jsonl", "ensemble/genomes.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    reports = [timeless(json.loads((folder / "report.json").read_text())) for folder in (one, other)]
    assert reports[0] == reports[1]


def workers() -> list[int]:
    """The processes of workers that measure a child, or wait to."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class Killer(Listener):
    """Kills a worker in the middle of each generation, with `kill -9` from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[int] = []

    def on_progress(self, done: int, total: int, text: str) -> None:
        if text.startswith("parent and children") and done == 3:
            self.killed.append(workers()[0])
            os.kill(self.killed[-1], signal.SIGKILL)


RACING = "search.racing={step: 10, levels: 40}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the local backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
        patch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan(children=2))
        return run_of(tmp_path_factory.mktemp("here") / "run", "search.generations=3").execute()


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_has_the_same_bits_with_workers_though_some_are_killed(here: Path, tmp_path: Path, number: int) -> None:
    settings = ("search.generations=3", "backend.type=ray", f"backend.workers={number}")
    killer = Killer()
    build(load("digits_noisy", [*SMALL, *settings]), tmp_path / "run", killer)
    run = run_of(tmp_path / "there", *settings)
    Run(run.experiment, tmp_path / "there", [killer]).execute()
    assert len(set(killer.killed)) == 3
    assert_same(here, tmp_path / "there")


def test_children_that_were_trained_here_are_measured_there(tmp_path: Path) -> None:
    tune = "tune={epochs: 1, batch: 32}"
    found = [
        run_of(tmp_path / kind, tune, "search.population=4", f"backend.type={kind}").execute()
        for kind in ("local", "ray")
    ]
    assert_same(*found)
