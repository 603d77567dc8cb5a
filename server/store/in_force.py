"""What is in force: the packs for all devices and, while a canary is under way, those of its devices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from server.catalog.canary import Selector
from server.catalog.catalog import Catalog
from server.catalog.config import Config, Configs
from server.catalog.content import Content
from server.store import applications
from server.store.applications import Application
from server.store.devices import Device
from server.store.driver import Driver, Transaction


@dataclass(frozen=True, eq=False)
class Part:
    """The packs that some devices are served and judged by; ``number`` is 0 for packs that were never applied."""

    catalog: Catalog
    number: int = 0
    hash: str = ""
    earlier: dict[str, Configs | None] = field(default_factory=dict, repr=False)
    """The configs of packs that were in force before, by hash, once somebody asked; None where they cannot be read."""

    @cached_property
    def configs(self) -> Configs:
        """The configs of these devices."""
        return Configs(self.catalog)


@dataclass(frozen=True, eq=False, kw_only=True)
class CanaryPart(Part):
    """The packs of a canary, and its devices: those written down, and whoever comes and is taken by the selector."""

    selector: Selector
    began_at: str
    """ISO-8601, UTC."""
    members: set[int]
    """They only grow, while this is in force."""

    def takes(self, device: Device) -> bool:
        """Whether a device is in the canary."""
        return device.device_no in self.members or self.selector.takes(self.number, device.device_id, device.tags)


@dataclass(eq=False)
class InForce:
    """What is in force, as of a ``version`` (that of ``applications.version``)."""

    base: Part
    canary: CanaryPart | None = None
    version: str = ""

    @property
    def parts(self) -> Sequence[Part]:
        """The packs for all, then the canary's."""
        return [self.base, self.canary] if self.canary else [self.base]

    @property
    def numbers(self) -> list[int]:
        """The numbers of their applications."""
        return [part.number for part in self.parts]

    @property
    def catalogs(self) -> list[Catalog]:
        """Their catalogs."""
        return [part.catalog for part in self.parts]

    def of(self, device: Device) -> Part:
        """The packs of a device."""
        return self.canary if self.canary is not None and self.canary.takes(device) else self.base

    def part_of(self, device_no: int) -> Part:
        """The packs of a device whose number is all that is known."""
        return self.canary if self.canary is not None and device_no in self.canary.members else self.base

    def config_of(self, device: Device) -> tuple[int, Config]:
        """The config of a device, and the number of the application it is of."""
        part = self.of(device)
        return part.number, part.configs.of(device)


async def load_in_force(driver: Driver, known: InForce | None = None) -> InForce | None:
    """What is in force by the database; None if packs were never applied. It is ``known`` if only devices have come.

    Raises ``CatalogError`` for packs that this version of Muster cannot read.
    """
    stored = await driver.read(partial(_read, None, [known] if known else []))
    if stored.base is None:
        return None
    if known and known.numbers == stored.numbers:
        if known.canary:
            known.canary.members.update(stored.members)
        known.version = stored.version
        return known
    return await _made(stored, stored.base)


async def in_force_at(driver: Driver, at: str, known: Sequence[InForce]) -> InForce | None:
    """What was in force at an instant (ISO-8601, UTC), one of ``known`` if it can be; None without any packs."""
    stored = await driver.read(partial(_read, at, known))
    if stored.base is None:
        return None
    same = next((one for one in known if one.numbers == stored.numbers), None)
    return same or await _made(stored, stored.base)


async def held_to(driver: Driver, number: int, at_end: InForce, now: InForce, *, canary: bool) -> InForce:
    """The packs of an application in place of those for all at a day's end; with ``canary`` the one then beside them.

    Raises ``CatalogError`` for packs that this version of Muster cannot read.
    """
    base = next((part for one in (at_end, now) for part in one.parts if part.number == number), None)
    if base is None:
        made = await driver.read(lambda tx: applications.application(tx, number))
        content = await driver.read(lambda tx: applications.content(tx, made.hash))
        base = Part(await asyncio.to_thread(content.load), number, made.hash)
    beside = at_end.canary if canary and at_end.canary and at_end.canary.number != number else None
    return InForce(base, beside, at_end.version)


@dataclass(frozen=True)
class _Stored:
    version: str
    base: Application | None
    canary: Application | None
    catalogs: dict[str, Catalog]
    contents: dict[str, Content]
    members: frozenset[int]

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in (self.base, self.canary) if one]


async def _read(at: str | None, known: Sequence[InForce], tx: Transaction) -> _Stored:
    base, canary = await (applications.in_force_at(tx, at) if at else applications.in_force(tx))
    catalogs = {part.hash: part.catalog for one in known for part in one.parts if part.hash}
    wanted = {one.hash for one in (base, canary) if one} - catalogs.keys()
    return _Stored(
        await applications.version(tx),
        base,
        canary,
        catalogs,
        {digest: await applications.content(tx, digest) for digest in wanted},
        await applications.members(tx, canary.number) if canary else frozenset(),
    )


async def _made(stored: _Stored, base: Application) -> InForce:
    catalogs = dict(stored.catalogs)
    for digest, content in stored.contents.items():
        catalogs[digest] = await asyncio.to_thread(content.load)
    made = InForce(Part(catalogs[base.hash], base.number, base.hash), version=stored.version)
    canary = stored.canary
    if canary is not None and canary.selector is not None:
        made.canary = CanaryPart(
            catalogs[canary.hash],
            canary.number,
            canary.hash,
            selector=canary.selector,
            began_at=canary.applied_at,
            members=set(stored.members),
        )
    return made
