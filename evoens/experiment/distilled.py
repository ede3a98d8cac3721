"""Distillation of a run's ensemble into one network: taught, compared with its teacher, and written as a parent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoens.ensemble import Ensemble, open_ensemble
from evoens.ensemble_folder import read_description
from evoens.errors import CheckpointError, SpecError
from evoens.evaluation.result_cache import ResultCache
from evoens.experiment.comparison import Comparison
from evoens.experiment.setup import parent_of_run
from evoens.known_code import Trust
from evoens.listener import Listener
from evoens.methods.base import Fitted
from evoens.parent import Parent, Predictor
from evoens.scoring.text import interval
from evoens.tasks.data.preprocessing import batch_of
from evoens.tasks.labelled import LabelledProblem
from evoens.tasks.lesson import Lesson
from evoens.tasks.supervised import SupervisedTask
from evoens.tasks.task import Task

FOLDER = "distilled"  # of the training, in the run's
FIGURES = ("test", "test_calibrated_nll")


def distilled(
    task: Task, folder: Path, path: Path, listener: Listener, command: str, *, force: bool = False
) -> dict[str, Any]:
    """Train the parent on what the run's ensemble says of the train split, and write it as a parent of its own.

    It begins as the parent and is trained as the parent was, by `parent.train`; but for the labels, which are the
    ensemble's probabilities, calibrated, so that the student is (Hinton et al. 2015: soft targets, whose temperature is
    that of the calibration). Interrupted, it goes on to the same bits.

    Args:
        task: of the run's YAML.
        folder: the run's; the training is in its `distilled/`.
        path: of the weights, beside which the card lies.
        listener: is told how far it has come.
        command: for the card.
        force: go on in spite of what has changed.

    Returns:
        JSON: the weights' `path`, `head` and `rows` of a table on the test split of parent, student and ensemble, and
        how many `cases` it has.

    Raises:
        SpecError: the run's networks are no classifiers that are trained here.
        CheckpointError: the ensemble or its parent is missing or damaged, or another training is in the folder.
    """
    config = task.config
    if not isinstance(task, SupervisedTask):
        kind = config.problem.type
        raise SpecError(
            f"expected a classifier, which learns from labelled examples, found {kind}", ("problem", "type")
        )
    ensemble = open_ensemble(folder, Trust.PACKAGES)
    parent, _ = task.load(parent_of_run(folder, config, task.base))
    if parent.fingerprint != ensemble.parent.fingerprint:
        raise CheckpointError(f"{folder}: expected the parent that the ensemble is of, found another")
    problem = task.problem(parent)
    assert isinstance(problem, LabelledProblem)
    _require_alike(task, problem, ensemble)
    teacher = read_description(folder / "ensemble")["sha256"]
    listener.on_stage(
        f"training one network for {task.budget} on what {len(ensemble.genomes)} say, in {folder / FOLDER}"
    )
    answers = _answers(ensemble, problem, listener)
    lesson = Lesson(config.seed, config.parent.train, start=parent.weights, answers=answers)
    training = task.fit(lesson, folder / FOLDER, listener.on_training, force)
    listener.on_stage("comparing on the test split")
    blocks = _compared(problem, Parent(training.module, task.architecture), ensemble, task)
    about = {"run": folder.name, "members": len(ensemble.genomes), "teacher": teacher, "test": blocks}
    weights = task.export(folder / FOLDER, path, command, distilled=about)
    return {"path": str(weights), "cases": blocks["parent"]["test"]["n"], **_table(problem, blocks)}


def _require_alike(task: SupervisedTask, problem: LabelledProblem, ensemble: Ensemble) -> None:
    """See that a student is shown what its teacher is: a parent from elsewhere may have learnt to see otherwise.

    Raises:
        SpecError: it is not.
    """
    examples, shown = task.examples(), ensemble.preprocessing
    some = examples.images.part(0, 2).all()
    if shown is not None and not torch.equal(examples.normalise(some), problem.as_taken(some)):
        own = f"{{mean: {list(shown.mean)}, std: {list(shown.std)}}}"
        raise SpecError(f"expected the parent's own, --set 'problem.normalise={own}'", ("problem", "normalise"))


def _answers(ensemble: Ensemble, problem: LabelledProblem, listener: Listener) -> Tensor:
    """Return the ensemble's probabilities of the train split, `(n, c)`, calibrated where it has a temperature."""
    images, calibrated = problem.splits["train"], ensemble.temperature is not None
    found, done = list[Tensor](), 0
    for inputs, labels in images.batches(batch_of(images.pixels.shape[1:])):
        found.append(ensemble.predict(problem.as_taken(inputs), calibrated).float())
        done += len(labels)
        listener.on_progress(done, len(images), "asking the ensemble")
    return torch.cat(found)


def _compared(
    problem: LabelledProblem, student: Parent, ensemble: Ensemble, task: SupervisedTask
) -> dict[str, dict[str, Any]]:
    """Return score and calibrated likelihood of each on the test split, with their differences from the parent's."""
    student.layout = problem.parent.layout
    predictors = {"parent": problem.parent.predict, "distilled": student.predict, "ensemble": ensemble.predict}
    competitors = {name: Fitted([partial(_itself, own)]) for name, own in predictors.items()}
    seed, resamples = task.config.seed, task.config.report.bootstrap
    comparison = Comparison(problem, competitors, torch.device("cpu"), resamples, seed)
    blocks, _ = comparison.run(ResultCache(), lambda *_: None)
    kept = [name for figure in FIGURES for name in (figure, f"{figure}_difference")]
    return {name: {key: blocks[name][key] for key in kept} for name in predictors}


def _itself(predictor: Predictor) -> Predictor:
    return predictor


def _table(problem: LabelledProblem, blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return parent, student and ensemble as the rows of a table, and its head."""
    measures = [next(m for m in problem.measures if key in ("test", m.key)) for key in FIGURES]
    rows: list[dict[str, str]] = [{"who": name} for name in blocks]
    for row, block in zip(rows, blocks.values(), strict=True):
        for key, measure in zip(FIGURES, measures, strict=True):
            row[key] = interval(block[key], measure.digits)
            row[f"{key}_difference"] = interval(block[f"{key}_difference"], measure.digits, "+")
    less = "less the parent's"
    return {"head": ["", measures[0].label, less, measures[1].label, less], "rows": rows}
