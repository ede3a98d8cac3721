"""The Ray backend: the bits of the local one, whatever becomes of its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fresh import ENVIRONMENT
from tiny_run import Listener, timeless
from torch import Tensor, nn

import evoens
from evoens import noise
from evoens.config.load import build, load
from evoens.errors import EvoensError
from evoens.evaluation.backend import Job, measure
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Plan
from evoens.evaluation.ray_backend import QUIETLY, RayBackend, ray_workers
from evoens.experiment.run import Run, opening_of
from evoens.experiment.state import Experiment
from evoens.genome import Gene, Genome, Mask
from evoens.plugins.guest import listening
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
    os.environ.update(QUIETLY)
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


def gone() -> bool:
    """Whether all workers have ended, or do within seconds."""
    ends = time.monotonic() + 10
    while workers() and time.monotonic() < ends:
        time.sleep(0.05)
    return not workers()


class Killer(Listener):
    """Kills a worker in the middle of each generation, with `kill -9` from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[int] = []

    def on_progress(self, done: int, total: int, text: str) -> None:
        if text.startswith("parent and children") and done == 3:
            self.killed.append(workers()[0])
            os.kill(self.killed[-1], signal.SIGKILL)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the local backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
        patch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan(children=2))
        return run_of(tmp_path_factory.mktemp("here") / "run", "search.generations=2").execute()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_run_has_the_same_bits_with_workers_though_some_are_killed(here: Path, tmp_path: Path, number: int) -> None:
    settings = ("search.generations=2", "backend.type=ray", f"backend.workers={number}")
    killer = Killer()
    run = build(load("digits_noisy", [*SMALL, *settings]), tmp_path, Listener())
    Run(run.experiment, tmp_path, [killer]).execute()
    assert len(set(killer.killed)) == 2
    assert_same(here, tmp_path)


@pytest.mark.slow
def test_children_that_were_trained_here_are_measured_there(tmp_path: Path) -> None:
    tune = "tune={epochs: 1, batch: 32}"
    found = [
        run_of(tmp_path / kind, tune, "search.population=4", f"backend.type={kind}").execute()
        for kind in ("local", "ray")
    ]
    assert_same(*found)


# ---- children that end or hold up the process


class Local:
    """An experiment, and what measures its children in this process."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        problem = experiment.problem
        self.evaluator = Evaluator(problem.parent, experiment.strategy, problem, None, "cpu")

    @contextmanager
    def with_workers(self, number: int = 2, timeout: float | None = None) -> Iterator[RayBackend]:
        settings = BackendSettings(type="ray", workers=number, timeout=timeout)
        with ray_workers(self.evaluator, opening_of(self.experiment, self.evaluator), settings) as backend:
            yield backend


@pytest.fixture
def evil(tmp_path: Path) -> Local:
    (tmp_path / "evil.py").write_text(EVIL)
    settings = (f"strategy.class={tmp_path / 'evil.py'}:Evil", f"strategy.folder={tmp_path}")
    return Local(run_of(tmp_path / "run", *settings).experiment)


def child(seed: int, *extra: tuple[str, float]) -> Genome:
    return Genome((Gene(seed, 0.2, mask=Mask(seed, 0.5), extra=extra),))


TWICE = "ProblemError: the process died 2 times while this child was measured"
SLOW = pytest.mark.slow  # each death is a worker that has to start anew


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        (("kill",), ("leave",)),
        pytest.param(("term", "leave"), ("kill", "kill"), marks=SLOW),
        pytest.param(("crash",), ("crash",), marks=SLOW),
    ],
)
def test_a_child_is_measured_again_when_its_worker_dies_and_fails_alone_the_second_time(
    evil: Local, once: tuple[str, ...], twice: tuple[str, ...]
) -> None:
    again = [child(10 + place, (how, 1.0)) for place, how in enumerate(once)]
    bad = [child(20 + place, (how, 2.0)) for place, how in enumerate(twice)]
    said = [child(30, ("quit", 9.0)), child(31, ("press", 9.0))]
    good = [Genome(), *again, *map(child, range(6))]
    split = Split("search", 3, 50)
    with evil.with_workers() as backend:
        found = measure(backend, [*bad, *said, *good], split)
    with listening():
        known = evil.evaluator.evaluate([*said, *good], split)
    assert [outcome.error for outcome in found[: len(bad)]] == [TWICE] * len(bad)
    assert [outcome.error for outcome in found[len(bad) :]] == [outcome.error for outcome in known]
    for mine, theirs in zip(found[len(bad) + len(said) :], known[len(said) :], strict=True):
        assert mine.evaluation is not None and theirs.evaluation is not None
        assert torch.equal(mine.evaluation.cases, theirs.evaluation.cases) and mine.evaluation.samples == 50
    assert evil.evaluator.measuring.since == {}


@pytest.mark.slow
def test_a_child_that_hangs_is_given_up_and_others_are_not(evil: Local) -> None:
    genomes = [child(0, ("hang", 9.0)), child(1), child(2)]
    with evil.with_workers(1, timeout=3) as backend:
        hanging, *others = measure(backend, genomes, Split("search", 0, 60))
    assert hanging.error == "ProblemError: took longer than backend.timeout, 3 s"
    assert [outcome.status for outcome in others] == ["ok", "ok"] and gone()


# ---- what travels


def test_a_job_is_small(evil: Local) -> None:
    deep = child(2**64 - 1)
    for seed in range(9):
        deep = deep.stacked(Gene(2**64 - seed - 1, 0.123456789012345, -1, Mask(2**64 - seed - 1, 0.5, 2, 1)))
    assert len(json.dumps(Job(deep, Split("search", 0, 10_000)).to_json())) < 2000


@pytest.mark.slow
def test_a_network_and_tensors_in_memory_travel_too() -> None:
    class Net(nn.Module):
        """Of a class that no worker could import."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x)))  # type: ignore[no-any-return]

    model = Net()
    inputs = {name: noise.normals(1, name, (60, 6)) for name in ("search", "select", "test")}
    cases = {name: (x, x[:, :3].argmax(1)) for name, x in inputs.items()}
    small: dict[str, Any] = {"population": 4, "size": 2, "random_draws": 2, "bootstrap": 100, "sigma": 0.1}
    found = [
        evoens.evolve(model, **cases, **small, backend={"type": kind}, quiet=True, strategy="noisy")
        for kind in ("local", "ray")
    ]
    assert found[0].genomes == found[1].genomes
    assert timeless(found[0].report) == timeless(found[1].report)


def test_what_cannot_travel_is_said(evil: Local) -> None:
    evil.experiment = replace(evil.experiment, arguments={"lock": threading.Lock()})
    with pytest.raises(
        EvoensError, match=r"backend.type: expected local, as the problem cannot travel .* cannot pickle"
    ):
        evil.with_workers().__enter__()


@pytest.mark.slow
def test_workers_that_cannot_open_the_problem_say_why(evil: Local) -> None:
    assert evil.experiment.spec is not None
    spec = replace(evil.experiment.spec, parent=Path("gone.safetensors"))
    evil.experiment = replace(evil.experiment, spec=spec)
    why = r"a worker of Ray failed: CheckpointError: .*gone.safetensors"
    with pytest.raises(EvoensError, match=why), evil.with_workers(1) as backend:
        measure(backend, [child(0)], Split("search", 0, 10))
    assert gone()


@pytest.mark.slow
def test_another_parent_is_refused(evil: Local) -> None:
    next(iter(evil.evaluator.parent.weights.values())).add_(1)
    why = r"expected workers of Ray with the same parent \(fingerprint\), "
    with pytest.raises(EvoensError, match=why), evil.with_workers(1) as backend:
        measure(backend, [child(0)], Split("search", 0, 10))


def test_more_workers_than_cores_are_refused(evil: Local) -> None:
    with pytest.raises(EvoensError, match=r"backend.workers: expected at most 2, as Ray has so many cores, found 3"):
        evil.with_workers(3).__enter__()


# ---- Ray itself


@pytest.mark.slow
def test_ctrl_c_ends_ray_with_the_run(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(EVIL.replace("for what", "time.sleep(0.03)\n        for what"))
    settings = ("backend.type=ray", "backend.workers=2", f"strategy.class={tmp_path / 'evil.py'}:Evil")
    call = ["run", "digits_noisy", "--quiet", f"--runs={tmp_path}", *(f"--set={one}" for one in (*SMALL, *settings))]
    source = f"import signal\nsignal.signal(2, signal.default_int_handler)\nfrom evoens.cli import main\nmain({call})"
    run = subprocess.Popen(
        [sys.executable, "-c", source], env=ENVIRONMENT, start_new_session=True, text=True, stderr=subprocess.PIPE
    )
    measuring = tmp_path / "digits_noisy/measuring.txt"
    while not (measuring.exists() and measuring.stat().st_size and workers()):
        assert run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate()
    assert (run.returncode, said.splitlines()[0]) == (130, "interrupted; go on with:") and gone()
