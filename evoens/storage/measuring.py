"""Which children are measured now: shown to the user, and written down for when one of them ends the process."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from evoens.errors import ProblemError
from evoens.storage.files import write_atomic

FATAL = 2  # deaths of the process in one child, none of them survived since, after which it counts as failed
_BEGAN, _ENDED, _DIED = "+", "-", "!"


class Measuring:
    """The children that are being measured, and how often the process has died in each.

    In `path` is a line for each that begins and each that ends, one write each that waits for no disk: it outlives the
    process, which is what it is for. Who began there and did not end when the process died is under suspicion until it
    is measured to its end; several were, where they ran side by side, so that a suspect is to be measured alone.

    Args:
        path: what an earlier process has left, and where this one writes; None writes nothing.

    Attributes:
        since: when each that is being measured began, by `time.monotonic`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.since: dict[str, float] = {}
        self._path, self._lock = path, Lock()
        self._deaths = _read(path) if path and path.is_file() else Counter[str]()
        self._rewrite()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if path else None

    def suspect(self, key: str) -> bool:
        """Whether the process has died in this child and might again."""
        return self._deaths[key] > 0

    def fatal(self, key: str) -> bool:
        """Whether it has, too often to try again."""
        return self._deaths[key] >= FATAL

    def begin(self, key: str) -> None:
        """A child is about to be measured."""
        with self._lock:
            self._note(_BEGAN, key)
            self.since[key] = time.monotonic()

    def end(self, key: str) -> None:
        """It was, or it failed, and the process is still there."""
        with self._lock:
            self.since.pop(key, None)
            self._deaths.pop(key, None)
            self._note(_ENDED, key)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Measure something that is no child, by its name.

        Raises:
            ProblemError: the process has died in it too often.
        """
        if self.fatal(what):
            raise ProblemError(f"the process died {FATAL} times while {what} was measured")
        self.begin(what)
        try:
            yield
        finally:
            self.end(what)

    def close(self) -> None:
        """The process ends in order, in none of the children."""
        self.since.clear()
        if self._path and self._file is not None:
            os.close(self._file)
            self._file = None
            self._rewrite()

    def _note(self, what: str, key: str) -> None:
        if self._file is None:
            return
        if what == _ENDED and not self.since and not self._deaths:
            os.ftruncate(self._file, 0)  # nobody is left to be told of
        else:
            os.write(self._file, f"{what}{key}\n".encode())

    def _rewrite(self) -> None:
        """Leave only who is under suspicion."""
        if self._path and self._deaths:
            write_atomic(self._path, "".join(f"{_DIED}{key}\n" for key in self._deaths.elements()))
        elif self._path:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> Counter[str]:
    """Return how often the process has died in each child, this time included; what is no whole line is left out."""
    deaths, running = Counter[str](), set[str]()
    for line in path.read_text("utf-8", "replace").splitlines(keepends=True):
        what, key = line[:1], line[1:].strip()
        if not line.endswith("\n") or what not in (_BEGAN, _ENDED, _DIED):
            continue
        if what == _DIED:
            deaths[key] += 1
        elif what == _BEGAN:
            running.add(key)
        else:
            running.discard(key)
            deaths.pop(key, None)
    return deaths + Counter(running)
