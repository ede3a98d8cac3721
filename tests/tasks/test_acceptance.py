"""What a classifier gives is understood, and said; what no logits are is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoens.errors import ProblemError
from evoens.network.adapt import adapted
from evoens.parent import Architecture, Parent
from evoens.tasks.acceptance import accept

INPUTS = torch.linspace(-1, 1, 2 * 1 * 4 * 4).view(2, 1, 4, 4)


class Net(nn.Module):
    """A linear layer, and what is made of its outputs."""

    def __init__(self, gives: Callable[[Tensor, bool], Any], classes: int = 3) -> None:
        super().__init__()
        self.gives, self.layer = gives, nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Any:
        return self.gives(self.layer(x.flatten(1)), self.training)


def tell(
    gives: Callable[[Tensor, bool], Any], outputs: int = 3, names: str = "abc", trained: bool = False
) -> list[str]:
    torch.manual_seed(0)
    parent = Parent(adapted(Net(gives, outputs), "it"), Architecture("it"))
    accept(parent, INPUTS, list(names), trained)
    return list(parent.notes)


@pytest.mark.parametrize(
    "end", [lambda z: z, lambda z: torch.log_softmax(z, 1), torch.relu, lambda z: z.abs().clamp(0, 1)]
)
def test_logits_are_taken_without_a_word(end: Callable[[Tensor], Tensor]) -> None:
    """All of them may well be between 0 and 1."""
    assert tell(lambda z, _: end(z)) == []


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (torch.sigmoid, "sigmoid"),
        (lambda z: torch.sigmoid(z).clamp(1e-6, 1 - 1e-6).view(-1, 3), "sigmoid"),
        (nn.Sigmoid(), "sigmoid"),
        (lambda z: torch.softmax(z, 1), "softmax"),
        (lambda z: z.exp() / z.exp().sum(1, keepdim=True), "softmax"),
    ],
)
def test_probabilities_are_refused(end: Callable[[Tensor], Tensor], name: str) -> None:
    with pytest.raises(ProblemError, match=f"expected logits, found probabilities; leave the {name} at its end out"):
        tell(lambda z, _: end(z))


def test_one_sigmoid_is_refused_and_one_logit_explained() -> None:
    with pytest.raises(ProblemError, match="leave the sigmoid"):
        tell(lambda z, _: torch.sigmoid(z), 1, "ab")
    said = tell(lambda z, _: z[:, 0], 1, "ab")
    assert said == ["the network gives one logit an image: it is taken for that of 'b', beside a zero for 'a'"]
    with pytest.raises(ProblemError, match=r"expected \(2, 3\) logits, images × classes, found \(2, 1\)"):
        tell(lambda z, _: z, 1)


def test_what_else_it_gives_is_said_to_be_left_out() -> None:
    assert tell(lambda z, _: (z, -z)) == [
        "the network gives tuple of 2 parts: what is taken for its logits is its first tensor"
    ]
    assert "what it calls logits" in tell(lambda z, _: {"hidden": z[:, :1], "logits": z})[0]
    with pytest.raises(ProblemError, match="no tensor in dict"):
        tell(lambda z, _: {"loss": None})


def test_heads_that_only_training_has_are_told_where_children_are_trained() -> None:
    def gives(z: Tensor, training: bool) -> Any:
        return (z, 2 * z) if training else z

    assert tell(gives) == []
    assert tell(gives, trained=True) == [
        "while it is trained the network gives tuple of 2 parts: children learn by its first tensor alone"
    ]


def test_trying_draws_from_no_generator_and_changes_nothing() -> None:
    parent = Parent(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 3)), Architecture("it"))
    before, state = parent.fingerprint, torch.get_rng_state()
    accept(parent, INPUTS, "abc", trained=True)
    assert parent.fingerprint == before and torch.equal(torch.get_rng_state(), state)
    assert not any(p.requires_grad for p in parent.module.parameters()) and not parent.module.training


def test_a_network_in_another_precision_is_named() -> None:
    parent = Parent(adapted(Net(lambda z, _: z).double(), "it"), Architecture("it"))
    expected = r"expected a network in float32, as module\.float\(\) makes it, found layer\.weight of float64"
    with pytest.raises(ProblemError, match=expected):
        accept(parent, INPUTS, list("abc"), False)
