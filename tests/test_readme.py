"""The README's own Strategy and its first example work as they stand there, and it is short."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from evoens import noise
from evoens.contract.check import check_strategy
from evoens.genome import Gene, Mask
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy

README = Path(__file__).parents[1] / "README.md"
PYTHON = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
BLOCKS = [block for block in PYTHON if "(Strategy)" in block]
(EXAMPLE,) = (block for block in PYTHON if "evoens.evolve(" in block)

pytestmark = pytest.mark.skipif(not BLOCKS, reason="README.md has no Strategy yet")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neurons.py").write_text(BLOCKS[0], "utf-8")
    return tmp_path / "neurons.py"


@pytest.fixture
def strategy(file: Path) -> Strategy:
    made = load_class(locate(f"{file}:Neurons"), Strategy)(sigma=0.1, density=0.3)
    assert isinstance(made, Strategy)
    return made


def test_there_is_one_example_and_it_is_short() -> None:
    (block,) = BLOCKS
    code = [line for line in block.splitlines() if line.strip() and '"""' not in line]
    assert len(code) <= 10


def test_it_keeps_the_contract(file: Path) -> None:
    checks = check_strategy(f"{file}:Neurons")
    assert [check for check in checks if not check.ok or "warning" in check.detail] == []
    assert checks[-1].name == "fresh process"


@pytest.mark.parametrize("shape", [(40, 6), (24, 3, 5, 5)], ids=str)
def test_whole_neurons_are_perturbed_and_the_others_keep_their_bits(strategy: Strategy, shape: tuple[int, ...]) -> None:
    weight = torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)
    mask = Mask(9, 0.3, 2, 0)
    found = strategy.perturb("conv.weight", weight, Gene(4, 0.1, -1, mask))
    step = noise.normals(4, "conv.weight", shape) * -0.1
    neurons = noise.keep(mask, "conv.weight", shape[:1])
    assert 0 < int(neurons.sum()) < shape[0]
    for row, kept in enumerate(neurons):
        assert torch.equal(found[row], weight[row] + step[row] if kept else weight[row])


def evolved(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), names)
    assert names["probabilities"].shape == (697, 10)
    report: dict[str, Any] = names["ensemble"].report
    return report


def test_the_example_runs() -> None:
    short = EXAMPLE.replace('"epochs": 10', '"epochs": 1').replace("population=16", "population=4, size=2")
    assert short.count('"epochs": 1,') == short.count("population=4") == 1
    assert evolved(short)["ensemble"]["size"] == 2


@pytest.mark.slow
def test_the_example_gains_what_it_says() -> None:
    report = evolved(EXAMPLE)
    parent, ensemble = report["parent"], report["ensemble"]
    assert ensemble["test"]["score"] > parent["test"]["score"] and ensemble["test_difference"]["ci95"][0] > 0
    assert ensemble["test_calibrated_nll_difference"]["ci95"][1] < 0


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= 14_000
