"""Files of JSON in every state of damage: one line that names the file, or the object as it stands there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

from evoens.errors import CheckpointError
from evoens.storage.json_file import as_written, parse_json, read_json, read_rows


class Row(TypedDict):
    key: str
    score: float | None


class Kind(TypedDict, total=False):
    rows: list[Row]
    step: int


GOOD = {"rows": [{"key": "a", "score": 1}, {"key": "b", "score": None, "more": [1]}], "step": 3, "else": "σ"}


def refused(text: bytes, tmp_path: Path, kind: Any = Kind) -> str:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(CheckpointError) as caught:
        read_json(path, "some rows", kind)
    (line,) = str(caught.value).splitlines()
    beginning = f"{path}: expected some rows, found "
    assert line.startswith(beginning) and len(line) < 300 + len(beginning)
    return line.removeprefix(beginning)


def test_what_is_whole_comes_back_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    found = read_json(tmp_path / "a.json", "some rows", Kind)
    assert found == GOOD and type(found["rows"][0]["score"]) is int
    (tmp_path / "a.jsonl").write_text('{"key": "a", "score": Infinity}\n{"key": "b", "score": null}\n')
    assert [row["score"] for row in read_rows(tmp_path / "a.jsonl", "a child a line", Row)] == [float("inf"), None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "damage: Expecting value: line 1 column 1"),
        (b'{"rows": [', "damage: Expecting value"),
        (b"\xff\xfe", "damage: "),
        (b"[" * 200_000, "damage: it is nested too deeply"),
        (b'{"a":' * 200_000, "damage: it is nested too deeply"),
        (b'{"step": ' + b"1" * 5000 + b"}", "damage: Exceeds the limit (4300 digits)"),
        (b'{"step": Infinity}', "damage: step: input should be a valid integer"),
        (b'{"step": NaN}', "damage: step: input should be a valid integer"),
        (b'{"step": "3"}', "damage: step: input should be a valid integer"),
        (b'{"step": true}', "damage: step: input should be a valid integer"),
        (b'{"rows": {"key": "a"}}', "damage: rows: input should be a valid list"),
        (b'{"rows": [{"key": "a", "score": 1}, 5]}', "damage: rows.1: input should be a valid dictionary"),
        (b'{"rows": [{"score": 1}]}', "damage: rows.0.key: field required"),
        (b'{"rows": [{"key": 1, "score": 1}]}', "damage: rows.0.key: input should be a valid string"),
        (b'{"rows": [{"key": "a", "score": "many"}]}', "damage: rows.0.score: input should be a valid number"),
        (b"[1, 2]", "damage: no object"),
        (b"null", "damage: no object"),
        (b'"text"', "damage: no object"),
        (b"\x00" * 40, "damage: "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_damage_is_one_line_with_its_place(text: bytes, says: str, tmp_path: Path) -> None:
    assert refused(text, tmp_path).startswith(says)


def test_without_a_kind_any_object_will_do(tmp_path: Path) -> None:
    assert parse_json(b'{"a": [1]}', "here", "anything") == {"a": [1]}
    assert refused(b"[]", tmp_path, dict[str, Any]).startswith("damage: no object")


def test_a_row_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"key": "a", "score": 1}\n{"key": "b"}\n')
    with pytest.raises(CheckpointError, match=r"a\.jsonl:2: expected a child a line, found damage: score: field req"):
        read_rows(tmp_path / "a.jsonl", "a child a line", Row)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.json: expected some rows, found no such file"):
        read_json(tmp_path / "a.json", "some rows")
    with pytest.raises(CheckpointError, match="expected some rows, found what cannot be read: Is a directory"):
        read_json(tmp_path, "some rows")


@pytest.mark.parametrize("wrong", [lambda: {}["a"], lambda: "a"[5], lambda: int("x"), lambda: 1 / 0, lambda: None + 1])
def test_contents_of_another_kind_are_damage_of_their_place(wrong: Any) -> None:
    with (
        pytest.raises(CheckpointError, match=r"a\.json: expected a report, found damage \("),
        as_written("a.json", "a report"),
    ):
        wrong()
    with pytest.raises(OSError, match="full"), as_written("a.json", "a report"):
        raise OSError("full")
