"""Safetensors whose header lies: refused in one line, whatever is wrong."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from evoens.errors import CheckpointError
from evoens.storage.tensor_file import load_tensors, parse_tensors


def written(header: Any, body: bytes = bytes(48)) -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + body


def one(**changed: Any) -> bytes:
    return written({"a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48], **changed}})


BROKEN = {
    "empty": b"",
    "shorter than its length": b"\x01" * 7,
    "a huge header": struct.pack("<Q", 2**62) + b"{}",
    "all ones": b"\xff" * 20,
    "deeply nested": written(b'{"a":' * 100_000),
    "an unknown dtype": one(dtype="F31"),
    "a list as dtype": one(dtype=["F32"]),
    "a huge shape": one(shape=[2**63, 2**63]),
    "a negative shape": one(shape=[-3, -4]),
    "a broken number": one(shape=[3.5]),
    "offsets beyond the end": one(data_offsets=[0, 2**60]),
    "a number as tensor": written({"a": 1}),
    "a number as metadata": written({"__metadata__": 3}),
    "no UTF-8": written(b"\xff\xfe"),
    "a size that torch does not have": written(
        {"a": {"dtype": "F32", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]}}, b""
    ),
}


def test_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(one())
    assert torch.equal(load_tensors(tmp_path / "a.safetensors")["a"], torch.zeros(3, 4))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header_is_one_line(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"a\.safetensors: expected safetensors, found damage") as caught:
        parse_tensors(BROKEN[name], Path("a.safetensors"))
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 300


def test_changed_bytes_are_read_or_refused() -> None:
    good, draw, read = save({"a": torch.zeros(3, 4), "b": torch.ones(2)}), random.Random(0), 0
    for _ in range(500):
        data = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            found = parse_tensors(bytes(data), Path("a.safetensors"))
        except CheckpointError:
            continue
        read += 1
        assert sum(value.nbytes for value in found.values()) == (3 * 4 + 2) * 4
    assert 0 < read < 500
