"""The section on how to go on: the commands that come next, and how the ensemble is asked."""

from __future__ import annotations

import shlex

from evoens.report.facts import Facts
from evoens.report.parts import Section
from evoens.settings.tensors import TENSORS


def going_on(facts: Facts) -> Section:
    """Return the commands that come next, and how the ensemble is asked."""
    name, title, run = "next", "How to go on", shlex.quote(facts.place)
    board = f"tensorboard --logdir {run}/tb"
    if not facts.report:
        shell = f"python -m evoens resume {run}\n{board}"
        return Section(
            name, title, ["If the run has been interrupted, it goes on from its last checkpoint:"], code=[shell]
        )
    python_run = _type(facts) == TENSORS  # whose network and data no command has
    commands = [*(["play"] if facts.filmed else []), *([] if python_run else ["diversity"]), "inspect", "verify"]
    shell = "\n".join([f"python -m evoens {command} {run}" for command in commands] + [board])
    given = ", model=model" if python_run else ""
    python = f"from evoens import load_ensemble\n\nensemble = load_ensemble({facts.place!r}{given})\n"
    return Section(name, title, code=[shell, python + _predicting(facts)])


def _type(facts: Facts) -> str:
    return str(facts.report.get("problem", {}).get("type"))


def _predicting(facts: Facts) -> str:
    """How the ensemble is asked: images by their bytes; a classifier after temperature scaling, as it is compared."""
    tempered = (
        ", calibrated=True" if facts.report.get("details", {}).get("temperature", {}).get("ensemble", 1) != 1 else ""
    )
    if not tempered or _type(facts) != "classification":
        return f"probabilities = ensemble.predict(inputs{tempered})  # (n, *input) -> (n, c)"
    return (
        "probabilities = ensemble.predict_images(images, calibrated=True)  # (n, c, h, w) uint8 -> (n, classes)\n"
        "answers = [ensemble.classes[i] for i in probabilities.argmax(-1)]"
    )
