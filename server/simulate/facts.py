"""Which function makes the rows of which table, and which facts it depends on.

A maker's parameters are the names of the facts it reads (see ``timeline.State`` and ``runner``). So two devices
whose facts of those names are equal have equal rows, and the answers made from them can be shared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, object]]
Maker = Callable[..., Rows]


@dataclass(frozen=True, slots=True)
class Source:
    """How one table is filled on some platforms."""

    needs: tuple[str, ...]
    make: Maker


class Facts:
    """The tables that have rows, by platform and name."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, str], Source] = {}

    def table(self, name: str, *platforms: str) -> Callable[[Maker], Maker]:
        """Register a maker of a table's rows, on the given platforms or on all."""

        def register(make: Maker) -> Maker:
            source = Source(tuple(inspect.signature(make).parameters), make)
            for platform in platforms or ("darwin", "linux", "windows"):
                self._sources[platform, name] = source
            return make

        return register

    def needs(self, platform: str, tables: Sequence[str]) -> tuple[str, ...]:
        """The facts that the rows of these tables depend on."""
        found = {need for table in tables if (source := self._sources.get((platform, table))) for need in source.needs}
        return tuple(sorted(found))

    def rows(self, platform: str, table: str, aspects: Mapping[str, Any]) -> Rows:
        """The rows of a table; none for one nobody fills."""
        source = self._sources.get((platform, table))
        return source.make(**{need: aspects[need] for need in source.needs}) if source else []


FACTS = Facts()
"""Every table the simulator fills. Filled by the ``rows_…`` modules when they are imported."""
