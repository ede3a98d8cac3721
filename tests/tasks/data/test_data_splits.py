import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoens.errors import ProblemError
from evoens.settings.classification import Cut, SplitCuts
from evoens.tasks.data.layout import cuts_of, split_sizes
from evoens.tasks.data.splits import apportioned, check_split, cut, described

NAMES = ("train", "search", "select", "test")


def cuts(**counts: int | float | None) -> SplitCuts:
    """All four splits from train, each of this size."""
    return SplitCuts(**{name: Cut(**{"from": "train", "count": counts[name]}) for name in NAMES})


def within_one(table: np.ndarray, rows: list[int], columns: list[int]) -> bool:
    ideal = np.outer(rows, columns) / max(sum(rows), 1)
    return bool((np.abs(table - ideal) < 1 - 1e-9).all())


@st.composite
def sums(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Sums of rows and of columns of one table."""
    columns = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))
    total = sum(columns)
    marks = sorted(draw(st.lists(st.integers(0, total), min_size=0, max_size=5)))
    return [b - a for a, b in zip([0, *marks], [*marks, total], strict=True)], columns


@given(sums())
def test_tables_have_their_sums_and_round_down_or_up(drawn: tuple[list[int], list[int]]) -> None:
    rows, columns = drawn
    table = apportioned(rows, columns)
    assert table.sum(1).tolist() == rows and table.sum(0).tolist() == columns
    assert (table >= 0).all() and within_one(table, rows, columns)


def test_a_large_table() -> None:
    columns = np.random.default_rng(0).integers(732, 1301, 300).tolist()
    rows = [5000, 20001, 777, sum(columns) - 25778]
    table = apportioned(rows, columns)
    assert table.sum(1).tolist() == rows and table.sum(0).tolist() == columns and within_one(table, rows, columns)


@given(
    counts=st.lists(st.integers(12, 60), min_size=2, max_size=6),
    shares=st.tuples(*[st.floats(0.15, 0.24)] * 3),
    rest=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
def test_splits_are_disjoint_exact_and_stratified(
    counts: list[int], shares: tuple[float, float, float], rest: bool, seed: int
) -> None:
    labels = np.random.default_rng(seed % 1000).permutation(np.repeat(np.arange(len(counts)), counts))
    total = len(labels)
    settings = cuts(train=None if rest else 0.2, search=shares[0], select=shares[1], test=round(shares[2] * total))
    found = cut(settings, {"train": labels}, list(map(str, range(len(counts)))), seed)
    together = np.concatenate(list(found.values()))
    assert len(np.unique(together)) == len(together) and (len(together) == total) == rest
    sizes = split_sizes(cuts_of(settings, "train"), total, "train", NAMES)
    assert {name: len(indices) for name, indices in found.items()} == sizes
    for indices in found.values():
        assert (np.diff(indices) > 0).all() and indices.dtype == np.int64
        table = np.bincount(labels[indices], minlength=len(counts))
        assert (np.abs(table - len(indices) * np.array(counts) / total) < 1).all()


def test_shares_are_of_the_pool_and_the_rest_is_what_they_leave() -> None:
    found = split_sizes(cuts_of(cuts(train=None, search=0.1, select=30, test=0.25), "train"), 200, "train", NAMES)
    assert found == {"train": 100, "search": 20, "select": 30, "test": 50}


def test_the_default_cuts_of_cifar_sized_pools() -> None:
    """A tenth of train for each of search and select, as many of each class, and all of test."""
    labels = {"train": np.arange(50000) % 10, "test": np.arange(10000) % 10}
    found = cut(SplitCuts(), labels, list("abcdefghij"), 0)
    assert {name: len(found[name]) for name in NAMES} == {"train": 40000, "search": 5000, "select": 5000, "test": 10000}
    assert all((np.bincount(labels["train"][found[name]]) == 500).all() for name in ("search", "select"))


def test_the_same_images_on_every_machine() -> None:
    found = cut(cuts(train=None, search=3, select=3, test=3), {"train": np.arange(24) % 3}, "abc", seed=7)
    assert {name: indices.tolist() for name, indices in found.items() if name != "train"} == VECTOR


def test_another_seed_cuts_otherwise_and_the_other_pool_does_not_matter() -> None:
    labels = {"train": np.arange(100) % 2, "test": np.arange(60) % 2}
    one, two = (cut(SplitCuts(), labels, "ab", seed) for seed in (1, 2))
    assert one["search"].tolist() != two["search"].tolist()
    alone = cut(SplitCuts(), {"train": labels["train"]}, "ab", 1)
    assert set(alone) == {"train", "search", "select"} and all((alone[name] == one[name]).all() for name in alone)


def test_errors_say_what_there_is() -> None:
    labels = {"train": np.arange(20) % 2}
    with pytest.raises(
        ProblemError, match=r"at most the 20 images of train in all, found 15 \(search\) \+ 6 \(select\)"
    ):
        cut(cuts(train=None, search=15, select=6, test=1), labels, "ab", 0)
    with pytest.raises(ProblemError, match="so that select has some"):
        cut(cuts(train=10, search=5, select=None, test=5), labels, "ab", 0)
    every = cut(cuts(train=None, search=10, select=5, test=5), labels, "ab", 0)  # train may not be needed
    with pytest.raises(ProblemError, match=r"splits\.train: expected images, found none: .* have all 20 of its pool"):
        check_split("train", every["train"], labels["train"], "ab", True)


@pytest.mark.parametrize("counts", [(200, 200, 400), (100, 100, 100), (330, 330, 330), (0.3, 0.3, 0.3)])
@pytest.mark.parametrize("rare", [3, 4, 5])
def test_a_rare_class_comes_into_every_split_that_needs_it(counts: tuple[float, ...], rare: int) -> None:
    labels = np.array([0] * 900 + [1] * (100 - rare) + [2] * rare)
    settings = cuts(train=None, search=counts[0], select=counts[1], test=counts[2])
    found = cut(settings, {"train": labels}, "abc", 0)
    assert len(np.unique(np.concatenate(list(found.values())))) == 1000
    for name, asked in zip(NAMES[1:], counts, strict=True):
        assert len(found[name]) == (asked if isinstance(asked, int) else round(asked * 1000))
        assert np.bincount(labels[found[name]])[2] >= 1
        check_split(name, found[name], labels, "abc", False)
    assert (2 in labels[found["train"]]) == (rare > 3)


def test_what_is_missing_is_refused_with_advice_that_helps_or_allowed() -> None:
    labels = np.array([0] * 40 + [1, 1])
    found = cut(cuts(train=None, search=4, select=4, test=4), {"train": labels}, ["often", "rare"], 0)
    lacking = next(name for name in NAMES[1:] if 1 not in labels[found[name]])
    expected = rf'splits\.{lacking}: .* none of "rare" \(of 42 images 2 are\) among 4; splits\.allow_missing'
    with pytest.raises(ProblemError, match=expected):
        check_split(lacking, found[lacking], labels, ["often", "rare"], False)
    check_split(lacking, found[lacking], labels, ["often", "rare"], True)
    many = np.arange(1000) % 100
    found = cut(cuts(train=None, search=50, select=100, test=200), {"train": many}, list(map(str, range(100))), 0)
    with pytest.raises(ProblemError, match=r"among 50; give it a larger count, or splits\.allow_missing"):
        check_split("search", found["search"], many, list(map(str, range(100))), False)
    check_split("select", found["select"], many, list(map(str, range(100))), False)


def test_many_classes_most_of_them_rare() -> None:
    """As LVIS has them: 1203 classes, some of one image."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(1203), rng.zipf(1.3, 20_000) % 1203])
    settings = cuts(train=None, search=0.1, select=0.1, test=0.2)
    found = cut(settings, {"train": labels}, list(map(str, range(1203))), 0)
    assert {name: len(found[name]) for name in NAMES[1:]} == split_sizes(
        {name: one for name, one in cuts_of(settings, "train").items() if name != "train"}, len(labels), "train", ()
    )
    there = np.bincount(labels, minlength=1203)
    for name in NAMES[1:]:
        has = np.bincount(labels[found[name]], minlength=1203) > 0
        assert has[there >= 3].all()


def test_a_description_is_json_and_names_every_image() -> None:
    labels = np.arange(10) % 2
    part = described(np.array([1, 2, 5]), labels, 2)
    assert json.loads(json.dumps(part)) == part
    assert (part["count"], part["per_class"], part["indices"]) == (3, [1, 2], [1, 2, 5])
    assert described(np.arange(10), labels, 2)["indices"] is None
    assert part["sha256"] != described(np.array([1, 2, 6]), labels, 2)["sha256"]


VECTOR = {"search": [14, 19, 21], "select": [2, 10, 15], "test": [0, 4, 8]}
