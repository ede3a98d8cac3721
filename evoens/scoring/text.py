"""Figures as people read them: scores with a true minus, intervals, lengths of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def number(value: float | None, digits: int = 2, sign: str = "") -> str:
    """Return a score with its decimals and a true minus, or a dash; a `sign` of "+" is shown, but for zero."""
    if value is None:
        return "–"
    text = f"{value:{sign}.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def interval(stats: Mapping[str, Any], digits: int = 2, sign: str = "", between: str = " ") -> str:
    """Return a score with its 95 % interval."""
    low, high = (number(end, digits, sign) for end in stats["ci95"])
    return f"{number(stats['score'], digits, sign)}{between}[{low}, {high}]"


def capital(text: str) -> str:
    """Begin with a capital, but for names such as cNLL."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """Return a length of time in the unit one would say it in: `42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
