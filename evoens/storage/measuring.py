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

FATAL = 2  # deaths of the process in one child alone, none of them survived since, after which it counts as failed
_BEGAN, _ENDED, _SUSPECT, _DIED = "+", "-", "?", "!"


class Measuring:
    """The children that are being measured, and how often the process has died in each.

    In `path` is a line for each that begins and each that ends, one write each that waits for no disk: it outlives the
    process, which is what it is for. Who began there and did not end when the process died is under suspicion until it
    is measured to its end, and is to be measured alone. Only a death in which it was alone counts: of many whose games
    share a batch none is to fail because the power was cut, and then once more while one of them was looked into.

    Args:
        path: what an earlier process has left, and where this one writes; None writes nothing.

    Attributes:
        since: when each that is being measured began, by `time.monotonic`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.since: dict[str, float] = {}
        self._path, self._lock = path, Lock()
        self._suspects, self._deaths = _read(path) if path and path.is_file() else (set[str](), Counter[str]())
        self._rewrite()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if path else None

    def suspect(self, key: str) -> bool:
        """Whether the process has died in this child, or in one beside it, and might again."""
        return key in self._suspects

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
            self._suspects.discard(key)
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
        if what == _ENDED and not self.since and not self._suspects:
            os.ftruncate(self._file, 0)  # nobody is left to be told of
        else:
            os.write(self._file, f"{what}{key}\n".encode())

    def _rewrite(self) -> None:
        """Leave only who is under suspicion."""
        if self._path and self._suspects:
            lines = [f"{_SUSPECT}{key}" for key in sorted(self._suspects)]
            lines += [f"{_DIED}{key}" for key in self._deaths.elements()]
            write_atomic(self._path, "".join(f"{line}\n" for line in lines))
        elif self._path:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[set[str], Counter[str]]:
    """Return who is under suspicion, and how often the process has died in each alone, this time included.

    What is no whole line is left out.
    """
    suspects, deaths, running = set[str](), Counter[str](), set[str]()
    for line in path.read_text("utf-8", "replace").splitlines(keepends=True):
        what, key = line[:1], line[1:].strip()
        if not line.endswith("\n"):
            continue
        if what == _DIED:
            deaths[key] += 1
        elif what == _SUSPECT:
            suspects.add(key)
        elif what == _BEGAN:
            running.add(key)
        elif what == _ENDED:
            running.discard(key)
            suspects.discard(key)
            deaths.pop(key, None)
    return suspects | running | deaths.keys(), deaths + Counter(running if len(running) == 1 else ())
