"""By which packs each device is judged on a day: those for all or, in a canary, the canary's; and by which controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.targets import TargetedDevice
from server.store.applications import members
from server.store.driver import Transaction
from server.store.in_force import InForce


@dataclass(frozen=True, eq=False)
class Court:
    """Packs, and the devices that are judged by them: only those, or all that no other court is for."""

    catalog: Catalog
    only: Set[int] | None = None
    _asked: dict[str, LoadedControl] = field(default_factory=dict, repr=False)

    def control(self, control_id: str) -> LoadedControl | None:
        """A control of these packs, if some pack asks for it."""
        if not self._asked:
            self._asked.update({loaded.control_id: loaded for loaded in self.catalog.judged()})
        return self._asked.get(control_id)

    @property
    def has_targets(self) -> bool:
        """Whether what a device is judged by depends on more than its platform."""
        return any(pack.targets for pack in self.catalog.packs.values())

    def reach(self, control_id: str, platform: str, fleet: Mapping[int, TargetedDevice]) -> frozenset[int] | None:
        """The devices of a platform, of a part of the fleet, to which some pack brings a control; None for all."""
        packs = {
            name: pack
            for name, pack in self.catalog.packs.items()
            if control_id in pack.controls and platform in pack.platforms
        }
        if any(pack.targets is None for pack in packs.values()):
            return None
        return frozenset(
            number
            for number, device in fleet.items()
            if any(pack.reaches(name, device) for name, pack in packs.items())
        )


async def courts_of(tx: Transaction, in_force: InForce, ends_at: str) -> list[Court]:
    """The courts of a day that ends then: those of packs for all and, if it had begun by then, of the canary."""
    canary = in_force.canary
    base = Court(in_force.base.catalog)
    if canary is None or canary.began_at >= ends_at:
        return [base]
    return [base, Court(canary.catalog, only=await members(tx, canary.number, ends_at))]


def controls_of(courts: Sequence[Court]) -> list[str]:
    """The controls that some court judges by, in order."""
    return sorted({loaded.control_id for court in courts for loaded in court.catalog.judged()})
