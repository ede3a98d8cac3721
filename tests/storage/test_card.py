from pathlib import Path

import pytest
from parents import write_parent

from evoens.errors import CheckpointError
from evoens.storage.card import find_parent, parent_files, read_parent


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return write_parent(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a.safetensors", "a.json", "a"])
def test_either_file_or_none_names_the_parent(parent: Path, name: str) -> None:
    data, card = read_parent(parent.with_name(name))
    assert data == parent.read_bytes()
    assert card["game"] == "bigfish"


def test_a_dot_in_the_name_stays() -> None:
    assert parent_files(Path("v1.2"))[0].name == "v1.2.safetensors"


def test_every_flipped_byte_is_found(parent: Path) -> None:
    good = parent.read_bytes()
    for place in range(0, len(good), 37):
        bad = bytearray(good)
        bad[place] ^= 1
        parent.write_bytes(bytes(bad))
        with pytest.raises(CheckpointError, match="expected 333 bytes with sha256"):
            read_parent(parent)


def test_a_truncated_file_is_found(parent: Path) -> None:
    parent.write_bytes(parent.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="found 332 bytes"):
        read_parent(parent)


@pytest.mark.parametrize("text", ["", "[]", "5", "{", '{"sha256": "x"}', '{"sha256": "x", "bytes": 1, "a": "\xff'])
def test_what_is_no_card_is_refused(parent: Path, text: str) -> None:
    parent.with_suffix(".json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="expected a parent's card"):
        read_parent(parent)


def test_a_missing_half_is_named(parent: Path) -> None:
    card = parent.with_suffix(".json")
    text = card.read_text()
    card.unlink()
    with pytest.raises(CheckpointError, match=r"a\.json: expected a parent's card, found no such file"):
        read_parent(parent)
    card.write_text(text)
    parent.unlink()
    with pytest.raises(CheckpointError, match=r"a\.safetensors: expected a parent's weights"):
        read_parent(parent)


def test_the_folder_of_the_yaml_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_parent("p.safetensors", tmp_path / "yaml") is None
    here = write_parent(tmp_path / "p.safetensors")
    assert find_parent("p.safetensors", tmp_path / "yaml") == Path(here.name)
    there = write_parent(tmp_path / "yaml" / "p.safetensors")
    assert find_parent("p.safetensors", tmp_path / "yaml") == there
