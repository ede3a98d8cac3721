"""A wrapper: what is made of a network before it is trained or asked, by name, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from torch import nn

from evoens.errors import SpecError
from evoens.plugins.guest import guest


@dataclass(frozen=True)
class Wrapper:
    """A network inside another, such as one with several members, or with dropout.

    Attributes:
        target: `package.module:name`, which is called with the network and returns a module.
        arguments: its further arguments, JSON.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return what it makes of `network`, which may be changed in place.

        Raises:
            SpecError: it makes none of this network.
        """
        with guest(f'"{self.target}" cannot be made of {type(network).__name__}'):
            found = resolve_name(self.target)(network, **self.arguments)
        if not isinstance(found, nn.Module):
            raise SpecError(f'"{self.target}": expected a torch.nn.Module, found {type(found).__name__}')
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `Wrapper(**values)` is the inverse."""
        return {"target": self.target, "arguments": dict(self.arguments)}
