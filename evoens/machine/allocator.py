"""Tell glibc to keep the memory it has, so that large tensors are not paged in again and again."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # names of mallopt(3)


def keep_memory() -> bool:
    """Make `malloc` serve every size from its heap and never hand memory back to the kernel.

    By default glibc maps each large tensor anew, and the page faults can take over half of a training step on a CPU.
    Call it once, first thing in the process; memory then stays with the process.

    Returns:
        Whether the allocator took the settings; False (and nothing changed) without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    heap = ((_MMAP_THRESHOLD, 2**31 - 1), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 256 << 20))
    settings = (*heap, (_ARENA_MAX, 1))  # a thread's own heap has room for 64 MiB, and maps what is larger
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
