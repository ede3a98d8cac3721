"""evoens: evolve one trained network into an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoens.ensemble import Ensemble, load_ensemble
    from evoens.evolving import evolve
    from evoens.genome import Gene, Genome, Mask
    from evoens.parent import Parent
    from evoens.problem import Problem
    from evoens.strategy import Strategy

__version__ = "0.1.0"
__all__ = ["Ensemble", "Gene", "Genome", "Mask", "Parent", "Problem", "Strategy", "evolve", "load_ensemble"]

_HOMES = {
    "Ensemble": "ensemble",
    "Gene": "genome",
    "Genome": "genome",
    "Mask": "genome",
    "Parent": "parent",
    "Problem": "problem",
    "Strategy": "strategy",
    "evolve": "evolving",
    "load_ensemble": "ensemble",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `evoens --help` never waits for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'evoens' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(f"evoens.{_HOMES[name]}"), name)
