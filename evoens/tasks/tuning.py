"""Train the children of a generation, each by itself and from its own seed, one a core."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from evoens.children import TunedWeights
from evoens.errors import one_line
from evoens.genome import Genome
from evoens.machine.threads import side_by_side
from evoens.plugins.guest import failure
from evoens.progress import OnCount
from evoens.settings.base import Section
from evoens.storage.checkpoint import CheckpointStore, require_same
from evoens.storage.files import write_atomic
from evoens.storage.json_file import as_written, read_json
from evoens.storage.measuring import FATAL, Measuring
from evoens.tasks.fitting import machine

PLAN = "plan.json"
TRAINING = "training.txt"  # who is being trained, while the process lives


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """How children are trained: `children` at once, each on `threads` threads, in `precision`."""

    children: int
    threads: int
    precision: str
    draws: bool


class ChildTraining(Protocol):
    """One child on its way through its training, in turns: epochs, or rollouts with their updates."""

    @property
    def done(self) -> int:
        """How far it has come: epochs, or frames."""

    @property
    def finished(self) -> bool:
        """Whether that is all."""

    def turn(self, on_step: Callable[[], None]) -> None:
        """Train for one turn, whose bits the state at its beginning decides; `on_step` is called again and again.

        Raises:
            ProblemError: the training has diverged.
        """

    def checkpoint(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return everything that `restore` needs, as JSON and tensors; between turns."""

    def restore(self, state: Mapping[str, Any], saved: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""

    def finish(self) -> Mapping[str, Tensor]:
        """Return the tensors of the trained child, by the parent's names."""

    @property
    def spent(self) -> Mapping[str, float]:
        """What the training has cost, as far as that is counted: `images`, and their `flops`."""


class Recipe(Protocol):
    """How each child is trained; `amount` is how long, in epochs or frames."""

    amount: int

    @property
    def settings(self) -> Section:
        """What the YAML says."""

    def plan(self) -> TuningPlan:
        """Return how children are best trained here; no clock has a say."""

    def begin(self, genome: Genome, place: int, count: int, plan: TuningPlan) -> ChildTraining:
        """Return the training of the child at `place` among the `count` of its generation, at its beginning."""


def child_seed(seed: int, genome: Genome) -> int:
    """Return the seed of a child's own training, from that of the run."""
    return seed ^ int(genome.key[:15], 16)


class _Stopped(Exception):  # noqa: N818 (nothing has gone wrong)
    """Raised in the threads that train, when the run is interrupted."""


class Tuner:
    """Trains children by a recipe and leaves their weights in a store.

    A child's bits depend on its genome, its place in its generation, the recipe and the machine, and neither on the
    others nor on how many are trained at once. One that is there already is not trained again; one that was interrupted
    goes on at its turn.

    Args:
        recipe: how they are trained.
        tuned: where their weights are kept.
    """

    def __init__(self, recipe: Recipe, tuned: TunedWeights) -> None:
        self.recipe, self.tuned, self.folder = recipe, tuned, tuned.folder
        self._stop, self._training = threading.Event(), Measuring()
        self._done, self._places = dict[str, int](), dict[str, int]()

    def tune(self, genomes: Sequence[Genome], on_progress: OnCount) -> dict[str, str]:
        """Train those that are not there yet; return by key the error of each child that could not be trained.

        One in a turn of which the process has died is trained alone, and not again once it has died there twice.

        genomes: the whole generation. on_progress: told how much of how much is done.
        """
        self._places = {genome.key: place for place, genome in enumerate(dict.fromkeys(genomes))}
        missing = [g for g in dict.fromkeys(genomes) if g not in self.tuned]
        if not missing:
            return {}
        self.folder.mkdir(parents=True, exist_ok=True)
        plan, training = self._plan(), Measuring(self.folder / TRAINING)
        self._stop.clear()
        self._training = training
        errors = {g.key: f"the process died {FATAL} times while this child was trained" for g in missing}
        errors = {key: error for key, error in errors.items() if training.fatal(key)}
        rest = [g for g in missing if g.key not in errors]
        alone, total = [g for g in rest if training.suspect(g.key)], len(rest) * self.recipe.amount
        self._done = {g.key: 0 for g in rest}  # from now on each thread writes its own child's
        try:
            with side_by_side(plan.children) as pool:
                for some in (*([g] for g in alone), [g for g in rest if g not in alone]):
                    futures = {pool.submit(self._child, genome, plan): genome for genome in some}
                    errors |= self._ended(pool, futures, lambda: on_progress(sum(self._done.values()), total))
        finally:
            training.close()
        return errors

    def _ended(
        self, pool: ThreadPoolExecutor, futures: Mapping[Future[None], Genome], tell: Callable[[], None]
    ) -> dict[str, str]:
        """Wait for some children; return by key the error of each that could not be trained."""
        waiting, errors = set(futures), dict[str, str]()
        try:
            while waiting:
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                tell()
                errors |= {futures[f].key: error for f in ended if (error := _error(f)) is not None}
        except BaseException:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            raise
        return errors

    def _child(self, genome: Genome, plan: TuningPlan) -> None:
        """Train one child to its end, in a thread of its own; each turn that the process lives through is written."""
        self._training.begin(genome.key)
        try:
            self._train(genome, plan)
        finally:
            self._training.end(genome.key)

    def _train(self, genome: Genome, plan: TuningPlan) -> None:
        torch.set_num_threads(plan.threads)
        place, count = self._places[genome.key], len(self._places)
        training = self.recipe.begin(genome, place, count, plan)
        store = CheckpointStore(self.folder / genome.key, keep=1)
        settings = self.recipe.settings.model_dump(mode="json")
        identity = {"settings": settings, "machine": machine(), "plan": asdict(plan)}
        saved, _ = store.latest()
        if saved is not None and not require_same(identity, saved.state["identity"], store.folder, force=True):
            training.restore(saved.state, saved.tensors)
            self._done[genome.key] = training.done
        while not training.finished:
            training.turn(self._on_step)
            if not training.finished:
                state, found = training.checkpoint()
                store.save(training.done, {"identity": identity, **state}, found)
            self._done[genome.key] = training.done
            self._training.end(genome.key)
            self._training.begin(genome.key)
        self.tuned.save(genome, training.finish(), training.spent)
        self._done[genome.key] = self.recipe.amount
        shutil.rmtree(store.folder, ignore_errors=True)

    def _on_step(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _plan(self) -> TuningPlan:
        """Return the plan that this folder's children were trained by, else a new one, and keep it."""
        path = self.folder / PLAN
        if path.is_file():
            with as_written(path, "how children are trained"):
                return TuningPlan(**read_json(path, "how children are trained"))
        plan = self.recipe.plan()
        write_atomic(path, json.dumps(asdict(plan)) + "\n")
        return plan


def _error(future: Future[None]) -> str | None:
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, (_Stopped, OSError)):
        raise error  # the disk is full, say: no fault of the child's
    return one_line(error if isinstance(error, Exception) else failure(error, "its training"))
