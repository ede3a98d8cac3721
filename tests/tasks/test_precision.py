"""Precision of a training: a setting, or a matter of the processor, never of a clock."""

from __future__ import annotations

import pytest
import torch

from evoens.tasks.precision import precision_of


@pytest.mark.parametrize("setting", ["float32", "bfloat16"])
def test_a_setting_is_what_it_says(setting: str) -> None:
    assert precision_of(setting) == setting


@pytest.mark.parametrize(
    ("amx", "avx", "expected"),
    [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_auto_is_what_the_processor_computes_in(
    amx: bool, avx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    assert precision_of("auto") == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_on_a_card_it_is_what_the_card_computes_in(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert precision_of("auto", torch.device("cuda")) == expected
