"""A cell of a table, one method at one seed: what it has reached and what it has cost, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor
from typing_extensions import TypedDict

from evoens.diversity.measures import of_outputs
from evoens.diversity.outputs import off_diagonal_mean
from evoens.errors import CheckpointError
from evoens.parent import Predictor
from evoens.predictors.base import Members
from evoens.problem import Evaluation, FixedInputs, Problem, SplitName, drive
from evoens.scoring.combine import combine
from evoens.storage.checkpoint import require_same
from evoens.storage.files import write_atomic
from evoens.storage.json_file import read_json
from evoens.storage.tensor_file import parse_tensors
from evoens.tasks.lesson import Spent

CELL, OUTPUTS = "cell.json", "outputs.safetensors"
SPLITS: tuple[SplitName, ...] = ("select", "test")
_CASES, _BESIDE = "cases", "beside/"


class Damage(CheckpointError):  # noqa: N818 (it is no fault of the settings)
    """A cell's files are not as they were written."""


class _Written(TypedDict):
    identity: dict[str, Any]
    sha256: str
    size: int
    cost: dict[str, Any]
    diversity: dict[str, float]


@dataclass(frozen=True)
class Cost:
    """What a cell has cost.

    Attributes:
        epochs: of training, in passes over the whole train split.
        training_flops: floating-point operations of training, of weights that took part.
        answer_flops: of one answer to one input, of weights that are kept.
        weights: how many numbers must be kept.
        seconds: of training, by the clock.
        peak_memory: the most bytes that the process held meanwhile.
    """

    epochs: float
    training_flops: float | None
    answer_flops: float | None
    weights: int | None
    seconds: float
    peak_memory: int

    @classmethod
    def of(cls, spent: Spent, answer_flops: float | None, weights: int | None, peak_memory: int) -> Cost:
        """Return the cost of trainings, and of the predictor that they gave."""
        return cls(spent.epochs, spent.flops, answer_flops, weights, spent.seconds, peak_memory)


@dataclass(frozen=True)
class Cell:
    """What a method has come to at one seed.

    Attributes:
        evaluation: of the predictor on the test split, with all measures beside the score.
        size: how many members answered.
        cost: what it has cost.
        diversity: the mean distance between two members on the test split, by measures of their outputs.
        outputs: the predictor's probabilities `(n, c)`, by split.
    """

    evaluation: Evaluation
    size: int
    cost: Cost
    diversity: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def measured(cls, problem: Problem, predictor: Predictor | Members, cost: Cost) -> Cell:
        """Ask a predictor on the select and the test split, and whatever else the problem reports."""
        if not isinstance(predictor, Members):
            return cls(drive(problem.reported(problem.split("test")), predictor), 1, cost)
        evaluation = drive(problem.reported(problem.split("test")), predictor.predict)
        size = len(predictor.outputs(problem.probe(1)))
        if not isinstance(problem, FixedInputs):
            return cls(evaluation, size, cost)
        answers = {name: drive(problem.answers(problem.split(name)), predictor.outputs) for name in SPLITS}
        outputs = {str(name): combine(own, predictor.rule, seed=predictor.seed) for name, own in answers.items()}
        return cls(evaluation, size, cost, distances(answers["test"]), outputs)

    @property
    def temperature(self) -> float | None:
        """What temperature scaling has found on the select split; None where nothing is scaled."""
        found = self.evaluation.extra_metrics.get("temperature")
        return None if found is None else float(found[0])

    def save(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Write it; the JSON comes last, so that with it the cell is whole."""
        evaluation = self.evaluation
        beside = {f"{_BESIDE}{name}": rows for name, rows in evaluation.extra_metrics.items()}
        tensors = {_CASES: evaluation.cases, **beside, **self.outputs}
        data = save({name: value.contiguous() for name, value in tensors.items()})
        written = {
            "identity": identity,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": self.size,
            "cost": asdict(self.cost),
            "diversity": dict(self.diversity),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / OUTPUTS, data)
        write_atomic(folder / CELL, json.dumps(written, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, identity: Mapping[str, Any] | None = None) -> Cell | None:
        """Return what was saved; None where nothing is there yet.

        Raises:
            CheckpointError: it is damaged, or of another `identity`, as far as one is given.
        """
        if not (folder / CELL).is_file():
            return None
        try:
            return cls._read(folder, identity)
        except Damage as error:
            raise CheckpointError(f"{error}; delete {folder} to have it made anew") from error

    @classmethod
    def _read(cls, folder: Path, identity: Mapping[str, Any] | None) -> Cell:
        try:
            written = read_json(folder / CELL, "what a method has reached", _Written)
        except CheckpointError as error:
            raise Damage(str(error)) from error
        if identity is not None:
            saved = {key: value for key, value in written["identity"].items() if key in identity}
            require_same(json.loads(json.dumps(identity)), saved, folder, force=False)
        try:
            data = (folder / OUTPUTS).read_bytes()
        except OSError as error:
            raise Damage(f"{folder / OUTPUTS}: expected a method's outputs, found none to read") from error
        if hashlib.sha256(data).hexdigest() != written["sha256"]:
            raise Damage(f"{folder / OUTPUTS}: expected the outputs that {CELL} names, found others")
        tensors = parse_tensors(data, folder / OUTPUTS)
        beside = {name.removeprefix(_BESIDE): rows for name, rows in tensors.items() if name.startswith(_BESIDE)}
        cases = tensors.pop(_CASES)
        outputs = {name: rows for name, rows in tensors.items() if not name.startswith(_BESIDE)}
        evaluation, cost = Evaluation(cases, len(cases), beside), Cost(**written["cost"])
        return cls(evaluation, written["size"], cost, written["diversity"], outputs)


def distances(members: Tensor) -> dict[str, float]:
    """Return the mean distance of two members, of probabilities `(k, n, c)`, by every measure of outputs."""
    if len(members) < 2:
        return {}
    return {measure.name: off_diagonal_mean(measure.distances(members)) for measure in of_outputs()}
