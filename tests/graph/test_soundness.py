"""What is no function of each input alone is refused before a run, with the layer that makes it so."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens.errors import ProblemError
from evoens.graph.soundness import check
from evoens.parent import Architecture, Parent
from evoens.tasks.networks.impala import ImpalaPolicy

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.part, self.head = nn.Identity(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x))).mean((2, 3))
        return self.head(self.part(x))  # type: ignore[no-any-return]


class Drops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)


class Dropping(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.part = Drops()


class Rarely(Plain):
    """Draws, and hardly ever to any effect."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 1e-9))


class Awake(Plain):
    """Turns its dropout on again whenever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        self.part.train()
        return super().forward(x)


class Counting(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.count = getattr(self, "count", 0) + 1
        return super().forward(x) * self.count


class Moving(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(x.mean() * 0.1)
        return super().forward(x - self.mean)


class Momentum(Plain):
    """Its normalisation learns from whatever it is asked."""

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()
        return super().forward(x)


class Batch(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


class Centred(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class Normalising(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


class Clamping(Plain):
    """Changes none of these inputs, but may change others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Hardtanh(inplace=True), nn.Conv2d(3, 4, 3))


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise = torch.randn(4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.noise


class Shuffled(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.part = Hidden()


class Python(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale = random.random() + 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


def parent(cls: type[nn.Module]) -> Parent:
    module = cls()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.linspace(-1, 1, value.numel()).view(value.shape) + (name == "norm.running_var") * 2)
    return Parent(module, Architecture(f"{__name__}:{cls.__name__}"))


FAULTS = {
    Dropping: "draws when it predicts, first in part (Drops)",
    Rarely: "draws when it predicts, first in the forward of Rarely",
    Awake: "draws when it predicts, first in part (Dropout)",
    Counting: "asked again, first in the forward of Counting",
    Moving: "moves its own mean",
    Momentum: "moves its own norm.running_mean",
    Batch: "what else is in its batch, first in norm (BatchNorm2d)",
    Centred: "what else is in its batch, first in the forward of Centred",
    Normalising: "writes into its inputs, before conv (Conv2d)",
    Clamping: "writes into its inputs, in conv.0 (Hardtanh)",
    Shuffled: "gives other outputs, first in part (Hidden)",
    Python: "gives other outputs, first in the forward of Python",
}


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
def test_what_would_not_repeat_is_refused_by_the_name_of_its_layer(cls: type[nn.Module]) -> None:
    with pytest.raises(ProblemError) as caught:
        check(parent(cls), IMAGES)
    assert FAULTS[cls] in str(caught.value) and "\n" not in str(caught.value)


def test_a_function_passes_and_is_left_as_it_was() -> None:
    sound, inputs = parent(Plain), IMAGES.clone()
    before, drawn = sound.fingerprint, torch.get_rng_state()
    assert check(sound, inputs) == []
    assert sound.fingerprint == before and torch.equal(inputs, IMAGES) and torch.equal(torch.get_rng_state(), drawn)


def test_a_policy_of_games_passes() -> None:
    frames = torch.randint(0, 256, (4, 6, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    arguments = {"widths": [4, 6, 8], "in_channels": 6}
    policy = Parent(ImpalaPolicy(**arguments), Architecture("evoens.tasks.networks.impala:ImpalaPolicy", arguments))
    assert check(policy, frames) == []


class Nearly(Plain):
    """Adds in another order every other time."""

    def forward(self, x: Tensor) -> Tensor:
        self.turn = not getattr(self, "turn", False)
        return super().forward(x) * (1 + 1e-6 * self.turn)


def test_rounding_is_a_remark() -> None:
    (remark,) = check(parent(Nearly), IMAGES)
    assert "by rounding" in remark
