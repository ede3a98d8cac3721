"""The journal of a run: its folder, state, measurements and warnings; the only one who knows a run's own files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from evoens.errors import SpecError
from evoens.evaluation.backend import Backend, Outcome
from evoens.evaluation.result_cache import ResultCache
from evoens.experiment.identity import identity_of, known_since, with_precision
from evoens.experiment.state import Experiment, RunState
from evoens.genome import Genome
from evoens.listener import Listener, Listeners, Start
from evoens.machine.allocator import let_go
from evoens.machine.environment import environment
from evoens.problem import Split
from evoens.progress import Progress
from evoens.storage.checkpoint import CheckpointStore, RunLock, require_same
from evoens.storage.files import write_atomic
from evoens.storage.json_file import as_written
from evoens.storage.measuring import Measuring

MEASURING = "measuring.txt"  # who is being measured, while the process lives
TUNED = "tuned"  # the folder of the weights that children were trained to


class Journal:
    """What a run has done, in one folder: `with journal.opened(): ...` takes up what is there and holds the folder.

    Args:
        experiment: what is run.
        folder: where everything is written.
        listeners: are told what happens.
        force: go on even when something has changed since the last checkpoint.

    Attributes:
        state: all that the stages know; they write their results into it.
        ledger: every measurement already paid for.
        measuring: who is being measured; only while the journal is open.
    """

    def __init__(self, experiment: Experiment, folder: Path, listeners: Iterable[Listener] = (), force: bool = False):
        self.folder, self.force = folder, force
        self.state, self.ledger = RunState(), ResultCache()
        self.measuring = Measuring()
        self._experiment, self._listeners = experiment, Listeners(listeners, self.warn)
        self._store = CheckpointStore(folder / "checkpoints")
        self._saved = self.state.to_json()
        self._identity = identity_of(experiment)  # now: while networks run side by side torch has fewer threads
        self._began = time.monotonic()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder, and take up the newest checkpoint in it; after Ctrl-C every measurement stays.

        Raises:
            CheckpointError: another process holds the folder, or the experiment has changed since its checkpoint.
        """
        with RunLock(self.folder):
            self._resume()
            self.write("config.resolved.yaml", self._experiment.resolved)
            self.write("environment.json", json.dumps(environment(), indent=1) + "\n")
            if record := self._experiment.problem.record():
                self.write("data.json", json.dumps(record) + "\n")
            self.measuring = Measuring(self.folder / MEASURING)
            self.tell(lambda listener: listener.on_start(self._start()))
            try:
                yield
            except KeyboardInterrupt:
                self.state = RunState(**self._saved)  # every measurement stays, nothing else that is half done
                self._write()
                raise
            finally:
                self.measuring.close()
                self.tell(lambda listener: listener.on_stop())

    # ---- what is told

    def tell(self, what: Callable[[Listener], None]) -> None:
        """Call `what` with each listener."""
        self._listeners.tell(what)

    def stage(self, text: str) -> None:
        """Tell that a new stage begins."""
        let_go()
        self.tell(lambda listener: listener.on_stage(text))

    def progress(self, done: int, total: int, text: str) -> None:
        """Tell that `done` of `total` steps called `text` are done."""
        self.tell(lambda listener: listener.on_progress(done, total, text))

    def training(self, progress: Progress) -> None:
        """Tell how far a training has come."""
        self.tell(lambda listener: listener.on_training(progress))

    def warn(self, sentence: str) -> None:
        """Tell the user, and keep the sentence for the report, once."""
        if sentence not in self.state.warnings:
            self.state.warnings.append(sentence)
        self._say([sentence])

    # ---- what is kept

    def measure(self, backend: Backend, genomes: Sequence[Genome], split: Split, text: str) -> list[Outcome]:
        """Return each genome's outcome on `split`, from the ledger where it is there."""
        return self.ledger.measure(backend, genomes, split, lambda done: self.progress(done, len(genomes), text))

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file of the run's folder, whole or not at all."""
        write_atomic(self.folder / name, data)

    def save(self) -> None:
        """Write a checkpoint, population.jsonl and history.json; say why children share nothing, where they might.

        Raises:
            SpecError: the Strategy has written into the parent's weights.
        """
        experiment, parent = self._experiment, self._experiment.problem.parent
        for why in filter(None, parent.whole.values()):
            sentence = f"children run the whole network, whatever the scope: {why}"
            if sentence not in self.state.warnings:
                self.warn(sentence)
        if parent.fingerprint != self._identity["parent (fingerprint)"]:
            raise SpecError(f"{type(experiment.strategy).__name__} has written into the parent's weights, in place")
        self._write()

    def _write(self) -> None:
        self.state.step += 1
        now = time.monotonic()
        self.state.seconds, self._began = self.state.seconds + now - self._began, now
        self.state.ledger = self.ledger.to_json()
        self.write("population.jsonl", "".join(json.dumps(row, sort_keys=True) + "\n" for row in self.state.population))
        self.write("history.json", json.dumps(self._history(), indent=1) + "\n")
        self._saved = self.state.to_json()
        self._store.save(self.state.step, {**self._saved, "identity": self._identity}, self.ledger.tensors())

    def _history(self) -> dict[str, Any]:
        names = ("scope", "plan", "trust_region", "generations", "selection", "warnings")
        sigma = self.state.sigma if self._experiment.strategy.scaled else None
        measures = self._experiment.problem.measure_schema()
        return {"measures": measures, "sigma": sigma, **{name: getattr(self.state, name) for name in names}}

    def _start(self) -> Start:
        experiment, done, since = self._experiment, len(self.state.generations), self.measuring.since
        return Start(self.folder, experiment.problem, experiment.config.seed, done, experiment.strategy.scaled, since)

    # ---- what was kept before

    def _resume(self) -> None:
        saved, skipped = self._store.latest()
        self._say(skipped)
        if saved is None:
            return
        with as_written(self._store.folder, "the state of a run"):
            identity = saved.state.pop("identity")
            self.state = RunState(**saved.state)
            identity, chosen = with_precision(identity, self._identity, self.state.plan)
            known, told = known_since(identity, self._identity, self._experiment.config)
            changed = require_same(self._identity, known, self.folder, self.force)
            self.ledger = ResultCache.load(self.state.ledger, saved.tensors)
        for sentence in chosen:
            self.warn(sentence)
        self._say(told)
        if changed:
            self._go_on_changed(changed)
        self._saved = self.state.to_json()
        self.stage(f"resumed after {len(self.state.generations)} generations")

    def _say(self, sentences: Sequence[str]) -> None:
        """Tell the user; the report keeps none of it."""
        for sentence in sentences:
            self.tell(partial(_warning, sentence))

    def _go_on_changed(self, changed: Sequence[str]) -> None:
        """Forget what another experiment measured: it still counts as a cost, under names that nobody asks for."""
        for sentence in changed:
            self.warn(f"went on in spite of {sentence}")
        (self.folder / MEASURING).unlink(missing_ok=True)
        self.ledger = ResultCache({f"before {self.state.step}: {name}": e for name, e in self.ledger.entries.items()})
        self.state.plan = self.state.selection = None
        self.state.finished = False


def _warning(sentence: str, listener: Listener) -> None:
    listener.on_warning(sentence)
