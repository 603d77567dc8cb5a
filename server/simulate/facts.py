"""Which function makes the rows of which table, and which facts it depends on.

A maker's parameters are the names of the facts it reads (see ``state`` and ``runner``). So two devices whose facts of
those names are equal have equal rows, and the answers made from them can be shared. Several makers may fill one table.
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
        self._sources: dict[tuple[str, str], list[Source]] = {}

    def table(self, name: str, *platforms: str) -> Callable[[Maker], Maker]:
        """Register a maker of some of a table's rows, on the given platforms or on all."""

        def register(make: Maker) -> Maker:
            source = Source(tuple(inspect.signature(make).parameters), make)
            for platform in platforms or ("darwin", "linux", "windows"):
                self._sources.setdefault((platform, name), []).append(source)
            return make

        return register

    def needs(self, platform: str, tables: Sequence[str]) -> tuple[str, ...]:
        """The facts that the rows of these tables depend on."""
        sources = [source for table in tables for source in self._sources.get((platform, table), ())]
        return tuple(sorted({need for source in sources for need in source.needs}))

    def rows(self, platform: str, table: str, aspects: Mapping[str, Any]) -> Rows:
        """The rows of a table; none for one nobody fills."""
        found: Rows = []
        for source in self._sources.get((platform, table), ()):
            found += source.make(**{need: aspects[need] for need in source.needs})
        return found


FACTS = Facts()
"""Every table the simulator fills. Filled by the modules of ``areas`` when they are imported."""
