import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoens.config.yaml_file import dotted, dump_yaml, parse_yaml, read_yaml
from evoens.errors import ConfigError


# YAML 1.2.2, 10.3.2 (core schema), and what PyYAML's 1.1 makes of the same text.
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5e-4", 0.0005),  # text in 1.1
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("no", "no"),  # false
        ("on", "on"),  # true
        ("Y", "Y"),
        ("true", True),
        ("False", False),
        ("012", 12),  # 10
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("12:30", "12:30"),  # 750
        ("1_000", "1_000"),  # 1000
        ("2020-01-01", "2020-01-01"),  # a date
        ("'5'", "5"),
        ('"5e-4"', "5e-4"),
        ("~", None),
        ("null", None),
        ("=", "="),
        ("5e-4x", "5e-4x"),
        ("1.2.3", "1.2.3"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, meant: object) -> None:
    found = parse_yaml(f"a: {text}", "x.yaml").value["a"]
    assert found == meant
    assert type(found) is type(meant)


def test_not_a_number() -> None:
    assert math.isnan(parse_yaml("a: .nan", "x.yaml").value["a"])


def test_every_key_and_item_has_its_place() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [5, 6]\n  d:\n    - e: 1\n", "x.yaml")
    assert document.value == {"a": 1, "b": {"c": (5, 6), "d": ({"e": 1},)}}
    assert document.place(("a",)) == "x.yaml:1:1"
    assert document.place(("b", "c")) == "x.yaml:3:3"
    assert document.place(("b", "c", 1)) == "x.yaml:3:10"
    assert document.place(("b", "d", 0, "e")) == "x.yaml:5:7"
    assert document.place(("b", "missing")) == "x.yaml:2:1"
    assert document.place(("missing",)) == "x.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\na: 2", "x.yaml:2:1: a: expected once, found again; first given on line 1"),
        ("b:\n  c: 1\n  c: 2", "x.yaml:3:3: b.c: expected once"),
        ("a:\n\tb: 1", "x.yaml:2:1: expected spaces, found a tab"),
        ("a: &x 1\nb: *x", r"x.yaml:2:4: expected a value, found the alias \*x"),
        ("a: [1", "x.yaml:1:6: "),
        ("a: b: c", "x.yaml:1:5: "),
        ("a: 'x", "x.yaml:1:6: "),
        ("1: 2", "x.yaml:1:1: expected text as a key, found 1"),
        ("? [a]\n: 1", "x.yaml:1:3: expected text as a key, found a sequence"),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml:1:4: a: expected a plain value, found the tag"),
        ("a: !!python/object:x.y {}", "x.yaml:1:4: a: expected a plain value, found the tag"),
        ("a: !!int x", 'x.yaml:1:4: a: expected a value of type int, found "x"'),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: expected a single document"),
        (b"a: 1\nb: \xe9", "x.yaml:2:4: expected UTF-8 text, found byte 0xe9"),
        ("a: \x00", "x.yaml:1:4: expected text, found the character 0x00"),
        ("[" * 5000, "x.yaml: expected at most 32 levels"),
        ("a: " + "[" * 33 + "]" * 33, "x.yaml:1:36: a: expected at most 32 levels"),
    ],
)
def test_faults_name_their_place(text: str | bytes, fault: str) -> None:
    with pytest.raises(ConfigError, match=f"^{fault}"):
        parse_yaml(text, "x.yaml")


def test_all_duplicates_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}", "x.yaml")
    assert len(str(caught.value).splitlines()) == 2


def test_an_alias_cannot_explode() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(ConfigError, match="alias"):
        parse_yaml(bomb, "x.yaml")


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(ConfigError, match="expected a YAML file, found none"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["5e-4", "no", "012", "12:30", "1_000", "~", "", ".inf", "0x1F", "*a", "!!int", "a: b", "\t"])
    | st.sampled_from(["\x85", "a\u2028b"]),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(VALUES)
def test_what_is_written_reads_back_the_same(value: object) -> None:
    found = parse_yaml(dump_yaml(_lists(value)), "x.yaml").value
    assert found == value
    assert repr(found) == repr(value)  # 1, 1.0 and True are not the same


def _lists(value: object) -> object:
    if isinstance(value, tuple):
        return [_lists(item) for item in value]
    return {key: _lists(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_dotted() -> None:
    assert dotted(("a", "b", 0, "c")) == "a.b[0].c"
