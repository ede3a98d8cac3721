"""What the command line sets over a YAML: `--set a.b=c`, its value read as YAML is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evoens.config.faults import shown
from evoens.config.yaml_file import Keys, parse_yaml
from evoens.errors import ConfigError
from evoens.settings.procgen import GAMES


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


def parent_of_game(value: Any, overrides: Sequence[Override]) -> Override | None:
    """Return the checkpoint of another game's parent, where the command line asks for that game, and nothing of it.

    It is the YAML's, with the new game's name in the place of the old one's.
    """
    asked = [override for override in overrides if override.keys == ("problem", "game")]
    try:
        old, checkpoint = value["problem"]["game"], value["parent"]["checkpoint"]
        path, game = Path(checkpoint), asked[-1].value
    except (IndexError, KeyError, TypeError):
        return None
    own = any(override.keys[:1] == ("parent",) and override.keys[1:] in ((), ("checkpoint",)) for override in overrides)
    if own or game == old or game not in GAMES or old not in GAMES or old not in path.name:
        return None
    return Override(("parent", "checkpoint"), str(path.with_name(path.name.replace(old, game))), asked[-1].label)
