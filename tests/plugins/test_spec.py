"""From a string to a class: shipped names, files, modules, and a clear error for everything else."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from evoens.errors import SpecError
from evoens.plugins.signature import read_signature
from evoens.plugins.spec import Located, load_class, locate, shipped_strategies
from evoens.strategy import Strategy

MINE = """
from evoens_strategies.noisy import Noisy
from evoens.strategy import Strategy

class Mine(Noisy):
    pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_shipped_strategies_resolve_to_themselves() -> None:
    names = shipped_strategies()
    assert "noisy" in names
    for name in names:
        cls = load_class(locate(name), Strategy)
        assert issubclass(cls, Strategy)
        assert cls.__module__ == f"evoens_strategies.{name}"


def test_locating_hashes_the_file(mine: Path) -> None:
    located = locate("mine.py:Mine", [mine.parent])
    assert located == Located("mine.py:Mine", mine.resolve(), "Mine", hashlib.sha256(mine.read_bytes()).hexdigest())


def test_a_module_path_and_an_absolute_file_path_work(mine: Path) -> None:
    assert load_class(locate("evoens_strategies.noisy:Noisy"), Strategy).__name__ == "Noisy"
    assert load_class(locate(f"{mine}:Mine"), Strategy).__name__ == "Mine"


def test_the_only_class_of_its_own_is_found_without_a_name(mine: Path) -> None:
    """Imported classes, such as the base, do not count."""
    assert load_class(locate("mine.py", [mine.parent]), Strategy).__name__ == "Mine"


def test_folders_are_tried_in_turn(mine: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / "mine.py").write_text(MINE.replace("Mine", "Second"))
    assert load_class(locate("mine.py", [second, tmp_path]), Strategy).__name__ == "Second"
    assert load_class(locate("mine.py", [tmp_path / "none", tmp_path]), Strategy).__name__ == "Mine"


def test_two_files_of_one_name_never_mix(mine: Path) -> None:
    first = load_class(locate("mine.py", [mine.parent]), Strategy)
    mine.write_text(MINE.replace("pass", "mark = 2"))
    second = load_class(locate("mine.py", [mine.parent]), Strategy)
    assert first is not second
    assert not hasattr(first, "mark")
    assert second.mark == 2


def test_locating_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')")
    locate("bomb.py", [tmp_path])
    code = (
        "import sys; from evoens.plugins.spec import locate, shipped_strategies; locate('noisy'); "
        "shipped_strategies(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nosy", 'expected one of .*; did you mean "noisy"'),
        ("", "expected one of"),
        ("no.such.module:Class", "path/to/file.py:Class or package.module:Class"),
        ("sys:path", "package.module:Class"),
        ("evoens..noise:Class", "package.module:Class"),
        ("missing.py:Class", r"expected a Python file, found none at .*missing\.py"),
        ("folder/missing.py", "found none at"),
        ("folder.py", "found none at"),
    ],
)
def test_what_is_not_there_is_named(spec: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(SpecError, match=message):
        locate(spec, [tmp_path])


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("import no_such_package", "Mine", "does not import: ModuleNotFoundError: No module named 'no_such_package'"),
        ("def broken(:", "Mine", "does not import: SyntaxError"),
        ("1 / 0", "Mine", "does not import: ZeroDivisionError"),
        (MINE, "Mien", 'no class Mien there; did you mean "Mine"'),
        ("Mine = 3", "Mine", "no class Mine there"),
        ("class Mine: pass", "Mine", "expected a subclass of Strategy, found object"),
        ("from evoens.strategy import Strategy\nclass Mine(Strategy): pass", "Mine", "Mine does not define perturb"),
        ("from evoens.strategy import Strategy\nclass Mine(Strategy): pass", "", "expected exactly one .* found none"),
        (MINE + "\nclass Other(Noisy): pass", "", "expected exactly one Strategy in the file, found Mine, Other"),
    ],
)
def test_what_cannot_be_used_says_why(text: str, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    modules = set(sys.modules)
    with pytest.raises(SpecError, match=message):
        load_class(locate(f"mine.py:{name}" if name else "mine.py", [tmp_path]), Strategy)
    if "does not import" in message:
        assert not {m for m in set(sys.modules) - modules if m.startswith("evoens_user_")}  # no half module stays


def test_no_package_is_imported_on_the_way_to_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unopened" / "deep").mkdir(parents=True)
    (tmp_path / "unopened" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "unopened" / "deep" / "sub.py").write_text(MINE)  # deep is a package without a file
    monkeypatch.syspath_prepend(str(tmp_path))
    located = locate("unopened.deep.sub:Mine")
    assert located.sha256 == hashlib.sha256(MINE.encode()).hexdigest() and "unopened" not in sys.modules
    for missing in ("unopened.none:Mine", "unopened.deep:Mine", "unittest.__main__.x:Y"):
        with pytest.raises(SpecError, match=r"package\.module:Class"):
            locate(missing)
    heir = tmp_path / "heir.py"
    heir.write_text("from unopened.deep.sub import Mine\n\n\nclass Heir(Mine):\n    pass\n")
    assert read_signature(locate(str(heir) + ":Heir")) is not None and "unopened" not in sys.modules
