"""The lines that use a file: Python, whatever the file is of; tests of the commands run them."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from evoens.architecture import Architecture
from evoens.export.usage import usage

PATH = Path('a "quoted" folder/it')
NETWORKS = [
    Architecture("torchvision.models:resnet18", {"num_classes": 3}),
    Architecture("of mine/model.py:build", {"widths": [1, 2], "name": "x"}, "0" * 64),
]


def about(**changes: Any) -> dict[str, Any]:
    inputs = {"inputs": {"shape": [3, 8, 8], "dtype": "float32"}}
    found = {"classes": ["a", "b"], "temperature": 1.5, "combine": "mean", "inputs": inputs, "raw": False}
    return {**found, "normalise": {"mean": [0.5] * 3, "std": [0.25] * 3}, **changes}


@pytest.mark.parametrize("to", ["onnx", "pt2", "safetensors"])
def test_they_are_python(to: str) -> None:
    rules, temperatures = ("mean", "logit-mean", "median", "majority-vote"), (None, 0.7)
    for rule, temperature, raw, network in product(rules, temperatures, (False, True), NETWORKS):
        text = usage(to, PATH, about(combine=rule, temperature=temperature, raw=raw), network)
        names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        assert {"about", "inputs", "probabilities"} <= names


@pytest.mark.parametrize("to", ["onnx", "pt2", "safetensors"])
def test_several_inputs_and_no_classes(to: str) -> None:
    inputs = {"inputs_0": {"shape": [5], "dtype": "int64"}, "inputs_1": {"shape": [], "dtype": "float32"}}
    text = usage(to, PATH, about(classes=None, normalise=None, inputs=inputs), NETWORKS[0])
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert {"inputs_0", "inputs_1"} <= names and "(1, 5)" in text and "(1,)" in text
    assert text.splitlines()[-1] == "print(probabilities)"


def test_a_network_of_ones_own_is_looked_for_where_its_file_is() -> None:
    lines = usage("safetensors", PATH, about(), NETWORKS[1]).splitlines()
    assert 'sys.path.insert(0, "of mine")' in lines and "from model import build" in lines
    assert "network = build(widths=[1, 2], name='x').eval()" in lines
