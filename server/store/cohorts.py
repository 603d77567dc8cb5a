"""How the answers of a device are taken: by the packs that are in force for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from server.normalize.minimise import Minimiser
from server.store.coverage import gap_for
from server.store.devices import Device
from server.store.in_force import InForce, Part
from server.store.shipped import ShippedQuery, shipped_queries


@dataclass(frozen=True, slots=True)
class Cohort:
    """The devices with the same packs: their queries, and what becomes of their answers."""

    shipped: Mapping[str, ShippedQuery]
    minimiser: Minimiser


class Cohorts:
    """The canary's devices, and the others. ``minimise_key`` is that of the hashes."""

    def __init__(self, in_force: InForce, minimise_key: bytes | None) -> None:
        familiar: set[bytes] = set()
        self.familiar: Container[bytes] = familiar
        """What need not be read to know what it comes to, for some of the devices."""

        def cohort(part: Part) -> Cohort:
            minimiser = Minimiser(part.catalog.minimisation, minimise_key, familiar)
            return Cohort(shipped_queries(part.catalog), minimiser)

        self._in_force = in_force
        self._base = cohort(in_force.base)
        self._canary = cohort(in_force.canary) if in_force.canary else None
        self._gaps: dict[str, int] = {}
        for one in (self._base, self._canary):
            for name, query in one.shipped.items() if one else ():
                self._gaps[name] = max(self._gaps.get(name, 0), query.gap)
        self.grace_days = max(catalog.fleet.new_device_grace_days for catalog in in_force.catalogs)
        """For how many days a device that is new may not be judged at most."""

    def of(self, device: Device) -> Cohort:
        """The cohort of a device."""
        canary = self._in_force.canary
        return self._canary if self._canary and canary and canary.takes(device) else self._base

    def gap(self, query: str) -> int:
        """After how many seconds without an answer to a query a device has stopped answering it."""
        return self._gaps.get(query) or gap_for(None)
