"""By which packs each device is judged on a day: those for all or, in a canary, the canary's; and by which controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.schema import PLATFORMS
from server.catalog.targets import TargetedDevice
from server.store.applications import members, tags_of
from server.store.driver import Transaction
from server.store.in_force import InForce

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Court:
    """Packs, and the devices that are judged by them: only those, or all but those."""

    catalog: Catalog
    fleet: Mapping[int, TargetedDevice]
    """What targets ask of devices; empty where no pack has targets."""
    only: Set[int] | None = None
    but: Set[int] = frozenset()
    _reached: dict[str, frozenset[int]] = field(default_factory=dict)

    def control(self, control_id: str) -> LoadedControl | None:
        """A control of these packs, if some pack asks for it."""
        asked = any(control_id in pack.controls for pack in self.catalog.packs.values())
        return self.catalog.controls.get(control_id) if asked else None

    def reach(self, control_id: str, platform: str) -> frozenset[int] | None:
        """The devices of a platform to which some pack brings a control; None for all of them."""
        packs = {
            name: pack
            for name, pack in self.catalog.packs.items()
            if control_id in pack.controls and platform in pack.platforms
        }
        if any(pack.targets is None for pack in packs.values()):
            return None
        return frozenset[int]().union(*(self._devices(name) for name in packs))

    def _devices(self, pack_id: str) -> frozenset[int]:
        found = self._reached.get(pack_id)
        if found is None:
            pack = self.catalog.packs[pack_id]
            found = frozenset(number for number, device in self.fleet.items() if pack.reaches(pack_id, device))
            self._reached[pack_id] = found
        return found

    def own(self, by_device: Mapping[int, Found]) -> dict[int, Found]:
        """Of what was found for devices, that for the devices judged here."""
        return {
            number: found
            for number, found in by_device.items()
            if (self.only is None or number in self.only) and number not in self.but
        }

    def for_all(self) -> Court:
        """These packs, for every device."""
        return Court(self.catalog, self.fleet, _reached=self._reached)

    def reaches(self, control_id: str) -> list[frozenset[int] | None]:
        """``reach`` on every platform."""
        return [self.reach(control_id, platform) for platform in PLATFORMS]


async def courts_of(tx: Transaction, in_force: InForce, ends_at: str) -> list[Court]:
    """The courts of a day that ends then: those of packs for all and, if it had begun by then, of the canary."""
    fleet: dict[int, TargetedDevice] = {}
    if any(pack.targets for catalog in in_force.catalogs for pack in catalog.packs.values()):
        fleet = await _fleet(tx)
    canary = in_force.canary
    if canary is None or canary.began_at >= ends_at:
        return [Court(in_force.base.catalog, fleet)]
    devices = await members(tx, canary.number)
    return [Court(in_force.base.catalog, fleet, but=devices), Court(canary.catalog, fleet, only=devices)]


def controls_of(courts: Sequence[Court]) -> list[str]:
    """The controls that some court judges by, in order."""
    return sorted({loaded.control_id for court in courts for loaded in court.catalog.judged()})


async def _fleet(tx: Transaction) -> dict[int, TargetedDevice]:
    rows = await tx.rows(
        "SELECT device_no, device_id, platform, osquery_version, tags FROM muster_devices WHERE erased_at IS NULL"
    )
    return {
        number: TargetedDevice(device_id, platform, osquery_version, tags_of(tags))
        for number, device_id, platform, osquery_version, tags in rows
    }
