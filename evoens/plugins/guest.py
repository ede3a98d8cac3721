"""Guests: code that a user brings along. Whatever it raises is its failure and nobody else's; Ctrl-C is the user's."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from evoens.errors import EvoensError, SpecError, one_line


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, as it is raised while `listening`: a guest's own KeyboardInterrupt is not one."""


def _press(signum: int, frame: FrameType | None) -> None:
    raise Interrupt


@contextmanager
def listening() -> Iterator[None]:
    """Tell Ctrl-C from what guests raise, as long as this lasts; who has chosen what it does keeps that."""
    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def failure(error: BaseException, whose: str, kind: type[EvoensError] = SpecError) -> EvoensError:
    """Return what a guest raised as an error that ends nothing else: `SystemExit` would end the process, in silence.

    Where Ctrl-C is ignored, as in the background, a KeyboardInterrupt is the guest's.

    kind: of what is returned, where it was none of evoens's own.

    Raises:
        KeyboardInterrupt: it was the user's, or nobody can tell.
    """
    users = isinstance(error, Interrupt) or signal.getsignal(signal.SIGINT) not in (_press, signal.SIG_IGN)
    if isinstance(error, KeyboardInterrupt) and users:
        raise error
    return error if isinstance(error, EvoensError) else kind(f"{whose}: {one_line(error)}")


@contextmanager
def guest(whose: str, kind: type[EvoensError] = SpecError) -> Iterator[None]:
    """Run a guest's code; what it raises says whose it is."""
    try:
        yield
    except BaseException as error:
        raise failure(error, whose, kind) from error
