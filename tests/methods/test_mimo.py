"""MIMO: who sees which image, and that the images meet in the first layer and part in the last."""

from __future__ import annotations

import pytest
import torch
from joints import CLASSES, NETWORKS, furthest, images
from torch import Tensor, nn
from torch.nn.functional import conv2d

from evoens.errors import EvoensError, SpecError
from evoens.methods.joint import Apart, apart
from evoens.methods.mimo import MIMONetwork

pytestmark = pytest.mark.usefixtures("one_thread")


def numbered(n: int) -> tuple[Tensor, Tensor]:
    """Images that say which they are, and classes that say it too."""
    return torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, 16, 16), torch.arange(n)


def batch(equal: float, repetitions: int = 4, seed: int = 0) -> Tensor:
    joint = MIMONetwork(NETWORKS["lenet"](), 3, repetitions, equal)
    inputs, targets = joint.training_batch(*numbered(10), torch.Generator().manual_seed(seed))
    assert isinstance(inputs, Apart) and inputs.shape == (10 * repetitions, 3, 3, 16, 16)
    assert torch.equal(inputs.as_subclass(Tensor)[:, :, 0, 0, 0].T, targets.float())  # each is asked what it sees
    return targets


def test_each_member_gets_every_image_so_many_times_in_an_order_of_its_own() -> None:
    targets = batch(0.0)
    for member in targets:
        assert torch.equal(member.bincount(), torch.full((10,), 4))
    same = [float((targets[i] == targets[j]).double().mean()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert max(same) < 0.5
    assert not torch.equal(targets, batch(0.0, seed=1)) and torch.equal(targets, batch(0.0))


@pytest.mark.parametrize("equal", [0.25, 0.5, 1.0])
def test_so_large_a_share_of_the_batch_is_the_same_for_all(equal: float) -> None:
    targets = batch(equal)
    own = round(40 * (1 - equal))
    assert (targets[:, own:] == targets[0, own:]).all()
    assert equal == 1 or not (targets[:, :own] == targets[0, :own]).all()
    assert all(torch.equal(member.bincount(), torch.full((10,), 4)) for member in targets)


def test_the_first_layer_adds_up_what_it_makes_of_each_image() -> None:
    joint, (x, y) = MIMONetwork(NETWORKS["lenet"](), 2), images(4)
    first = joint.network.get_submodule("conv1")
    assert isinstance(first, nn.Conv2d) and first.in_channels == 6
    seen: list[Tensor] = []
    first.register_forward_hook(lambda layer, given, output: seen.append(output))
    places = torch.tensor([[0, 1, 2, 3], [2, 3, 1, 0]])
    joint(apart(x, y, places)[0])
    weight = first.weight.double()
    both = conv2d(x[places[0]].double(), weight[:, :3]) + conv2d(x[places[1]].double(), weight[:, 3:])
    assert first.bias is not None
    assert furthest(seen[0], both + first.bias.double().view(-1, 1, 1)) < 1e-5


def test_each_head_is_a_part_of_the_last_layer() -> None:
    joint, (x, _) = MIMONetwork(NETWORKS["wrn"](), 3).eval(), images()
    head = joint.network.get_submodule("fc")
    assert isinstance(head, nn.Linear) and head.out_features == 3 * CLASSES
    seen: list[Tensor] = []
    head.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    outputs = joint(x)
    for place in range(3):
        rows = slice(place * CLASSES, (place + 1) * CLASSES)
        assert furthest(outputs[place], seen[0] @ head.weight[rows].T + head.bias[rows]) < 1e-5


def test_new_layers_are_drawn_as_the_networks_own_were() -> None:
    network = NETWORKS["wrn"]()
    joint = MIMONetwork(network, 4)
    old, new = (part.get_parameter("conv1.weight").detach() for part in (network, joint.network))
    assert float(new.std()) == pytest.approx(float(old.std()) / 2, rel=0.1)  # a sum of four times as many
    head = joint.network.get_parameter("fc.weight").detach()
    assert float(head.std()) == pytest.approx(float(network.get_parameter("fc.weight").detach().std()), rel=0.2)


def test_a_linear_classifier_is_first_and_last() -> None:
    joint = MIMONetwork(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 2)
    assert joint(torch.randn(3, 3, 2, 2)).shape == (2, 3, 5)


def test_what_cannot_take_several_images_is_named() -> None:
    x = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)
    with pytest.raises(SpecError, match=r"layer 0 \(BatchNorm2d\): expected a convolution or linear layer"):
        MIMONetwork(nn.Sequential(*x))
    with pytest.raises(SpecError, match=r"expected the last layer to give the logits, found .* after it"):
        MIMONetwork(nn.Sequential(nn.Linear(4, 2), nn.LogSoftmax(1)))
    with pytest.raises(SpecError, match=r"layer 0 \(Linear\): expected a logit for each class, found one for two"):
        MIMONetwork(nn.Sequential(nn.Linear(4, 1)))

    class Undecided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if x.sum() > 0 else -self.layer(x)  # type: ignore[no-any-return]

    with pytest.raises(EvoensError, match=r"expected a network that torch.fx can trace"):
        MIMONetwork(Undecided())
    with pytest.raises(SpecError, match=r"repetitions: expected an integer ≥ 1, found 0"):
        MIMONetwork(NETWORKS["mlp"](), repetitions=0)
    with pytest.raises(SpecError, match=r"equal: expected a share between 0 and 1, found 1.5"):
        MIMONetwork(NETWORKS["mlp"](), equal=1.5)


# ---- torch-uncertainty, where it is installed


@pytest.mark.parametrize("equal", [0.0, 0.5])
def test_batches_are_drawn_as_those_of_torch_uncertainty(equal: float) -> None:
    """Both draw: what is equal is how often each image comes, and how many places all members see the same."""
    transforms = pytest.importorskip("torch_uncertainty.transforms.batch")
    _, targets = transforms.MIMOBatchFormat(3, equal, 4)(numbered(10))
    theirs, ours = targets.view(3, 40), batch(equal)
    for a, b in zip(theirs, ours, strict=True):
        assert torch.equal(a.bincount(), b.bincount())
    own = 40 - round(40 * equal)
    for found in (theirs, ours):
        assert (found[:, own:] == found[0, own:]).all()


def test_a_batch_of_torch_uncertainty_is_answered_as_there() -> None:
    """Its MIMO networks lay out images, and take heads apart, as these two patterns say."""
    transforms = pytest.importorskip("torch_uncertainty.transforms.batch")
    einops = pytest.importorskip("einops")
    joint, (x, _) = MIMONetwork(NETWORKS["wrn"](), 3).eval(), images(8)
    inputs, places = transforms.MIMOBatchFormat(3, 0.25, 4)((x, torch.arange(8)))
    outputs = joint.network(einops.rearrange(inputs, "(m b) c h w -> b (m c) h w", m=3))
    ours = joint(apart(x, places, places.view(3, 32))[0])
    assert furthest(ours, einops.rearrange(outputs, "b (m d) -> m b d", m=3)) < 1e-5
