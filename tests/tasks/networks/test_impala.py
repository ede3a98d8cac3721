import math

import pytest
import torch
import torch.nn.functional as F

from evoens.tasks.networks.impala import Impala, ImpalaPolicy


def reference(weights, frames):
    """The network from its description, with nothing but the weights: float64, no in-place, no modules."""

    def conv(x, name):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def pool(x):
        padded = F.pad(x, (1, 1, 1, 1), value=-math.inf)
        return padded.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))

    x = frames.double() / 255
    for block in range(3):
        x = pool(conv(x, f"trunk.blocks.{block}.conv"))
        for res in ("res0", "res1"):
            name = f"trunk.blocks.{block}.{res}"
            x = x + conv(conv(x.clamp(min=0), f"{name}.conv0").clamp(min=0), f"{name}.conv1")
    features = x.clamp(min=0).flatten(1) @ weights["trunk.linear.weight"].T + weights["trunk.linear.bias"]
    return features.clamp(min=0) @ weights["head.weight"].T + weights["head.bias"]


@pytest.fixture
def policy():
    torch.manual_seed(0)
    policy = ImpalaPolicy((4, 6, 8), in_channels=6).to(memory_format=torch.channels_last)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return policy


@pytest.fixture
def frames():
    nhwc = torch.randint(0, 256, (3, 64, 64, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return nhwc.permute(0, 3, 1, 2)


def test_computes_the_published_network(policy, frames):
    weights = {name: w.double() for name, w in policy.state_dict().items()}
    expected = reference(weights, frames)
    assert expected.shape == (3, 15)
    torch.testing.assert_close(policy(frames).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(policy(frames.contiguous()).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(policy.double()(frames), expected)


def test_gradients_are_those_of_the_description(policy, frames):
    policy.double()
    weights = {name: w.detach().clone().requires_grad_() for name, w in policy.named_parameters()}
    reference(weights, frames).square().sum().backward()
    policy(frames).square().sum().backward()
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)


def test_the_callers_frames_are_left_alone(policy, frames):
    floats = frames.float().requires_grad_()
    before = floats.detach().clone()
    policy(floats).sum().backward()
    assert torch.equal(floats.detach(), before)
    assert floats.grad.abs().sum() > 0
    with torch.no_grad():
        assert torch.equal(policy(floats), policy(frames))


def test_bfloat16(policy, frames):
    with torch.no_grad():
        expected = policy(frames)
        found = policy.to(torch.bfloat16)(frames)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.3)


def test_size_of_openais_network():
    def conv(a, b):
        return 9 * a * b + b

    blocks = sum(conv(a, b) + 4 * conv(b, b) for a, b in ((3, 16), (16, 32), (32, 32)))
    expected = blocks + (32 * 8 * 8 + 1) * 256 + (256 + 1) * 15
    assert sum(p.numel() for p in ImpalaPolicy((16, 32, 32), in_channels=3).parameters()) == expected


def test_starts_with_glorot_weights_and_zero_biases():
    torch.manual_seed(0)
    network = Impala(3, (16, 32, 32))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            receptive = parameter[0, 0].numel() if parameter.ndim == 4 else 1
            bound = math.sqrt(6 / (receptive * (parameter.shape[0] + parameter.shape[1])))
            assert 0.97 * bound < parameter.abs().max() <= bound
