"""Scopes: which tensors an entry holds, and what a YAML's wish comes to."""

from __future__ import annotations

from typing import Any

import pytest

from evoens.errors import SpecError
from evoens.scope import resolve, touches

NAMES = ("stem.weight", "body.0.conv.weight", "body.1.conv.weight", "body.10.conv.weight", "head.weight")


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ((), NAMES),
        (("head",), NAMES[4:]),
        (("head.weight",), NAMES[4:]),
        (("body.1",), NAMES[2:3]),  # and not body.10
        (("body",), NAMES[1:4]),
        (("body.*.conv.weight",), NAMES[1:4]),
        (("*.?.conv.*", "stem"), NAMES[:3]),
        (("not head",), NAMES[:4]),
        (("not head.weight", "not stem"), NAMES[1:4]),
        (("body", "not body.1"), (NAMES[1], NAMES[3])),
        (("not body.*",), (NAMES[0], NAMES[4])),
        (("head", "not head"), ()),
    ],
)
def test_an_entry_is_a_tensor_a_layer_or_a_pattern_or_not_one(scope: tuple[str, ...], held: tuple[str, ...]) -> None:
    assert tuple(name for name in NAMES if touches(scope, name)) == held


@pytest.mark.parametrize(
    ("wanted", "scope"),
    [
        (None, ()),
        ("auto", ()),  # a search will tell
        ("body.0", ("body.0",)),
        (("body.0", "head"), ("body.0", "head")),
        ("not head", ("not head",)),
        (("body", "not body.1"), ("body", "not body.1")),
        ({"from": "body.1"}, NAMES[2:]),
        ({"from": "stem"}, NAMES),
    ],
)
def test_what_is_wanted_comes_to_a_scope(wanted: Any, scope: tuple[str, ...]) -> None:
    assert resolve(wanted, NAMES) == scope


@pytest.mark.parametrize("wanted", ["hed", "not hed", ("body", "hed"), ("body", "not hed"), {"from": "hed"}])
def test_an_entry_that_holds_nothing_is_named_with_the_nearest_layer(wanted: Any) -> None:
    with pytest.raises(SpecError, match=r'layer of the parent, found "hed"; did you mean "head"\?'):
        resolve(wanted, NAMES)
