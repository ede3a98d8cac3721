"""The folder of networks: what was saved comes back, code that is not ours is not run, and damage is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from heads import Heads
from torch import Tensor

from evoens.ensemble import load_ensemble
from evoens.ensemble_folder import description_sha256
from evoens.errors import CheckpointError, SpecError
from evoens.network.wrapper import Wrapper
from evoens.parent import Architecture
from evoens.predictors.folder import NETWORKS, write_networks
from evoens.predictors.networks import Networks
from evoens.tasks.networks.mlp import MLP

ARCHITECTURE = Architecture("evoens.tasks.networks.mlp:MLP", {"classes": 10, "features": 12, "hidden": [8]})
HEADS = Wrapper("heads:Heads", {"members": 3})


def weights(wrapped: bool = False) -> dict[str, Tensor]:
    network = MLP(10, 12, [8])
    return dict((Heads(network, 3) if wrapped else network).state_dict())


def saved(folder: Path, wrapper: Wrapper | None = None) -> Networks:
    both = [weights(wrapper is not None) for _ in range(2)]
    own = Networks(ARCHITECTURE, both, wrapper=wrapper, temperature=1.5, seed=7)
    write_networks(folder, own, {"method": "own"})
    return own


def test_they_answer_as_before(tmp_path: Path) -> None:
    own, x = saved(tmp_path), torch.randn(5, 12)
    found = load_ensemble(tmp_path)
    assert isinstance(found, Networks) and found.seed == 7
    assert torch.equal(found.outputs(x), own.outputs(x)) and found.outputs(x).shape == (2, 5, 10)
    assert torch.equal(found.predict(x, calibrated=True), own.predict(x, calibrated=True))
    members = torch.stack([torch.softmax(module(x), -1) for module in found.modules()])
    torch.testing.assert_close(members, own.outputs(x))
    full = found.predict_full(x)
    torch.testing.assert_close(full.probabilities, own.predict(x, calibrated=True))


def test_a_wrapper_that_is_not_ours_needs_trust(tmp_path: Path) -> None:
    own, x = saved(tmp_path, HEADS), torch.randn(5, 12)
    with pytest.raises(SpecError, match=r"expected a wrapper of evoens\.methods, found heads:Heads; trust=True"):
        load_ensemble(tmp_path)
    found = load_ensemble(tmp_path, trust=True)
    assert torch.equal(found.outputs(x), own.outputs(x)) and found.outputs(x).shape == (6, 5, 10)


def test_a_changed_description_is_found(tmp_path: Path) -> None:
    saved(tmp_path)
    document = json.loads((tmp_path / NETWORKS).read_text())
    (tmp_path / NETWORKS).write_text(json.dumps({**document, "temperature": 2.0}))
    with pytest.raises(CheckpointError, match="expected a description as it was written, found one that has changed"):
        load_ensemble(tmp_path)
    document["networks"][0]["file"] = "../elsewhere.safetensors"
    document["sha256"] = description_sha256(document)
    (tmp_path / NETWORKS).write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"expected a file of this folder, found \.\./elsewhere"):
        load_ensemble(tmp_path)
