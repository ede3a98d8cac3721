"""How threads wait, and how they share the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from evoens.machine.threads import LANES, lanes


def python(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "MKL_CBWR")} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_threads_sleep_at_barriers_unless_the_user_has_said_otherwise() -> None:
    code = (
        "import os; from evoens.machine.threads import sleep_at_barriers as s; "
        "s(); print(os.environ['OMP_WAIT_POLICY'])"
    )
    assert python(code) == ["PASSIVE"]
    assert python(code, OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE"]


def test_bits_do_not_hang_on_addresses() -> None:
    """A linear layer of the same numbers, shifted in memory by each multiple of four bytes."""
    code = (
        "import torch; x, w = torch.rand(7, 84), torch.rand(10, 84); space, found = torch.zeros(7 * 84 + 16), set()\n"
        "for i in range(16):\n"
        "    y = space[i : i + 588].view(7, 84).copy_(x)\n"
        "    found.add(torch.nn.functional.linear(y, w).numpy().tobytes())\n"
        "print(len(found))"
    )
    assert python(f"from evoens.machine.threads import round_alike; round_alike()\n{code}") == ["1"]


def test_the_command_line_says_so_before_torch_is_there() -> None:
    code = (
        "import os, sys; from typer.testing import CliRunner; from evoens.cli import app;"
        "CliRunner().invoke(app, ['list']); print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    assert python(code) == ["PASSIVE", "False"]


def test_a_lane_a_core_and_one_more_and_one_on_another_device() -> None:
    cores = torch.get_num_threads()
    assert lanes(torch.device("cpu")) == (min(cores + 1, LANES) if cores > 1 else 1)
    assert lanes(torch.device("cuda")) == 1


def test_threads_are_shared_out_and_given_back() -> None:
    code = (
        "import torch; from evoens.machine.threads import side_by_side; torch.set_num_threads(5)\n"
        "def count(_): torch.ones(3) + 1; return torch.get_num_threads()\n"
        "with side_by_side(2) as pool: print(*pool.map(count, range(4)))\n"
        "try:\n    with side_by_side(9) as pool: print(*pool.map(count, range(2))); raise KeyError\n"
        "except KeyError: print(torch.get_num_threads())"
    )
    assert python(code) == ["2", "2", "2", "2", "1", "1", "5"]
