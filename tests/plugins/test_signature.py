import inspect
from pathlib import Path

import pytest

from evoens.errors import SpecError
from evoens.plugins.signature import Signature, check_source, read_signature
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy

BODY = "    def perturb(self, name, weight, gene):\n        return weight\n"


def read(folder: Path, source: str, name: str | None = "Mine") -> Signature | None:
    (folder / "my.py").write_text(source)
    return read_signature(locate(f"my.py:{name}" if name else "my.py", [folder]))


SOURCES = {
    "inherited": f"from evoens import Strategy\nclass Mine(Strategy):\n{BODY}",
    "from the module": f"from evoens.strategy import Strategy as Base\nclass Mine(Base):\n{BODY}",
    "from a shipped one": "from evoens_strategies.noisy import Noisy\nclass Mine(Noisy):\n    pass\n",
    "own": "from evoens import Strategy\nclass Mine(Strategy):\n"
    f"    def __init__(self, sigma, density, parts, *, tilt, slope=1.0):\n        super().__init__(sigma)\n{BODY}",
    "the rest passed on": "from evoens import Strategy\nclass Mine(Strategy):\n"
    f"    def __init__(self, tilt=1.0, **rest):\n        super().__init__(**rest)\n{BODY}",
    "through a base of the file": "from evoens import Strategy\nclass Base(Strategy):\n"
    f"    def __init__(self, sigma, density, parts, tilt=2):\n        pass\nclass Mine(Base):\n{BODY}",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_same_as_after_an_import(tmp_path: Path, source: str) -> None:
    found = read(tmp_path, source)
    imported = inspect.signature(load_class(locate("my.py:Mine", [tmp_path]), Strategy)).parameters.values()
    expected = {p.name: p.default is p.empty for p in imported if p.kind is not p.VAR_KEYWORD}
    assert found is not None
    if "**rest" in source:  # what an import does not tell: the base's arguments
        assert found.arguments == {"sigma": True, "density": False, "parts": False, "tilt": False}
    else:
        assert found.arguments == expected


def test_a_shipped_strategy() -> None:
    assert read_signature(locate("noisy")) == Signature({"sigma": True, "density": False, "parts": False})


@pytest.mark.parametrize(
    ("source", "scaled"),
    [
        (SOURCES["own"], True),
        ("from evoens_strategies.sparse import Sparse\nclass Mine(Sparse):\n    pass\n", False),
        ("from evoens_strategies.sparse import Sparse\nclass Mine(Sparse):\n    scaled = True\n", True),
        (f"from evoens import Strategy\nclass Mine(Strategy):\n    scaled: bool = False\n{BODY}", False),
        (f"from evoens import Strategy\nclass Base(Strategy):\n    scaled = False\nclass Mine(Base):\n{BODY}", False),
    ],
)
def test_whether_it_has_a_scale(tmp_path: Path, source: str, scaled: bool) -> None:
    found = read(tmp_path, source)
    assert found is not None and found.scaled == scaled
    assert load_class(locate("my.py:Mine", [tmp_path]), Strategy).scaled == scaled  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source",
    [
        "import evoens\nclass Mine(evoens.Strategy):\n    pass\n",
        "import dataclasses\nfrom evoens import Strategy\n@dataclasses.dataclass\nclass Mine(Strategy):\n    a: int\n",
        "from evoens import Strategy\ndef make(): ...\nclass Mine(make()):\n    pass\n",
        "class Mine(Nowhere):\n    pass\n",
        "class Mine(Mine):\n    pass\n",
    ],
)
def test_where_only_an_import_can_tell(tmp_path: Path, source: str) -> None:
    assert read(tmp_path, source) is None


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("class Mine(:\n", "Mine", r"expected Python, found an error at .*my\.py:1:12"),
        ("\0", "Mine", "expected Python"),
        ("import numpyy\nclass Mine: ...\n", "Mine", r"my\.py:1 imports numpyy, which is not installed"),
        ("from nowhere.at_all import x\nclass Mine: ...\n", "Mine", "imports nowhere, which is not installed"),
        ("class Other: ...\n", "Mine", "expected a class Mine in .*, found none"),
        ("class Mines: ...\n", "Mine", 'found none; did you mean "Mines"?'),
        ("x = 1\n", None, "expected a class derived from Strategy in the file, found none"),
    ],
)
def test_what_is_wrong_is_said_without_an_import(tmp_path: Path, source: str, name: str | None, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(tmp_path, source, name)


def test_a_guarded_import_may_be_missing(tmp_path: Path) -> None:
    source = "try:\n    import numpyy\nexcept ImportError:\n    pass\n" + SOURCES["inherited"]
    assert read(tmp_path, source) is not None


def test_a_file_alone_means_its_only_class(tmp_path: Path) -> None:
    assert read(tmp_path, SOURCES["own"], None) == read(tmp_path, SOURCES["own"])
    assert read(tmp_path, SOURCES["through a base of the file"], None) is None


# ---- what a file holds, of whatever kind


@pytest.mark.parametrize(
    "source",
    [
        "def build(): ...\n",
        "class build: ...\n",
        "import math as build\n",
        "from math import floor as build\n",
        "build = lambda: 1\n",
        "if True:\n    def build(): ...\n",
        "from math import *\n",
    ],
)
def test_a_name_may_come_from_anywhere(tmp_path: Path, source: str) -> None:
    (tmp_path / "my.py").write_text(source)
    check_source(locate("my.py:build", [tmp_path]))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def biuld(): ...\n", r'expected a class or function build in .*my\.py, found none; did you mean "biuld"\?'),
        ("print('build')\n", "found none$"),
        ("import torchy.nn\n", r"my\.py:1 imports torchy, which is not installed"),
        ("def build(:\n", r"expected Python, found an error at .*my\.py:1:"),
    ],
)
def test_what_a_file_does_not_hold_is_said_without_an_import(tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "my.py").write_text(source)
    with pytest.raises(SpecError, match=says):
        check_source(locate("my.py:build", [tmp_path]))


def test_a_module_of_a_package_is_looked_into_too() -> None:
    check_source(locate("evoens.tasks.networks.mlp:MLP"))
    with pytest.raises(SpecError, match='did you mean "MLP"'):
        check_source(locate("evoens.tasks.networks.mlp:MPL"))
