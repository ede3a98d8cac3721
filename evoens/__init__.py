"""evoens: evolve one trained network into an ensemble."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_HOMES = {  # what type checkers read is in __init__.pyi
    "Ensemble": "ensemble",
    "Gene": "genome",
    "Genome": "genome",
    "Mask": "genome",
    "Parent": "parent",
    "Problem": "problem",
    "Strategy": "strategy",
    "evolve": "evolving",
    "load_ensemble": "ensemble",
    "table": "tables.written",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `evoens --help` never waits for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'evoens' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(f"evoens.{_HOMES[name]}"), name)
