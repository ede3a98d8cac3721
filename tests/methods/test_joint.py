"""Networks with several members inside: what all of them keep to, on every kind of network that ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from joints import CLASSES, NETWORKS, WAYS, furthest, images, loss
from safetensors.torch import load_file, save_file
from torch import nn

from evoens.errors import SpecError
from evoens.methods.joint import Apart, Joint, apart
from evoens.methods.masksembles import MasksemblesNetwork
from evoens.methods.mimo import MIMONetwork
from evoens.network.tensors import load, tensors

pytestmark = pytest.mark.usefixtures("one_thread")
BOTH = [(way, network) for way in WAYS for network in NETWORKS]


def made(way: str, network: str, seed: int = 1) -> Joint:
    torch.manual_seed(seed)
    return WAYS[way](NETWORKS[network]())


@pytest.mark.parametrize(("way", "network"), BOTH)
def test_members_answer_each_in_their_own_way(way: str, network: str) -> None:
    joint, (x, _) = made(way, network).eval(), images()
    outputs = joint(x)
    assert outputs.shape == (joint.members, 8, CLASSES)
    apart = [furthest(a, b) for i, a in enumerate(outputs) for b in outputs[:i]]
    assert min(apart) > 1e-3
    assert furthest(joint(x[3:5]), outputs[:, 3:5]) < 1e-5  # an answer does not depend on what is asked beside


@pytest.mark.parametrize(("way", "network"), BOTH)
def test_one_made_anew_takes_up_the_weights_from_a_file(way: str, network: str, tmp_path: Path) -> None:
    joint, (x, _) = made(way, network).eval(), images()
    save_file({name: value.contiguous() for name, value in tensors(joint).items()}, tmp_path / "joint.safetensors")
    again = made(way, network, seed=2).eval()
    assert not torch.equal(again(x), joint(x))
    load(again, load_file(tmp_path / "joint.safetensors"))
    assert torch.equal(again(x), joint(x))


@pytest.mark.parametrize(("way", "network"), BOTH)
def test_all_members_learn_a_batch(way: str, network: str) -> None:
    joint, (x, y) = made(way, network), images(8)
    optimiser = torch.optim.Adam(joint.parameters(), 5e-3)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(30):
        inputs, targets = joint.training_batch(x, y, generator)
        batch_loss = loss(joint(inputs), targets)
        optimiser.zero_grad()
        batch_loss.backward()
        losses.append(float(batch_loss.detach()))
        optimiser.step()
    assert all(value.grad is not None and value.grad.any() for value in joint.parameters())
    most = 0.9 if way == "mimo" else 0.8  # its members share what little the network can learn
    assert sum(losses[-3:]) < most * sum(losses[:3])


@pytest.mark.parametrize("way", WAYS)
def test_the_network_it_is_made_of_stays_as_it_is(way: str) -> None:
    network = NETWORKS["wrn"]()
    before, names = {n: w.clone() for n, w in network.state_dict().items()}, str(network)
    joint = WAYS[way](network)
    for value in joint.parameters():
        value.data.add_(1)
    assert str(network) == names
    assert all(torch.equal(w, before[n]) for n, w in network.state_dict().items())


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_makes_the_same_one(way: str) -> None:
    one, other = made(way, "lenet"), made(way, "lenet")
    assert all(torch.equal(w, other.state_dict()[n]) for n, w in one.state_dict().items())


@pytest.mark.parametrize("way", WAYS)
def test_there_is_a_member_at_least(way: str) -> None:
    with pytest.raises(SpecError, match=r"members: expected an integer ≥ 1, found 0"):
        WAYS[way](NETWORKS["mlp"](), members=0)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [MIMONetwork, MasksemblesNetwork])
def test_members_can_be_given_inputs_of_their_own(kind: type[MIMONetwork] | type[MasksemblesNetwork]) -> None:
    joint, (x, y) = kind(NETWORKS["lenet"](), 2).eval(), images(6)
    places = torch.tensor([[0, 1, 2], [3, 4, 5]])
    inputs, targets = apart(x, y, places)
    assert isinstance(inputs, Apart) and inputs.shape == (3, 2, 3, 16, 16) and torch.equal(targets, y[places])
    outputs = joint(inputs)
    assert type(outputs) is torch.Tensor and outputs.shape == (2, 3, CLASSES)
    same, _ = apart(x, y, places[:1].expand(2, -1))
    assert furthest(joint(same), joint(x[:3])) < 1e-5
    assert isinstance(inputs[:1], Apart) and len(inputs) == 3


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_converted_is_named(way: str) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.GRU(3 * 16, 8, batch_first=True)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.memory(x.flatten(2))[0][:, -1])  # type: ignore[no-any-return]

    if way == "tree-net":
        assert WAYS[way](Recurrent()).eval()(torch.randn(2, 5, 48)).shape == (3, 2, CLASSES)
        return
    with pytest.raises(SpecError, match=r"layer memory \(GRU\): expected"):
        WAYS[way](Recurrent())
