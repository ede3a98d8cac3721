"""Atomic writes: the old file or the whole new one, and nothing left beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evoens.storage.files import remove_unfinished, write_atomic


def test_write_atomic_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    write_atomic(path, "néw".encode())
    assert path.read_bytes() == "néw".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    code = "import os, sys; from evoens.storage import files; files.sync_folder = os._exit; files.write = lambda p, d: "
    code += "(p.write_bytes(d), os._exit(9)); files.write_atomic(files.Path(sys.argv[1]), 'half')"
    (tmp_path / "deep").mkdir()
    for path in (tmp_path / "a.json", tmp_path / "deep" / "b.json"):
        assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    mine = tmp_path / f".c.json.{os.getpid()}.tmp"
    for kept in (mine, tmp_path / ".notes.tmp", tmp_path / "d.json"):
        kept.touch()
    assert len(list(tmp_path.rglob(".*.tmp"))) == 4
    remove_unfinished(tmp_path)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {mine.name, ".notes.tmp", "d.json"}
