"""Tell glibc to keep the memory it has, so that large tensors are not paged in again and again, and when to let go."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # names of mallopt(3)
IDLE = 512 << 20  # bytes that may lie idle: to have them again takes a tenth of a second


def keep_memory() -> bool:
    """Make `malloc` serve every size from its heap and never hand memory back to the kernel.

    By default glibc maps each large tensor anew, and the page faults can take over half of a training step on a CPU.
    Call it once, first thing in the process; memory then stays with the process, but for what `let_go` hands back.

    Returns:
        Whether the allocator took the settings; False (and nothing changed) without glibc.
    """
    libc = _glibc()
    if libc is None:
        return False
    heap = ((_MMAP_THRESHOLD, 2**31 - 1), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 256 << 20))
    settings = (*heap, (_ARENA_MAX, 1))  # a thread's own heap has room for 64 MiB, and maps what is larger
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


def let_go() -> None:
    """Hand memory back that lies idle, if it is much: between stages that need little of what the other had."""
    libc = _glibc()
    if libc is not None and hasattr(libc, "mallinfo2"):  # from 2.33 on
        libc.mallinfo2.restype = _Mallinfo2
        if libc.mallinfo2().fordblks > IDLE:
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


class _Mallinfo2(ctypes.Structure):
    """What glibc says of its heap, in bytes; see mallinfo2(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]
