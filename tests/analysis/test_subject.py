from __future__ import annotations

import torch
from subjects import Net, subject
from torch import nn

from evoens.analysis.subject import Networks


def test_networks_are_made_when_they_are_asked_for_and_not_kept() -> None:
    made: list[int] = []

    def maker(number: int) -> nn.Module:
        made.append(number)
        return nn.Linear(1, number)

    networks = Networks([lambda number=number: maker(number) for number in (1, 2, 3)])
    assert len(networks) == 3 and not made
    assert networks[1].out_features == 2 and made == [2]
    assert [network.out_features for network in networks[1:]] == [2, 3] and made == [2, 2, 3]


def test_the_parent_comes_first_where_there_is_one() -> None:
    of = subject()
    assert of.all_names == ("parent", "member 1", "member 2", "member 3")
    assert of.all_modules[0] is of.parent and list(of.all_modules)[1:] == list(of.modules)
    alone = subject(parent=False)
    assert alone.all_names == alone.names and list(alone.all_modules) == list(alone.modules)


def test_the_key_is_of_the_weights() -> None:
    of = subject()
    assert of.key == subject().key != subject(move=0.2).key
    of.modules[1].last.bias.data[0] += 1
    assert of.key != subject().key


def test_probabilities_of_bytes_are_those_of_the_network() -> None:
    of = subject()
    frames = of.problem.examples(9)[0]
    net = Net().eval()
    net.load_state_dict(of.modules[0].state_dict())
    expected = torch.softmax(net(of.problem.inputs_of(frames.float())), -1)
    assert torch.allclose(of.probabilities(of.modules[0], frames), expected, atol=1e-6)
