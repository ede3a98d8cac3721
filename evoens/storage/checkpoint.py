"""Checkpoints that are checked before they are read, and one run per folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from safetensors.torch import save
from torch import Tensor
from typing_extensions import Self, TypedDict

from evoens.errors import Check, CheckpointError
from evoens.storage import files
from evoens.storage.json_file import parse_json, read_json
from evoens.storage.tensor_file import parse_tensors

_STATE, _TENSORS, _MANIFEST = "state.json", "tensors.safetensors", "manifest.json"
_UNFINISHED = ".unfinished-"


class _Entry(TypedDict):
    bytes: int
    sha256: str


class _Manifest(TypedDict):
    step: int
    files: dict[str, _Entry]


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: `step` counts whatever the run counts, `state` is JSON, `tensors` are on the CPU."""

    step: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


class CheckpointStore:
    """Checkpoints in `folder`, one folder each, named by step; no pickle, so loading runs no code.

    A checkpoint is built aside, flushed to disk and renamed in one step. Its manifest (sha256 and size of each file)
    is checked before anything is parsed, since a flipped byte would else load silently.

    Args:
        folder: made when missing.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, state: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> Path:
        """Save; `state` must be JSON (Python's floats and ints come back exactly), `tensors` of any dtype and layout.

        Returns:
            The folder of the new checkpoint.

        Raises:
            OSError: the disk is full or read-only; the checkpoints already there stay as they are.
        """
        contents = {
            _STATE: json.dumps(state).encode(),
            _TENSORS: save({name: t.detach().cpu().contiguous() for name, t in (tensors or {}).items()}),
        }
        entries = {name: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for name, d in contents.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clean()
        built = self.folder / f"{_UNFINISHED}{step}"
        built.mkdir()
        for name, data in contents.items():
            files.write(built / name, data)
        files.write(built / _MANIFEST, json.dumps({"step": step, "files": entries}, indent=1).encode())
        files.sync_folder(built)
        target = self.folder / f"{step:08d}"
        self._remove(target)
        built.rename(target)
        files.sync_folder(self.folder)
        for old in self._folders()[self.keep :]:
            self._remove(old)
        return target

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest intact checkpoint, or None; and one sentence for each damaged one that was passed over."""
        skipped: list[str] = []
        for folder in self._folders():
            try:
                return _read(folder), skipped
            except CheckpointError as error:
                skipped.append(str(error))
        return None, skipped

    def verify(self) -> list[Check]:
        """Look at every checkpoint, the newest first: one check each."""
        return [_check(folder) for folder in self._folders()]

    def _folders(self) -> list[Path]:
        found = self.folder.iterdir() if self.folder.is_dir() else iter(())
        return sorted((p for p in found if p.name.isdecimal()), key=lambda p: int(p.name), reverse=True)

    def _remove(self, folder: Path) -> None:
        """Rename first: a crash while files are deleted must not leave half a checkpoint under its name."""
        if folder.exists():
            aside = self.folder / f"{_UNFINISHED}old-{folder.name}"
            folder.rename(aside)
            shutil.rmtree(aside)

    def _clean(self) -> None:
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)


def _read(folder: Path) -> Checkpoint:
    """Check the manifest, then parse; CheckpointError says what is wrong with which file."""
    try:
        return _parsed(folder)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: skipped, {error}") from error


def _parsed(folder: Path) -> Checkpoint:
    missing = [name for name in (_MANIFEST, _STATE, _TENSORS) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{' and '.join(missing)} is missing")
    manifest = read_json(folder / _MANIFEST, "a checkpoint's manifest", _Manifest)
    if manifest["step"] != int(folder.name):
        raise CheckpointError(f"its {_MANIFEST} is damaged: it says step {str(manifest['step'])[:40]}")
    state, tensors = (_whole(folder / name, manifest["files"].get(name)) for name in (_STATE, _TENSORS))
    return Checkpoint(
        manifest["step"],
        parse_json(state, folder / _STATE, "the state of a run"),
        parse_tensors(tensors, folder / _TENSORS),
    )


def _whole(path: Path, entry: _Entry | None) -> bytes:
    """Return the bytes of a file that are those that the manifest describes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from error
    if entry is None:
        raise CheckpointError(f"its {_MANIFEST} is damaged: it says nothing of {path.name}")
    found = hashlib.sha256(data).hexdigest()
    if (len(data), found) != (entry["bytes"], entry["sha256"]):
        raise CheckpointError(
            f"{path.name} is damaged: expected {str(entry['bytes'])[:40]} bytes with "
            f"sha256 {entry['sha256'][:12]}…, found {len(data)} bytes with {found[:12]}…"
        )
    return data


def _check(folder: Path) -> Check:
    try:
        step = _read(folder).step
    except CheckpointError as error:
        return Check(f"checkpoint {folder.name}", False, str(error))
    return Check(f"checkpoint {folder.name}", True, f"step {step}, every file as its manifest says")


def filled(now: dict[str, Any], saved: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a checkpoint says, with what is kept only since it was begun as it is now, and a sentence on that."""
    lacking = ", ".join(key for key in now if key not in saved)
    told = [f"begun before this was kept, so that it may have changed since: {lacking}"] if lacking else []
    return {**now, **saved}, told


def require_same(now: dict[str, Any], saved: dict[str, Any], folder: Path, force: bool) -> list[str]:
    """Compare what decides a run's results with what its checkpoint says of it.

    Args:
        now: settings, seeds, versions and whatever else must be the same; may be nested.
        saved: the same, as the checkpoint has it.
        folder: of the run, for the message.
        force: whether to go on in spite of differences.

    Returns:
        One sentence for each difference that was forced; none when all is the same.

    Raises:
        CheckpointError: something differs and `force` is not set; every difference is named.
    """
    differences = _differences(now, saved)
    if differences and not force:
        lines = "\n".join(f"  {line}" for line in differences)
        raise CheckpointError(f"{folder}: the run there cannot go on as it began:\n{lines}")
    return differences


def _differences(now: dict[str, Any], saved: dict[str, Any], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key in sorted(now.keys() | saved.keys()):
        a, b = now.get(key), saved.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: expected {b!r} (in the checkpoint), found {a!r}")
    return lines


def clear(folder: Path) -> None:
    """Remove a run from its folder, whose lock this process holds; what makes it a run's folder goes last.

    Raises:
        CheckpointError: another process is at work in a part of it; nothing is removed then.
    """
    for lock in folder.glob("*/.lock"):
        with RunLock(lock.parent):
            pass
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix == ".yaml"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


class RunLock:
    """Hold `folder` for this process: `with RunLock(folder): ...`.

    The kernel lets go of the lock when the process ends, however it ends.

    Raises:
        CheckpointError: on entering, when another process holds the folder; the message names its pid.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = (self.folder / ".lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            file.close()
            raise CheckpointError(
                f"{self.folder}: expected a folder that no other run uses, found it held by process {pid}"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        files.remove_unfinished(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
