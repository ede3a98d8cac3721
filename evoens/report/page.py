"""From a run folder to report.html: one file that needs no network, of a run finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evoens.report.facts import Facts, read_facts
from evoens.report.glossary import Glossary
from evoens.report.parts import Section
from evoens.report.sections import sections
from evoens.storage.files import write_atomic
from evoens.storage.json_file import as_written

TEMPLATE = "page.html.jinja"


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from what the run has left there so far, and return its path.

    Read are report.json, history.json, population.jsonl, config.resolved.yaml and pictures/; the same files give the
    same bytes. What a run still going on has not written yet is missing from the page, and the page says so.

    Raises:
        CheckpointError: the folder is not a run's, or one of its files is damaged.
    """
    path = folder / "report.html"
    with as_written(folder, "what a run leaves"):
        page = render(read_facts(folder))
    write_atomic(path, page)
    return path


def render(facts: Facts) -> str:
    """Return the page of a run as HTML."""
    facts = facts.from_one()
    return rendered(
        facts.name,
        _subtitle(facts),
        sections(facts),
        unfinished="" if facts.report or not facts.begun else _unfinished(facts),
        verdict=facts.report.get("verdict"),
        warnings=facts.report.get("warnings", facts.history.get("warnings", [])),
    )


def rendered(
    title: str,
    subtitle: str,
    parts: Sequence[Section],
    *,
    unfinished: str = "",
    verdict: str | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Return a page as HTML: one file that needs no network; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    glossary = Glossary()
    environment.filters["linked"] = glossary.linked
    return environment.get_template(TEMPLATE).render(
        glossary=glossary,
        title=title,
        subtitle=subtitle,
        unfinished=unfinished,
        verdict=verdict,
        warnings=warnings,
        sections=parts,
    )


def _subtitle(facts: Facts) -> str:
    problem = facts.report.get("problem", {})
    return " · ".join([f"{k.replace('_', ' ')} {v}" for k, v in problem.items() if isinstance(v, str | int)])


def _unfinished(facts: Facts) -> str:
    done = len(facts.generations)
    stage = f"{done} generation{'s' if done != 1 else ''} done" if done else "no generation done yet"
    return f"This run is not finished ({stage}): there is no verdict, and what follows is how far it got."
