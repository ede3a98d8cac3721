"""Masksembles: how its masks are, what they do, and that each image goes through one member in training."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from joints import NETWORKS, furthest, images, settled
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.methods.masksembles import MaskedInputs, MasksemblesNetwork, draw_masks

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("channels", [1, 3, 10, 64, 257])
@pytest.mark.parametrize(("members", "scale"), [(1, 2.0), (4, 1.0), (4, 1.5), (4, 2.0), (4, 3.0), (8, 2.0)])
def test_masks_have_equally_many_ones_and_leave_no_channel_out(channels: int, members: int, scale: float) -> None:
    masks = draw_masks(channels, members, scale)
    assert masks.shape == (members, channels) and set(masks.flatten().tolist()) <= {0.0, 1.0}
    ones = masks.sum(1)
    assert (ones == ones[0]).all() and masks.any(0).all()
    if scale == 1 or members == 1:
        assert masks.all()


def test_how_far_masks_are_apart_is_as_in_the_paper() -> None:
    """Of m ones at random among m · s places, two masks have m / s in common (section 4)."""
    shared = []
    for _ in range(20):
        masks = draw_masks(400, 4, 2.0)
        shared += [float((masks[i] * masks[j]).sum() / masks[i].sum()) for i in range(4) for j in range(i)]
    assert sum(shared) / len(shared) == pytest.approx(1 / 2, abs=0.02)
    assert float(draw_masks(400, 4, 2.0).mean()) == pytest.approx(1 / (2 * (1 - 0.5**4)), abs=0.01)


def test_masks_that_no_draw_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoens.methods.masksembles.TRIES", 0)
    with pytest.raises(SpecError, match=r"scale: expected masks of 400 channels for 2 members, found none at 3"):
        draw_masks(400, 2, 3)
    with pytest.raises(SpecError, match=r"scale: expected a number ≥ 1, found 0.5"):
        MasksemblesNetwork(NETWORKS["mlp"](), 4, 0.5)


def test_a_convolution_sees_the_channels_of_a_members_mask() -> None:
    masks = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    layer = MaskedInputs(nn.Conv2d(3, 2, 2), masks).double().requires_grad_(False)
    inner, x = layer.layer, torch.randn(4, 3, 3, 3).double()
    assert isinstance(inner, nn.Conv2d) and inner.bias is not None
    found = torch.zeros(4, 2, 2, 2).double()
    for n, o, h, w in product(range(4), range(2), range(2), range(2)):
        total = float(inner.bias[o])
        for c, a, b in product(range(3), range(2), range(2)):
            total += float(masks[n // 2, c] * inner.weight[o, c, a, b] * x[n, c, h + a, w + b])
        found[n, o, h, w] = total
    assert furthest(layer(x), found) < 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_each_member_is_the_network_with_columns_of_weights_at_zero(name: str) -> None:
    network, (x, _) = settled(NETWORKS[name]()), images()
    joint = MasksemblesNetwork(network, 3).eval()
    masked = {name: layer for name, layer in joint.network.named_modules() if isinstance(layer, MaskedInputs)}
    layers = [n for n, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert list(masked) == layers[1:]  # all but the one that takes images
    for place in range(3):
        own = copy.deepcopy(network)
        for layer_name, layer in masked.items():
            weight = own.get_parameter(f"{layer_name}.weight")
            weight.data *= layer.masks[place].view(1, -1, *[1] * (weight.dim() - 2))
        expected = own(x)
        assert furthest(joint(x)[place], expected) < 1e-4 * float(expected.abs().max())


def test_masks_are_in_the_state_dict_and_learn_nothing() -> None:
    joint = MasksemblesNetwork(NETWORKS["lenet"]())
    names = {name for name in joint.state_dict() if name.endswith(".masks")}
    assert len(names) == 4 and not names & {name for name, _ in joint.named_parameters()}


@pytest.mark.parametrize("n", [2, 8, 10])
def test_a_batch_is_split_among_members(n: int) -> None:
    x, y = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, 16, 16), torch.arange(n)
    inputs, targets = MasksemblesNetwork(NETWORKS["lenet"](), 4).training_batch(x, y, torch.Generator())
    each = -(-n // 4)
    assert inputs.shape == (each, 4, 3, 16, 16) and targets.shape == (4, each)
    assert torch.equal(inputs.as_subclass(Tensor)[:, :, 0, 0, 0].T, targets.float())
    assert torch.equal(targets.flatten(), torch.arange(4 * each) % n)


# ---- torch-uncertainty, where it is installed


def test_layers_are_those_of_torch_uncertainty() -> None:
    layers = pytest.importorskip("torch_uncertainty.layers")
    for ours, theirs, shape in (
        (nn.Linear(24, 4), layers.MaskedLinear(24, 4, 3, 2.0), (6, 24)),
        (nn.Conv2d(16, 6, 3, 2, 1), layers.MaskedConv2d(16, 6, 3, 3, 2.0, 2, 1), (6, 16, 9, 9)),
    ):
        state: dict[str, Tensor] = theirs.state_dict()
        (masks,) = (value for name, value in state.items() if "mask" in name)
        for name, value in ours.state_dict().items():
            (own,) = (found for key, found in state.items() if key.endswith(name))
            own.copy_(value)
        x = torch.randn(shape)
        assert furthest(MaskedInputs(ours, masks.float())(x), theirs(x)) < 1e-5
        drawn = draw_masks(masks.shape[1], 3, 2.0)
        assert abs(float(drawn.sum(1).mean()) - float(masks.float().sum(1).mean())) <= 1
