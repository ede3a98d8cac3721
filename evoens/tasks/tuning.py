"""Train the children of a generation, each by itself and from its own seed, one a core."""

from __future__ import annotations

import json
import shutil
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass

import torch

from evoens.children import TunedWeights, initial_weights
from evoens.errors import one_line
from evoens.genome import Genome
from evoens.machine.threads import side_by_side
from evoens.network.tensors import tensors
from evoens.parent import Parent
from evoens.plugins.guest import failure
from evoens.progress import OnCount
from evoens.settings.classification import TuneSettings
from evoens.storage.checkpoint import CheckpointStore, require_same
from evoens.storage.files import write_atomic
from evoens.storage.json_file import as_written, read_json
from evoens.storage.measuring import FATAL, Measuring
from evoens.strategy import Strategy
from evoens.tasks.fitting import machine
from evoens.tasks.masking import GeneMasking
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training, draws, re_estimate

PLAN = "plan.json"
TRAINING = "training.txt"  # who is being trained, while the process lives


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """How children are trained: `children` at once, each on `threads` threads, in `precision`."""

    children: int
    threads: int
    precision: str
    draws: bool


class _Stopped(Exception):  # noqa: N818 (nothing has gone wrong)
    """Raised in the threads that train, when the run is interrupted."""


class Tuner:
    """Trains children of `parent` and leaves their weights in a store.

    A child's bits depend on its genome, on the settings and on the machine, and neither on the others nor on how many
    are trained at once. One that is there already is not trained again; one that was interrupted goes on at its epoch.

    Args:
        parent: where each child begins.
        strategy: perturbs them, and says which of their weights take part.
        examples: what they learn.
        settings: for how long, and how.
        seed: of the run.
        tuned: where their weights are kept.
    """

    def __init__(
        self,
        parent: Parent,
        strategy: Strategy,
        examples: Examples,
        settings: TuneSettings,
        seed: int,
        *,
        tuned: TunedWeights,
    ) -> None:
        self.parent, self.strategy, self.examples, self.settings = parent, strategy, examples, settings
        self.seed, self.tuned, self.folder = seed, tuned, tuned.folder
        self._stop, self._training = threading.Event(), Measuring()

    def tune(self, genomes: Sequence[Genome], on_progress: OnCount) -> dict[str, str]:
        """Train those that are not there yet; return by key the error of each child that could not be trained.

        One in an epoch of which the process has died is trained alone, and not again once it has died there twice.

        on_progress: told how many epochs of how many are done.
        """
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
        alone, total = [g for g in rest if training.suspect(g.key)], len(rest) * max(1, self.settings.epochs)
        epochs: deque[str] = deque()  # one entry for each that is done; only these threads append
        try:
            with side_by_side(plan.children) as pool:
                for some in (*([g] for g in alone), [g for g in rest if g not in alone]):
                    futures = {pool.submit(self._child, genome, plan, epochs): genome for genome in some}
                    errors |= self._ended(pool, futures, lambda: on_progress(len(epochs), total))
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

    def _child(self, genome: Genome, plan: TuningPlan, epochs: deque[str]) -> None:
        """Train one child to its end, in a thread of its own; each epoch that the process lives through is written."""
        self._training.begin(genome.key)
        try:
            self._train(genome, plan, epochs)
        finally:
            self._training.end(genome.key)

    def _train(self, genome: Genome, plan: TuningPlan, epochs: deque[str]) -> None:
        torch.set_num_threads(plan.threads)
        training = self._begin(genome, plan)
        store = CheckpointStore(self.folder / genome.key, keep=1)
        identity = {"settings": self.settings.model_dump(mode="json"), "machine": machine(), "plan": asdict(plan)}
        saved, _ = store.latest()
        if saved is not None and not require_same(identity, saved.state["identity"], store.folder, force=True):
            training.restore(saved.state, saved.tensors)
            epochs.extend([genome.key] * training.epochs)
        while not training.finished:
            training.epoch(self._on_step)
            if not training.finished:
                state, found = training.checkpoint()
                store.save(training.epochs, {"identity": identity, **state}, found)
            epochs.append(genome.key)
            self._training.end(genome.key)
            self._training.begin(genome.key)
        training.masking.finish()
        if self.settings.batch_norm == "re-estimated":
            batches = self.examples.batches(self.settings.batch, training.seed, training.epochs)
            re_estimate(training.module, (inputs for inputs, _ in batches))
        if not self.settings.epochs:
            epochs.append(genome.key)
        self.tuned.save(genome, tensors(training.module))
        shutil.rmtree(store.folder, ignore_errors=True)

    def _begin(self, genome: Genome, plan: TuningPlan) -> Training:
        module = self.parent.trainable()
        own = module.state_dict()
        for name, value in initial_weights(self.parent, self.strategy, genome).items():
            own[name].copy_(value)
        training = Training(
            module,
            self.examples,
            self.settings,
            seed=self.seed ^ int(genome.key[:15], 16),
            precision=plan.precision,
            draws=plan.draws,
        )
        weights = {n: w for n, w in module.named_parameters() if n in self.parent.perturbed}
        training.masking = GeneMasking(self.strategy, genome, weights, training.optimiser)
        return training

    def _on_step(self, _: int) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _plan(self) -> TuningPlan:
        """Return the plan that this folder's children were trained by, else a new one, and keep it."""
        path = self.folder / PLAN
        if path.is_file():
            with as_written(path, "how children are trained"):
                return TuningPlan(**read_json(path, "how children are trained"))
        plan = self._new_plan()
        write_atomic(path, json.dumps(asdict(plan)) + "\n")
        return plan

    def _new_plan(self) -> TuningPlan:
        """Return one child a core, since another number of threads adds up in another order; no clock has a say."""
        inputs, _ = next(self.examples.batches(self.settings.batch, self.seed, 0))
        precision, random = precision_of(self.settings.precision, inputs.device), draws(self.parent.trainable(), inputs)
        cores = torch.get_num_threads()
        if random or inputs.device.type != "cpu":  # torch has one generator for all threads
            return TuningPlan(1, cores, precision, random)
        return TuningPlan(cores, 1, precision, random)


def _error(future: Future[None]) -> str | None:
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, (_Stopped, OSError)):
        raise error  # the disk is full, say: no fault of the child's
    return one_line(error if isinstance(error, Exception) else failure(error, "its training"))
