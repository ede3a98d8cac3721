"""Files that others wrote: what they are is said in words of our own, and no code in them is run."""

from __future__ import annotations

import argparse
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evoens.errors import CheckpointError
from evoens.tasks.weight_files import read_file

WEIGHTS = {"weight": torch.arange(6.0).view(2, 3)}


def saved(content: Any = WEIGHTS, **more: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **more)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pt"))
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), buffer)
    return buffer.getvalue()


OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "an empty file"),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a pointer of Git LFS"),
    "HTML": (lambda: b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "XML": (lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "gzip": (lambda: gzip.compress(saved()), "a file packed with gzip: unpack it first"),
    "zstandard": (lambda: b"\x28\xb5\x2f\xfd" + bytes(20), "a packed file"),
    "tar": (tarred, "a tar archive: unpack it first"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file, as Keras writes it"),
    "npy": (lambda: b"\x93NUMPY\x01\x00" + bytes(20), "a NumPy array"),
    "npz": (lambda: zipped(**{"a.npy": b"", "b.npy": b""}), "a NumPy archive"),
    "JSON": (lambda: b'{"message": "not found"}', "a text file"),
    "another zip": (lambda: zipped(**{"policy.pth": b"", "data": b""}), "a zip archive with policy.pth, data in it"),
    "half": (lambda: saved()[:-200], "half a file: its end is missing after"),
    "half of the old form": (lambda: saved(_use_new_zipfile_serialization=False)[:-8], "damage: a part of the file"),
    "TorchScript": (scripted, "a TorchScript archive, which is code; save its state dict alone: torch.save(torch.jit"),
    "a whole network": (lambda: saved(nn.Linear(2, 3)), "an object of torch.nn.modules.linear.Linear in it, which"),
    "an array of objects": (lambda: saved(np.array([nn.ReLU()])), "an object of numpy.dtypes.ObjectDType in it"),
    "anything": (lambda: b"no weights at all", "a file of another kind"),
    "an empty zip": (zipped, "a zip archive with nothing in it"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("ending", ["w.pt", "w.pth.tar"])
def test_what_is_no_state_dict_is_named(name: str, ending: str, tmp_path: Path) -> None:
    make, says = OTHERS[name]
    (tmp_path / ending).write_bytes(make())
    with pytest.raises(CheckpointError) as caught:
        read_file(tmp_path / ending)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path / ending}: expected a state dict that torch.save wrote, found {says}")
    assert "weights_only" not in line and "\x1b" not in line


def test_what_lies_beside_the_weights_does_no_harm(tmp_path: Path) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "best": np.float64(0.9),
        "epoch": np.int64(3),
        "half": np.float16(0.5),
        "done": np.bool_(True),
        "curve": np.arange(4.0),
    }
    before = torch.serialization.get_safe_globals()
    for ending in (".pt", ".ckpt", ".bin", ".pth.tar"):
        torch.save({"state_dict": WEIGHTS, **beside}, tmp_path / f"w{ending}")
        found = read_file(tmp_path / f"w{ending}")
        assert torch.equal(found["state_dict"]["weight"], WEIGHTS["weight"])
        assert found["args"] == beside["args"] and found["best"] == 0.9
        assert np.array_equal(found["curve"], beside["curve"])
    assert torch.serialization.get_safe_globals() == before  # let in for this one file only


@pytest.mark.parametrize("length", range(0, 1200, 37))
def test_a_file_cut_off_anywhere_is_refused(length: int, tmp_path: Path) -> None:
    data = saved()
    (tmp_path / "w.pt").write_bytes(data[: min(length, len(data) - 1)])
    with pytest.raises(CheckpointError, match=r"expected a state dict that torch\.save wrote, found"):
        read_file(tmp_path / "w.pt")


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a file of weights, found none"):
        read_file(tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="expected a file of weights, found none to read: Is a directory"):
        read_file(tmp_path)
