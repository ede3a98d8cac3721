"""Which of a checkpoint's tensors are the network's: by their names, under any keys and prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from evoens.tasks.state_dicts import Wanted, state_dicts


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))


NET = build()
RAW = NET.state_dict()
EXPECTED = Wanted({name: value.shape for name, value in RAW.items()}, {name: name for name in RAW})
MEAN = {name: value * 2 for name, value in RAW.items()}


def under(prefix: str, weights: Mapping[str, Tensor] = RAW) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


FORMS: dict[str, Any] = {
    "plain": RAW,
    "compiled, then in DataParallel": under("module._orig_mod."),
    "DataParallel, then compiled": under("_orig_mod.module."),
    "Lightning, compiled": {"state_dict": under("model._orig_mod."), "epoch": 3, "loops": {"a": [1]}},
    "Lightning with a loss": {"state_dict": {**under("net."), "criterion.weight": torch.ones(3)}},
    "nested keys": {"checkpoint": {"model": {"state_dict": under("module.net.")}}},
    "params of restoration networks": {"params": RAW},
    "counted by a profiler": {**RAW, "total_ops": torch.zeros(1), "3.total_params": torch.ones(1)},
    "a compiled layer": {name.replace("0.w", "0._orig_mod.w"): value for name, value in RAW.items()},
    "a layer of FSDP": {name.replace("3.", "3._fsdp_wrapped_module.", 1): value for name, value in RAW.items()},
    "without counts": {name: value for name, value in RAW.items() if "num_batches" not in name},
    "with an optimiser": {"model": RAW, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{}]}},
    "gradients before weights": {"grads": under("", MEAN), "state_dict": RAW},
    "averaged before raw": {"state_dict_ema": MEAN, "state_dict": RAW},
    "averaged beside raw, by prefix": {"state_dict": {**under("ema_model.", MEAN), **under("model.")}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_raw_weights_are_found(form: str) -> None:
    found = state_dicts(FORMS[form], EXPECTED)[0]
    expected = {name: value for name, value in RAW.items() if "num_batches" not in name}
    assert not found.averaged and found.weights.keys() | {"1.num_batches_tracked"} == RAW.keys()
    assert all(torch.equal(found.weights[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": RAW, "model_ema": MEAN}, ["model", "model_ema"]),
        ({"ema": MEAN, "net": RAW}, ["net", "ema"]),
        ({"state_dict": {**under("ema.", MEAN), **under("model.")}}, ["state_dict.model", "state_dict.ema"]),
        ({"params_ema": MEAN, "params": RAW}, ["params", "params_ema"]),
    ],
)
def test_averaged_weights_are_told_from_raw_ones(content: Any, names: list[str]) -> None:
    found = state_dicts(content, EXPECTED)
    assert [one.name for one in found] == names and [one.averaged for one in found] == [False, True]
    assert all(torch.equal(found[1].weights[name], value) for name, value in MEAN.items())


def test_torchs_average() -> None:
    (found,) = state_dicts(AveragedModel(NET).state_dict(), EXPECTED)
    assert found.averaged and found.weights.keys() == RAW.keys()


def test_a_part_that_is_called_module() -> None:
    own = nn.ModuleDict({"module": build(), "head": nn.Linear(3, 3)})
    names = own.state_dict()
    expected = Wanted({name: value.shape for name, value in names.items()}, {name: name for name in names})
    for prefix in ("", "module.", "_orig_mod.module."):
        (found,) = state_dicts(under(prefix, own.state_dict()), expected)
        assert found.weights.keys() == expected.shapes.keys()


@pytest.mark.parametrize(
    "content",
    [
        {**RAW, "4.weight": torch.zeros(1)},
        {"encoder": 3, **under("encoder."), "decoder.weight": torch.zeros(1)},
        {**RAW, "3.bias": torch.zeros(4)},
        {},
        [RAW],
    ],
)
def test_what_does_not_fit_is_not_taken(content: Any) -> None:
    assert state_dicts(content, EXPECTED) == []


def test_any_name_of_a_tensor_will_do() -> None:
    tied = Wanted(EXPECTED.shapes | {"4.bias": RAW["3.bias"].shape}, EXPECTED.first | {"4.bias": "3.bias"})
    assert len(state_dicts(RAW, tied)) == 1
    second = {"4.bias" if name == "3.bias" else name: value for name, value in RAW.items()}
    assert [found.weights.keys() for found in state_dicts(second, tied)] == [second.keys()]
    del second["4.bias"]
    assert state_dicts(second, tied) == []
