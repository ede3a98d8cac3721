"""Analyse a subject, part by part, each kept when it is done; then the page and TensorBoard show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from evoens.analysis.activations import Activations
from evoens.analysis.attribution import Attribution
from evoens.analysis.clusters import Clusters
from evoens.analysis.features import Features
from evoens.analysis.landscape import Landscape
from evoens.analysis.mutations import Mutations
from evoens.analysis.outputs import Outputs
from evoens.analysis.part import Part, carry_out
from evoens.analysis.subject import Subject
from evoens.report.console import Reporter
from evoens.report.facts import read_finding
from evoens.report.page import write_report
from evoens.report.tensorboard import markdown, plain
from evoens.settings.diversity import DiversitySettings
from evoens.storage.checkpoint import RunLock
from evoens.storage.files import write_atomic

FOLDER = "diversity"

PARTS: MappingProxyType[str, Callable[[Subject, Any], Part]] = MappingProxyType(
    {part.name: part for part in (Outputs, Clusters, Activations, Attribution, Features, Landscape, Mutations)}
)
"""The parts by name, in the order of the page."""


def analyse(
    subject: Subject, settings: DiversitySettings, folder: Path, reporter: Reporter, config: str = ""
) -> dict[str, Any]:
    """Carry out the parts that the settings name in `folder`/diversity; what is there already is not done again.

    Args:
        subject: what is looked at.
        settings: which parts, and how much of each.
        folder: a run's, or one of its own; its report.html and TensorBoard log then show what was found.
        reporter: is told what each part costs before work begins, and how far it has come.
        config: the text of config.resolved.yaml, for a folder that is no run's and has none.

    Returns:
        By part, what its file holds.

    Raises:
        EvoensError: a part cannot be done, such as one that asks for a layer that is not there; nothing was begun then.
    """
    parts = {name: make(subject, getattr(settings, name)) for name, make in PARTS.items() if name in settings.parts}
    for part in parts.values():
        reporter.on_stage(f"to do: {part.name}, {part.cost}")
    found: dict[str, Any] = {}
    whole = subject.key
    with RunLock(folder / FOLDER):
        if config:
            write_atomic(folder / "config.resolved.yaml", config)
        for name, part in parts.items():
            key = _key(whole, settings, name)
            known = read_finding(folder / FOLDER / f"{name}.json").get("key") == key
            reporter.on_stage(part.title + (", known already" if known else ""))
            found[name] = carry_out(part, folder / FOLDER, key, _told(reporter, part))
            if not known:
                _show(folder, name, found[name])
                write_report(folder)
        if known:  # the last part wrote no page: it may be one of another time
            write_report(folder)
    return found


def _key(subject: str, settings: DiversitySettings, name: str) -> str:
    """What a part's result rests on."""
    own = getattr(settings, name).model_dump(mode="json")
    return hashlib.sha256(json.dumps([subject, own], sort_keys=True).encode()).hexdigest()


def _told(reporter: Reporter, part: Part) -> Callable[[int], None]:
    return lambda done: reporter.on_progress(done, part.steps, part.name)


def _show(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    """Write a part's tables and pictures that are no SVG to TensorBoard, in a run of its own beside the run's."""
    with SummaryWriter(folder / "tb" / FOLDER) as writer:
        for picture in found["pictures"]:
            path = folder / FOLDER / picture["file"]
            if path.suffix == ".png":
                with Image.open(path) as image:
                    writer.add_image(f"{FOLDER}/{path.stem}", np.asarray(image.convert("RGB")), dataformats="HWC")
        writer.add_text(f"{FOLDER}/{name}", "\n\n".join([*map(plain, found["text"]), *map(_markdown, found["tables"])]))


def _markdown(table: Mapping[str, Any]) -> str:
    rows: Sequence[Sequence[str]] = table["rows"]
    return markdown(list(table["head"]) or [""] * len(rows[0]), [list(row) for row in rows])
