"""From a run folder to report.html: one file that needs no network, finished or not."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evoens import sections
from evoens.checkpoint import write_atomic
from evoens.errors import CheckpointError

Json = dict[str, Any]


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from what the run has left there so far, and return its path.

    It reads report.json, history.json, population.jsonl, config.resolved.yaml and pictures/; the same files give the
    same bytes. What a run still going on has not written yet is missing from the page, and the page says so.

    Raises:
        CheckpointError: the folder is not a run's, or one of its files is damaged.
    """
    facts = read_facts(folder)
    path = folder / "report.html"
    write_atomic(path, render(facts))
    return path


def read_facts(folder: Path) -> sections.Facts:
    """Read a run folder; a file that is not there yet counts as empty.

    Raises:
        CheckpointError: the folder has no config.resolved.yaml, or one of its files is damaged.
    """
    config = folder / "config.resolved.yaml"
    if not config.is_file():
        raise CheckpointError(f"{folder}: expected a run's folder with a config.resolved.yaml, found none")
    pictures = sorted((folder / "pictures").glob("*"))
    return sections.Facts(
        folder=folder,
        config=config.read_text(encoding="utf-8"),
        report=_json(folder / "report.json"),
        history=_json(folder / "history.json"),
        population=_lines(folder / "population.jsonl"),
        pictures={path.name: path.read_bytes() for path in pictures if path.suffix in sections.IMAGES},
    )
