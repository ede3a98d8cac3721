"""What the command line sets over a YAML: `--set a.b=c`, its value read as YAML is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evoens.config.faults import shown
from evoens.config.yaml_file import Keys, parse_yaml
from evoens.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Override:
    """A value that the command line sets; `label` is how it was written there, `written` as in `Document`."""

    keys: Keys
    value: Any
    label: str
    written: Mapping[Keys, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Override:
        """Read `a.b=c`; the value is YAML.

        Raises:
            ConfigError: there is no `=`, a key is empty, or the value is no YAML.
        """
        label = f"--set {text}"
        path, equals, value = text.partition("=")
        keys = tuple(path.strip().split("."))
        if not equals or not all(keys):
            raise ConfigError(f'{label}: expected key=value, as in search.population=32, found "{text}"')
        try:
            document = parse_yaml(value, label)
            return cls(keys, document.value, label, document.written)
        except ConfigError as error:
            raise ConfigError(f"{label}: expected a YAML value, found {shown(value)}") from error
