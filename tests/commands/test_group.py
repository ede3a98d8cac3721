from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("encoding", "arguments", "said"),
    [
        ("ascii", ["validate", "σ.yaml"], b"?.yaml: expected"),
        ("latin-1", ["inspect", "σé"], "?é".encode("latin-1")),
        ("cp1252", ["validate", "σé.yaml"], "?é.yaml".encode("cp1252")),
        ("utf-8", ["validate", b"\xff.yaml"], rb"\udcff.yaml"),  # the name of a file that is no UTF-8
        ("utf-8", ["inspect", "\x1b]0;owned\x07"], rb"\x1b]0;owned\x07"),
        ("utf-8", ["list", "\x1b[31m"], rb"(\x1b[31m)"),  # what typer itself finds wrong
    ],
)
def test_an_error_is_told_in_any_encoding_and_orders_nothing(
    encoding: str, arguments: list[str | bytes], said: bytes
) -> None:
    command = [sys.executable, "-m", "evoens", *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and b"Traceback" not in done.stderr and b"\x1b" not in done.stderr
