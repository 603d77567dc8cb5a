"""What is true on a device between two changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from server.simulate.models import Model, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The facts of a device between two changes. Two equal states give equal answers."""

    platform: str
    kind: str
    hostname: str
    hardware_uuid: str
    serial: str
    owner: str
    model: Model
    release: Release
    agent: str
    encrypted: bool
    guest: bool
    guest_unset: bool
    """Nobody ever touched the login window's switch for guests, so its file does not name it."""
    second_root: bool
    telnet: bool
    software: tuple[tuple[str, str, str], ...]
    """Name, identifier and version of what is installed."""
    broken: frozenset[str]
    """Tables that cannot be read."""
    denied: frozenset[str]
    """Queries osquery has denylisted, by their plain name."""
    missing: frozenset[str]
    """Queries that the config this device still runs does not have."""
    traits: Mapping[str, str]
    """What the areas tell of it beside (see ``traits``)."""

    def __getitem__(self, trait: str) -> str:
        """The value of a trait. Raises ``KeyError`` for one the platform does not have."""
        return self.traits[trait]

    def aspects(self) -> dict[str, Any]:
        """The facts by name, as the makers of rows ask for them."""
        return dict(self._aspects())

    def _aspects(self) -> Iterator[tuple[str, Any]]:
        for field in fields(self):
            if field.name != "traits":
                yield field.name, getattr(self, field.name)
        yield from self.traits.items()
