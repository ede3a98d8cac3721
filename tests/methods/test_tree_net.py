"""TreeNet: one branch is the network to the bit, and several share what they are to share."""

from __future__ import annotations

import copy

import pytest
import torch
from joints import NETWORKS, images, loss, settled
from torch import Tensor, nn
from torch.nn import functional as F

from evoens.errors import SpecError
from evoens.methods.tree_net import TreeNetwork

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(module: nn.Module, x: Tensor, y: Tensor, members: int) -> nn.Module:
    optimiser = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    for _ in range(4):
        outputs = module.train()(x)
        batch_loss = loss(outputs, y.expand(members, -1)) if members else F.cross_entropy(outputs, y)
        optimiser.zero_grad()
        batch_loss.backward()
        optimiser.step()
    return module.eval()


@pytest.mark.parametrize("shared", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_branch_is_the_network_to_the_bit(name: str, shared: float) -> None:
    network, (x, y) = NETWORKS[name](), images()
    tree = TreeNetwork(network, 1, shared)
    assert torch.equal(tree.eval()(x)[0], copy.deepcopy(network).eval()(x))
    assert torch.equal(trained(tree, x, y, 1)(x)[0], trained(network, x, y, 0)(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_there_once_in_the_trunk_and_once_a_branch(name: str) -> None:
    network = settled(NETWORKS[name]())
    tree = TreeNetwork(network, 3)
    sizes = {n: w.numel() for n, w in network.named_parameters()}
    trunk, branch = ({n: w.numel() for n, w in part.named_parameters()} for part in (tree.trunk, tree.branches[1]))
    assert trunk.keys() | branch.keys() == sizes.keys() and not trunk.keys() & branch.keys()
    assert sum(w.numel() for w in tree.parameters()) == sum(trunk.values()) + 3 * sum(branch.values())
    first, last = next(n for n in sizes if n.endswith("weight")), [n for n in sizes if n.endswith("weight")][-1]
    assert first in trunk and last in branch
    drawn = [part.get_parameter(last) for part in tree.branches]
    assert torch.equal(drawn[0], network.get_parameter(last)) and not torch.equal(drawn[1], drawn[2])
    assert 0.5 < float(drawn[1].std() / drawn[0].std()) < 2


def test_the_trunk_learns_from_every_branch() -> None:
    network, (x, y) = NETWORKS["lenet"](), images()
    tree = TreeNetwork(network, 2)
    gradients = []
    for targets in (torch.stack([y, y]), torch.stack([y, y.flip(0)])):
        tree.zero_grad()
        loss(tree(x), targets).backward()
        gradients.append(tree.trunk.get_parameter("conv1.weight").grad.clone())  # type: ignore[union-attr]
    alone = []
    for branch, target in zip(tree.branches, (y, y.flip(0)), strict=True):
        tree.zero_grad()
        F.cross_entropy(branch(*tree.trunk(x)), target).backward()
        alone.append(tree.trunk.get_parameter("conv1.weight").grad.clone())  # type: ignore[union-attr]
    assert torch.allclose(gradients[1], (alone[0] + alone[1]) / 2, atol=1e-7)
    assert not torch.allclose(gradients[0], gradients[1], atol=1e-4)


@pytest.mark.parametrize(("shared", "at"), [(0.01, "conv2"), (0.5, "fc1"), (0.99, "fc3")])
def test_branches_begin_where_that_share_of_the_layers_is_done(shared: float, at: str) -> None:
    assert TreeNetwork(NETWORKS["lenet"](), 2, shared).branches_at == at


class Functional(nn.Module):
    """Tells training from the rest in a way that no tracer can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(self.first(x), 0.5, self.training))  # type: ignore[no-any-return]


def test_what_cannot_be_a_tree_is_refused() -> None:
    with pytest.raises(SpecError, match=r"but for layers such as nn.Dropout, found a call of dropout that does not"):
        TreeNetwork(Functional())
    with pytest.raises(SpecError, match=r"expected two layers with weights at least, found 1"):
        TreeNetwork(nn.Sequential(nn.Linear(4, 2)))
    with pytest.raises(SpecError, match=r"shared: expected a number > 0 and < 1, found 1"):
        TreeNetwork(NETWORKS["lenet"](), shared=1)
