"""The identity of a run: settings, code, data, versions and machine, all that must be the same for it to go on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from pydantic import ValidationError

from evoens.architecture import TORCHVISION, Architecture
from evoens.experiment.state import Experiment
from evoens.graph.soundness import ASKED, answers
from evoens.machine.environment import machine, versions
from evoens.plugins.own_code import source_sha256
from evoens.plugins.spec import Located, module_file
from evoens.settings.config import Config
from evoens.storage.checkpoint import filled

DATA = "data (pixels or labels)"
ANSWERS = "what the network answers"  # by which whatever else its code reads is known
APART: dict[str, Any] = {"diversity": True, "evaluation": {"timeout", "memory"}, "backend": True}
"""What a run may go on without."""


def identity_of(experiment: Experiment) -> dict[str, Any]:
    """Return what must be the same for a run to go on to the same bits."""
    code, parent = experiment.source.code, experiment.problem.parent
    return {
        "config": _settings(experiment.config),
        "strategy file (sha256)": experiment.source.sha256,
        "parent (fingerprint)": parent.fingerprint,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        DATA: experiment.data,
        "files of the strategy": code.helpers if code else {},
        "files of the network": _files(parent.architecture),
        **({"files of the task": dict(experiment.task_files)} if experiment.task_files else {}),
        ANSWERS: answers(parent, experiment.problem.probe(ASKED)),
        "machine": machine(),
        **_own_classes(experiment),
    }


def known_since(saved: dict[str, Any], now: dict[str, Any], config: Config) -> tuple[dict[str, Any], list[str]]:
    """Return a checkpoint's identity with what was not kept yet when it was begun, and a sentence on that, if any.

    Settings that there were not had their defaults; whatever else is not there is taken to be as it is now.
    """
    whole, told = filled(now, {ANSWERS: now[ANSWERS], **saved})  # of which the files of the network once were enough
    whole["versions"], more = filled(now["versions"], saved["versions"])
    with suppress(ValidationError):  # settings that are no more: they are named as differences
        whole["config"] = _settings(type(config).model_validate(saved["config"], strict=False))  # JSON has no tuples
    return whole, [*told, *more]


def with_precision(
    saved: dict[str, Any], now: dict[str, Any], plan: dict[str, Any] | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the identity `saved` with a precision: where it has none, a stopwatch once chose the plan's, which stays.

    Args:
        saved: a checkpoint's.
        now: that of the run as it would begin today.
        plan: the checkpoint's.

    Returns:
        The identity, and a sentence for the user where the two differ.
    """
    own, told = now["config"]["evaluation"], []
    if plan and "evaluation" not in saved["config"] and plan["precision"] != own["precision"]:
        told = [
            f"evaluation.precision: the run began when this was no setting, and goes on in {plan['precision']}; "
            f"a new one would be in {own['precision']}"
        ]
    return {**saved, "config": {"evaluation": own, **saved["config"]}}, told


def _settings(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, exclude=APART)


def _own_classes(experiment: Experiment) -> dict[str, Any]:
    """The files of a user's own Methods and Search; where there are none, as in most runs, nothing is kept of them."""
    methods = {source.spec: _file(source) for source, _ in experiment.methods}
    source = experiment.search_source
    return {
        **({"files of the methods": methods} if methods else {}),
        **({"files of the search": _file(source)} if source else {}),
    }


def _file(source: Located) -> dict[str, Any]:
    return {"sha256": source.sha256, "helpers": source.code.helpers if source.code else {}}


def _files(architecture: Architecture) -> dict[str, str]:
    """The sha256 of each file of a network that is neither evoens's nor torchvision's."""
    place = architecture.target.rpartition(":")[0]
    if architecture.own:
        return {name: source_sha256(data) for name, data in architecture.files().items()}
    file = module_file(place) if not place.startswith(("evoens", TORCHVISION)) else None
    return {place: source_sha256(file.read_bytes())} if file else {}
