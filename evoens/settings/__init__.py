"""Every YAML key, its type, bounds and default: data only, so that reading a file never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoens.settings.classification import ClassificationConfig
from evoens.settings.config import Config
from evoens.settings.procgen import ProcgenConfig

CONFIGS: dict[str, type[Config]] = {"procgen": ProcgenConfig, "classification": ClassificationConfig}


def config_type(value: Mapping[str, Any]) -> type[Config]:
    """Return the settings that a YAML's `problem.type` asks for; Procgen's where it says nothing that is known."""
    problem = value.get("problem")
    kind = problem.get("type") if isinstance(problem, Mapping) else None
    return CONFIGS.get(kind, ProcgenConfig) if isinstance(kind, str) else ProcgenConfig


def parse_config(value: Mapping[str, Any]) -> Config:
    """Return the checked settings of a YAML's value.

    Raises:
        ValidationError: pydantic's, with all that is wrong.
    """
    return config_type(value).model_validate(value)
