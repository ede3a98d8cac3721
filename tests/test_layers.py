"""The house keeps its order: imports go down only, files stay short, nothing is added to the top level."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 300

# lower first; a module may import its own row and those above it here, as long as no ring is closed
LAYERS = [
    set(row.split())
    for row in (
        "errors progress",
        "machine",
        "storage",
        "plugins",
        "network",
        "genome masks noise scope",
        "architecture parent",
        "graph",
        "scoring",
        "diversity",
        "settings",
        "strategy children masked problem",
        "search",
        "tasks",
        "export",
        "ensemble ensemble_folder known_code predictors",
        "listener",
        "evaluation methods",
        "report",
        "contract",
        "experiment",
        "analysis",
        "bench",
        "config",
        "tables",
        "commands",
        "cli evolving __main__ __init__",
    )
]
MOST = 20  # files in evoens/ itself


def module_files() -> dict[str, Path]:
    files = [path for folder in ("evoens", "strategies") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in files}


MODULES = module_files()


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run, in functions too; not what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (inner for other in node.orelse for inner in ast.walk(other))
            continue
        yield node
        yield from statements(node)


def imported_names(source: str, package: str) -> set[str]:
    """Every dotted name that some import of `source`, a module inside `package`, could mean."""
    names: set[str] = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of(module: str) -> set[str]:
    """The project's modules that `module` imports, its own package's `__init__` aside."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = {n.replace("evoens_strategies", "strategies") for n in imported_names(path.read_text(), package)}
    return {name for name in names if name in MODULES and name not in {module, "evoens"}}


GRAPH = {module: imports_of(module) for module in MODULES}


def layer(module: str) -> int:
    stem = [*module.split("."), "__init__"][1]
    return next(place for place, stems in enumerate(LAYERS) if stem in stems)


def test_every_module_has_a_layer_and_only_one() -> None:
    stems = [stem for stems in LAYERS for stem in stems]
    assert len(stems) == len(set(stems))
    present = {[*m.split("."), "__init__"][1] for m in MODULES if m.startswith("evoens")}
    assert present <= set(stems)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("evoens")])
def test_imports_go_down(module: str) -> None:
    assert [other for other in GRAPH[module] if other.startswith("evoens") and layer(other) > layer(module)] == []


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("evoens")])
def test_the_engine_knows_no_concrete_strategy(module: str) -> None:
    assert [other for other in GRAPH[module] if other.startswith("strategies")] == []


def test_strategies_import_the_engine_up_to_the_strategy_only() -> None:
    """What users copy needs nothing of how a run works; and no strategy needs another."""
    for module in MODULES:
        if module.startswith("strategies"):
            others = GRAPH[module] - {"strategies"}
            assert all(other.startswith("evoens") and layer(other) <= layer("evoens.strategy") for other in others), (
                module
            )


def test_no_ring_of_imports() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(GRAPH[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_nothing_is_ever_unpickled() -> None:
    """Nor evaluated: files are safetensors, JSON and YAML; what users bring from torch is read as weights only."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = {"torch.load", "np.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        called = {
            ast.unparse(node.func)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and "weights_only=True" not in map(ast.unparse, node.keywords)
        }
        roots = {name.split(".")[0] for name in imported_names(path.read_text(), module)}
        assert not roots & forbidden and not called & calls, module


def test_imports_are_found_wherever_they_stand() -> None:
    """The reader itself: in functions, with dots, and not where only a type checker looks."""
    source = (
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\n"
        "if TYPE_CHECKING:\n    import h\nelse:\n    import i\n"
        "def function():\n    try:\n        from j import k\n    finally:\n        pass\n"
    )
    expected = {"a.b", "c", "c.d", "p.q", "p.q.e", "p.f", "p.f.g", "i", "j", "j.k"}
    assert imported_names(source, "p.q") == expected


def test_few_files_lie_in_the_package_itself() -> None:
    """Those that users name; all else has a wing."""
    assert len(list((ROOT / "evoens").glob("*.py"))) <= MOST


def test_files_are_short() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: n for module, n in lengths.items() if n > LONGEST} == {}


def test_the_top_level_is_the_users() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    fixed = {"pyproject.toml", "README.md", "evoens", "problems", "strategies", "tests", "runs"}
    assert {name for name in top if not name.startswith(".")} <= fixed
    assert [line for line in listed.stdout.splitlines() if line.startswith("runs/")] in ([], ["runs/.gitkeep"])


def test_every_module_says_what_it_is() -> None:
    assert [m for m, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_unfinished_marks() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error")
    assert [(m, mark) for m, path in MODULES.items() for mark in marks if mark in path.read_text()] == []
