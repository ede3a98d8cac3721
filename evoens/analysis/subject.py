"""What is analysed: networks of one shape on one problem, such as a run's members beside their parent."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor, nn

from evoens.children import TunedWeights
from evoens.diversity.pictured import Pictured, pictured
from evoens.ensemble import Ensemble, open_ensemble
from evoens.errors import CheckpointError
from evoens.experiment.journal import TUNED
from evoens.experiment.setup import open_strategy, parent_of_run, strategy_arguments
from evoens.genome import Genome
from evoens.known_code import Trust
from evoens.network.tensors import tensors
from evoens.parent import fingerprint
from evoens.problem import Problem
from evoens.report.written import Child
from evoens.storage.json_file import read_rows

if TYPE_CHECKING:
    from evoens.settings.config import Config
    from evoens.tasks.task import Task

BATCH = 256  # inputs that a network is given at once


class Networks(Sequence[nn.Module]):
    """Networks that are made anew each time one is asked for, so that a thousand take no more memory than one."""

    def __init__(self, makers: Sequence[Callable[[], nn.Module]]) -> None:
        self._makers = tuple(makers)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._makers)

    @overload
    def __getitem__(self, place: int) -> nn.Module: ...
    @overload
    def __getitem__(self, place: slice) -> Networks: ...
    def __getitem__(self, place: int | slice) -> nn.Module | Networks:
        """Make the network at a place; of a slice none is made yet."""
        return Networks(self._makers[place]) if isinstance(place, slice) else self._makers[place]()


@dataclass(frozen=True)
class Subject:
    """Networks to be compared.

    Attributes:
        problem: where their inputs are from.
        names: of the members, in their order.
        modules: the members; they take what `Pictured.inputs_of` gives, and give logits.
        parent: the network they all come from, where there is one.
        seed: of all that is drawn.
        device: where the networks are.
    """

    problem: Problem
    names: tuple[str, ...]
    modules: Sequence[nn.Module]
    parent: nn.Module | None
    seed: int
    device: torch.device | str = "cpu"

    @property
    def pictured(self) -> Pictured:
        """The problem, whose pictures are looked at."""
        return pictured(self.problem)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The parent first, where there is one."""
        return (*(("parent",) if self.parent else ()), *self.names)

    @property
    def all_modules(self) -> Networks:
        """The parent first, where there is one."""
        members: list[Callable[[], nn.Module]] = [partial(self.modules.__getitem__, i) for i in range(len(self.names))]
        own, parent = [], self.parent
        if parent is not None:
            own.append(lambda: parent)
        return Networks([*own, *members])

    @property
    def key(self) -> str:
        """A sha256 of all the networks' weights and of the problem's settings."""
        prints = [fingerprint(tensors(module)) for module in self.all_modules]
        whole = json.dumps([self.names, prints, self.seed, self.problem.record()], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    def inputs(self, frames: Tensor) -> Tensor:
        """Return frames `(n, c, h, w)`, 0 to 255, as the networks take them, where the networks are."""
        return self.pictured.inputs_of(frames.to(self.device).float())

    def probabilities(self, module: nn.Module, frames: Tensor) -> Tensor:
        """Return what a network says of frames `(n, c, h, w)`, `(n, classes)` in float32, on the CPU."""
        with torch.inference_mode():
            parts = [torch.softmax(module(self.inputs(part)).float(), -1).cpu() for part in torch.split(frames, BATCH)]
        return torch.cat(parts)


def of_run(task: Task, config: Config, base: Path, folder: Path) -> Subject:
    """Return a run's members: those of its ensemble, or the best it has found so far.

    Raises:
        CheckpointError: it has fewer than two members, or a file of it is missing or damaged.
    """
    finished = (folder / "ensemble" / "genomes.json").is_file()
    ensemble = open_ensemble(folder, Trust.PACKAGES) if finished else _so_far(task, config, base, folder)
    if len(ensemble.genomes) < 2:
        raise CheckpointError(f"{folder}: expected at least two members to compare, found {len(ensemble.genomes)}")
    names = tuple(f"member {i + 1}" for i in range(len(ensemble.genomes)))
    problem = task.problem(ensemble.parent)
    device = _device()
    members = Networks([partial(_member, ensemble, genome, device) for genome in ensemble.genomes])
    return Subject(problem, names, members, copy.deepcopy(ensemble.parent.module).to(device), config.seed, device)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _member(ensemble: Ensemble, genome: Genome, device: torch.device) -> nn.Module:
    return ensemble.parent.child(ensemble.weights(genome)).module.to(device)


def _so_far(task: Task, config: Config, base: Path, folder: Path) -> Ensemble:
    """The ensemble of the best children that an unfinished run has measured."""
    file = folder / "population.jsonl"
    rows = read_rows(file, "a child a line", Child) if file.is_file() else []
    alive = sorted((row for row in rows if row["fitness"] is not None), key=lambda row: -row["fitness"])
    if not alive:
        raise CheckpointError(f"{folder}: expected a run with at least one generation done, found none")
    parent = task.load(parent_of_run(folder, config, base))[0]
    cls = open_strategy(config.strategy, base)[1]
    strategy = cls(**strategy_arguments(cls, config.strategy)).within(parent=parent)
    tuned = TunedWeights(folder / TUNED) if (folder / TUNED).is_dir() else None
    genomes = [Genome.from_json(row["genome"]) for row in alive[: config.selection.size]]
    return Ensemble(parent, strategy, genomes, rule=config.selection.combine, seed=config.seed, tuned=tuned)


def of_models(task: Task, paths: Sequence[Path], seed: int) -> Subject:
    """Return networks of the task's architecture, one a file.

    Raises:
        CheckpointError: fewer than two, or one that is missing, damaged, or does not fit; the message names it.
    """
    if len(paths) < 2:
        raise CheckpointError(f"--models: expected at least two files of weights, found {len(paths)}")
    first, *_ = [task.load(path)[0] for path in paths]  # all, so that one that does not fit is found now
    names = tuple(path.stem for path in paths)
    if len(set(names)) < len(names):
        names = tuple(str(path.with_suffix("")) for path in paths)
    device = _device()
    networks = Networks([partial(_model, task, path, device) for path in paths])
    return Subject(task.problem(first), names, networks, None, seed, device)


def _model(task: Task, path: Path, device: torch.device) -> nn.Module:
    return task.load(path)[0].module.to(device)
