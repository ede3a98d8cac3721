"""Methods of several members inside, and of sparse ones, as rows of a table: stopped, resumed, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from method_setting import setting

from evoens.known_code import Trust
from evoens.methods.base import Baseline
from evoens.methods.dst import DST
from evoens.methods.edst import EDST
from evoens.methods.mother_nets import MotherNets
from evoens.methods.registry import BASELINES
from evoens.plugins.spec import load_class, locate
from evoens.predictors.folder import read_networks, write_networks

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("tree-net", "batch-ensemble", "mimo", "masksembles", "packed")
METHODS: dict[str, Baseline] = {
    **{name: load_class(locate(BASELINES[name]), Baseline)() for name in NAMES},
    "dst": DST(2, every=3),
    "edst": EDST(2, every=3),
    "mother-nets": MotherNets([{"hidden": [16]}, {"hidden": [20, 16]}]),
}


@pytest.mark.parametrize("name", METHODS)
def test_what_was_stopped_goes_on_to_the_same_bits_and_comes_back_from_its_folder(name: str, tmp_path: Path) -> None:
    method, whole, broken = METHODS[name], setting(tmp_path / "whole", 6), setting(tmp_path / "broken", 6)
    unbroken = method.fit(whole, tmp_path / "unused", lambda _: None)
    steps = 0

    def stop(_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 29:  # of 8 an epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.fit(broken, tmp_path / "unused", stop)
    again = method.fit(broken, tmp_path / "unused", lambda _: None)
    assert unbroken.networks is not None and again.networks is not None
    for one, other in zip(unbroken.networks.weights, again.networks.weights, strict=True):
        assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    write_networks(tmp_path / "saved", again.networks, {})
    x = whole.problem.probe(7)
    loaded = read_networks(tmp_path / "saved", Trust.NOTHING)
    assert torch.equal(loaded.outputs(x), again.networks.outputs(x))


@pytest.mark.parametrize(("method", "density"), [(DST(2, 0.3, every=3), 0.3), (EDST(2, 0.3, every=3), 0.3)])
def test_sparse_members_keep_their_density_to_the_end(method: Baseline, density: float, tmp_path: Path) -> None:
    found = method.fit(setting(tmp_path, 6), tmp_path / "unused", lambda _: None)
    assert found.networks is not None and len(found.networks.weights) == 2
    for weights in found.networks.weights:
        matrices = [value for value in weights.values() if value.dim() > 1]
        kept, size = (sum(count(value) for value in matrices) for count in (torch.count_nonzero, torch.numel))
        assert float(kept) / float(size) == pytest.approx(density, abs=0.01)
    assert not torch.equal(*(weights["layers.0.weight"] for weights in found.networks.weights))
