"""What is there: the problems and strategies that ship, the runs, and the inside of any file or folder of evoens."""

from __future__ import annotations

import ast
import fcntl
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from evoens.config.load import RESOLVED
from evoens.config.shipped import shipped_problems, shipped_tables
from evoens.config.yaml_file import read_yaml
from evoens.errors import CheckpointError, ConfigError
from evoens.plugins.spec import STRATEGIES, shipped_strategies
from evoens.report.facts import Facts, read_facts
from evoens.report.written import Child
from evoens.storage.card import parent_files, read_card
from evoens.storage.json_file import as_written, read_json, read_rows
from evoens.tasks.classifier_checks import SUFFIXES


class _Member(TypedDict):
    key: str
    genome: list[dict[str, Any]]


class _Description(TypedDict):
    members: list[_Member]


# ---- list


Rows = list[dict[str, Any]]


def everything(folder: Path) -> dict[str, Rows]:
    """Return problems, tables, strategies, and the runs of a folder."""
    shipped = {"problems": problems(), "tables": tables(), "strategies": strategies()}
    return {**shipped, "runs": runs(folder)}


def listed(found: Mapping[str, Rows], folder: Path) -> dict[str, tuple[Rows, dict[str, str]]]:
    """Return the rows of each table that shows `everything`, and its columns, by its title."""
    about = {"name": "name", "about": "what it is"}
    columns = {"name": "name", "state": "state", "parent": "parent", "ensemble": "ensemble", "unit": "unit"}
    *shipped, (_, own) = found.items()
    return {**{title: (rows, about) for title, rows in shipped}, f"runs in {folder}": (own, columns)}


def problems() -> Rows:
    """Return name, path and first comment of each problem that can be run by its plain name."""
    return _listed(shipped_problems())


def tables() -> Rows:
    """Return the same of each table that can be made by its plain name."""
    return _listed(shipped_tables())


def _listed(found: Mapping[str, Path]) -> Rows:
    return [{"name": name, "path": str(path), "about": _first_comment(path)} for name, path in found.items()]


def strategies() -> Rows:
    """Return name and first sentence of each strategy that ships, without importing it."""
    found = []
    for name in shipped_strategies():
        spec = importlib.util.find_spec(f"{STRATEGIES}.{name}")
        source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
        about = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        found.append({"name": name, "about": about})
    return found


def runs(folder: Path) -> Rows:
    """Return a summary of each run in `folder`; one that cannot be read says why."""
    return [_run_or_fault(path.parent) for path in sorted(folder.glob(f"*/{RESOLVED}"))]


def _run_or_fault(folder: Path) -> dict[str, Any]:
    try:
        return summary(folder)
    except (CheckpointError, ConfigError, OSError) as error:
        return {"name": folder.name, "path": str(folder), "state": f"damaged: {error}"}


def _first_comment(path: Path) -> str:
    first = path.read_text("utf-8", "replace").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def summary(folder: Path) -> dict[str, Any]:
    """Return a run's name, state and main figures.

    Raises:
        CheckpointError: a file of the run is damaged.
    """
    facts = read_facts(folder)
    planned = _planned(folder)
    found: dict[str, Any] = {"name": folder.name, "path": str(folder), "state": _state(facts, planned)}
    if facts.generations:
        found |= {"generations": f"{len(facts.generations)} of {planned}", "fitness": facts.generations[-1]["fitness"]}
    if facts.report:
        with as_written(folder / "report.json", "a run's report"):
            scores = {who: facts.report[who]["test"]["score"] for who in ("parent", "ensemble")}
            unit = f"{facts.unit}, {facts.unsure}" if facts.unsure else facts.unit
            found |= {"unit": unit, **scores, "verdict": facts.report["verdict"]}
    return found


def _planned(folder: Path) -> int | str:
    config = read_yaml(folder / RESOLVED).value
    search = config.get("search") if isinstance(config, dict) else None
    return search.get("generations", "?") if isinstance(search, dict) else "?"


def _state(facts: Facts, planned: int | str) -> str:
    if facts.report:
        return "finished"
    if in_use(facts.folder) or in_use(facts.folder / "parent"):
        return "running"
    if not facts.begun:
        return f"no run: networks compared by {', '.join(facts.analyses)}"
    done = len(facts.generations)
    return f"stopped after {done} of {planned} generations" if done else "stopped before its first generation ended"


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder's lock."""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


# ---- inspect


def inspect(path: Path, prefix: str | None = None) -> dict[str, Any]:
    """Return what is at `path`: a run, an ensemble, weights, or the child whose key begins with `prefix`.

    Raises:
        CheckpointError: it is none of these, or damaged; or no child or several have such a key.
    """
    if prefix is not None:
        return _child(path, prefix)
    if (path / RESOLVED).is_file():
        return _run(path)
    ensemble = path if path.name == "genomes.json" else path / "genomes.json"
    if ensemble.is_file():
        return _ensemble(ensemble)
    if path.is_file() and path.suffix in (".json", ".safetensors") and parent_files(path)[1].is_file():
        card = read_card(path)
        return {"kind": "parent", **{key: value for key, value in card.items() if key != "curve"}}
    if path.is_file() and path.name.endswith(SUFFIXES):
        return _weights(path)
    raise CheckpointError(f"{path}: expected a run's folder, an ensemble's folder or a parent, found none of these")


def _weights(path: Path) -> dict[str, Any]:
    from evoens.tasks.state_dicts import described  # noqa: PLC0415 (imports torch)
    from evoens.tasks.weight_files import read_file  # noqa: PLC0415

    found = described(read_file(path))
    if not found:
        raise CheckpointError(f"{path}: expected a state dict, tensors by name, found none in it")
    return {"kind": "weights", "bytes": path.stat().st_size, "state_dicts": {one.pop("under"): one for one in found}}


def _run(folder: Path) -> dict[str, Any]:
    facts = read_facts(folder)
    ranked = sorted(facts.scored, key=lambda row: -row["fitness"])
    found: dict[str, Any] = {
        "kind": "run",
        **summary(folder),
        "sigma": facts.history.get("sigma"),
        "children": len(facts.population),
    }
    found["failed"] = len(facts.population) - len(ranked)
    if ranked:
        found["best"] = {name: ranked[0][name] for name in ("key", "generation", "fitness")}
    if facts.report:
        with as_written(folder / "report.json", "a run's report"):
            own, names = facts.report, ("cost", "artifact")
            found |= {"members": own["ensemble"]["members"], **{name: own[name] for name in names}}
    return found | {"warnings": list(facts.history.get("warnings", []))}


def _ensemble(file: Path) -> dict[str, Any]:
    document = read_json(file, "an ensemble's description", _Description)
    members = [{"key": member["key"], "genes": len(member["genome"])} for member in document["members"]]
    size = sum(path.stat().st_size for path in file.parent.iterdir())
    return {"kind": "ensemble", **document, "members": members, "bytes": size}


def _child(path: Path, prefix: str) -> dict[str, Any]:
    file = path / "population.jsonl" if path.is_dir() else path
    children = read_rows(file, "a run's population.jsonl", Child)
    rows = {row["key"]: row for row in children if row["key"].startswith(prefix)}
    if len(rows) != 1:
        found = f"{len(rows)} of them" if rows else "none"
        raise CheckpointError(f"{file}: expected one child whose key begins with {prefix}, found {found}")
    return {"kind": "child", **next(iter(rows.values()))}
