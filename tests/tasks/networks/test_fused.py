"""Fused passes against the plain ones: the same function."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoens.parent import fuse
from evoens.tasks.networks import fused
from evoens.tasks.networks.impala import Block, ImpalaPolicy, Residual

needs_onednn = pytest.mark.skipif(not fused.available(torch.float32), reason="this torch has no fused convolutions")


@needs_onednn
@torch.inference_mode()
def test_fused_convolutions_are_their_parts() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, padding=1).to(memory_format=torch.channels_last)
    x, total = (torch.randn(5, c, 9, 9).contiguous(memory_format=torch.channels_last) for c in (8, 16))
    packed = fused.Convolution(conv)
    torch.testing.assert_close(packed(x), conv(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(packed.relu(x), F.relu(conv(x)), rtol=0, atol=1e-6)
    expected = conv(x) + total
    assert packed.add_(total, x) is total
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 16, 64, 64), (3, 5, 8, 2), (2, 1, 2, 6)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_max_pool_is_torchs(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.randn(shape).contiguous(memory_format=layout)
    assert torch.equal(fused.max_pool(x), F.max_pool2d(x, 3, 2, 1))


@needs_onednn
@pytest.mark.parametrize("n", [1, 3, 16])
@pytest.mark.parametrize("widths", [(16, 32, 32), (32, 64, 128), (5, 6, 7)])
def test_a_fused_policy_answers_as_the_plain_one(widths: tuple[int, ...], n: int) -> None:
    torch.manual_seed(0)
    plain = ImpalaPolicy(widths, 6).to(memory_format=torch.channels_last)
    quick = copy.deepcopy(plain)
    fuse(quick)
    assert all(m.fused for m in quick.modules() if isinstance(m, Block | Residual))
    frames = torch.randint(0, 256, (n, 64, 64, 6), dtype=torch.uint8).permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(quick(frames), plain(frames), rtol=0, atol=1e-5)


def test_where_there_is_no_such_pass_the_policy_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(packed: fused.Convolution, x: torch.Tensor) -> torch.Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(fused.Convolution, "relu", missing)
    fused.available.cache_clear()
    policy = ImpalaPolicy((4, 4, 4), 6)
    fuse(policy)
    fused.available.cache_clear()
    assert not any(m.fused for m in policy.modules() if isinstance(m, Block | Residual))
