"""The one loop: scope → σ → generations → members → verdict, stages over a journal, in one run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from evoens.children import TunedWeights
from evoens.evaluation.backend import Backend
from evoens.evaluation.evaluator import Evaluator, Plan
from evoens.evaluation.ray_backend import ray_workers
from evoens.evaluation.ray_worker import Opening
from evoens.experiment.evolution import evolve
from evoens.experiment.journal import TUNED, Journal
from evoens.experiment.membership import alive, settle_members
from evoens.experiment.preflight import preflight
from evoens.experiment.results import conclude
from evoens.experiment.scope_search import settle_scope
from evoens.experiment.sigma_search import settle_sigma
from evoens.experiment.state import Experiment
from evoens.listener import Listener
from evoens.plugins.guest import guest
from evoens.search.base import Search
from evoens.strategy import learn, learnt


class Run:
    """One experiment in one folder; what was interrupted there goes on.

    Args:
        experiment: what is run.
        folder: where everything is written.
        listeners: are told what happens.
        force: go on even when something has changed since the last checkpoint.
        backend: where children are measured, made from what measures them here; by default as the settings say.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        listeners: Iterable[Listener] = (),
        force: bool = False,
        *,
        backend: Callable[[Evaluator], Backend] | None = None,
    ) -> None:
        if experiment.problem.tunes:
            experiment = replace(experiment, tuned=TunedWeights(folder / TUNED))
        self.experiment, self.journal = experiment, Journal(experiment, folder, listeners, force)
        self._backend = backend

    def execute(self) -> Path:
        """Run to the end, or from where it stopped to the end; return the folder.

        Raises:
            CheckpointError: another process holds the folder, or the experiment has changed since its checkpoint.
            EvoensError: every child of a generation failed.
        """
        experiment, journal = self.experiment, self.journal
        with journal.opened():
            if not journal.state.finished:
                preflight(experiment, journal)
            experiment = experiment.within(scope=settle_scope(experiment, journal))
            local = _local(experiment, journal)
            experiment = experiment.within(sigma=settle_sigma(experiment, local, journal))
            search = _search(experiment, journal)
            with self._opened(local) as backend:
                for number in range(len(journal.state.generations), experiment.config.search.generations):
                    evolve(experiment, backend, search, journal, number)
                self.experiment = experiment = replace(experiment, strategy=search.strategy)
                selection = settle_members(experiment, backend, journal, search)
                with guest(f"{type(search).__name__}.report"):
                    found = search.report(alive(journal.state.population))
                conclude(experiment, backend, journal, selection, found)
            journal.state.finished = True
            journal.save()
        return journal.folder

    @contextmanager
    def _opened(self, local: Evaluator) -> Iterator[Backend]:
        """Have children measured where they are to be, as long as this lasts."""
        settings = self.experiment.config.backend
        if self._backend is not None:
            yield self._backend(local)
        elif settings.type == "local":
            yield local
        else:
            self.journal.stage("starting workers")
            with ray_workers(local, opening_of(self.experiment, local), settings) as backend:
                yield backend


def _search(experiment: Experiment, journal: Journal) -> Search:
    """Return who asks for children, as far as it had come."""
    search = experiment.search(experiment.strategy)
    if journal.state.strategy:
        learn(search, journal.state.strategy)
    journal.state.strategy = learnt(search)
    return search


def opening_of(experiment: Experiment, local: Evaluator) -> Opening:
    """Return what a worker must know to measure children as `local` does."""
    return Opening(
        problem=experiment.spec.packed() if experiment.spec else experiment.problem,
        source=experiment.source,
        arguments=experiment.arguments,
        scope=local.strategy.scope,
        plan=local.plan.to_json(),
        settings=local.settings,
        device=local.device.type,
        tuned=local.tuned and TunedWeights(local.tuned.folder.absolute()),
        threads=torch.get_num_threads(),
        folder=Path.cwd(),
    )


def _local(experiment: Experiment, journal: Journal) -> Evaluator:
    """Return what measures children in this process, by the plan that was found when the run began."""
    problem, state = experiment.problem, journal.state
    plan = Plan.from_json(state.plan) if state.plan else None
    if plan is None:
        journal.stage("finding how children are evaluated fastest")
    settings = experiment.config.evaluation
    backend = Evaluator(
        problem.parent,
        experiment.strategy,
        problem,
        plan,
        settings=settings,
        measuring=journal.measuring,
        tuned=experiment.tuned,
    )
    state.plan = backend.plan.to_json()
    if backend.untraced:
        journal.warn("torch.fx cannot trace the network, so that each child runs the whole of it, whatever the scope")
    return backend
