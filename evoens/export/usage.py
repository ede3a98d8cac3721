"""How an exported file is used: the few lines of Python that are printed beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evoens.architecture import Architecture

ONNX = """\
import json

import numpy
import onnxruntime

session = onnxruntime.InferenceSession({path})
about = session.get_modelmeta().custom_metadata_map
{inputs}
(probabilities,) = session.run(None, {{{named}}})
"""
PT2 = """\
import json

import torch

extra = {{"evoens.json": ""}}
module = torch.export.load({path}, extra_files=extra).module()
about = json.loads(extra["evoens.json"])
{inputs}
probabilities = module({given})
"""
SAFETENSORS = """\
import json

import torch
from safetensors import safe_open
{network}
{inputs}
members = []
with safe_open({path}, "pt") as file, torch.inference_mode():
    about = {{name: json.loads(text) for name, text in file.metadata().items()}}

    def part(prefix):
        return {{n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)}}

    for place in about["order"]:
        network.load_state_dict(part("shared.") | part(f"members.{{place}}."))
        members.append(network({given}).softmax(-1))
{together}
"""
LOGITS = "torch.stack(members).log().mean(0).softmax(-1)"
TOGETHER = {"mean": "torch.stack(members).mean(0)", "logit-mean": LOGITS, "geometric-mean": LOGITS}
"""What members' probabilities say together, where torch says it in a line."""


def usage(to: str, path: Path, about: Mapping[str, Any], architecture: Architecture) -> str:
    """Return the lines of Python that ask a file once.

    Args:
        to: `onnx`, `pt2` or `safetensors`.
        path: of the file.
        about: its metadata.
        architecture: of the network, which safetensors need.
    """
    names = list(about["inputs"])
    zeros = "numpy.zeros({whole}, numpy.{dtype})" if to == "onnx" else "torch.zeros({whole}, dtype=torch.{dtype})"
    made = [f"{name} = {zeros.format(whole=(1, *row['shape']), **row)}" for name, row in about["inputs"].items()]
    made[0] += _comment(about)
    text = {"onnx": ONNX, "pt2": PT2, "safetensors": SAFETENSORS}[to].format(
        path=json.dumps(str(path)),
        inputs="\n".join([*made, *(_normalised(about) if to == "safetensors" else [])]),
        given=", ".join(names),
        named=", ".join(f'"{name}": {name}' for name in names),
        network="\n".join(_network(architecture)),
        together="\n".join(_together(about)),
    )
    classes = 'json.loads(about["classes"])' if to == "onnx" else 'about["classes"]'
    return text + (
        f"print([{classes}[i] for i in probabilities.argmax(-1)])" if about["classes"] else "print(probabilities)"
    )


def _comment(about: Mapping[str, Any]) -> str:
    """Say beside the zeros what stands in their stead."""
    if about["raw"]:
        return "  # images, 0 to 255"
    if about["normalise"]:
        mean, std = ([round(value, 4) for value in about["normalise"][name]] for name in ("mean", "std"))
        return f"  # (x / 255 - mean) / std, mean {mean}, std {std}"
    return "  # as the network takes them"


def _normalised(about: Mapping[str, Any]) -> list[str]:
    """Return what normalises bytes, where that is not in the file."""
    if not about["raw"]:
        return []
    own = ", ".join(str(list(about["normalise"][name])) for name in ("mean", "std"))
    return [f"mean, std = (torch.tensor(v).view(-1, 1, 1) for v in ({own}))", "inputs = (inputs / 255 - mean) / std"]


def _network(architecture: Architecture) -> list[str]:
    place, _, name = architecture.target.rpartition(":")
    given = ", ".join(f"{key}={value!r}" for key, value in architecture.arguments.items())
    own = ["import sys", f"sys.path.insert(0, {json.dumps(str(Path(place).parent))})"] if architecture.own else []
    module = Path(place).stem if architecture.own else place
    return [*own, f"from {module} import {name}", "", f"network = {name}({given}).eval()"]


def _together(about: Mapping[str, Any]) -> list[str]:
    """Return the lines that make one answer of members'."""
    rule, temperature = about["combine"], about["temperature"]
    known = (
        [f"probabilities = {TOGETHER[rule]}"]
        if rule in TOGETHER
        else ["from evoens.scoring.combine import combine", f'probabilities = combine(torch.stack(members), "{rule}")']
    )
    return known + (
        [] if temperature is None else ['probabilities = (probabilities.log() / about["temperature"]).softmax(-1)']
    )
