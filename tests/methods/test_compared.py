"""Which Methods are compared: a user's own are found by their spec, and have names that nothing else has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import config, experiment

from evoens.config.load import load
from evoens.errors import CheckpointError, ConfigError, SpecError
from evoens.experiment.identity import identity_of
from evoens.methods.compared import compared, open_methods
from evoens.storage.checkpoint import require_same

OWN = """
from evoens.methods.base import Fitted, Method

class Own(Method):
    name = "own"

    def fit(self, evolved, folder, on_progress):
        return Fitted()
"""


def written(folder: Path, source: str = OWN, name: str = "own.py") -> str:
    (folder / name).write_text(source)
    return name


def test_further_methods_stand_before_the_ensemble(tmp_path: Path) -> None:
    (located, own), *_ = open_methods([written(tmp_path)], tmp_path, [])
    assert located.module == (tmp_path / "own.py").resolve()
    assert [m.name for m in compared([own])] == [
        "parent",
        "parent_tempered",
        "best_child",
        "random_children",
        "trained_on",
        "one_child",
        "soup",
        "own",
        "ensemble",
        "ensemble_tempered",
        "independent",
        "seen",
    ]


@pytest.mark.parametrize("name", ['"ensemble"', '"Own"', '"a b"', '""', "3"])
def test_a_name_that_is_taken_or_none_is_refused(tmp_path: Path, name: str) -> None:
    spec = written(tmp_path, OWN.replace('"own"', name))
    with pytest.raises(SpecError, match=r'"own.py": expected a name of its own, .* found '):
        open_methods([spec], tmp_path, ["ensemble"])


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"again\.py.: expected a name of its own, .* found 'own'"):
        open_methods([written(tmp_path), written(tmp_path, name="again.py")], tmp_path, [])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("swa", 'expected path/to/file.py:Class or package.module:Class, found "swa"'),
        ("nothing.py:Own", '"nothing.py:Own": expected a Python file, found none at '),
        ("own.py:Onw", 'expected a class Onw in .*, found none; did you mean "Own"'),
    ],
)
def test_a_yaml_with_a_method_that_is_not_there_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    with pytest.raises(ConfigError, match=f"report.methods.*{says}"):
        load("digits_noisy", [f"report.methods=[{spec}]"], retrain=True)
    assert load("digits_noisy", ["report.methods=[own.py:Own]"], retrain=True).config.report.methods == ("own.py:Own",)


def test_a_method_that_has_changed_is_another_run(tmp_path: Path) -> None:
    plain = experiment(config())
    before = replace(plain, methods=open_methods([written(tmp_path)], tmp_path, []))
    written(tmp_path, OWN + "\n# changed\n")
    after = replace(plain, methods=open_methods(["own.py"], tmp_path, []))
    with pytest.raises(CheckpointError, match=r"files of the methods\.own\.py\.sha256: expected"):
        require_same(identity_of(after), identity_of(before), tmp_path, force=False)
    assert "files of the methods" not in identity_of(plain)  # as in checkpoints that know of none
