"""How much memory measuring may take, and what a network takes of it."""

from __future__ import annotations

import os

from torch import nn

GIGABYTE = 10**9
MOST = 2 * GIGABYTE  # where the settings name no bound
SHARE = 0.25  # of the machine's memory, where that is less


def budget(gigabytes: float | None) -> int:
    """Return the bytes that `evaluation.memory` stands for."""
    if gigabytes is not None:
        return int(gigabytes * GIGABYTE)
    return min(MOST, int(SHARE * machine()))


def machine() -> int:
    """Return the bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def nbytes(module: nn.Module) -> int:
    """Return the bytes of a module's tensors."""
    return sum(tensor.nbytes for tensor in module.state_dict().values())
