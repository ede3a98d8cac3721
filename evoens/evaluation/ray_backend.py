"""The Ray backend: children measured by worker processes, which may die; answers come in any order, bits stay."""

from __future__ import annotations

import copyreg
import logging
import math
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evoens.errors import EvoensError, ProblemError, one_line
from evoens.evaluation.backend import Job, Outcome
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.ray_worker import Opening, Worker, ground
from evoens.genome import Genome
from evoens.graph.feature_cache import Kept
from evoens.machine.threads import ROUNDING, WAIT_POLICY
from evoens.network.inputs import Inputs
from evoens.settings.backend import BackendSettings
from evoens.storage.measuring import FATAL

if TYPE_CHECKING:
    from types import ModuleType

TURNS = 4  # of each worker, at least, where there are as many children: one that ends early takes up another turn
TOGETHER = 16  # children of one turn, at most: they share what comes before the tensors that they touch
OPENINGS = 5  # workers in a row that may die while they open the problem: one may be killed for want of memory
QUIETLY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # at 15, Ray's own, a busy machine starves them
TRAVELS = (WAIT_POLICY, ROUNDING, "EVOENS_DATA")
"""Variables of the environment that a worker on another machine must have, too."""


@contextmanager
def ray_workers(local: Evaluator, opening: Opening, settings: BackendSettings) -> Iterator[RayBackend]:
    """Start Ray, or join a cluster, and leave it in the end however that comes; one that was there before stays.

    Args:
        local: measures in this process, and shows who is being measured.
        opening: what workers must know.
        settings: how many workers, where, and how long a child may take.

    Raises:
        EvoensError: there is no such cluster, it is too small, or what must travel there cannot.
    """
    with _connected(settings) as ray:
        backend = RayBackend(ray, local, opening, settings)
        try:
            yield backend
        finally:
            backend.close()


@dataclass(frozen=True)
class _Task:
    """What a worker is at, since `began`: some jobs, by their places, or where there are none, opening the problem."""

    worker: Any
    places: Sequence[int]
    began: float


class RayBackend:
    """Measures children by workers, a few at a time each; ensembles stay in this process. See `Backend`."""

    def __init__(self, ray: ModuleType, local: Evaluator, opening: Opening, settings: BackendSettings) -> None:
        self.device, self.kept = local.device, local.kept
        self._ray, self._local, self._timeout = ray, local, settings.timeout
        self._ground = ground(local.parent)
        self._count, options = _room(ray, local.device, settings)
        self._worker = ray.remote(**options)(Worker)
        self._opening = _sent(ray, opening)
        self._idle = list[Any]()
        self._busy = dict[Any, _Task]()
        self._died_opening = 0

    def map(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """See `Backend.map`. A child has failed in which two workers died, or that took longer than it may.

        Only the death of a worker that had one child alone counts; where it had several, each is measured alone next.

        Raises:
            EvoensError: the workers cannot open the problem, or not as it is here.
        """
        waiting, deaths, left = deque(self._turns(jobs)), Counter[int](), len(jobs)
        try:
            while left:
                self._fill(len(waiting) + len(self._working))
                while waiting and self._idle:
                    self._begin(jobs, waiting.popleft())
                for places, found in self._ended(jobs):
                    alone = len(places) == 1
                    deaths.update(places if found is None and alone else ())
                    if found is None and not (alone and deaths[places[0]] >= FATAL):
                        waiting.extendleft([place] for place in reversed(places))
                    else:
                        left -= len(places)
                        yield from self._through(jobs, places, found)
        finally:
            self._dismiss(self._working)

    def _turns(self, jobs: Sequence[Job]) -> Iterator[Sequence[int]]:
        """Yield the places of the jobs that a worker does at a time, which are on the same cases."""
        size = 1 if self._timeout is not None else max(1, min(TOGETHER, len(jobs) // (TURNS * self._count)))
        for split in dict.fromkeys(job.split for job in jobs):
            places = [place for place, job in enumerate(jobs) if job.split == split]
            yield from (places[start : start + size] for start in range(0, len(places), size))

    @property
    def _working(self) -> list[Any]:
        return [answer for answer, task in self._busy.items() if task.places]

    def outputs(self, genomes: Sequence[Genome], inputs: Inputs, batch: int = 64, kept: Kept | None = None) -> Tensor:
        """See `Backend.outputs`."""
        return self._local.outputs(genomes, inputs, batch, kept)

    def close(self) -> None:
        """End all workers."""
        self._dismiss(list(self._busy))
        while self._idle:
            self._ray.kill(self._idle.pop())

    def _fill(self, turns: int) -> None:
        """Have as many workers as these turns can use; they open the problem while others measure."""
        while len(self._idle) + len(self._busy) < min(self._count, turns):
            worker = self._worker.remote()
            self._busy[worker.open.remote(self._opening)] = _Task(worker, (), time.monotonic())

    def _begin(self, jobs: Sequence[Job], places: Sequence[int]) -> None:
        worker, some = self._idle.pop(), [jobs[place] for place in places]
        for job in some:
            if job.genome.genes:
                self._local.measuring.begin(job.genome.key)
        answer = worker.measure.remote([job.to_json() for job in some])
        self._busy[answer] = _Task(worker, places, time.monotonic())

    def _through(
        self, jobs: Sequence[Job], places: Sequence[int], found: Sequence[Outcome] | None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcomes of jobs that are not done again."""
        died = f"the process died {FATAL} times while this child was measured"
        for place, outcome in zip(places, found or [_failed(jobs[place], died) for place in places], strict=True):
            if jobs[place].genome.genes:
                self._local.measuring.end(jobs[place].genome.key)
            yield place, outcome

    def _ended(self, jobs: Sequence[Job]) -> Iterator[tuple[Sequence[int], Sequence[Outcome] | None]]:
        """Wait for a worker; yield the places of jobs that are through, with None where their worker has died."""
        done, _ = self._ray.wait(list(self._busy), timeout=self._patience())
        for answer in done:
            task = self._busy[answer]
            try:
                found = self._ray.get(answer)
            except self._ray.exceptions.RayTaskError as error:
                raise _unopened(error) from error
            except self._ray.exceptions.RayError:
                self._dismiss([answer])
                if task.places:
                    yield task.places, None
                else:
                    self._count_death()
            else:
                del self._busy[answer]
                self._idle.append(task.worker)
                if task.places:
                    yield task.places, [Outcome.unpacked(*one) for one in found]
                else:
                    self._require_same(found)
        for place in self._late():
            yield [place], [_failed(jobs[place], f"took longer than backend.timeout, {self._timeout:g} s")]

    def _late(self) -> list[int]:
        """End the jobs that have taken too long, and return their places; one whose answer is here is not late."""
        late = [answer for answer, task in self._busy.items() if self._left(task) <= 0]
        if late:
            _, late = self._ray.wait(late, num_returns=len(late), timeout=0)
        places = [place for answer in late for place in self._busy[answer].places]
        self._dismiss(late)
        return places

    def _dismiss(self, answers: Sequence[Any]) -> None:
        """Kill the workers from whom these answers are awaited."""
        for answer in answers:
            self._ray.kill(self._busy.pop(answer).worker)

    def _left(self, task: _Task) -> float:
        """Return the seconds that a job still may take; opening the problem may take any time."""
        if self._timeout is None or not task.places:
            return math.inf
        return task.began + self._timeout - time.monotonic()

    def _patience(self) -> float | None:
        left = min(map(self._left, self._busy.values()))
        return None if left == math.inf else max(0.0, left)

    def _count_death(self) -> None:
        self._died_opening += 1
        if self._died_opening == OPENINGS:
            raise EvoensError(f"{OPENINGS} workers of Ray in a row died while they opened the problem")

    def _require_same(self, found: Mapping[str, Any]) -> None:
        """Refuse a worker in which the same child might have other bits."""
        self._died_opening = 0
        for what, here in self._ground.items():
            if found[what] != here:
                raise EvoensError(f"expected workers of Ray with the same {what}, {here}, found {found[what]}")


def _failed(job: Job, why: str) -> Outcome:
    return Outcome(job.genome, None, one_line(ProblemError(why)))


def _sent(ray: ModuleType, opening: Opening) -> Any:
    """Put into Ray's store, once, what all workers fetch."""
    copyreg.pickle(torch.memory_format, _by_name)  # else by any module that has imported torch, which workers may lack
    try:
        return ray.put(opening)
    except Exception as error:  # a user's own classes say whatever they like to being pickled
        why = one_line(error.__cause__ or error)
        message = f"backend.type: expected local, as the problem cannot travel to workers: {why}"
        raise EvoensError(message, ("backend", "type")) from error


def _by_name(layout: torch.memory_format) -> tuple[Any, ...]:
    return getattr, (torch, str(layout).removeprefix("torch."))


def _unopened(error: Any) -> EvoensError:
    cause = error.cause if isinstance(error.cause, Exception) else error
    return EvoensError(f"a worker of Ray failed: {one_line(cause)}")


def _room(ray: ModuleType, device: torch.device, settings: BackendSettings) -> tuple[int, dict[str, Any]]:
    """Return how many workers there are, and what each takes of what Ray has: a core, and its part of the cards."""
    has = ray.cluster_resources()
    cores, cards = int(has.get("CPU", 0)), has.get("GPU", 0)
    count = cores if settings.workers == "auto" else settings.workers
    if not 0 < count <= cores:
        message = f"backend.workers: expected at most {cores}, as Ray has so many cores, found {count}"
        raise EvoensError(message, ("backend", "workers"))
    options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "max_restarts": 0}
    if device.type == "cuda":
        options["num_gpus"] = min(1.0, math.floor(cards / count * 1e4) / 1e4)
    if settings.address is not None:
        options["runtime_env"] = {"env_vars": {name: os.environ[name] for name in TRAVELS if name in os.environ}}
    return count, options


@contextmanager
def _connected(settings: BackendSettings) -> Iterator[ModuleType]:
    """Have Ray quietly: the one that this process has already, else one of its own, or the cluster's, left again."""
    for name, value in QUIETLY.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415 (slow to import)

    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    ray._private.worker._worker_logs_enabled = False  # it would print on stdout who has died
    try:
        with _own_signals():
            if settings.address is None:
                workers = 0 if settings.workers == "auto" else settings.workers
                cores = max(workers, os.cpu_count() or 1)
                ray.init("local", num_cpus=cores, include_dashboard=False, **quiet)
            else:
                _join(ray, settings.address, quiet)
        yield ray
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _join(ray: ModuleType, address: str, quiet: Mapping[str, Any]) -> None:
    try:
        ray.init(address, **quiet)
    except Exception as error:
        message = f"backend.address: expected a cluster of Ray at {address}, found none: {one_line(error)}"
        raise EvoensError(message, ("backend", "address")) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does: Ray would raise SystemExit, which looks as if it came from a user's code."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
