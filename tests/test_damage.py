"""Every JSON file of a finished run in thirty states of damage: each command ends well or in one line, exit code 2."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import config, execute
from typer.testing import CliRunner, Result

from evoens import results
from evoens.checkpoint import CheckpointStore
from evoens.cli import app
from evoens.ensemble import load_ensemble
from evoens.errors import EvoensError
from evoens.plan import Plan
from evoens.verify import folder_checks

FILES = ("report.json", "history.json", "population.jsonl", "ensemble/genomes.json", "environment.json")
OTHER: tuple[Any, ...] = (
    "text",
    "\ud800",
    [],
    {},
    None,
    -1,
    10**400,
    float("inf"),
    float("nan"),
    [[["x"]]],
    True,
    "\x00",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run."""
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    patch.setattr("evoens.evaluate.quickest", lambda *_: Plan())
    patch.setattr(results, "write_report", lambda folder: folder / "report.html")
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    execute(folder, config(strategy={"sigma": 0.1}, search={"generations": 1}))
    yield folder
    patch.undo()
    torch.set_num_threads(threads)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "runs" / "x"))


def call(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from places(inner, (*way, key))


def mistyped(value: Any, draw: random.Random) -> Any:
    """The same with something else in one place, or with a key less."""
    value = copy.deepcopy(value)
    *around, last = draw.choice(list(places(value)))
    inner = value
    for key in around:
        inner = inner[key]
    if draw.random() < 0.2:
        del inner[last]
    else:
        inner[last] = draw.choice(OTHER)
    return value


def damages(file: Path, seed: int) -> Iterator[bytes]:
    """Thirty of them."""
    draw, data = random.Random(seed), file.read_bytes()
    yield from (b"", b"null", b"[]", b"5", b'"x"', b"{}", b"\xff" * 9, b"\x00" * 9, b"[" * 100_000, b'{"a":' * 100_000)
    yield b'{"step": ' + b"9" * 5000 + b"}"
    yield from (data[: draw.randrange(len(data))] for _ in range(4))
    lines = data.decode().splitlines() if file.suffix == ".jsonl" else [data.decode()]
    for _ in range(15):
        place = draw.randrange(len(lines))
        wrong = json.dumps(mistyped(json.loads(lines[place]), draw))
        yield "\n".join([*lines[:place], wrong, *lines[place + 1 :]]).encode()


@pytest.mark.parametrize("name", FILES)
def test_no_command_ends_in_a_traceback(name: str, run: Path) -> None:
    for number, data in enumerate(damages(run / name, len(name))):
        (run / name).write_bytes(data)
        for args in (
            ("list", "--json"),
            ("list",),
            ("inspect", run),
            ("inspect", run, "a"),
            ("inspect", run / "ensemble"),
        ):
            result = call(*args, "--runs", run.parent)
            assert result.exit_code in ((0,) if args[0] == "list" else (0, 2)), (number, args, result.output)
            assert result.exception is None or isinstance(result.exception, SystemExit), (number, args, data[:80])
            assert len(result.stderr.splitlines()) == (1 if result.exit_code else 0), (args, result.stderr)
        assert all(check.detail for check in folder_checks(run))
        try:
            load_ensemble(run)
        except EvoensError as error:
            assert len(str(error).splitlines()) == 1


def test_one_damaged_run_leaves_the_others_listed(run: Path) -> None:
    shutil.copytree(run, run.parent / "y")
    (run / "population.jsonl").write_text('{"key": ["a"]}\n')
    x, y = json.loads(call("list", "--json", "--runs", run.parent).stdout)["runs"]
    assert y["state"] == "finished"
    place = run / "population.jsonl"
    assert x["state"] == f"damaged: {place}:1: expected a child a line, found damage: generation: field required"


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_the_older_checkpoint_is_taken(name: str, whole: Path, tmp_path: Path) -> None:
    store = CheckpointStore(Path(shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")))
    new, old = store._folders()
    for data in damages(new / name, 3):
        if name == "manifest.json" and data == (new / name).read_bytes():
            continue
        (new / name).write_bytes(data)
        saved, skipped = store.latest()
        assert saved is not None and (saved.step == int(old.name)) == bool(skipped)
        assert all(len(line.splitlines()) == 1 and line.startswith(str(new)) for line in skipped)
        assert len(store.verify()) == 2
