"""How much of a network noise can reach is counted, and what it leaves alone is named."""

from __future__ import annotations

import pytest
from torch import nn

from evoens.graph.reach import reach
from evoens.parent import Architecture, Parent


def test_a_share_is_of_all_weights_and_layers_left_alone_are_named() -> None:
    """The LSTM has 4 · 8 · (3 + 8 + 2) = 416 weights, of which 64 are biases; the embedding 20; linear 16 and 2."""
    network = nn.ModuleDict({"rnn": nn.LSTM(3, 8), "out": nn.Linear(8, 2), "words": nn.Embedding(5, 4)})
    share, text = reach(Parent(network, Architecture("it")))
    assert share == pytest.approx(16 / 454)
    assert text == (
        "noise may fall on 3.5% of the weights, those of convolutions and linear layers; "
        "it leaves alone rnn (LSTM, 77.5%), words (Embedding, 4.4%)"
    )


def test_attention_is_named_by_what_of_it_is_left_alone() -> None:
    share, text = reach(Parent(nn.MultiheadAttention(4, 2), Architecture("it")))
    assert share == pytest.approx(16 / 80) and "the network (MultiheadAttention, 60.0%)" in text


def test_biases_go_without_saying_and_a_weight_of_two_names_counts_once() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    share, text = reach(Parent(network, Architecture("it")))
    assert share == pytest.approx(16 / 32) and "leaves" not in text
