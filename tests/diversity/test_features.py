"""Pictures of units: known optima, draws that hang on seed and unit alone, and networks left as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from evoens import noise
from evoens.diversity.features import PASS, Goal, Member, Unit, activation_grid, optimise, visualise
from evoens.diversity.reading import read
from evoens.errors import EvoensError, ShapeError, SpecError
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.networks.resnet import ResNet

SHAPE = (3, 16, 16)


def centred(frames: Tensor) -> Tensor:
    return frames / 127.5 - 1


def filled(module: nn.Module, seed: int) -> nn.Module:
    """Weights of our own, whatever the global random state."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(noise.normals(seed, name, weight.shape) / max(1, weight[0].numel()) ** 0.5)
    return module


def small(seed: int = 0, channels: int = 3) -> Member:
    module = nn.Sequential(
        nn.Conv2d(channels, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(200, 20),
    )
    return Member(filled(module, seed), centred)


UNITS = [Unit("0", 2), Unit("4", 5), Unit("4", 1, -1), Unit("7", 3), Unit("7", 19, -1)]


def goals(units: Sequence[Unit]) -> list[Goal]:
    widths = {"0": 6, "4": 8, "7": 20}
    return [Goal(f"{u.layer}:{u.index}", u.layer, torch.eye(widths[u.layer])[u.index] * u.sign) for u in units]


def value(member: Member, unit: Unit, picture: Tensor) -> float:
    with torch.no_grad():
        member.module.eval()
        seen = read(member.module, unit.layer, member.inputs_of(picture[None].float()))
    return float(seen[0, unit.index].mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_a_linear_units_picture_is_its_weights(sign: int) -> None:
    """Under jitter, only what is wide survives: bright to the left, and green at the top."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    pattern = torch.stack([-x, -x - y, -x])
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([torch.zeros(pattern.numel()), pattern.flatten()]))
    picture = visualise([Member(module)], [Unit("1", 1, sign)], (3, 24, 24), seed=0, steps=80)[0, 0]
    seen = torch.from_numpy(picture).permute(2, 0, 1).float()
    assert np.corrcoef(seen.flatten(), pattern.flatten())[0, 1] * sign > 0.75


@pytest.mark.parametrize("across", [True, False])
def test_a_filters_picture_has_the_filters_stripes(across: bool) -> None:
    stripes = torch.tensor([1.0, 1, -1, -1, 1, 1, -1, -1]).expand(8, 8)
    module = nn.Sequential(nn.Conv2d(1, 1, 8), nn.ReLU(inplace=True))
    with torch.no_grad():
        module[0].weight.copy_(stripes if across else stripes.T)
        module[0].bias.zero_()
    picture = visualise([Member(module, centred)], [Unit("1", 0)], (1, 32, 32), seed=0, steps=60)[0, 0, :, :, 0]
    right, down = (np.diff(picture.astype(float), axis=axis).std() for axis in (1, 0))
    assert (right / down if across else down / right) > 1.6


def test_pictures_are_optimal_one_way_or_the_other() -> None:
    member, grey = small(), torch.full(SHAPE, 127.5)
    for unit, picture in zip(UNITS, optimise([member], goals(UNITS), SHAPE, seed=0, steps=80)[0], strict=True):
        assert unit.sign * (value(member, unit, picture) - value(member, unit, grey)) > 0.02


def test_a_picture_is_the_same_in_any_company() -> None:
    members, steps = [small(1), small(2), small(0)], 15
    together = optimise(members, goals(UNITS * 4), SHAPE, seed=3, steps=steps)  # more than one pass of a layer
    for place in range(len(UNITS)):
        alone = optimise([small(0)], goals([UNITS[place]]), SHAPE, seed=3, steps=steps)[0, 0]
        assert torch.allclose(together[2, place], alone, atol=1e-3)
        assert torch.equal(together[2, place], together[2, len(UNITS) + place])
    shown = visualise(members, UNITS, SHAPE, seed=3, steps=steps).astype(int)
    assert np.abs(shown[2] - visualise([small(0)], UNITS, SHAPE, seed=3, steps=steps)[0]).max() <= 1


def test_every_pass_is_of_one_size() -> None:
    sizes: set[int] = set()

    def told(frames: Tensor) -> Tensor:
        sizes.add(len(frames))
        return centred(frames)

    for count in (1, PASS, PASS + 3):
        optimise([Member(small().module, told)], goals(UNITS[:1] * count), SHAPE, seed=0, steps=1)
    assert sizes == {PASS}


def test_members_alike_have_pictures_alike_and_others_not() -> None:
    shown = visualise([small(0), small(0), small(1)], UNITS, SHAPE, seed=0, steps=10).astype(int)
    assert np.array_equal(shown[0], shown[1])
    assert np.abs(shown[0] - shown[2]).mean((1, 2, 3)).min() > 1


def test_members_start_from_one_picture_and_seeds_and_units_from_others() -> None:
    first = optimise([small(0), small(1)], goals(UNITS), SHAPE, seed=0, steps=0)
    assert torch.equal(first[0], first[1])
    other = optimise([small(0)], goals(UNITS), SHAPE, seed=1, steps=0)[0]
    for a, b in ((first[0], other), (first[0, :1], first[0, 1:])):
        assert float((a - b).abs().mean((-3, -2, -1)).min()) > 0.5


def test_another_seed_gives_another_picture() -> None:
    a, b = (visualise([small()], UNITS, SHAPE, seed=seed, steps=20).astype(int) for seed in (0, 1))
    assert np.abs(a - b).mean((0, 2, 3, 4)).min() > 1


def test_nothing_is_left_behind() -> None:
    member, state = small(), torch.get_rng_state()
    member.module.train()
    before = {name: tensor.clone() for name, tensor in member.module.state_dict().items()}
    with torch.no_grad():
        visualise([member], UNITS, SHAPE, seed=0, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in member.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in member.module.parameters())
    assert all(part.training and not part._forward_hooks for part in member.module.modules())


def test_normalisation_is_that_of_a_network_at_rest() -> None:
    still, training = small(), small()
    still.module.eval()
    training.module.train()
    pictures = visualise([still, training], UNITS, SHAPE, seed=0, steps=3)
    assert np.array_equal(pictures[0], pictures[1])


def test_progress_is_told() -> None:
    heard: list[tuple[int, int]] = []
    visualise([small()], UNITS[:1], SHAPE, seed=0, steps=3, on_step=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("module", "shape", "layers"),
    [
        (ImpalaPolicy((4, 4, 4), 6), (6, 64, 64), ("trunk.blocks.1.conv", "head")),
        (ResNet(4, channels=1, blocks=[1, 1], width=4), (1, 16, 16), ("fc",)),
        (torchvision.models.squeezenet1_1(), (3, 48, 40), ("features.3", "classifier.1")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_of_all_kinds(module: nn.Module, shape: tuple[int, int, int], layers: Sequence[str]) -> None:
    units = [Unit(layer, 1) for layer in layers]
    shown = visualise([Member(filled(module, 0))], units, shape, seed=0, steps=2)
    assert shown.shape == (1, len(units), *shape[1:], 3) and shown.dtype == np.uint8
    assert all(len(np.unique(picture)) > 3 for picture in shown[0])


def test_a_network_may_scale_its_frames_in_place() -> None:
    class Scaling(nn.Sequential):
        def forward(self, frames: Tensor) -> Tensor:
            found: Tensor = super().forward(frames.div_(255))
            return found

    module = Scaling(nn.Conv2d(3, 2, 3))
    members = [Member(module), Member(nn.Sequential(module[0]), lambda frames: frames / 255)]
    shown = visualise(members, [Unit("0", 1)], SHAPE, seed=0, steps=2)
    assert np.array_equal(shown[0], shown[1])


def test_the_newest_of_stacked_frames_is_shown_and_grey_is_grey() -> None:
    for channels in (6, 1):
        member, all_goals = small(channels=channels), goals(UNITS)
        found = optimise([member], all_goals, (channels, 16, 16), seed=0, steps=5).round().byte()
        last = found[:, :, -3:].expand(1, 5, 3, 16, 16).permute(0, 1, 3, 4, 2)
        assert np.array_equal(visualise([member], UNITS, (channels, 16, 16), seed=0, steps=5), last.numpy())


def test_a_grid_shows_what_the_layer_sees_in_each_patch() -> None:
    """A layer that sees colours as they are: what is strong in a patch is strong in its picture."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(3)[:, :, None, None])
        module[0].bias.zero_()
    strongest = torch.tensor([[[1, -1, -1], [-1, 1, -1]], [[-1, -1, 1], [1, 1, -1]], [[-1, 1, 1], [1, 1, 1.0]]])
    frame = (strongest * 60 + 127.5).permute(2, 0, 1).repeat_interleave(4, 1).repeat_interleave(8, 2)
    grid = activation_grid(Member(module, centred), "0", frame.round().byte(), seed=0, side=3, steps=120)
    assert grid.shape == (3, 3, 12, 16, 3) and grid.dtype == np.uint8
    found = torch.from_numpy(grid[:, [0, 2]].astype(np.float32)).mean((2, 3))
    for colour, wanted in zip(found.flatten(0, 1), strongest.flatten(0, 1), strict=True):
        strong, weak = colour[wanted > 0], colour[wanted < 0]
        assert strong.min() > (weak.max() + 5 if len(weak) else 150)


def test_units_that_a_patch_does_not_raise_have_no_say_in_its_picture() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([1.0, 1.0]).view(2, 1, 1, 1))
        module[0].bias.copy_(torch.tensor([0.0, -5.0]))
    grid = activation_grid(Member(module, centred), "0", torch.full((1, 8, 8), 200.0), seed=0, side=1, steps=40)
    assert grid.mean() > 150  # the second unit, far below zero, would have it dark


def test_a_coarse_layers_grid_has_its_own_rows_and_columns() -> None:
    frame = torch.rand(3, 16, 16) * 255
    assert activation_grid(small(), "4", frame, seed=0, side=8, steps=1).shape == (5, 5, 16, 16, 3)


class Forked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.spare, self.sum = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Flatten(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.sum(self.conv(x))


@pytest.mark.parametrize(
    ("members", "unit", "error", "told"),
    [
        ([Forked()], Unit("comv", 0), SpecError, r'member 1: layer "comv": .*; did you mean "conv"'),
        ([Forked(), small().module], Unit("conv", 0), SpecError, r'member 2: layer "conv": expected one of'),
        ([Forked()], Unit("spare", 0), EvoensError, "member 1: .*expected one that the network calls"),
        ([Forked()], Unit("sum", 0), ShapeError, r"member 1: .*expected an output \(1, units, …\)"),
        ([Forked()], Unit("conv", 4), ShapeError, r'layer "conv": expected a unit from 0 to 3, found 4'),
        ([Forked()], Unit("conv", -1), ShapeError, "expected a unit from 0 to 3, found -1"),
        (
            [nn.Sequential(nn.Conv2d(3, width, 3)) for width in (4, 5)],
            Unit("0", 4),
            ShapeError,
            'member 2: layer "0": expected 4 units, as in member 1, found 5',
        ),
        ([], Unit("conv", 0), ShapeError, "expected members and units, found 0 members and 1 units"),
        ([Forked()], None, ShapeError, "found 1 members and 0 units"),
    ],
)
def test_what_cannot_be_pictured_is_told(
    members: list[nn.Module], unit: Unit | None, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        visualise([Member(module) for module in members], [unit] if unit else [], SHAPE, seed=0, steps=1)


def test_grids_need_a_frame_and_a_layer_of_rows_and_columns() -> None:
    with pytest.raises(ShapeError, match=r"expected shape \(c, h, w\), found \(1, 3, 16, 16\)"):
        activation_grid(small(), "4", torch.zeros(1, *SHAPE), seed=0)
    with pytest.raises(ShapeError, match=r'"7": expected an output \(n, units, rows, columns\), found \(1, 20\)'):
        activation_grid(small(), "7", torch.zeros(SHAPE), seed=0)
