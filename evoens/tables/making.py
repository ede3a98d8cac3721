"""Make a cell of a table: a baseline trains its networks, and what evolves is an ordinary run in the cell's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evoens.config.load import resolved_yaml
from evoens.config.table import Row, Table
from evoens.ensemble import open_ensemble
from evoens.errors import ConfigError, SpecError
from evoens.experiment.run import Run
from evoens.experiment.setup import open_experiment
from evoens.known_code import Trust
from evoens.listener import Listener
from evoens.machine.environment import versions
from evoens.machine.peak import begin_peak, peak
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting
from evoens.network.inputs import shape_of
from evoens.plugins.guest import guest
from evoens.plugins.spec import load_class
from evoens.predictors.folder import WITHIN, write_networks
from evoens.progress import OnCount, Progress
from evoens.report.listeners import standard
from evoens.settings.config import Config
from evoens.storage.json_file import read_json
from evoens.tables.cell import Cell, Cost
from evoens.tasks import open_task
from evoens.tasks.lesson import Lesson, Spent
from evoens.tasks.supervised import SupervisedTask
from evoens.tasks.task import Task

TRAININGS, PARENTS, RUN = "trainings", "parents", "run"


@dataclass(frozen=True)
class Watched(Listener):
    """Tells a table's console what one of its runs does, but for the run's own result."""

    console: Listener
    cell: str

    def on_stage(self, text: str) -> None:
        """See `Listener`."""
        self.console.on_stage(f"{self.cell}: {text}")

    def on_progress(self, done: int, total: int, text: str) -> None:
        """See `Listener`."""
        self.console.on_progress(done, total, text)

    def on_training(self, progress: Progress) -> None:
        """See `Listener`."""
        self.console.on_training(progress)

    def on_warning(self, text: str) -> None:
        """See `Listener`."""
        self.console.on_warning(f"{self.cell}: {text}")


class Maker:
    """Makes the cells of a table.

    Args:
        table: what is made.
        folder: of the table; networks that several rows need are trained there once.
        console: is told what happens.
        told: hears how many images are decoded.
    """

    def __init__(self, table: Table, folder: Path, console: Listener, told: OnCount) -> None:
        self.table, self.folder, self.console, self.told = table, folder, console, told
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def method(self, row: Row) -> Baseline | None:
        """Return the Method of a row, its arguments and its budget tried; None where the row evolves.

        Raises:
            ConfigError: something is wrong with them.
        """
        if row.source is None:
            return None
        try:
            with guest(f'"{row.method}" cannot be made'):
                cls = load_class(row.source, Baseline)
                method: Baseline = cls(**row.arguments)
                method.require(row.epochs)
        except SpecError as error:
            message = str(error).removeprefix(f"{'.'.join(error.keys)}: ")
            raise SpecError(message, ("methods", row.label, *error.keys)) from error
        return method

    def task(self, config: Config) -> SupervisedTask:
        """Open the task of a row.

        Raises:
            ConfigError: it trains no networks on examples.
        """
        task: Task = open_task(config, self.table.base, self.told)
        if not isinstance(task, SupervisedTask):
            found = f"found {config.problem.type}"
            raise ConfigError(f"problem.type: expected a task that trains its network on examples, {found}")
        return task

    def make(self, row: Row, seed: int, folder: Path) -> Cell:
        """Return a cell, made in its `folder` as far as it is not there yet.

        Raises:
            CheckpointError: what is there is of other settings.
        """
        config = row.config(seed, self.table.base)
        task = self.task(config)
        identity = {**identity_of(row, config), "data": {**task.contents(), **task.learnt()}}
        cell = Cell.load(folder, identity)
        if cell is None:
            begin_peak()
            made = self._evolved if row.source is None else self._trained
            cell = made(row, task, folder)
            cell.save(folder, identity)
        return cell

    def _trained(self, row: Row, task: SupervisedTask, folder: Path) -> Cell:
        method = self.method(row)
        assert method is not None
        problem = task.problem(task.untrained())
        setting = Setting(
            problem=problem,
            config=task.config,
            device=self.device,
            task=task,
            epochs=row.epochs,
            trainings=self.folder / TRAININGS,
        )
        with guest(f"{row.label} cannot be fitted"):
            fitted = method.fit(setting, folder / "method", self.console.on_training)
        if not isinstance(fitted, Fitted) or not fitted.parts:
            raise SpecError(f"{row.label}: expected fit to return Fitted, with a predictor, found {fitted!r:.60}")
        networks, shape = fitted.networks, shape_of(problem.probe(1))
        flops, weights = (networks.answer_flops(shape), networks.stored_weights()) if networks else (None, None)
        cost = Cost.of(fitted.spent, flops, weights, peak())
        with guest(f"{row.label} does not predict"):
            cell = Cell.measured(problem, networks or fitted.parts[0](), cost)
        if networks is not None:
            networks.temperature = cell.temperature
            write_networks(folder / WITHIN, networks, {"method": row.method, "seed": task.config.seed})
        return cell

    def _evolved(self, row: Row, task: SupervisedTask, folder: Path) -> Cell:
        console = Watched(self.console, f"{row.label}, seed {task.config.seed}")
        parent, spent = self._parent(task)
        config = row.config(task.config.seed, self.table.base, parent)
        own = self.task(config)
        resolved = resolved_yaml(config, self.table.base)
        run = folder / RUN
        experiment = open_experiment(own, config, resolved, self.table.base, run, listener=console)
        Run(experiment, run, standard(console)).execute()
        cost = read_json(run / "report.json", "a run's report")["cost"]
        ensemble = open_ensemble(run, Trust.ALL)
        return Cell.measured(experiment.problem, ensemble, _cost_of_run(cost, spent))

    def _parent(self, task: SupervisedTask) -> tuple[Path, Spent]:
        """Train the parent of a run, or take up the one that another row has trained; return its file."""
        lesson = Lesson(task.config.seed, task.config.parent.train)
        trained = task.taught(lesson, self.folder / TRAININGS, self.console.on_training)
        path = self.folder / PARENTS / f"{trained.folder.name}.safetensors"
        return task.export(trained.folder, path).absolute(), trained.spent


def identity_of(row: Row, config: Config) -> dict[str, Any]:
    """Return what tells a cell from others, but for its data: it must be the same for the cell to stand in a table."""
    source = row.source
    code = {"sha256": source.sha256, "helpers": source.code.helpers} if source and source.code else {}
    return {
        "method": row.method,
        "arguments": dict(row.arguments),
        "epochs": row.epochs,
        "config": config.model_dump(mode="json", by_alias=True),
        **({"files of the method": code} if code else {}),
        "versions": versions(),
    }


def _cost_of_run(cost: Mapping[str, Any], parent: Spent) -> Cost:
    """The cost of a finished run, by its report."""
    flops, children = cost["flops"], cost["flops"]["training"]["children"]
    spent = Spent(0, float(cost["epochs"]["children"]), children, cost["seconds"])
    return Cost.of(parent + spent, flops["nonzero"], cost["weights"]["ensemble"], peak())
