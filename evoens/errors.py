"""The errors of evoens: each message says what was expected, what was found, and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LONGEST = 300  # characters of what is told of an error that a user's code raised, and of a name in a file
WIDEST = 2000  # characters of a line of a message; what evoens itself has to say is shorter
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class EvoensError(Exception):
    """Base of every error a user can cause and mend; the command line prints it and exits with code 2.

    Args:
        message: one line; whatever text of a file is in it is made visible, and left out where it is absurdly long.
        keys: the way to the value of the YAML that is wrong, where that is known.
    """

    def __init__(self, message: str = "", keys: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(_shortened(line) for line in visible(message).split("\n")))
        self.keys = keys


class ConfigError(EvoensError):
    """A YAML file or an override is wrong; the message lists every fault, one a line, with its place."""


class SpecError(EvoensError):
    """A Strategy (or another class named by a string) cannot be found, imported or used."""


class ShapeError(EvoensError):
    """A tensor has another shape than the one expected."""


class GenomeError(EvoensError):
    """A genome, gene or mask is malformed."""


class CheckpointError(EvoensError):
    """A file of a run or a parent is missing, damaged, or does not belong to this configuration."""


class ProblemError(EvoensError):
    """A problem cannot be evaluated: a game, a level range or an observation is not what it must be."""


@contextmanager
def about(*keys: str) -> Iterator[None]:
    """Say of an error raised within that it is the value at `keys` which is wrong, unless it names another itself."""
    try:
        yield
    except EvoensError as error:
        error.keys = error.keys or keys
        raise


@dataclass(frozen=True)
class Check:
    """One thing that was checked: whether it holds, and what was found, or why it matters."""

    name: str
    ok: bool
    detail: str


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean "x"?'`` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def visible(text: str) -> str:
    """Return `text` as a terminal may show it, in which it can neither move the cursor nor turn what stands beside it.

    Control characters but for line feed and tab, marks of writing direction (Unicode TR36) and halves of surrogates,
    as in names of files that are no UTF-8, are written as Python escapes.
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _shortened(line: str) -> str:
    half = WIDEST // 2
    return line if len(line) <= WIDEST else f"{line[:half]} … {line[-half:]}"


def one_line(error: BaseException) -> str:
    """Return what a user's code raised as `Type: message`, visible, in one line of at most `LONGEST` characters."""
    try:
        message = str(error)
    except Exception:  # its own code, too
        message = "(its message cannot be read)"
    kind = type(error).__name__
    text = visible(" ".join(f"{kind}: {message}".split() if message else [kind]))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
