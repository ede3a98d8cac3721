"""A fault of a YAML: what is wrong with a value, and which values it rests on."""

from __future__ import annotations

from dataclasses import dataclass

Keys = tuple[str | int, ...]
"""The way to a value: keys of mappings and indices of lists, from the top."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the value at `keys`, which may be missing.

    `others` are further keys it rests on; `meant` is the way likely meant by an unknown key, which is `unknown`.
    """

    keys: Keys
    message: str
    others: tuple[Keys, ...] = ()
    missing: bool = False
    meant: Keys | None = None
    unknown: bool = False

    @property
    def about(self) -> tuple[Keys, ...]:
        """All keys that it rests on."""
        return (self.keys, *self.others)

    def touches(self, other: Fault) -> bool:
        """Whether a key of this fault is, contains or lies within one of the other's."""
        return any(related(mine, its) for mine in self.about for its in other.about)

    def follows(self, other: Fault) -> bool:
        """Whether it may only be there because the other's keys were taken away: any beside an unknown one is meant."""
        beside = other.unknown and any(keys[:-1] == other.keys[:-1] for keys in self.about)
        return beside or self.touches(other)


def related(a: Keys, b: Keys) -> bool:
    """Whether one of two ways is the beginning of the other."""
    return a[: len(b)] == b or b[: len(a)] == a
