"""The threads of this process: how they wait for each other, and how a CPU's cores are shared out among networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WAIT_POLICY, ROUNDING = "OMP_WAIT_POLICY", "MKL_CBWR"
LANES = 8  # networks side by side, at most: each needs weights and room of its own


def sleep_at_barriers() -> None:
    """Let OpenMP's threads sleep while they wait for each other; to be called before torch is imported.

    By default they spin. On a machine that does other work too, two threads of one process then end up on the same
    core, each waiting for the other: measured here, a forward pass of one frame took 120 ms in place of 4, one of 48
    frames 250 ms in place of 60. What the user has set stays.
    """
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")


def round_alike() -> None:
    """Let MKL add up in one order wherever a tensor lies in memory; to be called before torch is imported.

    By default a product's last bits hang on addresses, and these on what was computed before: on an AVX2 processor a
    linear layer of 84 inputs and 10 outputs gave five different answers to one row. What the user has set stays.
    """
    os.environ.setdefault(ROUNDING, "AUTO")


def lanes(device: torch.device) -> int:
    """Return how many networks are best run side by side on `device`.

    On a CPU one a core, and one more whose case is being played meanwhile (with two cores a sixth quicker than two).
    """
    import torch  # noqa: PLC0415 (the first function here is called before torch may be imported)

    cores = torch.get_num_threads()
    return min(cores + 1, LANES) if device.type == "cpu" and cores > 1 else 1


@contextmanager
def side_by_side(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads that share torch's threads out between them, so that none waits for another.

    A small network does not keep two cores busy: of two Procgen policies, each on a core of its own, both are through
    in the time that one takes on two cores (measured: 1.6 to 2 times the frames a second).
    """
    import torch  # noqa: PLC0415

    threads = torch.get_num_threads()
    share = max(1, threads // count)
    torch.set_num_threads(share)
    try:
        # each thread is told, too: MKL counts by thread, and one that it finds untold has as many as are idle
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
